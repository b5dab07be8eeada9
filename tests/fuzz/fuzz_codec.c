/* Any bytes as a message: parsed, and decoded as every type, reply and event of the schema. What
 * decodes must encode, and what was encoded must decode and encode to the same again; only integers
 * of 2^63 and more are decoded and not encoded.
 *
 * Corpus: tests/fuzz/corpus/codec. Needs src/base, src/codec, build/gen/qapi_types.c, jansson. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "codec/table.h"
#include "qapi_types.h"
#include "tree.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void *new_value(size_t size)
{
    void *value = malloc(size);

    if (value == NULL)
        abort();
    memset(value, 0x55, size);
    return value;
}

static void check(int holds)
{
    if (!holds)
        abort();
}

/* The encoder refuses what QEMU refuses, and nothing else that the decoder took. */
static void check_refusal(const qblk_error *error)
{
    check(strstr(error->text, "2^63-1") != NULL);
}

static void encode_again(const struct codec_type *type, const struct buf *first)
{
    void *value = new_value(type->size);
    struct buf second = BUF_INIT;
    qblk_error error;
    struct doc doc;

    check(doc_parse(&doc, first->data, first->len) == 0);
    check(codec_decode(type, doc_top(&doc), value, &error) == 0);
    check(codec_encode(type, value, &second, &error) == 0);
    check(first->len == second.len && memcmp(first->data, second.data, first->len) == 0);
    codec_clear(type, value);
    doc_done(&doc);
    buf_done(&second);
    free(value);
}

static void try_type(const struct codec_type *type, struct doc_ref json)
{
    void *value = new_value(type->size);
    struct buf text = BUF_INIT;
    qblk_error error;

    if (codec_decode(type, json, value, &error) == 0) {
        if (codec_encode(type, value, &text, &error) == 0)
            encode_again(type, &text);
        else
            check_refusal(&error);
        codec_clear(type, value);
    }
    buf_done(&text);
    free(value);
}

static void try_messages(const char *text)
{
    qblk_error error;
    int64_t us;

    for (size_t i = 0; qapi_commands[i] != NULL; i++) {
        const struct codec_command *command = qapi_commands[i];
        size_t size = command->ret == NULL       ? 1
                      : command->ret_is_array ? sizeof(struct codec_list)
                                              : command->ret->size;
        void *value = new_value(size);

        if (codec_reply(command, text, command->ret != NULL ? value : NULL, &error) == 0)
            codec_reply_clear(command, value);
        free(value);
    }
    for (size_t i = 0; qapi_events[i] != NULL; i++) {
        const struct codec_event *event = qapi_events[i];
        void *value = new_value(event->data != NULL ? event->data->size : 1);

        if (codec_event(event, text, event->data != NULL ? value : NULL, &us, &error) == 0)
            codec_clear(event->data, value);
        free(value);
    }
}

/* Both parsers see the same in a text. */
static void check_same(json_t *json, struct doc_ref ref)
{
    static const enum doc_kind kinds[] = {
        [JSON_OBJECT] = DOC_OBJECT, [JSON_ARRAY] = DOC_ARRAY, [JSON_STRING] = DOC_STRING,
        [JSON_INTEGER] = DOC_INTEGER, [JSON_REAL] = DOC_REAL, [JSON_TRUE] = DOC_TRUE,
        [JSON_FALSE] = DOC_FALSE, [JSON_NULL] = DOC_NULL
    };
    struct doc_ref part = doc_first(ref);
    const char *name;
    json_t *value;
    char *text;
    size_t i;

    check(ref.doc != NULL);
    if (big_is(json)) {
        check(doc_kind(ref) == DOC_BIG);
        check(doc_unsigned(ref) == strtoull(big_digits(json), NULL, 10));
        return;
    }
    check(doc_kind(ref) == kinds[json_typeof(json)]);
    if (json_is_integer(json))
        check(doc_integer(ref) == json_integer_value(json));
    if (json_is_string(json) && doc_string(ref, &text) == 0) {
        check(strcmp(text, json_string_value(json)) == 0);
        check(strlen(text) == json_string_length(json));
        free(text);
    }
    json_array_foreach(json, i, value) {
        check_same(value, part);
        part = doc_next(ref, part);
    }
    check(part.doc == NULL);
    json_object_foreach(json, name, value)
        check_same(value, doc_get(ref, name));
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    /* without a byte behind it, so that reading on is seen; then as text for whole messages */
    char *exact = new_value(size != 0 ? size : 1), *text = new_value(size + 1);
    qblk_error error;
    struct doc doc;
    json_t *json;

    if (size != 0) {
        memcpy(exact, data, size);
        memcpy(text, data, size);
    }
    text[size] = '\0';
    json = tree_parse(exact, size, &error);
    check((doc_parse(&doc, exact, size) == 0) == (json != NULL));
    if (json != NULL) {
        check_same(json, doc_top(&doc));
        for (size_t i = 0; qapi_types[i] != NULL; i++)
            try_type(qapi_types[i], doc_top(&doc));
        if (json_is_object(json))
            try_messages(text);
    }
    json_decref(json);
    doc_done(&doc);
    free(exact);
    free(text);
    return 0;
}
