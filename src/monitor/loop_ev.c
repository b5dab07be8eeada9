/* Attaches a monitor to libev. The only file of the library with <ev.h>. */
#include <ev.h>
#include <poll.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include <qblk/ev.h>

/* What the loop waits for is brought up to date after each process() and whenever something changes
 * outside of one, and not once a turn: with many monitors on a loop a turn costs what happens in
 * it. */
struct ev_attachment {
    ev_io io;
    qblk_monitor *monitor;
    int fd;
    int events;
    int64_t time; /* that the timer is set to, as monitor_now_ms() counts; -1: it is not */
    struct ev_loop *loop;
    ev_timer timer;
};

static void set_io(struct ev_attachment *at, int fd, int events)
{
    if (fd == at->fd && events == at->events)
        return;
    ev_io_stop(at->loop, &at->io);
    at->fd = fd;
    at->events = events;
    if (fd >= 0 && events != 0) {
        ev_io_set(&at->io, fd, events);
        ev_io_start(at->loop, &at->io);
    }
}

/* libev rounds down, which would turn the loop idly until the millisecond is over. It also counts
 * from the time it knows, which may be a while ago: a timer that is early is set again. */
static void set_timer(struct ev_attachment *at)
{
    int timeout = qblk_monitor_timeout(at->monitor);
    int64_t time = monitor_deadline(timeout);

    if (time == at->time)
        return;
    ev_timer_stop(at->loop, &at->timer);
    at->time = time;
    if (timeout < 0)
        return;
    ev_timer_set(&at->timer, timeout > 0 ? timeout / 1000.0 + 0.001 : 0.0, 0.0);
    ev_timer_start(at->loop, &at->timer);
}

static void update(struct ev_attachment *at)
{
    short want = qblk_monitor_events(at->monitor);

    set_io(at, qblk_monitor_fd(at->monitor),
           ((want & POLLIN) != 0 ? EV_READ : 0) | ((want & POLLOUT) != 0 ? EV_WRITE : 0));
    set_timer(at);
}

static void on_io(struct ev_loop *loop, ev_io *watcher, int revents)
{
    const struct ev_attachment *at = watcher->data;

    (void)loop;
    (void)qblk_monitor_process(at->monitor,
                               (short)(((revents & EV_READ) != 0 ? POLLIN : 0) |
                                       ((revents & EV_WRITE) != 0 ? POLLOUT : 0)),
                               NULL);
}

static void on_timer(struct ev_loop *loop, ev_timer *watcher, int revents)
{
    struct ev_attachment *at = watcher->data;

    (void)loop;
    (void)revents;
    at->time = -1;
    (void)qblk_monitor_process(at->monitor, 0, NULL);
}

int qblk_monitor_attach_ev(qblk_monitor *monitor, struct ev_loop *loop, qblk_error *error)
{
    struct ev_attachment *at;

    if (monitor->free_asked)
        return monitor_dead(monitor, error);
    if (monitor->ev != NULL)
        return err_set(error, QBLK_E_BUSY, "the monitor is attached to a loop already; detach it "
                       "first");
    at = mem_zalloc(sizeof(*at));
    if (at == NULL)
        return err_nomem(error);
    at->loop = loop;
    at->monitor = monitor;
    at->fd = -1;
    ev_io_init(&at->io, on_io, -1, 0);
    ev_timer_init(&at->timer, on_timer, 0.0, 0.0);
    at->io.data = at->timer.data = at;
    at->time = -1;
    monitor->ev = at;
    ev_changed(monitor);
    return 0;
}

void ev_forget(qblk_monitor *monitor)
{
    struct ev_attachment *at = monitor->ev;

    if (at == NULL)
        return;
    monitor->ev = NULL;
    ev_io_stop(at->loop, &at->io);
    ev_timer_stop(at->loop, &at->timer);
    free(at);
}

void qblk_monitor_detach_ev(qblk_monitor *monitor)
{
    ev_forget(monitor);
}

void ev_changed(qblk_monitor *monitor)
{
    struct ev_attachment *at = monitor->ev;

    if (at == NULL)
        return;
    if (monitor->depth == 0)
        update(at);
    else if (at->fd >= 0 && at->fd != qblk_monitor_fd(monitor))
        set_io(at, -1, 0); /* it must leave the loop before it is closed and its number used again */
}
