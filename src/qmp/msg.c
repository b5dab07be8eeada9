#include "qmp/msg.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "codec/engine.h"
#include "qmp/scan.h"

#define SHOWN_ROOM 84

static void unref(json_t **json)
{
    json_decref(*json);
}
#define AUTO_JSON __attribute__((cleanup(unref)))

static int not_a_message(qblk_error *error, const char *why, const char *text, size_t len)
{
    char shown[SHOWN_ROOM];

    return err_set(error, QBLK_E_PROTOCOL, "the peer sent what is no QMP message (%s): %s", why,
                   str_show(shown, sizeof(shown), text, len));
}

/* Where the id stands, and what to cut out to be rid of it. */
static void find_id(struct msg *msg)
{
    struct scan scan;
    struct scan_member member;
    const char *from, *to;

    scan_init(&scan, msg->text, msg->len);
    do {
        if (!scan_member_next(&scan, &member))
            return;
    } while (!scan_string_is(&member.key, "id"));
    msg->id.text = member.value;
    msg->id.len = (size_t)(member.end - member.value);
    from = member.comma;
    to = member.end;
    if (from == NULL) {
        /* The first member: the comma behind it goes, with the blanks up to the next one. */
        from = member.key.text;
        if (scan.depth == 1) {
            to = scan.at;
            while (to < scan.end && strchr(" \t\r\n", *to) != NULL)
                to++;
        }
    }
    msg->id_member.text = from;
    msg->id_member.len = (size_t)(to - from);
}

static unsigned version_part(const json_t *version, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(version, name));

    return value < 0 ? 0 : value > 999 ? 999 : (unsigned)value;
}

static void read_greeting(struct msg *msg, const json_t *greeting)
{
    const json_t *version = json_object_get(json_object_get(greeting, "version"), "qemu");
    const json_t *names = json_object_get(greeting, "capabilities");

    msg->kind = MSG_GREETING;
    msg->version = version_part(version, "major") * 1000000 +
                   version_part(version, "minor") * 1000 + version_part(version, "micro");
    for (size_t i = 0; i < json_array_size(names); i++) {
        if (str_equal(json_string_value(json_array_get(names, i)), "oob"))
            msg->has_oob = true;
    }
}

/* Which of the four kinds it is; false if none. */
static bool read_kind(struct msg *msg, const json_t *json)
{
    const json_t *greeting = json_object_get(json, "QMP");
    const json_t *error = json_object_get(json, "error");
    const json_t *event = json_object_get(json, "event");
    const json_t *result = json_object_get(json, "return");
    int n = (greeting != NULL) + (error != NULL) + (event != NULL) + (result != NULL);

    if (n != 1)
        return false;
    if (result != NULL) {
        msg->kind = MSG_RETURN;
        return true;
    }
    if (error != NULL) {
        msg->kind = MSG_ERROR;
        return json_is_string(json_object_get(error, "class")) &&
               json_is_string(json_object_get(error, "desc"));
    }
    if (event != NULL) {
        msg->kind = MSG_EVENT;
        (void)snprintf(msg->event, sizeof(msg->event), "%s",
                       json_is_string(event) ? json_string_value(event) : "");
        return msg->event[0] != '\0';
    }
    if (!json_is_object(greeting))
        return false;
    read_greeting(msg, greeting);
    return true;
}

int msg_read(struct msg *ret_msg, const char *text, size_t len, qblk_error *error)
{
    struct msg msg = { .text = text, .len = len };
    AUTO_JSON json_t *json = NULL;
    qblk_error why;

    json = codec_parse(text, len, &why);
    if (json == NULL)
        return why.code == QBLK_E_MEMORY ? err_copy(error, &why)
                                         : not_a_message(error, why.text, text, len);
    if (!json_is_object(json))
        return not_a_message(error, "not an object", text, len);
    if (!read_kind(&msg, json))
        return not_a_message(error, "neither greeting, return, error nor event", text, len);
    find_id(&msg);
    *ret_msg = msg;
    return 0;
}

void msg_error(const struct msg *msg, qblk_error *error)
{
    AUTO_JSON json_t *json = NULL;
    const json_t *body;
    const char *class, *desc;

    if (error == NULL)
        return;
    json = codec_parse(msg->text, msg->len, error);
    if (json == NULL)
        return;
    body = json_object_get(json, "error");
    class = json_string_value(json_object_get(body, "class"));
    desc = json_string_value(json_object_get(body, "desc"));
    (void)err_set(error, QBLK_E_QEMU, "%s", desc != NULL ? desc : "an error without a text");
    (void)snprintf(error->qmp_class, sizeof(error->qmp_class), "%s", class != NULL ? class : "");
}

int msg_without_id(const struct msg *msg, struct msg_span id, struct buf *out)
{
    size_t before = msg->len, from = 0, tail;
    const char *end = msg->text + msg->len;
    size_t was = out->len;
    int r;

    if (msg->id_member.len != 0) {
        before = (size_t)(msg->id_member.text - msg->text);
        from = before + msg->id_member.len;
    } else {
        from = msg->len;
    }
    (void)buf_add(out, msg->text, before);
    (void)buf_add(out, msg->text + from, (size_t)(end - (msg->text + from)));
    if (id.len != 0 && buf_ok(out) == 0) {
        /* In front of the closing brace and the blanks that lead to it. */
        tail = out->len - 1;
        while (tail > was && strchr(" \t\r\n", out->data[tail - 1]) != NULL)
            tail--;
        out->len = tail;
        (void)buf_adds(out, out->data[tail - 1] == '{' ? "\"id\": " : ", \"id\": ");
        (void)buf_add(out, id.text, id.len);
        (void)buf_addc(out, '}');
    }
    r = buf_ok(out);
    if (r < 0) {
        out->failed = 0;
        out->len = was;
    }
    return r;
}
