/* The object: life and death. */
#include "monitor/monitor.h"

#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"

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

void monitor_die(qblk_monitor *monitor, const qblk_error *why)
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

void monitor_enter(qblk_monitor *monitor)
{
    monitor->depth++;
}

bool monitor_leave(qblk_monitor *monitor)
{
    if (--monitor->depth > 0 || !monitor->free_asked)
        return true;
    if (monitor->state != QBLK_MONITOR_DEAD) {
        qblk_error why;

        (void)err_set(&why, QBLK_E_LOST, "the monitor was closed by its owner");
        monitor->depth++;
        monitor_die(monitor, &why);
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
        monitor_enter(monitor);
        (void)monitor_leave(monitor);
    }
    return NULL;
}
