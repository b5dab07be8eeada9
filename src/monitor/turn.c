/* One turn: what is waited for, and what is done once it has come. */
#include "monitor/monitor.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/err.h"
#include "base/fetch.h"
#include "wire/unixsock.h"

/* Reads of one turn: a peer that never stops talking must not keep the loop from the others. */
#define READS_PER_TURN 16

int monitor_own_fd(const qblk_monitor *monitor)
{
    return monitor->listener >= 0 ? monitor->listener : monitor->fd;
}

int qblk_monitor_fd(const qblk_monitor *monitor)
{
    return monitor->watch_set != NULL ? watch_fd(monitor) : monitor_own_fd(monitor);
}

short monitor_own_events(const qblk_monitor *monitor)
{
    if (monitor->state == QBLK_MONITOR_DEAD)
        return 0;
    if (monitor->fd >= 0 && !outq_is_empty(&monitor->out))
        return POLLIN | POLLOUT;
    return POLLIN;
}

short qblk_monitor_events(const qblk_monitor *monitor)
{
    return monitor->watch_set != NULL ? POLLIN : monitor_own_events(monitor);
}

int monitor_until(int timeout, int64_t at, int64_t now)
{
    int64_t left;

    if (at < 0)
        return timeout;
    left = at > now ? at - now : 0;
    if (left > INT32_MAX)
        left = INT32_MAX;
    return timeout < 0 || left < timeout ? (int)left : timeout;
}

int qblk_monitor_timeout(const qblk_monitor *monitor)
{
    int64_t now = monitor_now_ms();
    int timeout = -1;

    if (!list_is_empty(&monitor->timers))
        timeout = monitor_until(timeout, watch_next_time(monitor), now);
    if (monitor->state == QBLK_MONITOR_DEAD)
        return timeout;
    if (monitor->has_doom || monitor->turn_asked)
        return 0;
    if (monitor->state == QBLK_MONITOR_CONNECTING) {
        bool is_retrying = monitor->listener < 0 && monitor->retry_at >= 0;

        timeout = monitor_until(timeout, is_retrying ? monitor->retry_at : monitor->connect_deadline, now);
    } else if (monitor->state == QBLK_MONITOR_GREETING) {
        timeout = monitor_until(timeout, monitor->greeting_deadline, now);
    } else if (monitor->state == QBLK_MONITOR_NEGOTIATING) {
        timeout = monitor_until(timeout, monitor->negotiation_deadline, now);
    }
    if (monitor->jobs != NULL && monitor->state == QBLK_MONITOR_READY) {
        int due = jobs_timeout(monitor, now);

        if (due >= 0 && (timeout < 0 || due < timeout))
            timeout = due;
    }
    return timeout;
}

void monitor_ask_turn(qblk_monitor *monitor)
{
    monitor->turn_asked = true;
    monitor_changed(monitor);
}

static struct monitor_child *next_due(qblk_monitor *monitor)
{
    LIST_FOR_EACH(link, &monitor->children) {
        struct monitor_child *child = LIST_ENTRY(link, struct monitor_child, link);

        if (child->is_due)
            return child;
    }
    return NULL;
}

/* A child's turn may free any child: the list is looked at anew after each. */
static void turn_children(qblk_monitor *monitor)
{
    struct monitor_child *child;

    if (!monitor->turn_asked)
        return;
    monitor->turn_asked = false;
    LIST_FOR_EACH(link, &monitor->children) {
        child = LIST_ENTRY(link, struct monitor_child, link);
        child->is_due = child->turn != NULL;
    }
    while ((child = next_due(monitor)) != NULL) {
        child->is_due = false;
        child->turn(child);
    }
}

void monitor_flush(qblk_monitor *monitor)
{
    qblk_error error;
    int r;

    if (monitor->fd < 0 || outq_is_empty(&monitor->out))
        return;
    r = outq_flush(&monitor->out, monitor->fd);
    if (r == -EPIPE || r == -ECONNRESET) {
        /* What QEMU said last is still to be read: the end is found there. What it does not take any more is
         * not waited for. */
        outq_done(&monitor->out);
        outq_init(&monitor->out, monitor->options.max_output);
        monitor_changed(monitor);
        return;
    }
    if (r < 0) {
        (void)err_sys(&error, -r, "writing to the monitor %s failed", monitor->path);
        error.code = QBLK_E_LOST;
        error.kind = QBLK_KIND_CONNECTION;
        monitor_doom(monitor, &error);
    } else if (r == 0) {
        monitor_changed(monitor);
    }
}

/* Hands on every whole message. Returns false when the monitor has died of one. */
static bool deliver(qblk_monitor *monitor)
{
    const char *text;
    qblk_error error;
    size_t len;
    int r;

    while (monitor->state != QBLK_MONITOR_DEAD && !monitor->free_asked) {
        r = frames_next(&monitor->in, &text, &len, &error);
        if (r == 0)
            return true;
        if (r > 0)
            r = client_message(&monitor->client, text, len, &error);
        else
            r = client_bad_bytes(&monitor->client, &error);
        if (r < 0) {
            err_prefix(&error, "%s", monitor->path);
            monitor_die(monitor, &error);
            return false;
        }
        if (monitor->state == QBLK_MONITOR_GREETING &&
            monitor->client.state != CLIENT_GREETING) {
            monitor->state = QBLK_MONITOR_NEGOTIATING;
            monitor->negotiation_deadline = monitor->is_away
                ? monitor->connect_deadline : monitor_deadline(monitor->options.negotiation_ms);
        }
    }
    return false;
}

static void end_of_stream(qblk_monitor *monitor, int err)
{
    qblk_error error;
    const char *how = err == 0 ? "QEMU closed it" : strerror(err);

    if (monitor->client.state == CLIENT_GREETING)
        (void)err_set(&error, QBLK_E_LOST, "the connection to %s ended before a greeting came "
                      "(%s); QEMU may be ending, or this is not a QMP monitor", monitor->path,
                      how);
    else if (frames_is_partial(&monitor->in))
        (void)err_set(&error, QBLK_E_LOST, "the connection to %s was lost in the middle of a "
                      "message (%s)", monitor->path, how);
    else
        (void)err_set(&error, QBLK_E_LOST, "the connection to %s was lost (%s)", monitor->path,
                      how);
    monitor_die(monitor, &error);
}

/* With many monitors, nothing of this one is left in the processor's caches since its last event. What
 * the next one will touch is asked for at once, and comes while the kernel is asked for bytes; no more than
 * that, as it takes the place of another monitor's. */
static void expect(const qblk_monitor *monitor)
{
    fetch_lines(&monitor->state, offsetof(qblk_monitor, client.next_id) - offsetof(qblk_monitor, state));
    fetch_lines(&monitor->in, offsetof(struct frames, squares) + 1);
    fetch_lines(&monitor->options.ops, sizeof(monitor->options.ops));
    if (monitor->jobs != NULL) {
        job_set_fetch(monitor->jobs);
        fetch_lines(monitor->job_listeners.next, offsetof(struct job_listener, ops.on_end));
    }
}

static void read_turn(qblk_monitor *monitor)
{
    monitor->has_more = false;
    for (int i = 0; i < READS_PER_TURN; i++) {
        size_t room;
        void *space = frames_space(&monitor->in, &room);
        long n;

        if (space == NULL) {
            qblk_error error;

            (void)err_nomem(&error);
            monitor_die(monitor, &error);
            return;
        }
        n = unixsock_recv(monitor->fd, space, room);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            end_of_stream(monitor, (int)-n);
            return;
        }
        if (monitor->jobs != NULL)
            job_set_fetch_job(monitor->jobs);
        frames_fed(&monitor->in, (size_t)n);
        if (!deliver(monitor))
            return;
        if ((size_t)n < room) /* the socket is drained; asking again would only say so */
            return;
    }
    monitor->has_more = true;
}

/* Whoever is away has waited for this as long as it may. */
static void die_late(qblk_monitor *monitor, const qblk_error *error)
{
    qblk_error why = *error;

    if (monitor->is_away)
        reconnect_give_up(monitor, error, &why);
    monitor_die(monitor, &why);
}

static bool is_late(int64_t deadline)
{
    return deadline >= 0 && monitor_now_ms() >= deadline;
}

static void greeting_late(qblk_monitor *monitor)
{
    qblk_error error;

    if (monitor->client.has_heard)
        (void)err_set(&error, QBLK_E_NOT_QMP, "%s sends messages, but never a greeting; it is not a QMP "
                      "monitor", monitor->path);
    else if (frames_is_partial(&monitor->in))
        (void)err_set(&error, QBLK_E_NOT_QMP, "%s began to send a greeting and stopped half-way; "
                      "it is not a QMP monitor, or QEMU hangs", monitor->path);
    else
        (void)err_set(&error, QBLK_E_MONITOR_BUSY, "the monitor %s is busy: connected, but no "
                      "greeting came. QEMU serves one client a monitor: end the other one, or give "
                      "QEMU a second -qmp socket. If there is no other, QEMU hangs", monitor->path);
    die_late(monitor, &error);
}

static void negotiation_late(qblk_monitor *monitor)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_TIMEOUT, "%s greeted, and then did not answer qmp_capabilities; its "
                  "main loop may hang", monitor->path);
    die_late(monitor, &error);
}

int qblk_monitor_process(qblk_monitor *monitor, short revents, qblk_error *error)
{
    int r = 0;

    (void)revents; /* asking the socket costs less than trusting a stale answer */
    if (monitor->depth > 0) /* what a callback is told of must not change under it */
        return 0;
    monitor_enter(monitor);
    if (monitor->has_doom && monitor->state != QBLK_MONITOR_DEAD)
        monitor_die(monitor, &monitor->doom);
    if (monitor->state == QBLK_MONITOR_CONNECTING)
        connect_turn(monitor, monitor_now_ms());
    if (monitor->fd >= 0) {
        expect(monitor);
        monitor_flush(monitor);
        read_turn(monitor);
    }
    if (monitor->state == QBLK_MONITOR_GREETING && is_late(monitor->greeting_deadline))
        greeting_late(monitor);
    else if (monitor->state == QBLK_MONITOR_NEGOTIATING && is_late(monitor->negotiation_deadline))
        negotiation_late(monitor);
    if (!monitor->free_asked)
        watch_turn(monitor);
    if (monitor->state != QBLK_MONITOR_DEAD && !monitor->free_asked)
        turn_children(monitor);
    if (monitor->state == QBLK_MONITOR_READY && !monitor->free_asked)
        jobs_turn(monitor, monitor_now_ms());
    if (monitor->has_doom && monitor->state != QBLK_MONITOR_DEAD)
        monitor_die(monitor, &monitor->doom);
    if (monitor->state == QBLK_MONITOR_DEAD)
        r = err_copy(error, &monitor->why);
    if (monitor_leave(monitor))
        monitor_changed(monitor);
    return r;
}
