#include "qmp/client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/str.h"
#include "qmp/waiter.h"

#define SHOWN_ROOM 84
#define SHORT_IDS 9 /* 1 to 9 */

static void set_state(struct client *client, enum client_state state)
{
    static const char *const names[] = { "greeting", "negotiating", "ready", "dead" };

    log_debug(client->log, "client: %s -> %s", names[client->state], names[state]);
    client->state = state;
}

void client_init(struct client *client, const struct client_ops *ops, void *arg,
                 const struct log *log, const char *caps_id, bool want_oob)
{
    memset(client, 0, sizeof(*client));
    client->state = CLIENT_GREETING;
    client->ops = ops;
    client->arg = arg;
    client->log = log;
    client->want_oob = want_oob;
    client->next_id = SHORT_IDS + 1;
    (void)snprintf(client->caps_id, sizeof(client->caps_id), "%s", caps_id);
    list_init(&client->waiters);
    list_init(&client->held);
}

void client_done(struct client *client)
{
    waiter_free_all(&client->waiters);
    waiter_free_all(&client->held);
    client->in_flight = 0;
    client->held_bytes = 0;
    client->state = CLIENT_DEAD;
}

/* ---- sending ------------------------------------------------------------------------------ */

/* Writes what was put together in out, and empties it. */
static int write_out(struct client *client, struct buf *out, int fd, qblk_error *error)
{
    int r;

    if (buf_ok(out) < 0) {
        r = err_nomem(error);
    } else {
        r = client->ops->write(client->arg, out->data, out->len, fd, error);
        if (r == 0)
            log_message(client->log, '>', out->data, out->len);
    }
    buf_done(out);
    return r;
}

static int write_command(struct client *client, uint32_t id, const char *body, size_t len, int fd,
                         qblk_error *error)
{
    char room[BUF_MESSAGE];
    struct buf out = BUF_ON(room);

    while (len > 0 && strchr(" \t\r\n", body[len - 1]) != NULL)
        len--;
    (void)buf_add(&out, body, len);
    /* Only an object without members ends in its opening brace. */
    (void)buf_addf(&out, "%s\"id\":%lu}", len > 0 && body[len - 1] == '{' ? "" : ",",
                   (unsigned long)id);
    return write_out(client, &out, fd, error);
}

static int write_capabilities(struct client *client, qblk_error *error)
{
    char room[BUF_MESSAGE];
    struct buf out = BUF_ON(room);

    (void)buf_adds(&out, "{\"execute\":\"qmp_capabilities\"");
    if (client->has_oob)
        (void)buf_adds(&out, ",\"arguments\":{\"enable\":[\"oob\"]}");
    (void)buf_addf(&out, ",\"id\":\"%s\"}", client->caps_id);
    return write_out(client, &out, -1, error);
}

/* Whether a command of that kind must wait now, not looking at those that wait already. */
static bool must_hold(const struct client *client, bool is_oob)
{
    if (client->state != CLIENT_READY)
        return true;
    return client->has_oob && !is_oob && client->in_flight >= CLIENT_OOB_WINDOW;
}

static bool is_in_use(struct client *client, uint32_t id)
{
    return waiter_find(&client->waiters, id) != NULL || waiter_find(&client->held, id) != NULL;
}

/* One digit where one is free: each byte costs QEMU a system call. An id is free again once its own
 * reply has come. Where a command was ended by a reply without id, or by the end of a connection,
 * its own may still come, and a peer that answers what it was not asked may answer twice: then
 * every id is used once. */
static uint32_t draw_id(struct client *client)
{
    uint32_t id;

    for (uint32_t i = 0; i < SHORT_IDS && !client->ids_once; i++) {
        client->short_id = client->short_id % SHORT_IDS + 1;
        if (!is_in_use(client, client->short_id))
            return client->short_id;
    }
    do {
        id = client->next_id++;
        if (client->next_id == 0) {
            client->next_id = SHORT_IDS + 1;
            client->has_wrapped = true;
        }
    } while (client->has_wrapped && is_in_use(client, id));
    return id;
}

static void count_in(struct client *client, struct waiter *waiter)
{
    if (!waiter->is_oob)
        client->in_flight++;
    list_append(&client->waiters, &waiter->link);
}

static void count_out(struct client *client, struct waiter *waiter)
{
    if (!waiter->is_oob)
        client->in_flight--;
    list_remove(&waiter->link);
}

/* Puts a command aside with a copy of what belongs to the caller. Those for out of band execution
 * stand in front, so that a full window does not keep them. */
static int hold(struct client *client, struct waiter *waiter, const char *body, size_t len, int fd,
                qblk_error *error)
{
    struct list *next;

    if (fd >= 0) {
        waiter->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (waiter->fd < 0)
            return err_sys(error, errno, "cannot pass descriptor %d", fd);
    }
    memcpy(waiter->text + waiter->user_id_len, body, len);
    waiter->body_len = len;
    client->held_bytes += len;
    next = &client->held;
    if (waiter->is_oob && client->want_oob) {
        next = next->next;
        while (next != &client->held && waiter_of(next)->is_oob)
            next = next->next;
    }
    list_append(next, &waiter->link);
    return 0;
}

int client_submit(struct client *client, const char *body, size_t len, struct msg_span user_id,
                  bool is_oob, int fd, client_reply_fn *fn, void *arg, uint32_t *ret_token,
                  qblk_error *error)
{
    struct waiter *waiter;
    bool is_held;
    int r;

    if (client->state == CLIENT_DEAD)
        return err_set(error, QBLK_E_LOST, "not sent: the connection is over");
    /* Out of band commands overtake, the others keep their order. */
    is_held = must_hold(client, is_oob) ||
              (!(is_oob && client->has_oob) && !list_is_empty(&client->held));
    waiter = waiter_new(user_id.text, user_id.len, is_held ? len : 0);
    if (waiter == NULL)
        return err_nomem(error);
    waiter->is_oob = is_oob;
    waiter->fn = fn;
    waiter->arg = arg;
    waiter->id = draw_id(client);
    if (is_held)
        r = hold(client, waiter, body, len, fd, error);
    else
        r = write_command(client, waiter->id, body, len, fd, error);
    if (r < 0) {
        waiter_free(waiter);
        return r;
    }
    if (!is_held)
        count_in(client, waiter);
    *ret_token = waiter->id;
    return 0;
}

void client_abandon(struct client *client, uint32_t token)
{
    struct waiter *waiter = waiter_find(&client->held, token);

    if (waiter != NULL) {
        client->held_bytes -= waiter->body_len;
        waiter_free(waiter);
        return;
    }
    /* It stays: its reply is still to come, and until then it takes a place in the window. */
    waiter = waiter_find(&client->waiters, token);
    if (waiter != NULL)
        waiter->fn = NULL;
}

/* ---- ending ------------------------------------------------------------------------------- */

/* Writes what is held as far as the window allows. */
static void flush_held(struct client *client)
{
    struct waiter *waiter;

    while (client->state == CLIENT_READY && (waiter = waiter_first(&client->held)) != NULL &&
           !must_hold(client, waiter->is_oob)) {
        qblk_error error;
        int r;

        list_remove(&waiter->link);
        client->held_bytes -= waiter->body_len;
        r = write_command(client, waiter->id, waiter->text + waiter->user_id_len,
                          waiter->body_len, waiter->fd, &error);
        if (r < 0) {
            waiter_tell(waiter, NULL, &error);
            continue;
        }
        if (waiter->fd >= 0)
            (void)close(waiter->fd);
        waiter->fd = -1;
        count_in(client, waiter);
    }
}

void client_hangup(struct client *client, const qblk_error *why)
{
    struct waiter *waiter;
    qblk_error copy;

    /* A callback that hangs up again changes nothing: the loop that called it goes on. */
    if (client->state == CLIENT_DEAD)
        return;
    set_state(client, CLIENT_DEAD);
    copy = *why;
    client->in_flight = 0;
    client->held_bytes = 0;
    while ((waiter = waiter_first(&client->waiters)) != NULL ||
           (waiter = waiter_first(&client->held)) != NULL) {
        list_remove(&waiter->link);
        waiter_tell(waiter, NULL, &copy);
    }
}

void client_lost(struct client *client, const qblk_error *why)
{
    struct waiter *waiter;
    qblk_error copy = *why;

    set_state(client, CLIENT_GREETING);
    client->ids_once = true; /* a late reply must not meet what is asked for meanwhile */
    /* What was not written yet is lost as well: it was meant to come after what was. All stay in a
     * list until they hear, so that they can be abandoned. */
    while ((waiter = waiter_first(&client->held)) != NULL) {
        list_remove(&waiter->link);
        list_append(&client->waiters, &waiter->link);
    }
    client->in_flight = 0;
    client->held_bytes = 0;
    client->has_oob = false;
    while ((waiter = waiter_first(&client->waiters)) != NULL) {
        list_remove(&waiter->link);
        waiter_tell(waiter, NULL, &copy);
    }
}

void client_restart(struct client *client, const char *caps_id)
{
    set_state(client, CLIENT_GREETING);
    client->has_oob = client->has_heard = false;
    client->blamed = false;
    (void)snprintf(client->caps_id, sizeof(client->caps_id), "%s", caps_id);
}

/* ---- receiving ---------------------------------------------------------------------------- */

static void log_dropped(const struct client *client, const char *what, const struct msg *msg)
{
    char shown[SHOWN_ROOM];

    if (LOG_ON(client->log))
        log_write(client->log, QBLK_LOG_DEBUG, "client: dropped %s: %s", what,
                  str_show(shown, sizeof(shown), msg->text, msg->len));
}

/* QEMU 7.2 may finish what it owed to an earlier client first: a reply, or an event on its way. */
static int on_greeting(struct client *client, const struct msg *msg, qblk_error *error)
{
    (void)error;
    if (msg->kind != MSG_GREETING) {
        log_dropped(client, "what came before the greeting", msg);
        client->has_heard = true;
        return 0;
    }
    client->version = msg->version;
    client->has_oob = client->want_oob && msg->has_oob;
    set_state(client, CLIENT_NEGOTIATING);
    return write_capabilities(client, error);
}

static int second_greeting(qblk_error *error)
{
    return err_set(error, QBLK_E_PROTOCOL,
                   "the peer greeted again: it has begun anew, and what it was asked before will "
                   "not be answered");
}

static bool is_caps_id(const struct client *client, struct msg_span id)
{
    size_t len = strlen(client->caps_id);

    return id.len == len + 2 && id.text[0] == '"' &&
           memcmp(id.text + 1, client->caps_id, len) == 0;
}

/* Until our own reply comes, the stream may hold what an earlier client asked for. */
static int on_negotiating(struct client *client, const struct msg *msg, qblk_error *error)
{
    qblk_error why;

    if (msg->kind == MSG_GREETING)
        return second_greeting(error);
    if (msg->kind == MSG_EVENT || !is_caps_id(client, msg->id)) {
        log_dropped(client, "what was not for us", msg);
        return 0;
    }
    if (msg->kind == MSG_ERROR) {
        msg_error(msg, &why);
        return err_set(error, QBLK_E_PROTOCOL, "the peer refused qmp_capabilities: %s", why.text);
    }
    set_state(client, CLIENT_READY);
    if (client->ops->ready != NULL)
        client->ops->ready(client->arg);
    flush_held(client);
    return 0;
}

/* The number in an id; 0 if it is none of ours. */
static uint32_t id_number(struct msg_span id)
{
    uint64_t value = 0;

    if (id.len == 0 || id.len > 10 || id.text[0] == '0')
        return 0;
    for (size_t i = 0; i < id.len; i++) {
        if (id.text[i] < '0' || id.text[i] > '9')
            return 0;
        value = value * 10 + (uint64_t)(id.text[i] - '0');
    }
    return value <= UINT32_MAX ? (uint32_t)value : 0;
}

/* Gives the waiter its reply: the message with the id that it gave, if any. */
static void answer(struct client *client, struct waiter *waiter, const struct msg *msg)
{
    struct msg_span user_id = { waiter->text, waiter->user_id_len };
    char room[BUF_MESSAGE];
    struct buf text = BUF_ON(room);
    qblk_error error;

    count_out(client, waiter);
    if (waiter->fn == NULL) {
        log_dropped(client, "the reply to an abandoned command", msg);
        waiter_free(waiter);
        return;
    }
    if (msg_without_id(msg, user_id, &text) < 0) {
        (void)err_nomem(&error);
        waiter_tell(waiter, NULL, &error);
    } else {
        waiter_tell(waiter, text.data, NULL);
    }
    buf_done(&text);
}

static void on_reply(struct client *client, const struct msg *msg)
{
    struct waiter *waiter;
    uint32_t id;

    if (msg->id.len != 0) {
        id = id_number(msg->id);
        waiter = id != 0 ? waiter_find(&client->waiters, id) : NULL;
        if (waiter == NULL) {
            log_dropped(client, "a reply with an unknown id", msg);
            client->ids_once = true;
            return;
        }
        client->blamed = false;
    } else {
        waiter = waiter_first(&client->waiters);
        if (msg->kind != MSG_ERROR || client->blamed || waiter == NULL) {
            log_dropped(client, "a reply without id", msg);
            return;
        }
        client->blamed = client->ids_once = true;
        log_debug(client->log, "client: an error without id ends command %lu",
                  (unsigned long)waiter->id);
    }
    answer(client, waiter, msg);
    flush_held(client);
}

static int on_event(struct client *client, const struct msg *msg, qblk_error *error)
{
    char room[BUF_MESSAGE];
    struct buf text = BUF_ON(room);
    int r = 0;

    if (client->ops->event == NULL)
        return 0;
    /* An event must not be lost in silence: without memory for it the connection is over. */
    if (buf_add(&text, msg->text, msg->len) == 0)
        client->ops->event(client->arg, msg->event, text.data, text.len);
    else
        r = err_nomem(error);
    buf_done(&text);
    return r;
}

static int on_ready(struct client *client, const struct msg *msg, qblk_error *error)
{
    switch (msg->kind) {
    case MSG_EVENT:
        return on_event(client, msg, error);
    case MSG_RETURN:
    case MSG_ERROR:
        on_reply(client, msg);
        return 0;
    case MSG_GREETING:
        break;
    }
    return second_greeting(error);
}

int client_bad_bytes(const struct client *client, qblk_error *error)
{
    if (client->state == CLIENT_GREETING && error->code == QBLK_E_PROTOCOL) {
        qblk_error why = *error;

        return err_set(error, QBLK_E_NOT_QMP, "%s", why.text);
    }
    return -error->err;
}

int client_message(struct client *client, const char *text, size_t len, qblk_error *error)
{
    struct msg msg;
    qblk_error why;

    if (client->state == CLIENT_DEAD)
        return 0;
    log_message(client->log, '<', text, len);
    if (msg_read(&msg, text, len, &why) < 0) {
        (void)client_bad_bytes(client, &why);
        return err_copy(error, &why);
    }
    switch (client->state) {
    case CLIENT_GREETING:
        return on_greeting(client, &msg, error);
    case CLIENT_NEGOTIATING:
        return on_negotiating(client, &msg, error);
    case CLIENT_READY:
        return on_ready(client, &msg, error);
    case CLIENT_DEAD:
        break;
    }
    return 0;
}
