/* Who uses a node: jobs, exports, devices, and the nodes above. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "graph/graph_priv.h"

static const char *const kinds[] = {
    [USE_JOB] = "job", [USE_EXPORT] = "export", [USE_BACKEND] = "backend",
    [USE_DEVICE] = "device", [USE_NODE] = "node"
};

static void add_use(qblk_graph *graph, int node, enum graph_use_kind kind, int from,
                    const char *name, const char *role)
{
    graph->uses[graph->n_uses++] =
        (struct graph_use){ node, kind, from, { kinds[kind], name, role } };
}

/* ---- jobs ----------------------------------------------------------------------------------- */

static void add_job(qblk_graph *graph, struct names *names, const char *id,
                    const struct qapi_job_info *info)
{
    if (names_find(names, id) >= 0)
        return;
    names_add(names, id, graph->n_jobs);
    graph->held_by[graph->n_jobs++] = (struct graph_job){ id, info, NULL, false };
}

/* Those of query-jobs, then those that came after it. */
static int make_jobs(qblk_graph *graph, struct names *names)
{
    size_t most = graph->jobs.n + graph->debug.nodes.n;

    graph->held_by = graph_alloc(graph, (most + 1) * sizeof(*graph->held_by));
    if (graph->held_by == NULL || names_init(names, most, &graph->pool) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->jobs.n; i++)
        add_job(graph, names, graph->jobs.v[i].id, &graph->jobs.v[i]);
    for (size_t i = 0; i < graph->debug.nodes.n; i++)
        if (strcmp(graph->debug.nodes.v[i].type, "block-job") == 0)
            add_job(graph, names, graph->debug.nodes.v[i].name, NULL);
    for (size_t i = 0; i < graph->block_jobs.n; i++) {
        int job = names_find(names, graph->block_jobs.v[i].device);

        if (job >= 0)
            graph->held_by[job].block = &graph->block_jobs.v[i];
    }
    return 0;
}

/* ---- exports -------------------------------------------------------------------------------- */

/* The exports of each node, one after the other, to be dealt out to the nameless that use it. */
struct exports {
    int *first; /* by node: the next to be dealt out, -1 if there is none */
    int *next;  /* by export */
};

static int exports_init(qblk_graph *graph, struct exports *exports)
{
    size_t n = graph->exports.n;

    exports->first = graph_alloc(graph, (size_t)(graph->n_nodes + 1) * sizeof(int));
    exports->next = graph_alloc(graph, (n + 1) * sizeof(int));
    if (exports->first == NULL || exports->next == NULL)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++)
        exports->first[i] = -1;
    for (size_t i = n; i > 0; i--) {
        int node = names_find(&graph->names, graph->exports.v[i - 1].node_name);

        if (node < 0)
            continue;
        exports->next[i - 1] = exports->first[node];
        exports->first[node] = (int)(i - 1);
    }
    return 0;
}

static bool add_export(qblk_graph *graph, struct exports *exports, int node)
{
    int at = exports->first[node];

    if (at < 0)
        return false;
    exports->first[node] = exports->next[at];
    add_use(graph, node, USE_EXPORT, -1, graph->exports.v[at].id, graph->exports.v[at].type);
    return true;
}

/* ---- from the debug graph ------------------------------------------------------------------- */

static int uses_from_debug(qblk_graph *graph, const struct names *jobs, struct exports *exports)
{
    struct graph_ids ids;

    if (graph_ids_init(graph, &ids, &graph->pool) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->debug.edges.n; i++) {
        const struct qapi_x_dbg_block_graph_edge *edge = &graph->debug.edges.v[i];
        const struct graph_id *parent = graph_ids_find(&ids, edge->parent);
        const struct graph_id *child = graph_ids_find(&ids, edge->child);
        const char *name;

        if (parent == NULL || child == NULL || child->node < 0)
            continue;
        name = parent->of->name;
        if (strcmp(parent->of->type, "block-driver") == 0) {
            add_use(graph, child->node, USE_NODE, parent->node, name, edge->name);
        } else if (strcmp(parent->of->type, "block-job") == 0) {
            int job = names_find(jobs, name);

            add_use(graph, child->node, USE_JOB, job, name, edge->name);
            graph->held_by[job].holds = true;
        } else if (name[0] != '\0') {
            add_use(graph, child->node, USE_DEVICE, -1, name, edge->name);
        } else if (!add_export(graph, exports, child->node)) {
            add_use(graph, child->node, USE_BACKEND, -1, name, edge->name);
        }
    }
    return 0;
}

/* ---- without it ----------------------------------------------------------------------------- */

static void uses_from_edges(qblk_graph *graph, struct exports *exports)
{
    for (int e = 0; e < graph->n_edges; e++)
        add_use(graph, graph->edges[e].child, USE_NODE, graph->edges[e].parent,
                graph->nodes[graph->edges[e].parent].name, graph->edges[e].role);
    for (size_t i = 0; i < graph->block.n; i++) {
        const struct qapi_block_info *info = &graph->block.v[i];
        int node = info->inserted != NULL && info->inserted->node_name != NULL
                       ? names_find(&graph->names, info->inserted->node_name)
                       : -1;

        if (node >= 0)
            add_use(graph, node, USE_DEVICE, -1,
                    info->device[0] != '\0' || info->qdev == NULL ? info->device : info->qdev,
                    "root");
    }
    for (int node = 0; node < graph->n_nodes; node++)
        while (add_export(graph, exports, node))
            continue;
}

int graph_make_uses(qblk_graph *graph)
{
    struct exports exports;
    struct names jobs;
    size_t most = graph->has_debug
                      ? graph->debug.edges.n
                      : (size_t)graph->n_edges + graph->block.n + graph->exports.n;

    graph->uses = graph_alloc(graph, (most + 1) * sizeof(*graph->uses));
    if (graph->uses == NULL || make_jobs(graph, &jobs) < 0 || exports_init(graph, &exports) < 0)
        return -ENOMEM;
    if (graph->has_debug)
        return uses_from_debug(graph, &jobs, &exports);
    uses_from_edges(graph, &exports);
    return 0;
}
