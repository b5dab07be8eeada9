#include "peer_priv.h"

#include <check.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/unixsock.h"

/* ---- the wire -------------------------------------------------------------------------------- */

void peer_hang_up(struct peer *peer)
{
    if (peer->fd >= 0)
        (void)close(peer->fd);
    peer->fd = -1;
}

void peer_say(struct peer *peer, const char *text)
{
    size_t len = text != NULL ? strlen(text) : 0;

    while (len > 0 && peer->fd >= 0) {
        ssize_t n = send(peer->fd, text, len, MSG_NOSIGNAL);

        if (n < 0) {
            peer_hang_up(peer);
            return;
        }
        text += n;
        len -= (size_t)n;
    }
}

void peer_flush(struct peer *peer)
{
    peer_say(peer, peer->before);
    peer_say(peer, peer->after);
    free(peer->before);
    free(peer->after);
    peer->before = peer->after = NULL;
}

static const char *class_of(const char *why)
{
    return strcmp(why, peer_no_command) == 0  ? "CommandNotFound"
           : strcmp(why, peer_no_device) == 0 ? "DeviceNotFound"
                                              : "GenericError";
}

static void reply(struct peer *peer, const char *result, const char *why, json_t *id)
{
    char *id_text = json_dumps(id, JSON_ENCODE_ANY), *text = NULL;

    if (why != NULL)
        peer_append(&text, "{\"id\": %s, \"error\": {\"class\": \"%s\", "
                    "\"desc\": \"%s\"}}\r\n", id_text,
                    class_of(why), why);
    else
        peer_append(&text, "{\"return\": %s, \"id\": %s}\r\n",
                    result != NULL ? result : "{}", id_text);
    peer_say(peer, peer->before);
    peer_say(peer, text);
    free(peer->before);
    peer->before = NULL;
    peer_flush(peer);
    free(id_text);
    free(text);
}

static void answer(struct peer *peer, const char *text, size_t len)
{
    json_t *message = json_loadb(text, len, 0, NULL);
    const char *name = peer_text_of(message, "execute"), *why = NULL;
    const char *id = memmem(text, len, ",\"id\":", 6);
    char *result = NULL;
    bool is_counted = strcmp(name, "qmp_capabilities") != 0, is_last;

    ck_assert_ptr_nonnull(message);
    ck_assert_ptr_nonnull(id);
    for (const char *p = id + 1; (p = memmem(p, len - (size_t)(p - text), ",\"id\":", 6)) != NULL;
         p++)
        id = p;
    if (is_counted) {
        ck_assert_uint_lt(peer->n_sent, PEER_SENT);
        ck_assert_int_ge(asprintf(&peer->sent[peer->n_sent++], "%.*s}", (int)(id - text), text), 0);
    }
    is_last = is_counted && peer->hang_up_at != 0 && peer->hang_up_at == peer->n_sent;
    if (is_last && !peer->hang_up_after) {
        peer_hang_up(peer);
    } else if ((peer->refuse_at != 0 && peer->refuse_at == peer->n_sent) ||
               (peer->refuse != NULL && strcmp(peer->refuse, name) == 0)) {
        why = "refused by the test";
    } else {
        why = peer_carry_out(peer, name, json_object_get(message, "arguments"), &result);
        if (why == NULL && peer->order == PEER_EVENTS_FIRST)
            (void)peer_progress(peer);
        if ((is_last && !peer->hang_up_late) || peer->has_crashed)
            peer_hang_up(peer);
    }
    reply(peer, result, why, json_object_get(message, "id"));
    if (is_last)
        peer_hang_up(peer);
    free(result);
    json_decref(message);
}

/* The length of the first whole message; 0 if there is none. */
static size_t message_len(const char *data, size_t len)
{
    bool in_string = false;
    int depth = 0;

    for (size_t i = 0; i < len; i++) {
        if (in_string && data[i] == '\\')
            i++;
        else if (data[i] == '"')
            in_string = !in_string;
        else if (!in_string && data[i] == '{')
            depth++;
        else if (!in_string && data[i] == '}' && --depth == 0)
            return i + 1;
    }
    return 0;
}

static bool turn(struct peer *peer)
{
    char data[65536];
    ssize_t n;
    size_t len;
    bool did = false;

    if (peer->fd < 0 && peer->listener >= 0) {
        peer->fd = unixsock_accept(peer->listener, NULL);
        peer->in_len = 0;
        if (peer->fd >= 0)
            peer_greet(peer);
        did = peer->fd >= 0;
    }
    while (peer->fd >= 0 && (n = recv(peer->fd, data, sizeof(data), MSG_DONTWAIT)) >= 0) {
        if (n == 0) {
            peer_hang_up(peer);
            return true;
        }
        peer->in = realloc(peer->in, peer->in_len + (size_t)n);
        memcpy(peer->in + peer->in_len, data, (size_t)n);
        peer->in_len += (size_t)n;
    }
    while (peer->fd >= 0 && (len = message_len(peer->in, peer->in_len)) > 0) {
        answer(peer, peer->in, len);
        memmove(peer->in, peer->in + len, peer->in_len - len);
        peer->in_len -= len;
        did = true;
    }
    if (!did && peer->fd >= 0 && peer_progress(peer)) {
        peer_flush(peer);
        did = true;
    }
    return did;
}

/* The peer has its own memory, whatever a test makes of the library's. */
bool peer_turn(struct peer *peer)
{
    bool did;

    mem_fail_pause(true);
    did = turn(peer);
    mem_fail_pause(false);
    return did;
}

bool peer_run(struct peer *peer, qblk_monitor *monitor, bool (*done)(void))
{
    for (int i = 0; i < 20000 && !done(); i++) {
        struct pollfd pfd = { .events = POLLIN };
        int timeout;

        (void)qblk_monitor_process(monitor, 0, NULL);
        if (done() || peer_turn(peer))
            continue;
        pfd.fd = qblk_monitor_fd(monitor);
        timeout = qblk_monitor_timeout(monitor);
        if (timeout < 0 && pfd.fd >= 0)
            timeout = poll(&pfd, 1, 0) > 0 ? 0 : -1;
        if (timeout < 0)
            return false;
        if (timeout > 0)
            (void)poll(&pfd, 1, timeout);
    }
    return done();
}
