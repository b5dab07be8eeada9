/* Reads the block graph: which questions may be asked of this QEMU just now, and in what order. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "graph/graph.h"
#include "monitor/hazard.h"
#include "monitor/monitor.h"
#include "qapi_types.h"

enum question {
    ASK_JOBS, ASK_BLOCK, ASK_NODES, ASK_EDGES, ASK_EXPORTS, ASK_BLOCK_JOBS, N_QUESTIONS
};

struct graph_reading {
    qblk_monitor *monitor;
    graph_read_fn *fn; /* NULL: abandoned */
    void *arg;
    bool is_whole;     /* for people: who exports, why a job is stalled */
    int waiting;       /* replies outstanding */
    bool is_asked[N_QUESTIONS];
    char *reply[N_QUESTIONS];
    qblk_error error;  /* the first */
};

static int ask(struct graph_reading *reading, enum question question, qblk_error *error);

static void finish(struct graph_reading *reading)
{
    struct graph_replies replies = { reading->reply[ASK_JOBS], reading->reply[ASK_BLOCK],
                                     reading->reply[ASK_NODES], reading->reply[ASK_EDGES],
                                     reading->reply[ASK_EXPORTS], reading->reply[ASK_BLOCK_JOBS] };
    qblk_graph *graph = NULL;

    if (reading->fn != NULL && reading->error.code == QBLK_E_NONE)
        (void)graph_build(&replies, &graph, &reading->error);
    if (graph != NULL && reading->is_whole && !reading->is_asked[ASK_EXPORTS]
        && graph_is_unexplained(graph) && ask(reading, ASK_EXPORTS, NULL) == 0) {
        (void)qblk_graph_free(graph);
        return;
    }
    if (reading->fn != NULL)
        reading->fn(reading->arg, graph, graph == NULL ? &reading->error : NULL);
    for (int i = 0; i < N_QUESTIONS; i++)
        free(reading->reply[i]);
    free(reading);
}

static void take(struct graph_reading *reading, enum question question, const char *reply,
                 const qblk_error *error);

static void take_jobs(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_JOBS, reply, error);
}

static void take_block(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_BLOCK, reply, error);
}

static void take_nodes(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_NODES, reply, error);
}

static void take_edges(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_EDGES, reply, error);
}

static void take_exports(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_EXPORTS, reply, error);
}

static void take_block_jobs(void *arg, const char *reply, const qblk_error *error)
{
    take(arg, ASK_BLOCK_JOBS, reply, error);
}

static int ask(struct graph_reading *reading, enum question question, qblk_error *error)
{
    struct qapi_query_named_block_nodes_args flat = { .has_flat = true, .flat = true };
    qblk_monitor *monitor = reading->monitor;
    int r = -EINVAL;

    switch (question) {
    case ASK_JOBS:
        r = monitor_call(monitor, &qapi_cmd_query_jobs, NULL, take_jobs, reading, NULL, error);
        break;
    case ASK_BLOCK:
        r = monitor_call(monitor, &qapi_cmd_query_block, NULL, take_block, reading, NULL, error);
        break;
    case ASK_NODES:
        r = monitor_call(monitor, &qapi_cmd_query_named_block_nodes, &flat, take_nodes, reading,
                         NULL, error);
        break;
    case ASK_EDGES:
        r = monitor_call(monitor, &qapi_cmd_x_debug_query_block_graph, NULL, take_edges, reading,
                         NULL, error);
        break;
    case ASK_EXPORTS:
        r = monitor_call(monitor, &qapi_cmd_query_block_exports, NULL, take_exports, reading, NULL,
                         error);
        break;
    case ASK_BLOCK_JOBS:
        r = monitor_call(monitor, &qapi_cmd_query_block_jobs, NULL, take_block_jobs, reading, NULL,
                         error);
        break;
    case N_QUESTIONS:
    default:
        break;
    }
    if (r == 0) {
        reading->is_asked[question] = true;
        reading->waiting++;
    }
    return r;
}

/* Whether a job is at rest, so that query-block-jobs may tell why. */
static bool is_any_paused(const struct graph_reading *reading)
{
    struct qapi_job_info_list list;
    bool found = false;

    if (codec_reply(&qapi_cmd_query_jobs, reading->reply[ASK_JOBS], &list, NULL) < 0)
        return false;
    for (size_t i = 0; i < list.n; i++)
        found = found || str_equal(list.v[i].status, "paused")
                || str_equal(list.v[i].status, "standby");
    codec_reply_clear(&qapi_cmd_query_jobs, &list);
    return found;
}

bool graph_read_hazard(qblk_monitor *monitor, bool with_creations, qblk_job_info *ret_info)
{
    qblk_job *job = NULL;

    while ((job = qblk_job_next(monitor, job)) != NULL) {
        ret_info->size = sizeof(*ret_info);
        qblk_job_get_info(job, ret_info);
        if (ret_info->type != NULL && ret_info->state != QBLK_JOB_GONE &&
            (with_creations || ret_info->operation == NULL || !str_equal(ret_info->type, "create")) &&
            hazard_forbids_nodes(monitor->client.version, ret_info->type,
                                 ret_info->state == QBLK_JOB_CONCLUDED))
            return true;
    }
    return false;
}

/* Whether a job of a type that makes the node query fatal exists, in whatever state: a running one
 * may conclude between this look and that query. What this client has started since the look is
 * before that query in QEMU's queue. */
static bool is_deadly(const struct graph_reading *reading)
{
    unsigned version = reading->monitor->client.version;
    struct qapi_job_info_list list;
    qblk_job_info info;
    bool found = graph_read_hazard(reading->monitor, true, &info);

    if (codec_reply(&qapi_cmd_query_jobs, reading->reply[ASK_JOBS], &list, NULL) < 0)
        return true;
    for (size_t i = 0; i < list.n; i++)
        found = found || hazard_forbids_nodes(version, list.v[i].type,
                                              str_equal(list.v[i].status, "concluded"));
    codec_reply_clear(&qapi_cmd_query_jobs, &list);
    return found;
}

static int ask_on(struct graph_reading *reading, qblk_error *error)
{
    int r = 0;

    /* Without the node query the picture is made of query-block and the edges, which are safe: all
     * nodes, but files and sizes only of the images that a disk holds. */
    if (!is_deadly(reading))
        r = ask(reading, ASK_NODES, error);
    if (r == 0)
        r = ask(reading, ASK_BLOCK, error);
    if (r == 0)
        r = ask(reading, ASK_EDGES, error);
    return r;
}

static void take(struct graph_reading *reading, enum question question, const char *reply,
                 const qblk_error *error)
{
    qblk_error mine;

    reading->waiting--;
    if (reply == NULL) {
        if (reading->error.code == QBLK_E_NONE)
            reading->error = *error;
    } else if ((reading->reply[question] = mem_strdup(reply)) == NULL) {
        (void)err_nomem(&reading->error);
    }
    if (reading->error.code == QBLK_E_NONE && reading->fn != NULL && question == ASK_JOBS &&
        !reading->is_asked[ASK_BLOCK] && ask_on(reading, &mine) < 0)
        reading->error = mine;
    if (reading->error.code == QBLK_E_NONE && reading->fn != NULL && question == ASK_JOBS &&
        reading->is_whole && is_any_paused(reading) && ask(reading, ASK_BLOCK_JOBS, &mine) < 0)
        reading->error = mine;
    if (reading->waiting == 0)
        finish(reading);
}

int graph_read_start(qblk_monitor *monitor, graph_read_fn *fn, void *arg,
                     struct graph_reading **ret_reading, qblk_error *error)
{
    struct graph_reading *reading = mem_zalloc(sizeof(*reading));
    int r;

    if (reading == NULL)
        return err_nomem(error);
    reading->monitor = monitor;
    reading->fn = fn;
    reading->arg = arg;
    r = ask(reading, ASK_JOBS, error);
    if (r < 0) {
        free(reading);
        return r;
    }
    /* All at once where nothing can go wrong: one round trip instead of two. */
    if (monitor->client.state == CLIENT_READY &&
        !hazard_is_possible(monitor->client.version, HAZARD_NODES_WHILE_CONCLUDED) &&
        !hazard_is_possible(monitor->client.version, HAZARD_NODES_WHILE_CREATING)) {
        qblk_error mine;

        if (ask(reading, ASK_BLOCK, &mine) < 0 || ask(reading, ASK_NODES, &mine) < 0 ||
            ask(reading, ASK_EDGES, &mine) < 0)
            reading->error = mine;
    }
    if (ret_reading != NULL)
        *ret_reading = reading;
    return 0;
}

void graph_read_abandon(struct graph_reading *reading)
{
    reading->fn = NULL;
}

/* ---- public --------------------------------------------------------------------------------- */

struct blocking {
    bool is_done;
    qblk_graph *graph;
    qblk_error error;
};

static void take_graph(void *arg, qblk_graph *graph, const qblk_error *error)
{
    struct blocking *blocking = arg;

    blocking->is_done = true;
    blocking->graph = graph;
    if (graph == NULL)
        blocking->error = *error;
}

static bool is_done(void *arg)
{
    const struct blocking *blocking = arg;

    return blocking->is_done;
}

int qblk_graph_read(qblk_monitor *monitor, int timeout_ms, qblk_graph **ret_graph,
                    qblk_error *error)
{
    struct graph_reading *reading = NULL;
    struct blocking blocking;
    int64_t deadline = monitor_deadline(timeout_ms);
    int r = monitor_may_block(monitor, error);

    memset(&blocking, 0, sizeof(blocking));
    if (r == 0)
        r = graph_read_start(monitor, take_graph, &blocking, &reading, error);
    if (r < 0)
        return r;
    if (reading != NULL)
        reading->is_whole = true;
    r = monitor_block(monitor, is_done, &blocking, deadline, error);
    if (!blocking.is_done && reading != NULL)
        graph_read_abandon(reading);
    if (r < 0) {
        (void)qblk_graph_free(blocking.graph);
        return r;
    }
    if (blocking.graph == NULL)
        return err_copy(error, &blocking.error);
    *ret_graph = blocking.graph;
    return 0;
}
