/* Between JSON and C structs, driven by the tables that qapi-gen makes from qapi-schema/.
 *
 * JSON policy, in one place: duplicate keys, invalid UTF-8, NUL bytes and nesting beyond
 * CODEC_MAX_DEPTH are errors; \u0000 inside a string is an error where the string is decoded to C,
 * and kept elsewhere; integers up to 2^64-1 survive; whatever is larger is an error, and so is a
 * number of more than DOC_MAX_NUMBER characters. Members that the schema does not list are ignored
 * when decoding.
 */
#ifndef QBLK_SRC_CODEC_ENGINE_H
#define QBLK_SRC_CODEC_ENGINE_H

#include "base/buf.h"
#include "codec/doc.h"
#include <qblk/base.h>

#define CODEC_MAX_DEPTH 1024

struct codec_type; /* one struct or union of the schema */

/* One command: generated as qapi_cmd_<name>. */
struct codec_command {
    const char *name;              /* "block-stream" */
    const struct codec_type *args; /* NULL: takes none */
    const struct codec_type *ret;  /* NULL: returns {} or what we do not look at */
    bool ret_is_array;
    const char *since;
};

/* One event: generated as qapi_event_<name>. */
struct codec_event {
    const char *name; /* "JOB_STATUS_CHANGE" */
    const struct codec_type *data;
    const char *since;
};

/* What the object in the text has for each of these names: nothing, a string, or something else.
 * For text that is handed on as it is. QBLK_E_ARGUMENT if it is no JSON, or no object. */
enum codec_has { CODEC_HAS_NOTHING, CODEC_HAS_STRING, CODEC_HAS_OTHER };
int codec_peek(const char *text, const char *const *names, size_t n, enum codec_has *ret_has,
               qblk_error *error);

/* The words for why doc_parse() did not take a text, by its result: QBLK_E_ARGUMENT or
 * QBLK_E_MEMORY. Returns error's code as ever. */
int codec_explain(int r, const char *text, size_t len, qblk_error *error);

/* Decodes an object into *value (a generated struct, zeroed first). What it allocates is freed by
 * codec_clear(). On failure nothing is left to free; the text names the member by its path. Code
 * QBLK_E_PROTOCOL or QBLK_E_MEMORY. */
int codec_decode(const struct codec_type *type, struct doc_ref json, void *value,
                 qblk_error *error);
/* A value is cleared as it was decoded, by the same type: all that it points to is given back by the first
 * pointer in it. So nobody takes, frees, replaces or nulls a pointer in it, nor changes the tag of a union; what
 * is needed for longer is copied. The struct itself may be moved. One that was filled by hand is not cleared. */
void codec_clear(const struct codec_type *type, void *value);

/* Appends the object as compact JSON, members in the schema's order, optional ones only if set.
 * Strings must be UTF-8. Fails with QBLK_E_ARGUMENT or QBLK_E_MEMORY and appends nothing. */
int codec_encode(const struct codec_type *type, const void *value, struct buf *out,
                 qblk_error *error);

/* Appends {"execute":"<name>","arguments":{...}}, without "arguments" if no member is set; args may
 * be NULL for a command that takes none or only optional ones. */
int codec_command(const struct codec_command *command, const void *args, struct buf *out,
                  qblk_error *error);

/* Decodes a whole reply message as text. An error reply gives QBLK_E_QEMU with QEMU's class and
 * text. For a list, *value is the generated list struct. value may be NULL when ret is NULL. */
int codec_reply(const struct codec_command *command, const char *reply, void *value,
                qblk_error *error);
/* The same for a command that returns an integer or a short string, for which the schema has no
 * type. */
int codec_reply_int(const struct codec_command *command, const char *reply, int64_t *ret_value,
                    qblk_error *error);
int codec_reply_word(const struct codec_command *command, const char *reply, char *ret_word,
                     size_t room, qblk_error *error);
void codec_reply_clear(const struct codec_command *command, void *value);

/* Decodes the "data" of a whole event message as text; its time stamp goes to *ret_us
 * (microseconds since the epoch, 0 if there is none; may be NULL). */
int codec_event(const struct codec_event *event, const char *message, void *value,
                int64_t *ret_us, qblk_error *error);

#endif
