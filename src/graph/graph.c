/* Looking things up in a graph that is built. */
#include "graph/graph.h"

#include <string.h>

#include "graph/graph_priv.h"

static bool is_node(const qblk_graph *graph, int index)
{
    return index >= 0 && index < graph->n_nodes;
}

int qblk_graph_node_count(const qblk_graph *graph)
{
    return graph->n_nodes;
}

const qblk_node *qblk_graph_node(const qblk_graph *graph, int index)
{
    return is_node(graph, index) ? &graph->nodes[index] : NULL;
}

int qblk_graph_find_node(const qblk_graph *graph, const char *name)
{
    return names_find(&graph->names, name);
}

int qblk_graph_disk_count(const qblk_graph *graph)
{
    return graph->n_disks;
}

const qblk_disk *qblk_graph_disk(const qblk_graph *graph, int index)
{
    return index >= 0 && index < graph->n_disks ? &graph->disks[index] : NULL;
}

int qblk_graph_user(const qblk_graph *graph, int node, int k, qblk_user *ret_user)
{
    if (!is_node(graph, node) || k < 0
        || k >= graph->first_use[node + 1] - graph->first_use[node])
        return 0;
    *ret_user = graph->uses[graph->first_use[node] + k].user;
    return 1;
}

int qblk_graph_child(const qblk_graph *graph, int node, int k, qblk_child *ret_child)
{
    const struct graph_edge *edge;

    if (!is_node(graph, node) || k < 0
        || k >= graph->first_edge[node + 1] - graph->first_edge[node])
        return 0;
    edge = &graph->edges[graph->first_edge[node] + k];
    *ret_child = (qblk_child){ edge->child, edge->role };
    return 1;
}

int qblk_graph_bitmap(const qblk_graph *graph, int node, int k, qblk_bitmap *ret_bitmap)
{
    if (!is_node(graph, node) || k < 0 || k >= graph->nodes[node].bitmaps)
        return 0;
    *ret_bitmap = graph->bitmaps[graph->first_bitmap[node] + k];
    return 1;
}

bool graph_is_unexplained(const qblk_graph *graph)
{
    bool is_unexplained = !graph->has_debug;

    for (int u = 0; u < graph->n_uses; u++)
        is_unexplained = is_unexplained || graph->uses[u].kind == USE_BACKEND;
    return is_unexplained && !graph->has_exports;
}

bool graph_is_complete(const qblk_graph *graph)
{
    return graph->has_named;
}

bool graph_has_debug(const qblk_graph *graph)
{
    return graph->has_debug;
}

int graph_skip_filters(const qblk_graph *graph, int node)
{
    return is_node(graph, node) ? graph->image[node] : -1;
}

int graph_backing_image(const qblk_graph *graph, int node)
{
    node = graph_skip_filters(graph, node);
    return node >= 0 ? graph_skip_filters(graph, graph->nodes[node].backing) : -1;
}

int graph_disk_of(const qblk_graph *graph, int node)
{
    return is_node(graph, node) ? graph->disk_of[node] : -1;
}

/* The users of a node begin with the jobs. */
static const char *job_of(const qblk_graph *graph, int node)
{
    int first = graph->first_use[node];

    if (first == graph->first_use[node + 1] || graph->uses[first].kind != USE_JOB)
        return NULL;
    return graph->uses[first].user.name;
}

const char *graph_job_on(const qblk_graph *graph, int node, int stop, const char **ret_node)
{
    const char *job;

    if (!is_node(graph, node))
        return NULL;
    /* A backup holds nothing but its filter, and that is above what it copies. */
    for (int up = graph->filter_above[node]; up >= 0; up = graph->filter_above[up]) {
        job = job_of(graph, up);
        if (job != NULL) {
            *ret_node = graph->nodes[up].name;
            return job;
        }
    }
    for (; node >= 0 && node != stop; node = graph->nodes[node].backing) {
        job = job_of(graph, node);
        if (job != NULL) {
            *ret_node = graph->nodes[node].name;
            return job;
        }
    }
    return NULL;
}

/* The note of a node's place may be of another list, or none at all: the list itself tells. */
static bool is_listed(const qblk_graph *graph, const int *list, int n, int node)
{
    int at = graph->listed[node];

    return at < n && list[at] == node;
}

static void add_to_list(const qblk_graph *graph, int *list, int *n, int node)
{
    graph->listed[node] = *n;
    list[(*n)++] = node;
}

/* Whether nobody uses the node but those that go before it. */
static bool is_free(const qblk_graph *graph, int node, const int *list, int n)
{
    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (use->kind != USE_NODE || use->from < 0 || !is_listed(graph, list, n, use->from))
            return false;
    }
    return true;
}

int graph_deletable(const qblk_graph *graph, int node, int *list, int room, int *n)
{
    if (!is_node(graph, node) || !is_free(graph, node, list, *n))
        return 0;
    return graph_released(graph, node, list, room, n);
}

int graph_released(const qblk_graph *graph, int node, int *list, int room, int *n)
{
    int begin = *n;

    if (!is_node(graph, node) || *n >= room || graph->nodes[node].name[0] == '#'
        || is_listed(graph, list, *n, node))
        return 0;
    add_to_list(graph, list, n, node);
    for (int at = begin; at < *n; at++) {
        int parent = list[at];

        /* What a filter on top passes on is no part of it; below an image all is its bytes. */
        if (at == begin && graph->nodes[parent].is_filter)
            break;
        for (int e = graph->first_edge[parent]; e < graph->first_edge[parent + 1]; e++) {
            const struct graph_edge *edge = &graph->edges[e];

            if (*n >= room || strcmp(edge->role, "target") == 0 ||
                (strcmp(edge->role, "backing") == 0 && !graph->nodes[parent].is_filter) ||
                graph->nodes[edge->child].name[0] == '#' ||
                is_listed(graph, list, *n, edge->child) || !is_free(graph, edge->child, list, *n))
                continue;
            add_to_list(graph, list, n, edge->child);
        }
    }
    return *n - begin;
}
