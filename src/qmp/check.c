/* msg_check_command(): what a user may hand to QEMU's parser. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/engine.h"
#include "qmp/msg.h"
#include "qmp/scan.h"

/* QEMU's own limits (1024 levels counting the outer object, 2^21 tokens, 64 MiB), less what the id
 * of ours adds. Behind a breach of them replies come without id, so that nobody hears of it. */
#define MAX_DEPTH 1023
#define MAX_TOKENS ((1u << 21) - 64)
#define MAX_LEN ((size_t)64 * 1024 * 1024 - 4096)

static int bad(qblk_error *error, const char *why)
{
    return err_set(error, QBLK_E_ARGUMENT, "the command cannot be sent: %s", why);
}

/* What it is by its members; they are looked up, not scanned, so escapes in names are no matter. */
static int check_members(struct doc_ref json, bool *ret_is_oob, qblk_error *error)
{
    struct doc_ref execute = doc_get(json, "execute"), oob = doc_get(json, "exec-oob");

    if (doc_kind(json) != DOC_OBJECT)
        return bad(error, "it is not a JSON object");
    if (execute.doc != NULL && oob.doc != NULL)
        return bad(error, "it has both \"execute\" and \"exec-oob\"");
    if (execute.doc == NULL && oob.doc == NULL)
        return bad(error, "it has no \"execute\" member, which names the command");
    if (doc_kind(execute.doc != NULL ? execute : oob) != DOC_STRING)
        return bad(error, execute.doc != NULL ? "the value of \"execute\" is not a string"
                                          : "the value of \"exec-oob\" is not a string");
    *ret_is_oob = oob.doc != NULL;
    return 0;
}

/* QEMU's number grammar knows no exponent right behind a lone zero. */
static bool is_zero_with_exponent(const struct scan_token *token)
{
    const char *text = token->text;
    size_t len = token->len;

    if (len > 0 && *text == '-') {
        text++;
        len--;
    }
    return len > 1 && text[0] == '0' && (text[1] == 'e' || text[1] == 'E');
}

static int check_token(const struct scan *scan, const struct scan_token *token, unsigned n,
                       qblk_error *error)
{
    uint32_t c;

    if (scan->depth > MAX_DEPTH)
        return err_set(error, QBLK_E_ARGUMENT,
                       "the command cannot be sent: it is nested more than %d deep, which QEMU's "
                       "parser refuses", MAX_DEPTH);
    if (n > MAX_TOKENS)
        return err_set(error, QBLK_E_ARGUMENT,
                       "the command cannot be sent: it has more than %u words and brackets, which "
                       "QEMU's parser refuses", MAX_TOKENS);
    if (token->kind == '"' && (c = scan_string_bad(token)) != 0)
        return err_set(error, QBLK_E_ARGUMENT,
                       "the command cannot be sent: it has the character U+%04X in a string, which "
                       "QEMU's parser refuses", (unsigned)c);
    if (token->kind == '0' && is_zero_with_exponent(token))
        return bad(error, "QEMU's parser refuses a zero with an exponent; write 0.0");
    return 0;
}

/* Appends a member's tokens without blanks: each byte costs QEMU a system call. */
static int squeeze(const struct scan_member *member, unsigned *n, struct buf *body,
                   qblk_error *error)
{
    struct scan scan;
    struct scan_token token;
    int r;

    scan_init(&scan, member->key.text, (size_t)(member->end - member->key.text));
    scan.depth = 1;
    while (scan_next(&scan, &token)) {
        r = check_token(&scan, &token, ++*n, error);
        if (r < 0)
            return r;
        (void)buf_add(body, token.text, token.len);
    }
    return 0;
}

/* The object's members but the id, up to its closing brace. */
static int make_body(const char *json, size_t len, struct buf *body, struct msg_span *ret_id,
                     qblk_error *error)
{
    struct scan scan;
    struct scan_member member;
    unsigned n = 1;
    char before = '{';
    int r;

    scan_init(&scan, json, len);
    while (scan_member_next(&scan, &member)) {
        if (scan_string_is(&member.key, "id")) {
            ret_id->text = member.value;
            ret_id->len = (size_t)(member.end - member.value);
            continue;
        }
        (void)buf_addc(body, before);
        before = ',';
        n++;
        r = squeeze(&member, &n, body, error);
        if (r < 0)
            return r;
    }
    return buf_ok(body) < 0 ? err_nomem(error) : 0;
}

int msg_check_command(const char *json, struct buf *ret_body, struct msg_span *ret_id,
                      bool *ret_is_oob, qblk_error *error)
{
    struct buf_mark was = buf_mark(ret_body);
    size_t len = strlen(json);
    struct msg_span id = { NULL, 0 };
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    bool is_oob = false;
    int r;

    if (len > MAX_LEN)
        return err_set(error, QBLK_E_ARGUMENT,
                       "the command cannot be sent: it has %zu bytes, and QEMU's parser takes no "
                       "more than %zu", len, MAX_LEN);
    r = doc_parse(&doc, json, len);
    if (r < 0) {
        r = codec_explain(r, json, len, error);
        err_prefix(error, "the command is not JSON as QEMU takes it");
        return r;
    }
    r = check_members(doc_top(&doc), &is_oob, error);
    if (r == 0)
        r = make_body(json, len, ret_body, &id, error);
    if (r < 0) {
        buf_cut(ret_body, was);
        return r;
    }
    *ret_id = id;
    *ret_is_oob = is_oob;
    return 0;
}
