/* What can be done to a job: checked against the table here, then sent. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include "qapi_types.h"

struct call {
    qblk_monitor *monitor;
    client_reply_fn *fn;
    void *arg;
    uint32_t *ret_token;
};

#define SEND_BY_ID(command_) \
    do { \
        struct qapi_##command_##_args args = { .id = id }; \
        return monitor_call(call->monitor, &qapi_cmd_##command_, &args, call->fn, call->arg, \
                            call->ret_token, error); \
    } while (0)

/* job-* for all that exists there; block-job-* for the two that do not. */
static int send_verb(const struct call *call, const char *id, qblk_job_verb verb, uint64_t value,
                     qblk_error *error)
{
    switch (verb) {
    case QBLK_VERB_PAUSE:
        SEND_BY_ID(job_pause);
    case QBLK_VERB_RESUME:
        SEND_BY_ID(job_resume);
    case QBLK_VERB_CANCEL:
        SEND_BY_ID(job_cancel);
    case QBLK_VERB_COMPLETE:
        SEND_BY_ID(job_complete);
    case QBLK_VERB_FINALIZE:
        SEND_BY_ID(job_finalize);
    case QBLK_VERB_DISMISS:
        SEND_BY_ID(job_dismiss);
    case QBLK_VERB_SPEED: {
        struct qapi_block_job_set_speed_args args = { .device = id, .speed = (int64_t)value };

        return monitor_call(call->monitor, &qapi_cmd_block_job_set_speed, &args, call->fn,
                            call->arg, call->ret_token, error);
    }
    case QBLK_VERB_FINISH: {
        struct qapi_block_job_cancel_args args = { .device = id };

        return monitor_call(call->monitor, &qapi_cmd_block_job_cancel, &args, call->fn, call->arg,
                            call->ret_token, error);
    }
    case QBLK_VERB_CHANGE:
    default: { /* check() lets no other through */
        struct qapi_block_job_change_options args = {
            .id = id, .type = QAPI_JOB_TYPE_MIRROR,
            .u.mirror.copy_mode = QAPI_MIRROR_COPY_MODE_WRITE_BLOCKING,
        };

        return monitor_call(call->monitor, &qapi_cmd_block_job_change, &args, call->fn, call->arg,
                            call->ret_token, error);
    }
    }
}

static int check(qblk_job *job, qblk_job_verb verb, uint64_t value, qblk_error *error)
{
    int r = job_check_verb(job, verb, error);

    if (r == 0 && verb == QBLK_VERB_SPEED && value > INT64_MAX)
        r = err_set(error, QBLK_E_ARGUMENT, "a speed of %llu bytes per second is more than QEMU "
                    "can be told (2^63-1); 0 means no limit", (unsigned long long)value);
    return r;
}

/* What to do about a refusal whose reason is known from here; QEMU's texts are not looked at. */
static void explain(qblk_monitor *monitor, const char *id, qblk_job_verb verb, qblk_error *error)
{
    const qblk_job *job = qblk_job_find(monitor, id);
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    char text[sizeof(error->text)];

    if (verb == QBLK_VERB_CHANGE && strcmp(error->qmp_class, "CommandNotFound") == 0) {
        (void)err_set(error, QBLK_E_UNSUPPORTED, "change refused: this QEMU has no "
                      "block-job-change, which came with 8.2; job '%s' goes on as it is, and a copy "
                      "that is to be active must be started so (copy --active)", id);
        return;
    }
    if (job == NULL)
        return;
    qblk_job_get_info(job, &info);
    memcpy(text, error->text, sizeof(text));
    if (info.outcome != QBLK_OUTCOME_NONE && verb != QBLK_VERB_DISMISS)
        err_prefix(error, "%s came too late, job '%s' had %s already", qblk_job_verb_name(verb), id,
                   qblk_job_outcome_name(info.outcome));
    else if (info.state == QBLK_JOB_STANDBY && (verb == QBLK_VERB_COMPLETE || verb == QBLK_VERB_FINISH))
        (void)err_set(error, QBLK_E_JOB_STATE, "%s; job '%s' is paused: resume it and then %s it, or "
                      "cancel it", text, id, qblk_job_verb_name(verb));
}

/* What QEMU said of a verb, as an error of ours; the job may have gone meanwhile. */
static const qblk_error *judge(qblk_monitor *monitor, const char *reply, const qblk_error *error,
                               const char *id, qblk_job_verb verb, qblk_error *room)
{
    if (reply == NULL)
        *room = *error;
    else if (codec_reply(&qapi_cmd_job_pause, reply, NULL, room) == 0)
        return NULL;
    if (room->code == QBLK_E_QEMU)
        explain(monitor, id, verb, room);
    (void)strncpy(room->job, id, sizeof(room->job) - 1);
    return room;
}

struct act {
    qblk_monitor *monitor;
    qblk_act_fn *fn;
    void *arg;
    qblk_job_verb verb;
    char id[];
};

static void act_reply(void *arg, const char *reply, const qblk_error *error)
{
    struct act *act = arg;
    qblk_error room;
    const qblk_error *result = judge(act->monitor, reply, error, act->id, act->verb,
                                     &room);

    if (act->fn != NULL)
        act->fn(qblk_job_find(act->monitor, act->id), result, act->arg);
    free(act);
}

int qblk_job_act(qblk_job *job, qblk_job_verb verb, uint64_t value, qblk_act_fn *on_done,
                 void *arg, qblk_error *error)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct call call = { qblk_job_monitor(job), act_reply, NULL, NULL };
    struct act *act;
    int r = check(job, verb, value, error);

    if (r < 0)
        return r;
    qblk_job_get_info(job, &info);
    act = mem_zalloc(sizeof(*act) + strlen(info.id) + 1);
    if (act == NULL)
        return err_nomem(error);
    memcpy(act->id, info.id, strlen(info.id) + 1);
    act->monitor = call.monitor;
    act->fn = on_done;
    act->verb = verb;
    act->arg = arg;
    call.arg = act;
    r = send_verb(&call, info.id, verb, value, error);
    if (r < 0) {
        free(act);
        return r;
    }
    job_verb_sent(job, verb);
    monitor_changed(call.monitor);
    return 0;
}

struct doing {
    qblk_monitor *monitor;
    qblk_job_verb verb;
    bool is_done;
    char *id;
    int r;
    qblk_error error;
};

static void do_reply(void *arg, const char *reply, const qblk_error *error)
{
    struct doing *doing = arg;
    qblk_error room;
    const qblk_error *result = judge(doing->monitor, reply, error, doing->id, doing->verb,
                                     &room);

    doing->is_done = true;
    if (result != NULL)
        doing->r = err_copy(&doing->error, result);
}

static bool is_done(void *arg)
{
    const struct doing *doing = arg;

    return doing->is_done;
}

int qblk_job_do(qblk_job *job, qblk_job_verb verb, uint64_t value, int timeout_ms,
                qblk_error *error)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct doing doing;
    uint32_t token = 0;
    struct call call = { qblk_job_monitor(job), do_reply, &doing, &token };
    int64_t deadline = monitor_deadline(timeout_ms);
    int r = monitor_may_block(call.monitor, error);

    memset(&doing, 0, sizeof(doing));
    doing.monitor = call.monitor;
    doing.verb = verb;
    if (r == 0)
        r = check(job, verb, value, error);
    if (r < 0)
        return r;
    qblk_job_get_info(job, &info);
    doing.id = mem_strdup(info.id);
    if (doing.id == NULL)
        return err_nomem(error);
    r = send_verb(&call, doing.id, verb, value, error);
    if (r == 0) {
        job_verb_sent(job, verb);
        r = monitor_block(call.monitor, is_done, &doing, deadline, error);
        if (!doing.is_done)
            monitor_abandon(call.monitor, token);
        else if (r == 0 && doing.r < 0)
            r = err_copy(error, &doing.error);
    }
    free(doing.id);
    return r;
}
