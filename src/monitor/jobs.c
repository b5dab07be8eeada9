/* The jobs of a monitor: their set, and the readings that it wants. */
#include "monitor/monitor.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "qapi_types.h"

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

typedef void read_fn(struct job_set *set, const char *reply, int64_t now, qblk_error *error);

static void take_reply(qblk_monitor *monitor, read_fn *fn, const char *reply, const qblk_error *why)
{
    qblk_error error = { .code = QBLK_E_NONE };

    if (reply == NULL)
        error = *why;
    else
        fn(monitor->jobs, reply, monitor_now_ms(), &error);
    if (error.code != QBLK_E_NONE)
        monitor->reading_failed = true;
    /* A QEMU that does not tell its jobs at all cannot be followed; one that did, and refuses now,
     * is asked again later. */
    if (error.code == QBLK_E_PROTOCOL || (error.code == QBLK_E_QEMU && !monitor->is_synced))
        monitor_doom(monitor, &error);
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
    take_reply(arg, read_jobs, reply, error);
}

static void on_block_jobs_reply(void *arg, const char *reply, const qblk_error *error)
{
    take_reply(arg, read_block_jobs, reply, error);
}

void jobs_read(qblk_monitor *monitor, int64_t now)
{
    enum job_want want = job_set_wants(monitor->jobs, now);
    qblk_error error;
    bool was_asked;
    int r;

    if (want == JOB_WANT_NOTHING || monitor->readings > 0 || monitor->free_asked ||
        (monitor->state != QBLK_MONITOR_READY && (monitor->is_synced || monitor->is_away)))
        return;
    job_set_reading_begin(monitor->jobs, want);
    monitor->readings = want == JOB_WANT_ALL ? 2 : 1;
    r = monitor_call(monitor, &qapi_cmd_query_jobs, NULL, on_jobs_reply, monitor, NULL, &error);
    was_asked = r == 0;
    if (r == 0 && want == JOB_WANT_ALL)
        r = monitor_call(monitor, &qapi_cmd_query_block_jobs, NULL, on_block_jobs_reply, monitor,
                         NULL, &error);
    if (r == 0)
        return;
    if (error.kind == QBLK_KIND_CONNECTION) {
        monitor_doom(monitor, &error);
        return;
    }
    /* There is no room for it just now: later. */
    monitor->readings = monitor->readings == 2 && was_asked ? 1 : 0;
    monitor->reading_failed = monitor->readings > 0;
    if (monitor->readings == 0)
        job_set_reading_failed(monitor->jobs, now);
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
    jobs_read(monitor, now);
}

int jobs_timeout(const qblk_monitor *monitor, int64_t now)
{
    int timeout = -1;

    if (monitor->readings == 0)
        timeout = job_set_timeout_ms(monitor->jobs, now);
    if (monitor->progress_ms > 0 && job_set_has_open(monitor->jobs))
        timeout = monitor_until(timeout, monitor->progress_at, now);
    return timeout;
}

/* ---- life ----------------------------------------------------------------------------------- */

int jobs_start(qblk_monitor *monitor, qblk_error *error)
{
    if (monitor->state == QBLK_MONITOR_DEAD || monitor->free_asked)
        return monitor_dead(monitor, error);
    if (monitor->jobs != NULL)
        return 0;
    monitor->jobs = job_set_new(monitor, &listeners_set_ops, monitor, &monitor->log);
    if (monitor->jobs == NULL)
        return err_nomem(error);
    job_set_ask(monitor->jobs, JOB_WANT_ALL);
    jobs_read(monitor, monitor_now_ms());
    monitor_changed(monitor);
    return 0;
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
    listeners_done(monitor);
}

/* ---- public --------------------------------------------------------------------------------- */

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
    /* Callbacks never run inside the call that registers them: known jobs are told by a reading.
     * The first one is under way already. */
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
