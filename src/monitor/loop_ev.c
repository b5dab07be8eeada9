/* Attaches a monitor to libev. The only file of the library with <ev.h>. */
#include <ev.h>
#include <poll.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include <qblk/ev.h>

/* ev_prepare recomputes fd, events and time once a turn, in one place, whatever changed them. */
struct ev_attachment {
    ev_io io;
    ev_timer timer;
    ev_prepare prepare;
    struct ev_loop *loop;
    qblk_monitor *monitor;
    int fd;
    int events;
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

static void on_prepare(struct ev_loop *loop, ev_prepare *watcher, int revents)
{
    struct ev_attachment *at = watcher->data;
    short want = qblk_monitor_events(at->monitor);
    int timeout = qblk_monitor_timeout(at->monitor);

    (void)revents;
    set_io(at, qblk_monitor_fd(at->monitor),
           ((want & POLLIN) != 0 ? EV_READ : 0) | ((want & POLLOUT) != 0 ? EV_WRITE : 0));
    ev_timer_stop(loop, &at->timer);
    if (timeout >= 0) {
        /* libev rounds down, which would turn the loop idly until the millisecond is over. */
        ev_now_update(loop);
        ev_timer_set(&at->timer, timeout > 0 ? timeout / 1000.0 + 0.001 : 0.0, 0.0);
        ev_timer_start(loop, &at->timer);
    }
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
    const struct ev_attachment *at = watcher->data;

    (void)loop;
    (void)revents;
    (void)qblk_monitor_process(at->monitor, 0, NULL);
}

int qblk_monitor_attach_ev(qblk_monitor *monitor, struct ev_loop *loop, qblk_error *error)
{
    struct ev_attachment *at;

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
    ev_prepare_init(&at->prepare, on_prepare);
    at->io.data = at->timer.data = at->prepare.data = at;
    ev_prepare_start(loop, &at->prepare);
    ev_unref(loop); /* the prepare watcher alone must not keep the loop alive */
    monitor->ev = at;
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
    ev_ref(at->loop);
    ev_prepare_stop(at->loop, &at->prepare);
    free(at);
}

void qblk_monitor_detach_ev(qblk_monitor *monitor)
{
    ev_forget(monitor);
}

void ev_changed(qblk_monitor *monitor)
{
    struct ev_attachment *at = monitor->ev;

    /* A closed descriptor must leave the loop before its number is used again. */
    if (at != NULL && at->fd >= 0 && at->fd != qblk_monitor_fd(monitor))
        set_io(at, -1, 0);
}
