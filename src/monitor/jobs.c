/* Feeds the job set from events and queries, and tells its listeners. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include "qapi_types.h"

/* ---- listeners ------------------------------------------------------------------------------ */

/* A callback may end its own listener or another one: nothing leaves the list while it is walked. */
static void sweep(qblk_monitor *monitor)
{
    if (monitor->listening_depth > 0)
        return;
    LIST_FOR_EACH_SAFE(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (listener->is_removed) {
            list_remove(&listener->link);
            if (listener->is_owned)
                free(listener);
        }
    }
}

enum word { WORD_JOB, WORD_STATE, WORD_END, WORD_GONE };

static void tell_one(const struct job_listener *listener, enum word word, qblk_job *job)
{
    void (*fn)(qblk_job *job, void *arg) = NULL;

    switch (word) {
    case WORD_JOB:
        fn = listener->ops.on_job;
        break;
    case WORD_STATE:
        fn = listener->ops.on_state;
        break;
    case WORD_END:
        fn = listener->ops.on_end;
        break;
    case WORD_GONE:
    default:
        fn = listener->ops.on_gone;
        break;
    }
    if (fn != NULL && !listener->is_removed)
        fn(job, listener->arg);
}

/* Who listens later hears of what there is first. */
static void introduce(qblk_monitor *monitor, struct job_listener *listener)
{
    qblk_job *job = NULL;

    listener->is_new = false;
    while ((job = job_set_next(monitor->jobs, job)) != NULL)
        tell_one(listener, WORD_JOB, job);
}

static void tell(qblk_monitor *monitor, enum word word, qblk_job *job)
{
    monitor->listening_depth++;
    LIST_FOR_EACH(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (listener->is_new) {
            introduce(monitor, listener);
            if (word == WORD_JOB)
                continue; /* it was among them */
        }
        tell_one(listener, word, job);
    }
    monitor->listening_depth--;
    sweep(monitor);
}

static void introduce_all(qblk_monitor *monitor)
{
    monitor->listening_depth++;
    LIST_FOR_EACH(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (listener->is_new)
            introduce(monitor, listener);
    }
    monitor->listening_depth--;
    sweep(monitor);
}

static void tell_job(void *arg, qblk_job *job)
{
    stall_look(arg, job);
    tell(arg, WORD_JOB, job);
}

static void tell_state(void *arg, qblk_job *job)
{
    stall_look(arg, job);
    tell(arg, WORD_STATE, job);
}

static void tell_end(void *arg, qblk_job *job)
{
    tell(arg, WORD_END, job);
}

static void tell_gone(void *arg, qblk_job *job)
{
    tell(arg, WORD_GONE, job);
}

static void tell_synced(void *arg)
{
    qblk_monitor *monitor = arg;

    monitor->is_synced = true;
    introduce_all(monitor);
    monitor->listening_depth++;
    LIST_FOR_EACH(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        if (!listener->is_removed && listener->ops.on_synced != NULL)
            listener->ops.on_synced(monitor, listener->arg);
    }
    monitor->listening_depth--;
    sweep(monitor);
}

static const struct job_set_ops set_ops = { tell_job, tell_state, tell_end, tell_gone,
                                            tell_synced };

void jobs_listen(qblk_monitor *monitor, struct job_listener *listener)
{
    listener->is_removed = false;
    list_append(&monitor->job_listeners, &listener->link);
}

void jobs_unlisten(qblk_monitor *monitor, struct job_listener *listener)
{
    listener->is_removed = true;
    sweep(monitor);
}

/* ---- readings ------------------------------------------------------------------------------- */

static void read_jobs(struct job_set *set, const char *reply, int64_t now, qblk_error *error)
{
    struct qapi_job_info_list list;

    if (codec_reply(&qapi_cmd_query_jobs, reply, &list, error) < 0)
        return;
    for (size_t i = 0; i < list.n; i++) {
        const struct qapi_job_info *job = &list.v[i];
        struct job_reading reading = {
            .id = job->id, .type = job->type, .status = job->status,
            .current = job->current_progress, .total = job->total_progress, .error = job->error,
        };

        job_set_reading_job(set, &reading, now);
    }
    codec_reply_clear(&qapi_cmd_query_jobs, &list);
}

static void read_block_jobs(struct job_set *set, const char *reply, int64_t now,
                            qblk_error *error)
{
    struct qapi_block_job_info_list list;

    if (codec_reply(&qapi_cmd_query_block_jobs, reply, &list, error) < 0)
        return;
    for (size_t i = 0; i < list.n; i++) {
        const struct qapi_block_job_info *job = &list.v[i];
        struct job_reading reading = {
            .is_block = true, .id = job->device, .type = job->type, .status = job->status,
            .current = job->offset, .total = job->len, .error = job->error, .speed = job->speed,
            .io_status = job->io_status, .auto_finalize = job->auto_finalize,
            .auto_dismiss = job->auto_dismiss, .is_ready = job->ready, .is_paused = job->paused,
        };

        job_set_reading_job(set, &reading, now);
    }
    codec_reply_clear(&qapi_cmd_query_block_jobs, &list);
}

static void read_done(qblk_monitor *monitor, const qblk_error *error)
{
    if (error->code != QBLK_E_NONE)
        monitor->reading_failed = true;
    /* A QEMU that does not tell its jobs at all cannot be followed; one that did, and refuses now, is
     * asked again later. */
    if (error->code == QBLK_E_PROTOCOL || (error->code == QBLK_E_QEMU && !monitor->is_synced))
        monitor_doom(monitor, error);
    if (--monitor->readings > 0 || monitor->state != QBLK_MONITOR_READY)
        return;
    if (monitor->reading_failed)
        job_set_reading_failed(monitor->jobs, monitor_now_ms());
    else
        job_set_reading_end(monitor->jobs, monitor_now_ms());
    monitor->reading_failed = false;
}

static void on_jobs_reply(void *arg, const char *reply, const qblk_error *error)
{
    qblk_monitor *monitor = arg;
    qblk_error mine = { .code = QBLK_E_NONE };

    if (reply == NULL)
        mine = *error;
    else
        read_jobs(monitor->jobs, reply, monitor_now_ms(), &mine);
    read_done(monitor, &mine);
}

static void on_block_jobs_reply(void *arg, const char *reply, const qblk_error *error)
{
    qblk_monitor *monitor = arg;
    qblk_error mine = { .code = QBLK_E_NONE };

    if (reply == NULL)
        mine = *error;
    else
        read_block_jobs(monitor->jobs, reply, monitor_now_ms(), &mine);
    read_done(monitor, &mine);
}

/* Sends a reading if one is wanted and none is under way. */
static void read_if_wanted(qblk_monitor *monitor, int64_t now)
{
    enum job_want want = job_set_wants(monitor->jobs, now);
    qblk_error error;
    int r;

    if (want == JOB_WANT_NOTHING || monitor->readings > 0 || monitor->free_asked ||
        (monitor->state != QBLK_MONITOR_READY && monitor->is_synced))
        return;
    job_set_reading_begin(monitor->jobs, want);
    monitor->readings = want == JOB_WANT_ALL ? 2 : 1;
    r = monitor_call(monitor, &qapi_cmd_query_jobs, NULL, on_jobs_reply, monitor, NULL, &error);
    if (r == 0 && want == JOB_WANT_ALL)
        r = monitor_call(monitor, &qapi_cmd_query_block_jobs, NULL, on_block_jobs_reply, monitor,
                         NULL, &error);
    if (r < 0)
        monitor_doom(monitor, &error);
}

void jobs_turn(qblk_monitor *monitor, int64_t now)
{
    if (monitor->jobs == NULL)
        return;
    if (monitor->progress_ms > 0 && now >= monitor->progress_at) {
        monitor->progress_at = now + monitor->progress_ms;
        if (job_set_has_open(monitor->jobs))
            job_set_ask(monitor->jobs, JOB_WANT_JOBS);
    }
    read_if_wanted(monitor, now);
}

int jobs_timeout(const qblk_monitor *monitor, int64_t now)
{
    int timeout = -1;

    if (monitor->readings == 0)
        timeout = job_set_timeout_ms(monitor->jobs, now);
    if (monitor->progress_ms > 0 && job_set_has_open(monitor->jobs)) {
        int64_t left = monitor->progress_at > now ? monitor->progress_at - now : 0;

        if (timeout < 0 || left < timeout)
            timeout = (int)left;
    }
    return timeout;
}

/* ---- events --------------------------------------------------------------------------------- */

static void hear_status(qblk_monitor *monitor, const char *text)
{
    struct qapi_job_status_change_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_job_status_change, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    job_set_status(monitor->jobs, data.id, data.status, monitor_now_ms());
    codec_clear(qapi_event_job_status_change.data, &data);
}

static void hear_ready(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_ready_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_job_ready, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    struct block_event_data event = { .kind = BLOCK_READY, .id = data.device, .type = data.type,
                                      .len = data.len, .offset = data.offset,
                                      .speed = data.speed };

    job_set_block_event(monitor->jobs, &event, monitor_now_ms());
    codec_clear(qapi_event_block_job_ready.data, &data);
}

static void hear_pending(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_pending_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_job_pending, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    struct block_event_data event = { .kind = BLOCK_PENDING, .id = data.id, .type = data.type };

    job_set_block_event(monitor->jobs, &event, monitor_now_ms());
    codec_clear(qapi_event_block_job_pending.data, &data);
}

static void hear_completed(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_completed_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_job_completed, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    struct block_event_data event = { .kind = BLOCK_COMPLETED, .id = data.device,
                                      .type = data.type, .len = data.len, .offset = data.offset,
                                      .speed = data.speed, .error = data.error };

    job_set_block_event(monitor->jobs, &event, monitor_now_ms());
    codec_clear(qapi_event_block_job_completed.data, &data);
}

static void hear_cancelled(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_cancelled_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_job_cancelled, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    struct block_event_data event = { .kind = BLOCK_CANCELLED, .id = data.device,
                                      .type = data.type, .len = data.len, .offset = data.offset,
                                      .speed = data.speed };

    job_set_block_event(monitor->jobs, &event, monitor_now_ms());
    codec_clear(qapi_event_block_job_cancelled.data, &data);
}

static void hear_error(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_error_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_job_error, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    struct block_event_data event = { .kind = BLOCK_ERROR, .id = data.device,
                                      .operation = data.operation, .action = data.action };

    job_set_block_event(monitor->jobs, &event, monitor_now_ms());
    codec_clear(qapi_event_block_job_error.data, &data);
}

static void hear_io_error(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_io_error_event data;
    int64_t told_us = 0;

    if (codec_event(&qapi_event_block_io_error, text, &data, &told_us, NULL) < 0)
        return;
    job_set_told(monitor->jobs, told_us);
    if (data.node_name != NULL)
        job_set_io_error(monitor->jobs, data.node_name, monitor_now_ms());
    codec_clear(qapi_event_block_io_error.data, &data);
}

/* A malformed job event is a surprise like a lost one: whatever hears nothing asks. */
static const struct {
    const char *name;
    void (*hear)(qblk_monitor *monitor, const char *text);
} hearers[] = {
    { "JOB_STATUS_CHANGE", hear_status },       { "BLOCK_JOB_READY", hear_ready },
    { "BLOCK_JOB_COMPLETED", hear_completed },  { "BLOCK_JOB_CANCELLED", hear_cancelled },
    { "BLOCK_JOB_ERROR", hear_error },          { "BLOCK_JOB_PENDING", hear_pending },
    { "BLOCK_IO_ERROR", hear_io_error },
};

void jobs_hear(qblk_monitor *monitor, const char *name, const char *text)
{
    for (size_t i = 0; i < sizeof(hearers) / sizeof(hearers[0]); i++) {
        if (strcmp(hearers[i].name, name) == 0) {
            hearers[i].hear(monitor, text);
            job_set_told(monitor->jobs, 0);
            break;
        }
    }
    if (monitor->state == QBLK_MONITOR_READY)
        read_if_wanted(monitor, monitor_now_ms());
}

void jobs_hangup(qblk_monitor *monitor, const qblk_error *why)
{
    if (monitor->jobs != NULL)
        job_set_hangup(monitor->jobs, why->text, monitor_now_ms());
}

void jobs_lost(qblk_monitor *monitor)
{
    monitor->readings = 0;
    monitor->reading_failed = false;
    if (monitor->jobs != NULL)
        job_set_lost(monitor->jobs);
}

void jobs_done(qblk_monitor *monitor)
{
    if (monitor->jobs != NULL)
        job_set_free(monitor->jobs);
    monitor->jobs = NULL;
    LIST_FOR_EACH_SAFE(link, &monitor->job_listeners) {
        struct job_listener *listener = LIST_ENTRY(link, struct job_listener, link);

        list_remove(&listener->link);
        if (listener->is_owned) {
            if (listener->ops.release != NULL)
                listener->ops.release(listener->arg);
            free(listener);
        }
    }
}

/* ---- public --------------------------------------------------------------------------------- */

int jobs_start(qblk_monitor *monitor, qblk_error *error)
{
    if (monitor->state == QBLK_MONITOR_DEAD || monitor->free_asked)
        return monitor_dead(monitor, error);
    if (monitor->jobs != NULL)
        return 0;
    monitor->jobs = job_set_new(monitor, &set_ops, monitor, &monitor->log);
    if (monitor->jobs == NULL)
        return err_nomem(error);
    job_set_ask(monitor->jobs, JOB_WANT_ALL);
    read_if_wanted(monitor, monitor_now_ms());
    monitor_changed(monitor);
    return 0;
}

int qblk_jobs_track(qblk_monitor *monitor, const qblk_jobs_ops *ops, void *arg,
                    qblk_error *error)
{
    struct job_listener *listener = NULL;
    bool is_first = monitor->jobs == NULL;
    int r = 0;

    if (ops != NULL && (ops->size == 0 || ops->size > sizeof(*ops)))
        r = err_set(error, QBLK_E_ARGUMENT, "the size member of the job callbacks is not set; use "
                    "QBLK_INIT(qblk_jobs_ops)");
    if (r == 0 && ops != NULL && (listener = mem_zalloc(sizeof(*listener))) == NULL)
        r = err_nomem(error);
    if (r == 0)
        r = jobs_start(monitor, error);
    if (r < 0) {
        free(listener);
        if (ops != NULL && ops->size >= sizeof(*ops) && ops->release != NULL)
            ops->release(arg);
        return r;
    }
    if (listener == NULL)
        return 0;
    memcpy(&listener->ops, ops, ops->size);
    listener->arg = arg;
    listener->is_owned = true;
    listener->is_new = true;
    jobs_listen(monitor, listener);
    /* Callbacks never run inside the call that registers them: known jobs are told by a reading. The
     * first one is under way already. */
    if (!is_first)
        job_set_ask(monitor->jobs, JOB_WANT_ALL);
    monitor_changed(monitor);
    return 0;
}

static bool is_synced(void *arg)
{
    const qblk_monitor *monitor = arg;

    return monitor->is_synced && monitor->readings == 0 && !monitor->is_looking &&
           job_set_wants(monitor->jobs, monitor_now_ms()) == JOB_WANT_NOTHING;
}

int qblk_jobs_sync(qblk_monitor *monitor, int timeout_ms, qblk_error *error)
{
    int r = monitor_may_block(monitor, error);

    if (r == 0)
        r = jobs_start(monitor, error);
    if (r < 0)
        return r;
    return monitor_block(monitor, is_synced, monitor, monitor_deadline(timeout_ms), error);
}

void qblk_jobs_progress(qblk_monitor *monitor, int interval_ms)
{
    monitor->progress_ms = interval_ms > 0 ? interval_ms : 0;
    monitor->progress_at = monitor_now_ms() + monitor->progress_ms;
    monitor_changed(monitor);
}

qblk_job *qblk_job_find(qblk_monitor *monitor, const char *id)
{
    return monitor->jobs != NULL ? job_set_find(monitor->jobs, id) : NULL;
}

qblk_job *qblk_job_next(qblk_monitor *monitor, qblk_job *job)
{
    return monitor->jobs != NULL ? job_set_next(monitor->jobs, job) : NULL;
}
