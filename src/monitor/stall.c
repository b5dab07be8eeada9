/* At which node a job has stopped. QEMU's events name the job, and whether it read or wrote; which
 * node that was, the edges from the job to its nodes tell. They are asked for once a stall. */
#include <string.h>

#include "base/str.h"
#include "monitor/monitor.h"
#include "qapi_types.h"

/* The edges that lead to what a job reads and to what it writes, the likeliest first. */
static const char *const read_roles[] = { "source", "active node", "intermediate node", "main node" };
static const char *const write_roles[] = { "target", "base", "active node", "main node" };
/* A stream reads through what it fills. QEMU 5.2 puts no filter there: its main node is that
 * image. */
static const char *const stream_roles[] = { "active node", "main node", NULL, NULL };
#define N_ROLES 4

static const struct qapi_x_dbg_block_graph_node *node_of(const struct qapi_x_dbg_block_graph *graph,
                                                         uint64_t id)
{
    for (size_t i = 0; i < graph->nodes.n; i++)
        if (graph->nodes.v[i].id == id)
            return &graph->nodes.v[i];
    return NULL;
}

/* The child by that edge of the node, or NULL. */
static const struct qapi_x_dbg_block_graph_node *
child_of(const struct qapi_x_dbg_block_graph *graph, uint64_t parent, const char *role)
{
    for (size_t i = 0; i < graph->edges.n; i++)
        if (graph->edges.v[i].parent == parent && str_equal(graph->edges.v[i].name, role))
            return node_of(graph, graph->edges.v[i].child);
    return NULL;
}

static const char *place_of(const struct qapi_x_dbg_block_graph *graph, const qblk_job_info *info)
{
    const struct qapi_x_dbg_block_graph_node *job = NULL, *node = NULL;
    bool is_read = str_equal(info->stall_op, "read");
    const char *const *roles = !is_read ? write_roles
                               : str_equal(info->type, "stream") ? stream_roles : read_roles;

    for (size_t i = 0; i < graph->nodes.n && job == NULL; i++)
        if (str_equal(graph->nodes.v[i].type, "block-job") &&
            str_equal(graph->nodes.v[i].name, info->id))
            job = &graph->nodes.v[i];
    for (int i = 0; job != NULL && node == NULL && i < N_ROLES && roles[i] != NULL; i++)
        node = child_of(graph, job->id, roles[i]);
    /* A backup reads through the filter that it has put above its source. */
    if (node != NULL && is_read && str_equal(info->type, "backup")) {
        const struct qapi_x_dbg_block_graph_node *below = child_of(graph, node->id, "file");

        node = below != NULL ? below : child_of(graph, node->id, "backing");
    }
    return node != NULL && node->name[0] != '\0' ? node->name : NULL;
}

static void take_edges(void *arg, const char *reply, const qblk_error *error)
{
    qblk_monitor *monitor = arg;
    struct qapi_x_dbg_block_graph graph;
    qblk_job *next;
    bool is_read;

    (void)error;
    monitor->is_looking = false;
    if (monitor->jobs == NULL || monitor->state != QBLK_MONITOR_READY)
        return;
    /* A QEMU that does not tell leaves the place unknown. */
    is_read = reply != NULL &&
              codec_reply(&qapi_cmd_x_debug_query_block_graph, reply, &graph, NULL) == 0;
    for (qblk_job *job = job_set_next(monitor->jobs, NULL); job != NULL; job = next) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);

        next = job_set_next(monitor->jobs, job);
        if (!job_wants_place(job))
            continue;
        qblk_job_get_info(job, &info);
        job_set_place(monitor->jobs, job,
                      is_read && info.stall_op != NULL ? place_of(&graph, &info) : NULL,
                      monitor_now_ms());
    }
    if (is_read)
        codec_reply_clear(&qapi_cmd_x_debug_query_block_graph, &graph);
}

void stall_look(qblk_monitor *monitor, const qblk_job *job)
{
    qblk_error error;

    if (!job_wants_place(job) || monitor->is_looking || monitor->state != QBLK_MONITOR_READY)
        return;
    monitor->is_looking = true;
    if (monitor_call(monitor, &qapi_cmd_x_debug_query_block_graph, NULL, take_edges, monitor, NULL,
                     &error) == 0)
        return;
    monitor->is_looking = false; /* the place stays unknown until it is looked at again */
    if (error.kind == QBLK_KIND_CONNECTION)
        monitor_doom(monitor, &error);
}
