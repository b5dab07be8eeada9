#include "follow.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static struct followed *find(const struct follow *follow, const char *id)
{
    for (int i = 0; i < follow->n_jobs; i++) {
        if (strcmp(follow->jobs[i].id, id) == 0)
            return &follow->jobs[i];
    }
    return NULL;
}

static void clear(struct followed *job, char *id)
{
    memset(job, 0, sizeof(*job));
    job->id = id;
    job->state = -1;
}

void follow_add(struct follow *follow, const char *id)
{
    struct followed *job;

    if (find(follow, id) != NULL)
        return;
    follow->jobs = xrealloc(follow->jobs, (size_t)follow->n_jobs + 1, sizeof(*job));
    job = &follow->jobs[follow->n_jobs++];
    clear(job, xstrdup(id));
}

/* The entry for a job that was heard of. A new job of a name whose bearer is gone starts afresh
 * where all are followed; a job that was named is the one that was there. */
static struct followed *entry(struct follow *follow, const char *id)
{
    struct followed *job = find(follow, id);

    if (job == NULL && follow->is_all) {
        follow_add(follow, id);
        job = &follow->jobs[follow->n_jobs - 1];
    } else if (job != NULL && job->is_gone && follow->is_all) {
        char *name = job->id;

        free(job->error);
        clear(job, name);
    }
    return job == NULL || job->is_gone ? NULL : job;
}

static void take(struct follow *follow, qblk_job *handle, bool is_gone)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    struct followed *job;

    qblk_job_get_info(handle, &info);
    job = entry(follow, info.id);
    if (job == NULL)
        return;
    job->is_seen = true;
    if (info.outcome != QBLK_OUTCOME_NONE && !job->is_ended) {
        job->is_ended = true;
        job->outcome = info.outcome;
        job->error = info.error != NULL ? xstrdup(info.error) : NULL;
    }
    job->is_gone = is_gone;
    job->is_ready = info.is_ready;
    if (follow->on_change != NULL)
        follow->on_change(follow, job, &info);
    job->state = (int)info.state;
    job->is_stalled = info.is_stalled && (job->is_stalled || info.is_stall_known);
}

static void on_job(qblk_job *job, void *arg)
{
    take(arg, job, false);
}

static void on_gone(qblk_job *job, void *arg)
{
    take(arg, job, true);
}

static void on_synced(qblk_monitor *monitor, void *arg)
{
    struct follow *follow = arg;

    (void)monitor;
    if (follow->is_synced)
        return;
    follow->is_synced = true;
    if (follow->on_synced != NULL)
        follow->on_synced(follow);
}

static void on_signal(struct session *session, int signo, void *arg)
{
    struct follow *follow = arg;

    if (signo == SIGINT)
        follow->is_interrupted = true;
    else
        session->die_of = signo;
    session_stop(session);
}

static void on_lost(struct session *session, const qblk_error *error, void *arg)
{
    (void)session;
    follow_fail(arg, error);
}

static const struct session_ops hooks = { .on_lost = on_lost };
static const struct session_ops hooks_of_watcher = {
    .on_lost = on_lost,
    .on_signal = on_signal,
    .ends_with_output = true,
};

int follow_open(struct follow *follow, struct cli *cli, bool is_watcher, qblk_error *error)
{
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    int r;

    follow->cli = cli;
    ops.on_job = on_job;
    ops.on_state = on_job;
    ops.on_end = on_job;
    ops.on_gone = on_gone;
    ops.on_synced = on_synced;
    r = session_open(&follow->session, cli, is_watcher ? &hooks_of_watcher : &hooks, follow,
                     error);
    if (r == 0 && follow->on_open != NULL)
        r = follow->on_open(follow, error);
    if (r == 0)
        r = session_loop(&follow->session, error);
    if (r == 0)
        r = qblk_jobs_track(follow->session.monitor, &ops, follow, error);
    return r;
}

void follow_fail(struct follow *follow, const qblk_error *error)
{
    if (!follow->is_failed) {
        follow->is_failed = true;
        follow->failure = *error;
    }
    session_stop(&follow->session);
}

/* The one job that uses the node or what is below it: NULL if there is none, "" if there are
 * several. */
static const char *job_below(const qblk_graph *graph, int root)
{
    const char *job = NULL;
    qblk_user user;

    for (int at = root; qblk_graph_node(graph, at) != NULL;
         at = qblk_graph_node(graph, at)->backing) {
        /* The users of a node begin with the jobs. */
        for (int k = 0; qblk_graph_user(graph, at, k, &user) == 1; k++) {
            if (strcmp(user.kind, "job") != 0)
                break;
            if (job == NULL)
                job = user.name;
            else if (strcmp(job, user.name) != 0)
                job = "";
        }
    }
    return job;
}

void follow_name_job(struct session *session, qblk_error *error)
{
    char *id = xstrdup(error->job);
    qblk_graph *graph = NULL;
    const char *job = NULL;
    qblk_error ignored;
    int disk = -1;

    session_deafen(session, true);
    if (qblk_graph_read(session->monitor, cli_left_ms(session->cli), &graph, &ignored) == 0)
        disk = qblk_graph_find_disk(graph, id, &ignored);
    if (disk >= 0)
        job = job_below(graph, qblk_graph_disk(graph, disk)->root);
    if (job != NULL && *job != '\0') {
        (void)own_error(error, QBLK_KIND_REFUSED, QBLK_E_UNKNOWN_JOB, "QEMU knows no job '%.200s', which "
                        "is a disk; the job that works on it is %.200s", id, job);
        (void)snprintf(error->job, sizeof(error->job), "%s", id);
    }
    (void)qblk_graph_free(graph);
    free(id);
}

int follow_trouble(struct follow *follow, const char *what)
{
    if (follow->is_failed && follow->failure.code == QBLK_E_UNKNOWN_JOB)
        follow_name_job(&follow->session, &follow->failure);
    if (follow->is_failed)
        return report_error(follow->cli, &follow->failure);
    if (follow->session.die_of != 0)
        return session_report_signal(&follow->session, what);
    if (follow->session.is_timed_out)
        return session_report_timeout(&follow->session, what);
    return -1;
}

int follow_end(struct follow *follow, int status)
{
    /* Freeing the monitor ends tracking: nothing more is to be heard of it. */
    follow->on_change = NULL;
    follow->on_synced = NULL;
    status = follow->session.cli != NULL ? session_end(&follow->session, status) : status;
    for (int i = 0; i < follow->n_jobs; i++) {
        free(follow->jobs[i].id);
        free(follow->jobs[i].error);
    }
    free(follow->jobs);
    follow->jobs = NULL;
    follow->n_jobs = 0;
    return status;
}

/* Each job that completes is pending for an instant; one that stays so was started without auto-finalize. */
static bool is_to_be_finalized(const qblk_job_info *info)
{
    return info->state == QBLK_JOB_PENDING && info->is_listed && !info->auto_finalize;
}

void follow_say_waiting(struct follow *follow, struct followed *job, const qblk_job_info *info, bool is_told)
{
    bool is_ready = info->state == QBLK_JOB_READY && !is_told;
    bool is_waiting = is_ready || is_to_be_finalized(info);

    if (is_waiting == job->is_waiting)
        return;
    job->is_waiting = is_waiting;
    if (is_ready)
        note(follow->cli, "job %s is in sync, and ends when it is told to: by its owner, by 'qblk job pivot %s' "
             "or by 'qblk job finish %s'%s%s%s", info->id, info->id, info->id,
             info->operation != NULL ? "; or 'qblk recover --operation " : "",
             info->operation != NULL ? info->operation : "", info->operation != NULL ? "' takes it up" : "");
    else if (is_waiting)
        note(follow->cli, "job %s is pending, and ends when it is told to: by its owner, or by 'qblk job "
             "finalize %s'", info->id, info->id);
}

void follow_outcome_error(const struct followed *job, qblk_error *error)
{
    const char *why = job->error != NULL ? job->error : "QEMU gave no reason";

    if (job->outcome == QBLK_OUTCOME_CANCELLED)
        (void)own_error(error, QBLK_KIND_CANCELLED, QBLK_E_CANCELLED, "job %s was cancelled",
                        job->id);
    else if (job->outcome == QBLK_OUTCOME_LOST)
        (void)own_error(error, QBLK_KIND_CONNECTION, QBLK_E_JOB_LOST, "job %s was lost, and its "
                        "outcome cannot be known: %s", job->id, why);
    else
        (void)own_error(error, QBLK_KIND_FAILED, QBLK_E_JOB_FAILED, "job %s failed: %s", job->id,
                        why);
    (void)snprintf(error->job, sizeof(error->job), "%s", job->id);
}

void follow_unknown_error(const char *id, qblk_error *error)
{
    (void)own_error(error, QBLK_KIND_REFUSED, QBLK_E_UNKNOWN_JOB, "QEMU knows no job '%.200s': it "
                    "is over and forgotten, or never was; 'qblk job list' shows what there is", id);
    (void)snprintf(error->job, sizeof(error->job), "%s", id);
}
