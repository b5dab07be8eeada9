#include "tree.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/engine.h"

/* NUL in a string is kept here and judged by the decoder; any value may stand at the top, because
 * single arguments are parsed as well as messages. */
#define PARSE_FLAGS (JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* Past the string that begins at text[at]. */
static size_t skip_string(const char *text, size_t len, size_t at)
{
    for (at++; at < len && text[at] != '"'; at++) {
        if (text[at] == '\\')
            at++;
    }
    return at < len ? at + 1 : len;
}

static int check_limits(const char *text, size_t len, qblk_error *error)
{
    size_t depth = 0, number = 0;

    for (size_t at = 0; at < len;) {
        char c = text[at];

        if (c == '"') {
            at = skip_string(text, len, at);
            number = 0;
            continue;
        }
        number = c != '\0' && strchr("+-.0123456789eE", c) != NULL ? number + 1 : 0;
        if (number > DOC_MAX_NUMBER)
            return err_set(error, QBLK_E_ARGUMENT, "not usable JSON: a number that long");
        if ((c == '[' || c == '{') && ++depth > CODEC_MAX_DEPTH)
            return err_set(error, QBLK_E_ARGUMENT, "not usable JSON: nested deeper than %d",
                           CODEC_MAX_DEPTH);
        if ((c == ']' || c == '}') && depth > 0)
            depth--;
        at++;
    }
    return 0;
}

/* jansson quotes the text, and the text may be anything. */
static void fail(qblk_error *error, const json_error_t *why)
{
    char text[sizeof(why->text)];
    size_t i = 0;

    if (json_error_code(why) == json_error_out_of_memory || why->text[0] == '\0') {
        (void)err_nomem(error);
        return;
    }
    for (; i + 1 < sizeof(text) && why->text[i] != '\0'; i++)
        text[i] = why->text[i] >= 0x20 && why->text[i] < 0x7f ? why->text[i] : '?';
    text[i] = '\0';
    (void)err_set(error, QBLK_E_ARGUMENT, "not usable JSON: byte %d: %s", why->position, text);
}

/* ---- integers from 2^63 to 2^64-1 ------------------------------------------------------------ */

/* Such an integer is given to jansson as 0, and put back into the tree as a string that no JSON
 * text can contain. Which value it was is known by counting: values that hold no others come in
 * the same order in the text and in the tree, since jansson keeps the order of members and refuses
 * duplicates. */
struct big {
    size_t which; /* index among the values that hold no others */
    char digits[24];
};

struct rescan {
    const char *text;
    size_t len;
    struct buf out;
    struct big *bigs;
    size_t n_bigs;
    size_t room;
    size_t n_values;
};

static bool is_big(const char *token, size_t len)
{
    if (len < 19 || len > 20 || token[0] == '0')
        return false;
    for (size_t i = 0; i < len; i++) {
        if (token[i] < '0' || token[i] > '9')
            return false;
    }
    return len == 19 ? memcmp(token, "9223372036854775807", 19) > 0
                     : memcmp(token, "18446744073709551615", 20) <= 0;
}

static int rescan_number(struct rescan *scan, size_t at, size_t *ret_end)
{
    size_t end = at;
    struct big *big;
    int r;

    while (end < scan->len && strchr("+-.0123456789eE", scan->text[end]) != NULL &&
           scan->text[end] != '\0')
        end++;
    *ret_end = end;
    scan->n_values++;
    if (!is_big(scan->text + at, end - at))
        return buf_add(&scan->out, scan->text + at, end - at);
    r = mem_grow(&scan->bigs, &scan->room, scan->n_bigs, sizeof(*scan->bigs));
    if (r < 0)
        return r;
    big = &scan->bigs[scan->n_bigs++];
    big->which = scan->n_values - 1;
    (void)snprintf(big->digits, sizeof(big->digits), "%.*s", (int)(end - at), scan->text + at);
    return buf_addc(&scan->out, '0');
}

static bool is_key(const struct rescan *scan, size_t at)
{
    while (at < scan->len && strchr(" \t\r\n", scan->text[at]) != NULL && scan->text[at] != '\0')
        at++;
    return at < scan->len && scan->text[at] == ':';
}

static bool is_letter(char c)
{
    return c >= 'a' && c <= 'z';
}

/* The text may still turn out not to be JSON behind the place where jansson gave up; what is
 * counted wrongly then is never used. */
static int rescan_text(struct rescan *scan)
{
    size_t at = 0, end;
    int r = 0;

    while (at < scan->len && r == 0) {
        char c = scan->text[at];

        end = at + 1;
        if (c == '-' || (c >= '0' && c <= '9')) {
            r = rescan_number(scan, at, &end);
        } else {
            if (c == '"') {
                end = skip_string(scan->text, scan->len, at);
                scan->n_values += !is_key(scan, end);
            } else if (is_letter(c)) {
                while (end < scan->len && is_letter(scan->text[end]))
                    end++;
                scan->n_values++;
            }
            r = buf_add(&scan->out, scan->text + at, end - at);
        }
        at = end;
    }
    return r;
}

struct refill {
    const struct rescan *scan;
    size_t next;     /* of the scan's bigs */
    size_t n_values; /* seen so far */
};

/* New reference to what belongs in value's place; NULL: value stays. *failed when memory is gone.
 */
static json_t *refill_value(struct refill *refill, json_t *value, bool *failed);

static void refill_parts(struct refill *refill, json_t *json, bool *failed)
{
    size_t i, n = json_is_array(json) ? json_array_size(json) : 0;
    json_t *part;

    for (i = 0; i < n && !*failed; i++) {
        part = refill_value(refill, json_array_get(json, i), failed);
        if (part != NULL && json_array_set_new(json, i, part) < 0)
            *failed = true;
    }
    for (void *iter = json_object_iter(json); iter != NULL && !*failed;
         iter = json_object_iter_next(json, iter)) {
        part = refill_value(refill, json_object_iter_value(iter), failed);
        if (part != NULL && json_object_iter_set_new(json, iter, part) < 0)
            *failed = true;
    }
}

static json_t *refill_value(struct refill *refill, json_t *value, bool *failed)
{
    const struct rescan *scan = refill->scan;
    json_t *string;

    if (json_is_array(value) || json_is_object(value)) {
        refill_parts(refill, value, failed);
        return NULL;
    }
    if (refill->next == scan->n_bigs || scan->bigs[refill->next].which != refill->n_values++)
        return NULL;
    string = big_new(scan->bigs[refill->next++].digits);
    *failed = string == NULL;
    return string;
}

static json_t *parse_big(const char *text, size_t len, qblk_error *error)
{
    struct rescan scan = { .text = text, .len = len };
    struct refill refill = { .scan = &scan };
    json_t *json = NULL, *top;
    bool failed = false;
    json_error_t why = { .line = 0 }; /* jansson forgets to, when memory is gone */

    if (rescan_text(&scan) < 0) {
        (void)err_nomem(error);
        goto out;
    }
    json = json_loadb(scan.out.data, scan.out.len, PARSE_FLAGS, &why);
    if (json == NULL) {
        fail(error, &why);
        goto out;
    }
    top = refill_value(&refill, json, &failed);
    if (failed)
        (void)err_nomem(error);
    if (failed || top != NULL) {
        json_decref(json);
        json = top;
    }
out:
    buf_done(&scan.out);
    free(scan.bigs);
    return json;
}

static json_t *parse(const char *text, size_t len, qblk_error *error)
{
    const char *nul = len != 0 ? memchr(text, '\0', len) : NULL;
    json_error_t why = { .line = 0 }; /* jansson forgets to, when memory is gone */
    json_t *json;

    if (nul != NULL) {
        /* jansson would pass over it between two tokens. */
        (void)err_set(error, QBLK_E_ARGUMENT, "not usable JSON: byte %td is NUL", nul - text);
        return NULL;
    }
    if (check_limits(text, len, error) < 0)
        return NULL;
    json = json_loadb(text, len, PARSE_FLAGS, &why);
    if (json != NULL)
        return json;
    if (json_error_code(&why) == json_error_numeric_overflow)
        return parse_big(text, len, error);
    fail(error, &why);
    return NULL;
}

json_t *tree_parse(const char *text, size_t len, qblk_error *error)
{
    json_t *json;

    mem_fail_pause(true); /* jansson bears no failure */
    json = parse(text, len, error);
    mem_fail_pause(false);
    return json;
}
