/* What QEMU's events say of jobs. */
#include "monitor/monitor.h"

#include <string.h>

#include "qapi_types.h"

/* Reads what the event carries, and tells the set its time. False: it is malformed. */
static bool take(qblk_monitor *monitor, const struct codec_event *event, const char *text, void *data)
{
    int64_t told_us = 0;

    if (codec_event(event, text, data, &told_us, NULL) < 0)
        return false;
    job_set_told(monitor->jobs, told_us);
    return true;
}

static void hear_status(qblk_monitor *monitor, const char *text)
{
    struct qapi_job_status_change_event data;

    if (!take(monitor, &qapi_event_job_status_change, text, &data))
        return;
    job_set_status(monitor->jobs, data.id, data.status, monitor_now_ms());
    codec_clear(qapi_event_job_status_change.data, &data);
}

/* data, which the event points into, is cleared. */
static void feed(qblk_monitor *monitor, const struct block_event_data *event, const struct codec_event *type,
                 void *data)
{
    job_set_block_event(monitor->jobs, event, monitor_now_ms());
    codec_clear(type->data, data);
}

static void hear_ready(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_ready_event data;

    if (!take(monitor, &qapi_event_block_job_ready, text, &data))
        return;
    struct block_event_data event = { .kind = BLOCK_READY, .id = data.device, .type = data.type,
                                      .len = data.len, .offset = data.offset,
                                      .speed = data.speed };

    feed(monitor, &event, &qapi_event_block_job_ready, &data);
}

static void hear_pending(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_pending_event data;

    if (!take(monitor, &qapi_event_block_job_pending, text, &data))
        return;
    struct block_event_data event = { .kind = BLOCK_PENDING, .id = data.id, .type = data.type };

    feed(monitor, &event, &qapi_event_block_job_pending, &data);
}

static void hear_completed(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_completed_event data;

    if (!take(monitor, &qapi_event_block_job_completed, text, &data))
        return;
    struct block_event_data event = { .kind = BLOCK_COMPLETED, .id = data.device,
                                      .type = data.type, .len = data.len, .offset = data.offset,
                                      .speed = data.speed, .error = data.error };

    feed(monitor, &event, &qapi_event_block_job_completed, &data);
}

static void hear_cancelled(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_cancelled_event data;

    if (!take(monitor, &qapi_event_block_job_cancelled, text, &data))
        return;
    struct block_event_data event = { .kind = BLOCK_CANCELLED, .id = data.device,
                                      .type = data.type, .len = data.len, .offset = data.offset,
                                      .speed = data.speed };

    feed(monitor, &event, &qapi_event_block_job_cancelled, &data);
}

static void hear_error(qblk_monitor *monitor, const char *text)
{
    struct qapi_block_job_error_event data;

    if (!take(monitor, &qapi_event_block_job_error, text, &data))
        return;
    struct block_event_data event = { .kind = BLOCK_ERROR, .id = data.device,
                                      .operation = data.operation, .action = data.action };

    feed(monitor, &event, &qapi_event_block_job_error, &data);
}

/* A malformed job event is a surprise like a lost one: whatever hears nothing asks. */
static const struct {
    const char *name;
    void (*hear)(qblk_monitor *monitor, const char *text);
} hearers[] = {
    { "JOB_STATUS_CHANGE", hear_status },       { "BLOCK_JOB_READY", hear_ready },
    { "BLOCK_JOB_COMPLETED", hear_completed },  { "BLOCK_JOB_CANCELLED", hear_cancelled },
    { "BLOCK_JOB_ERROR", hear_error },          { "BLOCK_JOB_PENDING", hear_pending },
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
        jobs_read(monitor, monitor_now_ms());
}
