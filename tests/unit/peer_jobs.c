#include "peer_priv.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- events ---------------------------------------------------------------------------------- */

void peer_event(struct peer *peer, bool is_before, const char *name, const char *data)
{
    char **to = is_before ? &peer->before : &peer->after;

    if (peer->order == PEER_EVENTS_FIRST)
        to = &peer->before;
    else if (peer->order == PEER_REPLIES_FIRST)
        to = &peer->after;
    if (peer->drop != NULL && strncmp(name, peer->drop, strlen(peer->drop)) == 0)
        return;
    for (int i = 0; i < (peer->twice ? 2 : 1); i++)
        peer_append(to, "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"%s\", "
               "\"data\": %s}\r\n", name, data);
}

void peer_status(struct peer *peer, bool is_before, struct peer_job *job, const char *word)
{
    char data[160];

    PUT(job->status, word);
    (void)snprintf(data, sizeof(data), "{\"status\": \"%s\", \"id\": \"%s\"}", word, job->id);
    peer_event(peer, is_before, "JOB_STATUS_CHANGE", data);
}

static void block_event(struct peer *peer, const struct peer_job *job, const char *name)
{
    char data[400], error[160] = "";

    if (strcmp(job->type, "create") == 0)
        return;
    if (job->error[0] != '\0' && strcmp(name, "BLOCK_JOB_COMPLETED") == 0)
        (void)snprintf(error, sizeof(error), ", \"error\": \"%s\"", job->error);
    (void)snprintf(data, sizeof(data), "{\"device\": \"%s\", \"len\": %u, \"offset\": %u, "
                   "\"speed\": 0, \"type\": \"%s\"%s}", job->id, PEER_DISK_SIZE, PEER_DISK_SIZE,
                   job->type, error);
    peer_event(peer, false, name, data);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

/* The graph as it is once the job is over, and what a concluded one still holds. */
static void let_go(struct peer *peer, struct peer_job *job, bool is_good)
{
    struct peer_node *filter = job->filter[0] != '\0' ? peer_node(peer, job->filter) : NULL;
    struct peer_node *device = peer_node(peer, job->device);
    bool is_old_backup = strcmp(job->type, "backup") == 0 && peer->version / 1000 == 5002;

    peer_unlock(&job->lock);
    if (strcmp(job->type, "stream") == 0) {
        if (is_good && device != NULL)
            PUT(device->backing, job->base);
        return; /* holds its chain until it is dismissed */
    }
    if (filter != NULL && strcmp(peer->root, filter->name) == 0)
        PUT(peer->root, is_good && job->is_pivot ? job->target : job->device);
    if (filter != NULL && strcmp(peer->second, filter->name) == 0)
        PUT(peer->second, is_good && job->is_pivot ? job->target : job->device);
    if (filter != NULL)
        peer_del_node(peer, filter);
    if (!is_old_backup)
        job->n_holds = 0;
    if (job->drops_target && !job->is_pivot && peer_node(peer, job->target) != NULL)
        peer_node(peer, job->target)->is_implicit = true;
    peer_sweep(peer);
}

void peer_conclude(struct peer *peer, struct peer_job *job)
{
    peer_status(peer, false, job, "waiting");
    peer_status(peer, false, job, "pending");
    let_go(peer, job, true);
    block_event(peer, job, "BLOCK_JOB_COMPLETED");
    peer_status(peer, false, job, "concluded");
}

void peer_abort_job(struct peer *peer, struct peer_job *job, const char *error)
{
    bool is_cancel = strcmp(error, "Operation canceled") == 0;

    PUT(job->error, error);
    peer_status(peer, false, job, "aborting");
    let_go(peer, job, false);
    block_event(peer, job, is_cancel ? "BLOCK_JOB_CANCELLED" : "BLOCK_JOB_COMPLETED");
    peer_status(peer, false, job, "concluded");
}

void peer_cancel_job(struct peer *peer, const char *id)
{
    struct peer_job *job = peer_job(peer, id);

    ck_assert_ptr_nonnull(job);
    peer_abort_job(peer, job, "Operation canceled");
    peer_flush(peer);
}

void peer_forget_job(struct peer *peer, struct peer_job *job)
{
    peer_unlock(&job->lock);
    *job = peer->jobs[--peer->n_jobs];
    peer_sweep(peer);
}

/* One step of one job. */
bool peer_progress(struct peer *peer)
{
    for (size_t i = 0; i < peer->n_jobs; i++) {
        struct peer_job *job = &peer->jobs[i];
        bool is_create = strcmp(job->type, "create") == 0;

        if (strcmp(job->status, "running") != 0 || (peer->is_holding && !is_create) ||
            (peer->holds != NULL && strcmp(job->id, peer->holds) == 0))
            continue;
        if (peer->fail_job != NULL && strcmp(peer->fail_job, job->type) == 0) {
            peer_abort_job(peer, job, "No space left on device");
        } else if (peer->vanish && !is_create) {
            let_go(peer, job, false);
            peer_forget_job(peer, job);
        } else if (strcmp(job->type, "mirror") == 0) {
            job->is_ready = true;
            peer_status(peer, false, job, "ready");
            block_event(peer, job, "BLOCK_JOB_READY");
        } else {
            peer_conclude(peer, job);
        }
        return true;
    }
    return false;
}

void peer_go_on(struct peer *peer)
{
    while (peer_progress(peer))
        peer_flush(peer);
}
