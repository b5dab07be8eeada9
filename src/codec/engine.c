/* Whole messages: replies and events. */
#include "codec/engine.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/table.h"

/* What QEMU's error text may have of ours. */
#define DESC_MAX 900

int codec_explain(int r, const char *text, size_t len, qblk_error *error)
{
    size_t at = 0;
    const char *why = r == -ENOMEM ? NULL : doc_why(text, len, &at);

    if (why == NULL)
        return err_nomem(error);
    return err_set(error, QBLK_E_ARGUMENT, "not usable JSON: byte %zu: %s", at, why);
}

int codec_peek(const char *text, const char *const *names, size_t n, enum codec_has *ret_has,
               qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc;
    int r = doc_parse(&doc, text, strlen(text));

    if (r < 0)
        return codec_explain(r, text, strlen(text), error);
    if (doc_kind(doc_top(&doc)) != DOC_OBJECT)
        return err_set(error, QBLK_E_ARGUMENT, "not a JSON object");
    for (size_t i = 0; i < n; i++) {
        struct doc_ref member = doc_get(doc_top(&doc), names[i]);

        ret_has[i] = member.doc == NULL                  ? CODEC_HAS_NOTHING
                     : doc_kind(member) == DOC_STRING ? CODEC_HAS_STRING
                                                         : CODEC_HAS_OTHER;
    }
    return 0;
}

/* A message that is not JSON by our policy is the peer's fault, not an argument's. */
static int parse_message(const char *what, const char *text, struct doc *doc, qblk_error *error)
{
    int r = doc_parse(doc, text, strlen(text));
    qblk_error why;

    if (r < 0) {
        (void)codec_explain(r, text, strlen(text), &why);
        return why.code == QBLK_E_MEMORY ? err_copy(error, &why)
                                         : err_set(error, QBLK_E_PROTOCOL, "%s: %s", what, why.text);
    }
    if (doc_kind(doc_top(doc)) != DOC_OBJECT)
        return err_set(error, QBLK_E_PROTOCOL, "%s: not a JSON object", what);
    return 0;
}

static int read_error(const char *what, struct doc_ref json, qblk_error *error)
{
    AUTO_FREE char *class = NULL, *desc = NULL;
    size_t len;
    int r;

    if (doc_string(doc_get(json, "class"), &class) == -ENOMEM
        || doc_string(doc_get(json, "desc"), &desc) == -ENOMEM)
        return err_nomem(error);
    if (class == NULL || desc == NULL)
        return err_set(error, QBLK_E_PROTOCOL, "%s: an error reply without class or text", what);
    len = strlen(desc);
    if (len > DESC_MAX) {
        /* Not in the middle of a character. */
        for (len = DESC_MAX; len > 0 && ((unsigned char)desc[len] & 0xc0) == 0x80;)
            len--;
    }
    r = err_set(error, QBLK_E_QEMU, "%.*s", (int)len, desc);
    if (error != NULL)
        (void)snprintf(error->qmp_class, sizeof(error->qmp_class), "%s", class);
    return r;
}

static int decode_return(const struct codec_command *command, struct doc_ref json, void *value,
                         qblk_error *error)
{
    int r;

    if (command->ret == NULL || value == NULL)
        return 0;
    r = command->ret_is_array ? codec_decode_list(command->ret, json, value, error)
                              : codec_decode(command->ret, json, value, error);
    if (r < 0)
        err_prefix(error, "reply to %s", command->name);
    return r;
}

/* What the reply returns: a part of *ret_doc, which is the caller's to be done with in any case. An
 * error reply is an error here too. */
static int read_return(const struct codec_command *command, const char *reply,
                       struct doc *ret_doc, struct doc_ref *ret_part, qblk_error *error)
{
    char what[96];
    int r;

    (void)snprintf(what, sizeof(what), "reply to %s", command->name);
    r = parse_message(what, reply, ret_doc, error);
    if (r < 0)
        return r;
    *ret_part = doc_get(doc_top(ret_doc), "error");
    if (ret_part->doc != NULL) {
        r = read_error(what, *ret_part, error);
    } else {
        *ret_part = doc_get(doc_top(ret_doc), "return");
        if (ret_part->doc == NULL)
            r = err_set(error, QBLK_E_PROTOCOL, "%s: neither return nor error", what);
    }
    return r;
}

int codec_reply(const struct codec_command *command, const char *reply, void *value,
                qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    struct doc_ref part;
    int r;

    if (value != NULL && command->ret != NULL)
        memset(value, 0, command->ret_is_array ? sizeof(struct codec_list) : command->ret->size);
    r = read_return(command, reply, &doc, &part, error);
    return r < 0 ? r : decode_return(command, part, value, error);
}

int codec_reply_int(const struct codec_command *command, const char *reply, int64_t *ret_value,
                    qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    struct doc_ref part;
    int r = read_return(command, reply, &doc, &part, error);

    if (r < 0)
        return r;
    if (doc_kind(part) != DOC_INTEGER)
        return err_set(error, QBLK_E_PROTOCOL, "reply to %s: expected an integer", command->name);
    *ret_value = doc_integer(part);
    return 0;
}

int codec_reply_word(const struct codec_command *command, const char *reply, char *ret_word,
                     size_t room, qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    AUTO_FREE char *word = NULL;
    struct doc_ref part;
    int r = read_return(command, reply, &doc, &part, error);

    if (r < 0)
        return r;
    r = doc_string(part, &word);
    if (r == -ENOMEM)
        return err_nomem(error);
    if (r < 0 || strlen(word) >= room)
        return err_set(error, QBLK_E_PROTOCOL, "reply to %s: expected a string of less than %zu bytes",
                       command->name, room);
    memcpy(ret_word, word, strlen(word) + 1);
    return 0;
}

void codec_reply_clear(const struct codec_command *command, void *value)
{
    if (command->ret == NULL || value == NULL)
        return;
    if (command->ret_is_array)
        codec_clear_list(value);
    else
        codec_clear(command->ret, value);
}

/* QEMU writes -1 where it has no clock. */
static int64_t read_timestamp(struct doc_ref json)
{
    struct doc_ref seconds = doc_get(json, "seconds"), micros = doc_get(json, "microseconds");
    int64_t s = doc_integer(seconds), us = doc_integer(micros);

    if (doc_kind(seconds) != DOC_INTEGER || doc_kind(micros) != DOC_INTEGER || s < 0 || us < 0 ||
        us > 999999 || s > INT64_MAX / 1000000 - 1)
        return 0;
    return s * 1000000 + us;
}

int codec_event(const struct codec_event *event, const char *message, void *value, int64_t *ret_us,
                qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    struct doc_value nothing = { .at = 0, .len = 2, .end = 1, .kind = DOC_OBJECT };
    const struct doc empty = { .text = "{}", .v = &nothing, .n = 1 };
    struct doc_ref data;
    int r;

    if (event->data != NULL && value != NULL)
        memset(value, 0, event->data->size);
    r = parse_message(event->name, message, &doc, error);
    if (r < 0)
        return r;
    if (event->data != NULL && value != NULL) {
        data = doc_get(doc_top(&doc), "data");
        r = codec_decode(event->data, data.doc != NULL ? data : doc_top(&empty), value, error);
        /* Data given in place goes by the event's name already. */
        if (r < 0 && strcmp(event->data->name, event->name) != 0)
            err_prefix(error, "event %s", event->name);
    }
    if (r == 0 && ret_us != NULL)
        *ret_us = read_timestamp(doc_get(doc_top(&doc), "timestamp"));
    return r;
}
