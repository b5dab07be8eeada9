/* Whole messages: replies and events. */
#include "codec/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "codec/big.h"
#include "codec/table.h"

/* What QEMU's error text may have of ours. */
#define DESC_MAX 900

/* A message that is not JSON by our policy is the peer's fault, not an argument's. */
static int parse_message(const char *what, const char *text, json_t **ret_json, qblk_error *error)
{
    qblk_error why;
    json_t *json = codec_parse(text, strlen(text), &why);

    if (json == NULL && why.code == QBLK_E_MEMORY)
        return err_copy(error, &why);
    if (json == NULL)
        return err_set(error, QBLK_E_PROTOCOL, "%s: %s", what, why.text);
    if (!json_is_object(json)) {
        json_decref(json);
        return err_set(error, QBLK_E_PROTOCOL, "%s: not a JSON object", what);
    }
    *ret_json = json;
    return 0;
}

static int read_error(const char *what, const json_t *json, qblk_error *error)
{
    const char *class = json_string_value(json_object_get(json, "class"));
    const char *desc = json_string_value(json_object_get(json, "desc"));
    size_t len;
    int r;

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

static int decode_return(const struct codec_command *command, const json_t *json, void *value,
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

/* What the reply returns: a part of *ret_json, which is the caller's then. An error reply is an error
 * here too. */
static int read_return(const struct codec_command *command, const char *reply, json_t **ret_json,
                       const json_t **ret_part, qblk_error *error)
{
    const json_t *part;
    char what[96];
    json_t *json = NULL;
    int r;

    (void)snprintf(what, sizeof(what), "reply to %s", command->name);
    r = parse_message(what, reply, &json, error);
    if (r < 0)
        return r;
    part = json_object_get(json, "error");
    if (part != NULL)
        r = read_error(what, part, error);
    else if ((part = json_object_get(json, "return")) == NULL)
        r = err_set(error, QBLK_E_PROTOCOL, "%s: neither return nor error", what);
    if (r < 0) {
        json_decref(json);
        return r;
    }
    *ret_json = json;
    *ret_part = part;
    return 0;
}

int codec_reply(const struct codec_command *command, const char *reply, void *value,
                qblk_error *error)
{
    const json_t *part;
    json_t *json;
    int r;

    if (value != NULL && command->ret != NULL)
        memset(value, 0, command->ret_is_array ? sizeof(struct codec_list) : command->ret->size);
    r = read_return(command, reply, &json, &part, error);
    if (r < 0)
        return r;
    r = decode_return(command, part, value, error);
    json_decref(json);
    return r;
}

int codec_reply_int(const struct codec_command *command, const char *reply, int64_t *ret_value,
                    qblk_error *error)
{
    const json_t *part;
    json_t *json;
    int r = read_return(command, reply, &json, &part, error);

    if (r < 0)
        return r;
    if (json_is_integer(part))
        *ret_value = json_integer_value(part);
    else
        r = err_set(error, QBLK_E_PROTOCOL, "reply to %s: expected an integer", command->name);
    json_decref(json);
    return r;
}

int codec_reply_word(const struct codec_command *command, const char *reply, char *ret_word,
                     size_t room, qblk_error *error)
{
    const json_t *part;
    json_t *json;
    int r = read_return(command, reply, &json, &part, error);

    if (r < 0)
        return r;
    if (json_is_string(part) && !big_is(part) && json_string_length(part) < room &&
        strlen(json_string_value(part)) == json_string_length(part))
        memcpy(ret_word, json_string_value(part), json_string_length(part) + 1);
    else
        r = err_set(error, QBLK_E_PROTOCOL, "reply to %s: expected a string of less than %zu bytes",
                    command->name, room);
    json_decref(json);
    return r;
}

void codec_reply_clear(const struct codec_command *command, void *value)
{
    if (command->ret == NULL || value == NULL)
        return;
    if (command->ret_is_array)
        codec_clear_list(command->ret, value);
    else
        codec_clear(command->ret, value);
}

/* QEMU writes -1 where it has no clock. */
static int64_t read_timestamp(const json_t *json)
{
    const json_t *seconds = json_object_get(json, "seconds");
    const json_t *micros = json_object_get(json, "microseconds");
    int64_t s = json_integer_value(seconds), us = json_integer_value(micros);

    if (!json_is_integer(seconds) || !json_is_integer(micros) || s < 0 || us < 0 || us > 999999 ||
        s > INT64_MAX / 1000000 - 1)
        return 0;
    return s * 1000000 + us;
}

int codec_event(const struct codec_event *event, const char *message, void *value, int64_t *ret_us,
                qblk_error *error)
{
    json_t *json = NULL, *none = NULL;
    const json_t *data;
    int r;

    if (event->data != NULL && value != NULL)
        memset(value, 0, event->data->size);
    r = parse_message(event->name, message, &json, error);
    if (r < 0)
        return r;
    if (event->data != NULL && value != NULL) {
        data = json_object_get(json, "data");
        if (data == NULL)
            data = none = json_object();
        r = data != NULL ? codec_decode(event->data, data, value, error) : err_nomem(error);
        /* Data given in place goes by the event's name already. */
        if (r < 0 && strcmp(event->data->name, event->name) != 0)
            err_prefix(error, "event %s", event->name);
    }
    if (r == 0 && ret_us != NULL)
        *ret_us = read_timestamp(json_object_get(json, "timestamp"));
    json_decref(none);
    json_decref(json);
    return r;
}
