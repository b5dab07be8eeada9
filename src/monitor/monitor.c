/* The object: life, death, and one turn of the loop. */
#include "monitor/monitor.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/unixsock.h"

/* Reads of one turn: a peer that never stops talking must not keep the loop from the others. */
#define READS_PER_TURN 16

int64_t monitor_now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t monitor_deadline(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : monitor_now_ms() + timeout_ms;
}

const char *qblk_version(void)
{
    return "0.1.0";
}

qblk_monitor_state qblk_monitor_get_state(const qblk_monitor *monitor)
{
    return monitor->is_away && monitor->state != QBLK_MONITOR_DEAD ? QBLK_MONITOR_AWAY
                                                                   : monitor->state;
}

unsigned qblk_monitor_qemu_version(const qblk_monitor *monitor)
{
    return monitor->client.version;
}

const qblk_error *qblk_monitor_why(const qblk_monitor *monitor)
{
    return monitor->state == QBLK_MONITOR_DEAD ? &monitor->why : NULL;
}

int monitor_dead(const qblk_monitor *monitor, qblk_error *error)
{
    if (monitor->why.code != QBLK_E_NONE)
        return err_copy(error, &monitor->why);
    return err_set(error, QBLK_E_LOST, "the monitor is being closed");
}

void monitor_doom(qblk_monitor *monitor, const qblk_error *why)
{
    if (!monitor->has_doom && monitor->state != QBLK_MONITOR_DEAD) {
        monitor->doom = *why;
        monitor->has_doom = true;
        monitor_changed(monitor);
    }
}

void monitor_close(qblk_monitor *monitor)
{
    int fd = monitor->fd, listener = monitor->listener;

    watch_forget_own(monitor);
    monitor->fd = monitor->listener = -1;
    ev_changed(monitor);
    if (fd >= 0)
        (void)close(fd);
    if (listener >= 0)
        (void)close(listener);
    if (monitor->is_listening)
        (void)unlink(monitor->path);
    monitor->is_listening = false;
}

/* Everybody who waits hears it, each once. Runs inside process(). */
static void die(qblk_monitor *monitor, const qblk_error *why)
{
    if (monitor->state == QBLK_MONITOR_DEAD)
        return;
    if (reconnect_is_meant(monitor, why)) {
        reconnect_begin(monitor, why);
        return;
    }
    log_debug(&monitor->log, "monitor %s: dead: %s", monitor->path, why->text);
    monitor->state = QBLK_MONITOR_DEAD;
    monitor->why = *why;
    monitor_close(monitor);
    client_hangup(&monitor->client, &monitor->why);
    jobs_hangup(monitor, &monitor->why);
    /* A child may take itself or another one out while it hears: start over until all have. */
    for (;;) {
        struct monitor_child *child = NULL;

        LIST_FOR_EACH(link, &monitor->children) {
            struct monitor_child *each = LIST_ENTRY(link, struct monitor_child, link);

            if (each->ended != NULL) {
                child = each;
                break;
            }
        }
        if (child == NULL)
            break;
        void (*ended)(struct monitor_child *, const qblk_error *) = child->ended;

        child->ended = NULL;
        ended(child, &monitor->why);
    }
    if (monitor->options.ops.on_end != NULL && !monitor->free_asked)
        monitor->options.ops.on_end(monitor, &monitor->why, monitor->options.arg);
    monitor_changed(monitor);
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

void monitor_tell_children(qblk_monitor *monitor, const char *name, const char *text)
{
    LIST_FOR_EACH(link, &monitor->children) {
        struct monitor_child *child = LIST_ENTRY(link, struct monitor_child, link);

        if (child->hear != NULL)
            child->hear(child, name, text);
    }
}

static void destroy(qblk_monitor *monitor)
{
    void (*release)(void *) = monitor->options.ops.release;
    void *arg = monitor->options.arg;

    monitor->depth++; /* the last callbacks may ask for this once more */
    if (monitor->ret_is_gone != NULL)
        *monitor->ret_is_gone = true;
    while (!list_is_empty(&monitor->children)) {
        struct monitor_child *child =
            LIST_ENTRY(monitor->children.next, struct monitor_child, link);

        list_remove(&child->link);
        child->freed(child);
    }
    ev_forget(monitor);
    jobs_done(monitor);
    client_done(&monitor->client);
    events_done(monitor);
    frames_done(&monitor->in);
    outq_done(&monitor->out);
    monitor_close(monitor);
    free(monitor->path);
    free(monitor);
    if (release != NULL)
        release(arg);
}

/* Callbacks may run between enter() and leave(); the outermost leave() frees if that was asked.
 * Returns false if the monitor is gone. */
static void enter(qblk_monitor *monitor)
{
    monitor->depth++;
}

static bool leave(qblk_monitor *monitor)
{
    if (--monitor->depth > 0 || !monitor->free_asked)
        return true;
    if (monitor->state != QBLK_MONITOR_DEAD) {
        qblk_error why;

        (void)err_set(&why, QBLK_E_LOST, "the monitor was closed by its owner");
        monitor->depth++;
        die(monitor, &why);
        monitor->depth--;
    }
    destroy(monitor);
    return false;
}

qblk_monitor *qblk_monitor_free(qblk_monitor *monitor)
{
    if (monitor == NULL)
        return NULL;
    monitor->free_asked = true;
    if (monitor->depth == 0) {
        enter(monitor);
        (void)leave(monitor);
    }
    return NULL;
}

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

static int until(int timeout, int64_t at, int64_t now)
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
        timeout = until(timeout, watch_next_time(monitor), now);
    if (monitor->state == QBLK_MONITOR_DEAD)
        return timeout;
    if (monitor->has_doom || monitor->turn_asked)
        return 0;
    if (monitor->state == QBLK_MONITOR_CONNECTING) {
        timeout = until(timeout, monitor->connect_deadline, now);
        timeout = until(timeout, monitor->retry_at, now);
    } else if (monitor->state == QBLK_MONITOR_GREETING) {
        timeout = until(timeout, monitor->greeting_deadline, now);
    } else if (monitor->state == QBLK_MONITOR_NEGOTIATING) {
        timeout = until(timeout, monitor->negotiation_deadline, now);
    }
    if (monitor->jobs != NULL && monitor->state == QBLK_MONITOR_READY) {
        int due = jobs_timeout(monitor, now);

        if (due >= 0 && (timeout < 0 || due < timeout))
            timeout = due;
    }
    return timeout;
}

void monitor_flush(qblk_monitor *monitor)
{
    qblk_error error;
    int r;

    if (monitor->fd < 0 || outq_is_empty(&monitor->out))
        return;
    r = outq_flush(&monitor->out, monitor->fd);
    if (r == -EPIPE || r == -ECONNRESET) {
        /* What QEMU said last is still to be read: the end is found there. */
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
            die(monitor, &error);
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
    die(monitor, &error);
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
            die(monitor, &error);
            return;
        }
        n = unixsock_recv(monitor->fd, space, room);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            end_of_stream(monitor, (int)-n);
            return;
        }
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
    die(monitor, &why);
}

static bool is_late(int64_t deadline)
{
    return deadline >= 0 && monitor_now_ms() >= deadline;
}

static void greeting_late(qblk_monitor *monitor)
{
    qblk_error error;

    if (frames_is_partial(&monitor->in))
        (void)err_set(&error, QBLK_E_NOT_QMP, "%s began to send a greeting and stopped half-way; "
                      "it is not a QMP monitor, or QEMU hangs", monitor->path);
    else
        (void)err_set(&error, QBLK_E_MONITOR_BUSY, "the monitor %s is busy: connected, but no "
                      "greeting came. QEMU serves one client a monitor; end the other one, or "
                      "give QEMU a second -qmp socket", monitor->path);
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
    enter(monitor);
    if (monitor->has_doom && monitor->state != QBLK_MONITOR_DEAD)
        die(monitor, &monitor->doom);
    if (monitor->state == QBLK_MONITOR_CONNECTING)
        connect_turn(monitor, monitor_now_ms());
    if (monitor->fd >= 0) {
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
        die(monitor, &monitor->doom);
    if (monitor->state == QBLK_MONITOR_DEAD)
        r = err_copy(error, &monitor->why);
    if (leave(monitor))
        monitor_changed(monitor);
    return r;
}

int monitor_may_block(const qblk_monitor *monitor, qblk_error *error)
{
    if (monitor->depth > 0)
        return err_set(error, QBLK_E_DEADLOCK, "a blocking call is not allowed inside a callback; "
                       "use the call that reports through a callback");
    return 0;
}

/* One turn, however long it takes until there is something to do. Returns 0, or a negative errno if
 * the monitor has been freed or cannot be waited for. */
static int block_turn(qblk_monitor *monitor, int64_t deadline, qblk_error *error)
{
    struct pollfd pfd = { .fd = qblk_monitor_fd(monitor), .events = qblk_monitor_events(monitor) };
    bool is_gone = false;

    if (poll(&pfd, 1, until(qblk_monitor_timeout(monitor), deadline, monitor_now_ms())) < 0 &&
        errno != EINTR)
        return err_sys(error, errno, "poll failed");
    /* cppcheck-suppress autoVariables ; taken back below, unless the monitor is gone */
    monitor->ret_is_gone = &is_gone;
    (void)qblk_monitor_process(monitor, pfd.revents, NULL);
    if (is_gone)
        return err_set(error, QBLK_E_LOST, "the monitor was freed by a callback while it was "
                       "waited for");
    monitor->ret_is_gone = NULL;
    return 0;
}

/* Whether nothing can come any more. */
static bool is_still(const qblk_monitor *monitor, bool lingers)
{
    return monitor->state == QBLK_MONITOR_DEAD &&
           !(lingers && (monitor->watch_set != NULL || !list_is_empty(&monitor->timers)));
}

static int block(qblk_monitor *monitor, bool (*done)(void *arg), void *arg, int64_t deadline,
                 bool lingers, qblk_error *error)
{
    int r = monitor_may_block(monitor, error);

    while (r == 0 && !done(arg)) {
        if (is_still(monitor, lingers))
            return monitor_dead(monitor, error);
        r = block_turn(monitor, deadline, error);
        if (r == 0 && deadline >= 0 && monitor_now_ms() >= deadline && !done(arg) &&
            !is_still(monitor, lingers))
            return err_set(error, QBLK_E_TIMEOUT, "%s did not answer in time", monitor->path);
    }
    return r;
}

int monitor_block(qblk_monitor *monitor, bool (*done)(void *arg), void *arg, int64_t deadline,
                  qblk_error *error)
{
    return block(monitor, done, arg, deadline, false, error);
}

int monitor_linger(qblk_monitor *monitor, bool (*done)(void *arg), void *arg, int64_t deadline,
                   qblk_error *error)
{
    return block(monitor, done, arg, deadline, true, error);
}

static bool is_ready(void *arg)
{
    const qblk_monitor *monitor = arg;

    return monitor->state == QBLK_MONITOR_READY;
}

int qblk_monitor_wait_ready(qblk_monitor *monitor, int timeout_ms, qblk_error *error)
{
    static const char *const waited_for[] = {
        [QBLK_MONITOR_CONNECTING] = "there is no connection yet",
        [QBLK_MONITOR_GREETING] = "connected, but no greeting came; it may serve another client",
        [QBLK_MONITOR_NEGOTIATING] = "QEMU does not answer; its main loop may hang",
        [QBLK_MONITOR_READY] = "",
        [QBLK_MONITOR_DEAD] = "",
        [QBLK_MONITOR_AWAY] = "the connection was lost and is being made again",
    };
    int r = monitor_block(monitor, is_ready, monitor, monitor_deadline(timeout_ms), error);

    if (r == -ETIMEDOUT && monitor->state != QBLK_MONITOR_DEAD)
        (void)err_set(error, QBLK_E_TIMEOUT, "the monitor %s was not ready in %d ms: %s",
                      monitor->path, timeout_ms, waited_for[qblk_monitor_get_state(monitor)]);
    return r;
}
