/* The private loop of blocking calls: turns of this one monitor. */
#include "monitor/monitor.h"

#include <errno.h>
#include <poll.h>

#include "base/err.h"

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
    int left = monitor_until(qblk_monitor_timeout(monitor), deadline, monitor_now_ms());
    bool is_gone = false;

    if (poll(&pfd, 1, left) < 0 && errno != EINTR)
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
