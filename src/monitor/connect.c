/* Making the connection: to a path, over a descriptor, by listening. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include "wire/unixsock.h"

#define DEFAULT_MESSAGE_MAX ((size_t)64 << 20)
#define DEFAULT_GREETING_MS 1000
#define DEFAULT_NEGOTIATION_MS 30000
/* Nothing announces a socket that begins to listen, so it is tried: at once often, then less. */
#define RETRY_FIRST_MS 5
#define RETRY_LAST_MS 100
#define RETRY_ENDLESS_MS 1000 /* where many may do so at once, or for ever */

static int client_write(void *arg, const char *data, size_t len, int fd, qblk_error *error)
{
    qblk_monitor *monitor = arg;
    int r = outq_add(&monitor->out, data, len, fd, error);

    if (r < 0)
        return r;
    monitor_flush(monitor);
    return 0;
}

static void client_ready(void *arg)
{
    qblk_monitor *monitor = arg;

    monitor->state = QBLK_MONITOR_READY;
    monitor->retry_ms = 0;
    log_debug(&monitor->log, "monitor %s: ready, QEMU %u.%u.%u", monitor->path,
              monitor->client.version / 1000000, monitor->client.version / 1000 % 1000,
              monitor->client.version % 1000);
    if (monitor->is_away)
        reconnect_done(monitor);
    else if (monitor->options.ops.on_ready != NULL)
        monitor->options.ops.on_ready(monitor, monitor->options.arg);
}

static void client_event(void *arg, const char *name, const char *text, size_t len)
{
    qblk_monitor *monitor = arg;

    events_keep(monitor, name, text, len);
    if (monitor->jobs != NULL)
        jobs_hear(monitor, name, text);
    monitor_tell_children(monitor, name, text);
    if (monitor->options.ops.on_event != NULL && !monitor->free_asked)
        monitor->options.ops.on_event(monitor, name, text, monitor->options.arg);
}

static const struct client_ops client_ops = { client_write, client_ready, client_event };

/* Copies what the caller's struct has, which may be older and shorter than ours. */
static void take_options(qblk_monitor_options *to, const qblk_monitor_options *from)
{
    memset(to, 0, sizeof(*to));
    if (from != NULL)
        memcpy(to, from, from->size < sizeof(*to) ? from->size : sizeof(*to));
    if (to->greeting_ms == 0)
        to->greeting_ms = DEFAULT_GREETING_MS;
    if (to->negotiation_ms == 0)
        to->negotiation_ms = DEFAULT_NEGOTIATION_MS;
    if (to->max_message == 0)
        to->max_message = DEFAULT_MESSAGE_MAX;
    if (to->max_output == 0)
        to->max_output = DEFAULT_MESSAGE_MAX;
    if (to->max_events == 0)
        to->max_events = DEFAULT_MESSAGE_MAX;
}

/* Until the handshake is done a reply to an earlier client may come: the id must not be one that
 * anybody else has used. */
static void draw_caps_id(char caps_id[16])
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = (uint32_t)monitor_now_ms() ^ (uint32_t)getpid() << 16;
    (void)snprintf(caps_id, 16, "qblk-%08" PRIx32, random);
}

static qblk_monitor *monitor_new(const char *path, const qblk_monitor_options *options,
                                 qblk_error *error)
{
    qblk_monitor *monitor = mem_zalloc(sizeof(*monitor));
    char caps_id[16];

    if (monitor == NULL || (monitor->path = mem_strdup(path)) == NULL) {
        free(monitor);
        (void)err_nomem(error);
        return NULL;
    }
    take_options(&monitor->options, options);
    monitor->log.fn = monitor->options.on_log;
    monitor->log.arg = monitor->options.arg;
    monitor->fd = monitor->listener = -1;
    monitor->connect_deadline = monitor->greeting_deadline = monitor->retry_at = -1;
    monitor->negotiation_deadline = -1;
    monitor->queue_events = monitor->options.queue_events;
    frames_init(&monitor->in, monitor->options.max_message);
    outq_init(&monitor->out, monitor->options.max_output);
    list_init(&monitor->events);
    list_init(&monitor->job_listeners);
    list_init(&monitor->children);
    list_init(&monitor->timers);
    draw_caps_id(caps_id);
    client_init(&monitor->client, &client_ops, monitor, &monitor->log, caps_id,
                monitor->options.oob);
    return monitor;
}

/* The promise of every start call: release runs once, whatever it returns. */
static int refuse(const qblk_monitor_options *options, qblk_monitor *monitor, int r)
{
    qblk_monitor_options copy;

    if (monitor != NULL) {
        (void)qblk_monitor_free(monitor);
        return r;
    }
    take_options(&copy, options);
    if (copy.ops.release != NULL)
        copy.ops.release(copy.arg);
    return r;
}

static int check_options(const qblk_monitor_options *options, qblk_error *error)
{
    if (options != NULL && (options->size == 0 || options->size > 4096))
        return err_set(error, QBLK_E_ARGUMENT, "the size member of the monitor options is not "
                       "set; use QBLK_INIT(qblk_monitor_options)");
    return 0;
}

void connect_established(qblk_monitor *monitor, int fd)
{
    monitor->fd = fd;
    monitor->state = QBLK_MONITOR_GREETING;
    monitor->retry_at = -1;
    if (monitor->is_away) {
        char caps_id[16];

        draw_caps_id(caps_id);
        client_restart(&monitor->client, caps_id);
        monitor->greeting_deadline = monitor->connect_deadline;
    } else {
        monitor->greeting_deadline = monitor_deadline(monitor->options.greeting_ms);
    }
    monitor_changed(monitor);
}

static void fail_connect(qblk_monitor *monitor, qblk_error *error)
{
    qblk_error last = *error;

    if (error->code == QBLK_E_MONITOR_BUSY)
        error->err = EBUSY; /* however it was noticed */
    if (monitor->is_away)
        reconnect_give_up(monitor, &last, error);
    if (error->code == QBLK_E_NO_MONITOR && monitor->options.wait_ms > 0)
        err_prefix(error, "waited %d ms", monitor->options.wait_ms);
    monitor_doom(monitor, error);
}

static void accept_turn(qblk_monitor *monitor, int64_t now)
{
    qblk_error error;
    int fd = unixsock_accept(monitor->listener, &error);

    if (fd >= 0) {
        int listener = monitor->listener;

        watch_forget_own(monitor);
        monitor->listener = -1;
        ev_changed(monitor);
        (void)close(listener);
        (void)unlink(monitor->path);
        monitor->is_listening = false;
        connect_established(monitor, fd);
    } else if (fd != -EAGAIN) {
        monitor_doom(monitor, &error);
    } else if (monitor->connect_deadline >= 0 && now >= monitor->connect_deadline) {
        (void)err_set(&error, QBLK_E_TIMEOUT, "nobody connected to %s in %d ms", monitor->path,
                      monitor->options.wait_ms);
        monitor_doom(monitor, &error);
    }
}

static bool is_passing(int r, const qblk_monitor *monitor)
{
    /* The listener's queue is full: a client is being served. And whoever was there may come back. */
    return r == -EAGAIN || monitor->is_away ||
           ((r == -ENOENT || r == -ECONNREFUSED) && monitor->options.wait_ms != 0);
}

void connect_retry(qblk_monitor *monitor, int64_t now)
{
    bool is_patient = monitor->is_away || monitor->connect_deadline < 0;
    int last = is_patient ? RETRY_ENDLESS_MS : RETRY_LAST_MS;

    monitor->retry_ms = monitor->retry_ms == 0 ? RETRY_FIRST_MS : monitor->retry_ms * 2;
    if (monitor->retry_ms > last)
        monitor->retry_ms = last;
    monitor->retry_at = now + monitor->retry_ms;
    /* A full queue is waited for beyond that. */
    if (monitor->connect_deadline > now && monitor->retry_at > monitor->connect_deadline)
        monitor->retry_at = monitor->connect_deadline;
}

void connect_turn(qblk_monitor *monitor, int64_t now)
{
    qblk_error error;
    int fd;

    if (monitor->listener >= 0) {
        accept_turn(monitor, now);
        return;
    }
    if (monitor->retry_at >= 0 && now < monitor->retry_at)
        return;
    fd = unixsock_connect(monitor->path, &error);
    if (fd >= 0) {
        connect_established(monitor, fd);
        return;
    }
    /* A monitor that comes back has its own deadline, or none. */
    if (fd == -EAGAIN && monitor->greeting_deadline < 0 && !monitor->is_away)
        monitor->greeting_deadline = monitor_deadline(monitor->options.greeting_ms);
    if (!is_passing(fd, monitor) ||
        (fd == -EAGAIN && monitor->greeting_deadline >= 0 && now >= monitor->greeting_deadline) ||
        (fd != -EAGAIN && monitor->connect_deadline >= 0 && now >= monitor->connect_deadline)) {
        fail_connect(monitor, &error);
        return;
    }
    connect_retry(monitor, now);
}

int qblk_monitor_connect(qblk_monitor **ret_monitor, const char *path,
                         const qblk_monitor_options *options, qblk_error *error)
{
    qblk_monitor *monitor;
    int r = check_options(options, error);

    if (r == 0)
        r = unixsock_check_path(path, error);
    if (r < 0)
        return refuse(options, NULL, r);
    monitor = monitor_new(path, options, error);
    if (monitor == NULL)
        return refuse(options, NULL, -ENOMEM);
    monitor->can_return = monitor->options.reconnect_ms != 0;
    if (monitor->options.wait_ms > 0)
        monitor->connect_deadline = monitor_deadline(monitor->options.wait_ms);
    connect_turn(monitor, monitor_now_ms());
    if (monitor->has_doom)
        return refuse(options, monitor, err_copy(error, &monitor->doom));
    *ret_monitor = monitor;
    return 0;
}

int qblk_monitor_adopt(qblk_monitor **ret_monitor, int fd, const qblk_monitor_options *options,
                       qblk_error *error)
{
    qblk_monitor *monitor = NULL;
    int r = check_options(options, error);

    if (r == 0)
        r = unixsock_adopt(fd, error);
    if (r == 0 && (monitor = monitor_new("(adopted descriptor)", options, error)) == NULL)
        r = -ENOMEM;
    if (monitor == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return refuse(options, NULL, r);
    }
    connect_established(monitor, fd);
    *ret_monitor = monitor;
    return 0;
}

int qblk_monitor_listen(qblk_monitor **ret_monitor, const char *path,
                        const qblk_monitor_options *options, qblk_error *error)
{
    qblk_monitor *monitor;
    int r = check_options(options, error);

    if (r == 0)
        r = unixsock_check_path(path, error);
    if (r < 0)
        return refuse(options, NULL, r);
    monitor = monitor_new(path, options, error);
    if (monitor == NULL)
        return refuse(options, NULL, -ENOMEM);
    monitor->listener = unixsock_listen(path, error);
    if (monitor->listener < 0)
        return refuse(options, monitor, monitor->listener);
    monitor->is_listening = true;
    if (monitor->options.wait_ms > 0)
        monitor->connect_deadline = monitor_deadline(monitor->options.wait_ms);
    *ret_monitor = monitor;
    return 0;
}

int qblk_monitor_open(qblk_monitor **ret_monitor, const char *path, int timeout_ms,
                      const qblk_monitor_options *options, qblk_error *error)
{
    qblk_monitor *monitor;
    int r = qblk_monitor_connect(&monitor, path, options, error);

    if (r < 0)
        return r;
    r = qblk_monitor_wait_ready(monitor, timeout_ms, error);
    if (r < 0) {
        (void)qblk_monitor_free(monitor);
        return r;
    }
    *ret_monitor = monitor;
    return 0;
}
