/* What lives on a monitor may wait for a descriptor or for a time of its own. To the loop outside
 * that is still one monitor: while there is a watch, the descriptor handed out is an epoll set of
 * the monitor's own socket and the watched ones. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"

struct watch_set {
    int epoll;
    int own;          /* the monitor's socket as it is in the set, or -1 */
    short own_events;
    struct list watches;
};

static int control(const struct watch_set *set, int what, int fd, short events)
{
    struct epoll_event event;

    memset(&event, 0, sizeof(event));
    event.events = ((events & POLLIN) != 0 ? EPOLLIN : 0u) |
                   ((events & POLLOUT) != 0 ? EPOLLOUT : 0u);
    event.data.fd = fd;
    return epoll_ctl(set->epoll, what, fd, &event) < 0 ? -errno : 0;
}

void watch_forget_own(qblk_monitor *monitor)
{
    struct watch_set *set = monitor->watch_set;

    if (set == NULL || set->own < 0)
        return;
    (void)control(set, EPOLL_CTL_DEL, set->own, 0);
    set->own = -1;
}

/* Puts the monitor's own socket into the set as it is now. */
static int sync_own(qblk_monitor *monitor)
{
    struct watch_set *set = monitor->watch_set;
    int fd = monitor_own_fd(monitor), r;
    short events = monitor_own_events(monitor);

    if (fd == set->own && (fd < 0 || events == set->own_events))
        return 0;
    if (fd != set->own)
        watch_forget_own(monitor);
    if (fd < 0)
        return 0;
    r = control(set, set->own < 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events);
    if (r == 0) {
        set->own = fd;
        set->own_events = events;
    }
    return r;
}

void monitor_changed(qblk_monitor *monitor)
{
    qblk_error error;
    int r = monitor->watch_set != NULL ? sync_own(monitor) : 0;

    if (r < 0) {
        /* It would never be heard again. */
        (void)err_sys(&error, -r, "the monitor %s cannot be waited for", monitor->path);
        monitor_doom(monitor, &error);
    }
    ev_changed(monitor);
}

/* ---- descriptors ---------------------------------------------------------------------------- */

int watch_fd(const qblk_monitor *monitor)
{
    return monitor->watch_set->epoll;
}

static void close_set(qblk_monitor *monitor)
{
    struct watch_set *set = monitor->watch_set;

    monitor->watch_set = NULL;
    ev_changed(monitor); /* out of the loop before the number can be used again */
    (void)close(set->epoll);
    free(set);
}

static int open_set(qblk_monitor *monitor, qblk_error *error)
{
    struct watch_set *set = mem_zalloc(sizeof(*set));
    int r;

    if (set == NULL)
        return err_nomem(error);
    set->own = -1;
    list_init(&set->watches);
    set->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (set->epoll < 0) {
        r = err_sys(error, errno, "cannot wait for a second descriptor");
        free(set);
        return r;
    }
    monitor->watch_set = set;
    r = sync_own(monitor);
    if (r < 0) {
        (void)err_sys(error, -r, "cannot wait for a second descriptor");
        close_set(monitor);
    }
    return r;
}

int monitor_watch_add(qblk_monitor *monitor, struct monitor_watch *watch, int fd, short events,
                      qblk_error *error)
{
    int r = monitor->watch_set == NULL ? open_set(monitor, error) : 0;

    if (r < 0)
        return r;
    r = control(monitor->watch_set, EPOLL_CTL_ADD, fd, events);
    if (r < 0) {
        (void)err_sys(error, -r, "cannot wait for descriptor %d", fd);
        if (list_is_empty(&monitor->watch_set->watches))
            close_set(monitor);
        return r;
    }
    watch->monitor = monitor;
    watch->fd = fd;
    watch->events = events;
    watch->is_due = false;
    list_append(&monitor->watch_set->watches, &watch->link);
    ev_changed(monitor);
    return 0;
}

void monitor_watch_want(struct monitor_watch *watch, short events)
{
    if (watch->monitor == NULL || watch->events == events)
        return;
    /* Cannot fail: what is asked for is in the set. */
    (void)control(watch->monitor->watch_set, EPOLL_CTL_MOD, watch->fd, events);
    watch->events = events;
}

void monitor_watch_remove(struct monitor_watch *watch)
{
    qblk_monitor *monitor = watch->monitor;

    if (monitor == NULL)
        return;
    (void)control(monitor->watch_set, EPOLL_CTL_DEL, watch->fd, 0);
    list_remove(&watch->link);
    watch->monitor = NULL;
    watch->fd = -1;
    if (list_is_empty(&monitor->watch_set->watches))
        close_set(monitor);
}

static struct monitor_watch *next_watch(const qblk_monitor *monitor)
{
    if (monitor->watch_set == NULL)
        return NULL;
    LIST_FOR_EACH(link, &monitor->watch_set->watches) {
        struct monitor_watch *watch = LIST_ENTRY(link, struct monitor_watch, link);

        if (watch->is_due)
            return watch;
    }
    return NULL;
}

/* Each is asked, ready or not: asking a socket costs less than asking which. A callback may remove
 * any watch: the list is looked at anew after each. */
static void turn_watches(qblk_monitor *monitor)
{
    struct monitor_watch *watch;

    LIST_FOR_EACH(link, &monitor->watch_set->watches)
        LIST_ENTRY(link, struct monitor_watch, link)->is_due = true;
    while (!monitor->free_asked && (watch = next_watch(monitor)) != NULL) {
        watch->is_due = false;
        watch->ready(watch);
    }
}

/* ---- times ---------------------------------------------------------------------------------- */

void monitor_timer_set(qblk_monitor *monitor, struct monitor_timer *timer, int64_t at)
{
    monitor_timer_stop(timer);
    timer->at = at;
    timer->is_set = true;
    list_append(&monitor->timers, &timer->link);
    ev_changed(monitor);
}

void monitor_timer_stop(struct monitor_timer *timer)
{
    if (timer->is_set)
        list_remove(&timer->link);
    timer->is_set = timer->is_due = false;
}

int64_t watch_next_time(const qblk_monitor *monitor)
{
    int64_t next = -1;

    LIST_FOR_EACH(link, &monitor->timers) {
        const struct monitor_timer *timer = LIST_ENTRY(link, struct monitor_timer, link);

        if (next < 0 || timer->at < next)
            next = timer->at;
    }
    return next;
}

static struct monitor_timer *next_timer(qblk_monitor *monitor)
{
    LIST_FOR_EACH(link, &monitor->timers) {
        struct monitor_timer *timer = LIST_ENTRY(link, struct monitor_timer, link);

        if (timer->is_due)
            return timer;
    }
    return NULL;
}

/* What a callback sets anew waits for the next turn, even if its time has come. */
static void turn_timers(qblk_monitor *monitor)
{
    int64_t now = monitor_now_ms();
    struct monitor_timer *timer;

    LIST_FOR_EACH(link, &monitor->timers) {
        timer = LIST_ENTRY(link, struct monitor_timer, link);
        timer->is_due = timer->at <= now;
    }
    while (!monitor->free_asked && (timer = next_timer(monitor)) != NULL) {
        monitor_timer_stop(timer);
        timer->due(timer);
    }
}

void watch_turn(qblk_monitor *monitor)
{
    if (monitor->watch_set != NULL)
        turn_watches(monitor);
    if (!list_is_empty(&monitor->timers))
        turn_timers(monitor);
}
