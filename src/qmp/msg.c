#include "qmp/msg.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "codec/engine.h"

#define SHOWN_ROOM 84

static int not_a_message(qblk_error *error, const char *why, const char *text, size_t len)
{
    char shown[SHOWN_ROOM];

    return err_set(error, QBLK_E_PROTOCOL, "the peer sent what is no QMP message (%s): %s", why,
                   str_show(shown, sizeof(shown), text, len));
}

static size_t skip_blanks(const struct msg *msg, size_t at)
{
    while (at < msg->len && strchr(" \t\r\n", msg->text[at]) != NULL)
        at++;
    return at;
}

/* Where the id stands, and what to cut out to be rid of it: with the comma before it, or if it is
 * the first member, with the comma behind it and the blanks up to the next one. */
static void find_id(struct msg *msg, struct doc_ref id)
{
    const struct doc_value *name, *value;
    size_t from, to;

    if (id.doc == NULL)
        return;
    value = &id.doc->v[id.at];
    name = value - 1;
    msg->id.text = msg->text + value->at;
    msg->id.len = value->len;
    if (value->kind == DOC_STRING) {
        msg->id.text--;
        msg->id.len += 2;
    }
    from = name->at - 1;
    to = (size_t)(msg->id.text - msg->text) + msg->id.len;
    if (id.at > 2) {
        while (msg->text[from] != ',')
            from--;
    } else if (msg->text[skip_blanks(msg, to)] == ',') {
        to = skip_blanks(msg, skip_blanks(msg, to) + 1);
    }
    msg->id_member.text = msg->text + from;
    msg->id_member.len = to - from;
}

static unsigned version_part(struct doc_ref version, const char *name)
{
    int64_t value = doc_integer(doc_get(version, name));

    return value < 0 ? 0 : value > 999 ? 999 : (unsigned)value;
}

static void read_greeting(struct msg *msg, struct doc_ref greeting)
{
    struct doc_ref version = doc_get(doc_get(greeting, "version"), "qemu");
    struct doc_ref names = doc_get(greeting, "capabilities");

    msg->kind = MSG_GREETING;
    msg->version = version_part(version, "major") * 1000000 +
                   version_part(version, "minor") * 1000 + version_part(version, "micro");
    for (struct doc_ref name = doc_first(names); name.doc != NULL; name = doc_next(names, name)) {
        if (doc_is(name, "oob"))
            msg->has_oob = true;
    }
}

/* Which of the four kinds it is; -EPROTO if none. */
static int read_kind(struct msg *msg, struct doc_ref top)
{
    struct doc_ref greeting = doc_get(top, "QMP"), error = doc_get(top, "error");
    struct doc_ref event = doc_get(top, "event"), result = doc_get(top, "return");
    int n = (greeting.doc != NULL) + (error.doc != NULL) + (event.doc != NULL) +
            (result.doc != NULL);

    if (n != 1)
        return -EPROTO;
    if (result.doc != NULL) {
        msg->kind = MSG_RETURN;
        return 0;
    }
    if (error.doc != NULL) {
        msg->kind = MSG_ERROR;
        return doc_kind(doc_get(error, "class")) == DOC_STRING &&
               doc_kind(doc_get(error, "desc")) == DOC_STRING ? 0 : -EPROTO;
    }
    if (event.doc != NULL) {
        msg->kind = MSG_EVENT;
        if (doc_kind(event) != DOC_STRING || doc_room(event) == 1 || doc_has_nul(event))
            return -EPROTO;
        (void)doc_copy(event, msg->event, sizeof(msg->event));
        return 0;
    }
    if (doc_kind(greeting) != DOC_OBJECT)
        return -EPROTO;
    read_greeting(msg, greeting);
    return 0;
}

int msg_read(struct msg *ret_msg, const char *text, size_t len, qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    struct msg msg = { .text = text, .len = len };
    qblk_error why;
    int r;

    r = doc_parse(&doc, text, len);
    if (r < 0) {
        (void)codec_explain(r, text, len, &why);
        return why.code == QBLK_E_MEMORY ? err_copy(error, &why)
                                         : not_a_message(error, why.text, text, len);
    }
    if (doc_kind(doc_top(&doc)) != DOC_OBJECT)
        return not_a_message(error, "not an object", text, len);
    r = read_kind(&msg, doc_top(&doc));
    if (r < 0)
        return not_a_message(error, "neither greeting, return, error nor event", text, len);
    find_id(&msg, doc_get(doc_top(&doc), "id"));
    *ret_msg = msg;
    return 0;
}

void msg_error(const struct msg *msg, qblk_error *error)
{
    CLEANUP(doc_done) struct doc doc = { .n = 0 };
    AUTO_FREE char *class = NULL, *desc = NULL;
    struct doc_ref body;

    if (error == NULL)
        return;
    if (doc_parse(&doc, msg->text, msg->len) < 0) { /* msg_read() has taken it */
        (void)err_nomem(error);
        return;
    }
    body = doc_get(doc_top(&doc), "error");
    if (doc_bytes(doc_get(body, "class"), &class, NULL) == -ENOMEM ||
        doc_bytes(doc_get(body, "desc"), &desc, NULL) == -ENOMEM) {
        (void)err_nomem(error);
        return;
    }
    (void)err_set(error, QBLK_E_QEMU, "%s", desc != NULL ? desc : "an error without a text");
    (void)snprintf(error->qmp_class, sizeof(error->qmp_class), "%s", class != NULL ? class : "");
}

int msg_without_id(const struct msg *msg, struct msg_span id, struct buf *out)
{
    size_t before = msg->len, from = 0, tail;
    const char *end = msg->text + msg->len;
    struct buf_mark was = buf_mark(out);
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
        while (tail > was.len && strchr(" \t\r\n", out->data[tail - 1]) != NULL)
            tail--;
        out->len = tail;
        (void)buf_adds(out, out->data[tail - 1] == '{' ? "\"id\": " : ", \"id\": ");
        (void)buf_add(out, id.text, id.len);
        (void)buf_addc(out, '}');
    }
    r = buf_ok(out);
    if (r < 0)
        buf_cut(out, was);
    return r;
}
