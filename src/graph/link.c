/* Edges made usable: sorted by node, circles cut, filters told from images. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph_priv.h"

/* Sorts n items by their first int, which is below n_keys, keeping the order of equals. Those of
 * key k are then at (*ret_first)[k] up to (*ret_first)[k + 1]. */
static int group(void **items, size_t size, int n, int n_keys, int **ret_first)
{
    int *first = mem_zalloc((size_t)(n_keys + 2) * sizeof(int));
    char *from = *items, *to = mem_zalloc((size_t)(n + 1) * size);

    *ret_first = first;
    if (first == NULL || to == NULL) {
        free(to);
        return -ENOMEM;
    }
    for (int i = 0; i < n; i++) {
        int key;

        memcpy(&key, from + (size_t)i * size, sizeof(key));
        first[key + 2]++;
    }
    for (int k = 0; k < n_keys; k++)
        first[k + 2] += first[k + 1];
    for (int i = 0; i < n; i++) {
        int key;

        memcpy(&key, from + (size_t)i * size, sizeof(key));
        memcpy(to + (size_t)first[key + 1]++ * size, from + (size_t)i * size, size);
    }
    free(from);
    *items = to;
    return 0;
}

/* What a node is made of first, what it stands on last. */
static int rank_of(const char *role)
{
    return strcmp(role, "file") == 0 ? 0 : strcmp(role, "backing") == 0 ? 2 : 1;
}

static int compare_edges(const void *a, const void *b)
{
    const struct graph_edge *x = a, *y = b;
    int r = x->parent - y->parent;

    if (r == 0)
        r = rank_of(x->role) - rank_of(y->role);
    if (r == 0)
        r = strverscmp(x->role, y->role);
    return r != 0 ? r : x->child - y->child;
}

/* Versions of QEMU, and its several replies, tell a node's children in orders of their own. */
int graph_group_edges(qblk_graph *graph)
{
    void *items = graph->edges;
    int r;

    if (graph->n_edges > 0)
        qsort(graph->edges, (size_t)graph->n_edges, sizeof(*graph->edges), compare_edges);
    r = group(&items, sizeof(*graph->edges), graph->n_edges, graph->n_nodes,
              &graph->first_edge);

    graph->edges = items;
    return r;
}

int graph_group_uses(qblk_graph *graph)
{
    void *items = graph->uses;
    int r = group(&items, sizeof(*graph->uses), graph->n_uses, graph->n_nodes, &graph->first_use);

    graph->uses = items;
    return r;
}

/* A graph of QEMU has no circles. What claims to be one and has is cut where it closes, so that
 * nobody after this has to look out. */
static int cut_circles(qblk_graph *graph)
{
    enum { NEW, OPEN, DONE };
    AUTO_FREE char *state = mem_zalloc((size_t)graph->n_nodes + 1);
    AUTO_FREE int *stack = mem_zalloc((size_t)(graph->n_nodes + 1) * sizeof(int));
    AUTO_FREE int *next = mem_zalloc((size_t)(graph->n_nodes + 1) * sizeof(int));

    if (state == NULL || stack == NULL || next == NULL)
        return -ENOMEM;
    for (int start = 0; start < graph->n_nodes; start++) {
        int n = 0;

        if (state[start] != NEW)
            continue;
        stack[n++] = start;
        state[start] = OPEN;
        next[start] = graph->first_edge[start];
        while (n > 0) {
            int node = stack[n - 1];
            struct graph_edge *edge = &graph->edges[next[node]];

            if (next[node]++ == graph->first_edge[node + 1]) {
                state[node] = DONE;
                n--;
            } else if (state[edge->child] == OPEN) {
                edge->child = -1;
            } else if (state[edge->child] == NEW) {
                stack[n++] = edge->child;
                state[edge->child] = OPEN;
                next[edge->child] = graph->first_edge[edge->child];
            }
        }
    }
    return 0;
}

bool graph_is_filter_driver(const char *driver)
{
    static const char *const list[] = {
        "copy-on-read", "throttle", "copy-before-write", "backup-top", "mirror_top", "commit_top",
        "preallocate",  "blkdebug", "blklogwrites",      "blkverify",  "compress",   "blkreplay",
        GRAPH_UNKNOWN_FILTER
    };

    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++)
        if (strcmp(list[i], driver) == 0)
            return true;
    return false;
}

static int child_of(const qblk_graph *graph, int node, const char *role)
{
    for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++)
        if (graph->edges[e].child >= 0 && strcmp(graph->edges[e].role, role) == 0)
            return graph->edges[e].child;
    return -1;
}

int graph_link(qblk_graph *graph)
{
    /* What the filters call the child whose data they pass on; blkverify's "raw" is the reference,
     * through which it reads. */
    static const char *const roles[] = { "backing", "file", "image", "raw" };

    if (cut_circles(graph) < 0)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++) {
        qblk_node *node = &graph->nodes[i];

        if (!graph_is_filter_driver(node->driver)) {
            node->backing = child_of(graph, i, "backing");
            node->file = child_of(graph, i, "file");
            continue;
        }
        for (size_t r = 0; r < sizeof(roles) / sizeof(roles[0]) && node->backing < 0; r++)
            node->backing = child_of(graph, i, roles[r]);
        node->is_filter = true;
    }
    return 0;
}
