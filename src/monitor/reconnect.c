/* A connection that was lost is made again. Nothing that was sent is sent again: whoever waited for
 * a reply hears that it was lost, and what is true is read anew: the jobs here, and what else lives
 * on the monitor does so by itself. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "monitor/monitor.h"

bool reconnect_is_meant(const qblk_monitor *monitor, const qblk_error *why)
{
    return monitor->can_return && !monitor->free_asked && monitor->state != QBLK_MONITOR_DEAD &&
           (monitor->is_away || monitor->client.state == CLIENT_READY) &&
           why->code == QBLK_E_LOST && !monitor->gave_up;
}

/* What belongs to one connection alone. */
static void clear(qblk_monitor *monitor)
{
    monitor_close(monitor);
    frames_done(&monitor->in);
    frames_init(&monitor->in, monitor->options.max_message);
    outq_done(&monitor->out);
    outq_init(&monitor->out, monitor->options.max_output);
    monitor->has_doom = false;
    monitor->state = QBLK_MONITOR_CONNECTING;
    monitor->negotiation_deadline = -1;
}

/* The next attempt, at a growing distance. */
static void try_later(qblk_monitor *monitor)
{
    connect_retry(monitor, monitor_now_ms());
    monitor_changed(monitor);
}

/* A child may take itself or another one out while it hears. */
static void tell_children(qblk_monitor *monitor, bool is_back)
{
    struct monitor_child *child;

    LIST_FOR_EACH(link, &monitor->children)
        LIST_ENTRY(link, struct monitor_child, link)->is_to_hear = true;
    do {
        child = NULL;
        LIST_FOR_EACH(link, &monitor->children) {
            child = LIST_ENTRY(link, struct monitor_child, link);
            if (child->is_to_hear)
                break;
            child = NULL;
        }
        if (child == NULL)
            break;
        child->is_to_hear = false;
        if (is_back && child->back != NULL)
            child->back(child);
        else if (!is_back && child->lost != NULL)
            child->lost(child, &monitor->why);
    } while (monitor->state != QBLK_MONITOR_DEAD);
}

void reconnect_begin(qblk_monitor *monitor, const qblk_error *why)
{
    qblk_error loss = *why; /* it may be the doom that is cleared here */

    clear(monitor);
    if (monitor->is_away) {
        log_debug(&monitor->log, "monitor %s: lost again: %s", monitor->path, loss.text);
        try_later(monitor);
        return;
    }
    log_debug(&monitor->log, "monitor %s: away: %s", monitor->path, loss.text);
    monitor->is_away = true;
    monitor->why = loss;
    monitor->retry_ms = 0;
    monitor->connect_deadline = monitor_deadline(monitor->options.reconnect_ms);
    monitor->greeting_deadline = monitor->connect_deadline;
    /* It may be another QEMU that answers next. */
    monitor->has_features = false;
    monitor->has_gap = monitor->queue_events;
    try_later(monitor);
    /* First those who must not take the loss of a reply for a failure. */
    tell_children(monitor, false);
    client_lost(&monitor->client, &loss);
    jobs_lost(monitor);
    if (monitor->options.on_lost != NULL && !monitor->free_asked)
        monitor->options.on_lost(monitor, &loss, monitor->options.arg);
}

void reconnect_done(qblk_monitor *monitor)
{
    monitor->is_away = false;
    monitor->connect_deadline = -1;
    memset(&monitor->why, 0, sizeof(monitor->why));
    log_debug(&monitor->log, "monitor %s: back", monitor->path);
    tell_children(monitor, true);
    if (monitor->options.on_back != NULL && !monitor->free_asked)
        monitor->options.on_back(monitor, monitor->options.arg);
}

void reconnect_give_up(qblk_monitor *monitor, const qblk_error *last, qblk_error *ret_why)
{
    monitor->gave_up = true;
    (void)err_set(ret_why, QBLK_E_LOST, "%s; it could not be made again%s: %s", monitor->why.text,
                  monitor->options.reconnect_ms > 0 ? " in time" : "", last->text);
}
