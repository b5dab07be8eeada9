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

int qblk_graph_bitmap(const qblk_graph *graph, int node, int k, qblk_bitmap *ret_bitmap)
{
    if (!is_node(graph, node) || k < 0 || k >= graph->nodes[node].bitmaps)
        return 0;
    *ret_bitmap = graph->bitmaps[graph->first_bitmap[node] + k];
    return 1;
}

int graph_skip_filters(const qblk_graph *graph, int node)
{
    if (!is_node(graph, node))
        return -1;
    while (graph->nodes[node].is_filter && graph->nodes[node].backing >= 0)
        node = graph->nodes[node].backing;
    return node;
}

int graph_backing_image(const qblk_graph *graph, int node)
{
    node = graph_skip_filters(graph, node);
    if (node < 0 || graph->nodes[node].backing < 0)
        return -1;
    return graph_skip_filters(graph, graph->nodes[node].backing);
}

int graph_disk_of(const qblk_graph *graph, int node)
{
    return is_node(graph, node) ? graph->disk_of[node] : -1;
}

static const char *job_of(const qblk_graph *graph, int node)
{
    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++)
        if (strcmp(graph->uses[u].user.kind, "job") == 0)
            return graph->uses[u].user.name;
    return NULL;
}

/* The filter right above a node, through which it is used; -1 if there is none. */
static int filter_above(const qblk_graph *graph, int node)
{
    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++) {
        const qblk_user *user = &graph->uses[u].user;
        int parent = strcmp(user->kind, "node") == 0 ? names_find(&graph->names, user->name) : -1;

        if (parent >= 0 && graph->nodes[parent].is_filter && graph->nodes[parent].backing == node)
            return parent;
    }
    return -1;
}

const char *graph_job_on(const qblk_graph *graph, int node, int stop, const char **ret_node)
{
    const char *job;

    if (!is_node(graph, node))
        return NULL;
    /* A backup holds nothing but its filter, and that is above what it copies. */
    for (int up = filter_above(graph, node), steps = 0; up >= 0 && steps < graph->n_nodes;
         up = filter_above(graph, up), steps++) {
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

static bool is_listed(const int *list, int n, int node)
{
    for (int i = 0; i < n; i++)
        if (list[i] == node)
            return true;
    return false;
}

/* Whether nobody uses the node but those that go before it. */
static bool is_free(const qblk_graph *graph, int node, const int *list, int n)
{
    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++) {
        const qblk_user *user = &graph->uses[u].user;

        if (strcmp(user->kind, "node") != 0
            || !is_listed(list, n, names_find(&graph->names, user->name)))
            return false;
    }
    return true;
}

int graph_deletable(const qblk_graph *graph, int node, int *list, int room, int *n)
{
    int begin = *n;

    if (!is_node(graph, node) || *n >= room || graph->nodes[node].name[0] == '#'
        || is_listed(list, *n, node) || !is_free(graph, node, list, *n))
        return 0;
    list[(*n)++] = node;
    for (int at = begin; at < *n; at++) {
        int parent = list[at];

        /* What a filter on top passes on is no part of it; below an image all is its bytes. */
        if (at == begin && graph->nodes[parent].is_filter)
            break;
        for (int e = graph->first_edge[parent]; e < graph->first_edge[parent + 1]; e++) {
            const struct graph_edge *edge = &graph->edges[e];

            if (edge->child < 0 || *n >= room || strcmp(edge->role, "target") == 0
                || (strcmp(edge->role, "backing") == 0 && !graph->nodes[parent].is_filter)
                || graph->nodes[edge->child].name[0] == '#' || is_listed(list, *n, edge->child)
                || !is_free(graph, edge->child, list, *n))
                continue;
            list[(*n)++] = edge->child;
        }
    }
    return *n - begin;
}
