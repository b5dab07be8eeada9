/* The queue of events for callers who take them one by one. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/monitor.h"

/* Turns after the deadline, while there is more to be read: more than a socket holds. */
#define LATE_TURNS 16

void events_keep(qblk_monitor *monitor, const char *name, const char *text, size_t len)
{
    size_t size = sizeof(struct queued_event) + len + 1;
    struct queued_event *event = NULL;

    if (!monitor->queue_events || monitor->events_dropped)
        return;
    if (monitor->event_bytes + size <= monitor->options.max_events)
        event = mem_zalloc(size);
    if (event == NULL) {
        /* Said once, then queueing starts afresh: a hole in the middle must not go unnoticed. */
        monitor->events_dropped = true;
        return;
    }
    (void)strncpy(event->name, name, sizeof(event->name) - 1);
    memcpy(event->text, text, len);
    event->len = len;
    list_append(&monitor->events, &event->link);
    monitor->event_bytes += size;
}

static void forget(qblk_monitor *monitor, struct queued_event *event)
{
    monitor->event_bytes -= sizeof(*event) + event->len + 1;
    list_remove(&event->link);
    free(event);
}

void events_done(qblk_monitor *monitor)
{
    LIST_FOR_EACH_SAFE(link, &monitor->events)
        forget(monitor, LIST_ENTRY(link, struct queued_event, link));
}

struct wanted {
    qblk_monitor *monitor;
    const char *const *patterns;
    struct queued_event *found;
};

static bool is_wanted(const struct wanted *wanted, const char *name)
{
    if (wanted->patterns == NULL || wanted->patterns[0] == NULL)
        return true;
    for (const char *const *p = wanted->patterns; *p != NULL; p++) {
        if (str_matches(*p, name))
            return true;
    }
    return false;
}

static bool find(void *arg)
{
    struct wanted *wanted = arg;

    LIST_FOR_EACH(link, &wanted->monitor->events) {
        struct queued_event *event = LIST_ENTRY(link, struct queued_event, link);

        if (is_wanted(wanted, event->name)) {
            wanted->found = event;
            return true;
        }
    }
    return wanted->monitor->events_dropped || wanted->monitor->has_gap;
}

int qblk_monitor_next_event(qblk_monitor *monitor, const char *const *patterns, int timeout_ms,
                            char **ret_json, qblk_error *error)
{
    struct wanted wanted = { monitor, patterns, NULL };
    int64_t deadline = monitor_deadline(timeout_ms);
    int turns = 0;
    qblk_error why;
    char *text;
    int r = monitor_may_block(monitor, error);

    if (r < 0)
        return r;
    monitor->queue_events = true;
    /* Reads the socket even if it may not wait, and all that is in it: but a peer that never stops
     * talking ends it too. */
    do {
        r = monitor_block(monitor, find, &wanted, deadline, &why);
    } while (r == -ETIMEDOUT && monitor->has_more && ++turns < LATE_TURNS);
    if (r == -ETIMEDOUT && monitor->state != QBLK_MONITOR_DEAD)
        return 0;
    if (r < 0)
        return err_copy(error, &why);
    if (wanted.found == NULL) {
        bool has_gap = monitor->has_gap && !monitor->events_dropped;

        monitor->events_dropped = monitor->has_gap = false;
        if (has_gap)
            (void)err_set(error, QBLK_E_LIMIT, "events may have been missed: the connection to %s "
                          "was lost for a while", monitor->path);
        else
            (void)err_set(error, QBLK_E_LIMIT, "events were dropped: more than %zu bytes of them "
                      "waited to be taken; raise max_events or take them sooner",
                      monitor->options.max_events);
        if (error != NULL)
            error->err = ENOBUFS;
        return -ENOBUFS;
    }
    text = mem_strndup(wanted.found->text, wanted.found->len);
    if (text == NULL)
        return err_nomem(error);
    forget(monitor, wanted.found);
    *ret_json = text;
    return 1;
}
