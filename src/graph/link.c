/* Edges made usable: sorted by node, circles cut, filters told from images. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph_priv.h"

/* Sorts n items by their first int, which is below n_keys, keeping the order of equals. Those of
 * key k are then at (*ret_first)[k] up to (*ret_first)[k + 1]. */
static int group(qblk_graph *graph, void **items, size_t size, int n, int n_keys, int **ret_first)
{
    int *first = graph_alloc(graph, (size_t)(n_keys + 2) * sizeof(int));
    char *from = *items, *to = graph_alloc(graph, (size_t)(n + 1) * size);

    *ret_first = first;
    if (first == NULL || to == NULL)
        return -ENOMEM;
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
    r = group(graph, &items, sizeof(*graph->edges), graph->n_edges, graph->n_nodes,
              &graph->first_edge);

    graph->edges = items;
    return r;
}

static int compare_uses(const void *a, const void *b)
{
    const struct graph_use *x = a, *y = b;
    int r = x->node - y->node;

    if (r == 0)
        r = (int)x->kind - (int)y->kind;
    if (r == 0)
        r = x->from - y->from;
    if (r == 0)
        r = strcmp(x->user.name, y->user.name);
    if (r == 0) /* what a job works on says most about it */
        r = (strcmp(y->user.role, "main node") == 0) - (strcmp(x->user.role, "main node") == 0);
    return r != 0 ? r : strcmp(x->user.role, y->user.role);
}

/* By kind, and the edges of a job in a row. */
int graph_group_uses(qblk_graph *graph)
{
    void *items;
    int r;

    if (graph->n_uses > 0)
        qsort(graph->uses, (size_t)graph->n_uses, sizeof(*graph->uses), compare_uses);
    items = graph->uses;
    r = group(graph, &items, sizeof(*graph->uses), graph->n_uses, graph->n_nodes, &graph->first_use);
    graph->uses = items;
    return r;
}

/* Takes out the edges that were cut; those of a node stay in a row. */
static void drop_cut_edges(qblk_graph *graph)
{
    int n = 0, e = 0;

    for (int node = 0; node < graph->n_nodes; node++) {
        int end = graph->first_edge[node + 1];

        graph->first_edge[node] = n;
        for (; e < end; e++)
            if (graph->edges[e].child >= 0)
                graph->edges[n++] = graph->edges[e];
    }
    graph->first_edge[graph->n_nodes] = n;
    graph->n_edges = n;
}

/* A graph of QEMU has no circles. What claims to be one and has is cut where it closes, so that
 * nobody after this has to look out. Fills order with the nodes, each after those below it. */
static int cut_circles(qblk_graph *graph, int *order)
{
    enum { NEW, OPEN, DONE };
    char *state = graph_alloc(graph, (size_t)graph->n_nodes + 1);
    int *stack = graph_alloc(graph, (size_t)(graph->n_nodes + 1) * sizeof(int));
    int *next = graph_alloc(graph, (size_t)(graph->n_nodes + 1) * sizeof(int));
    int n_done = 0;

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
                order[n_done++] = node;
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
    drop_cut_edges(graph);
    return 0;
}

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

bool graph_is_filter_driver(const char *driver)
{
    static const char *const list[] = {
        "copy-on-read", "throttle", "copy-before-write", "backup-top", "mirror_top", "commit_top",
        "preallocate",  "blkdebug", "blklogwrites",      "blkverify",  "compress",   "blkreplay",
        GRAPH_UNKNOWN_FILTER
    };

    return is_one_of(driver, list, sizeof(list) / sizeof(list[0]));
}

bool graph_is_hidden_filter(const char *driver)
{
    static const char *const list[] = { "mirror_top", "commit_top", "copy-on-read" };

    return is_one_of(driver, list, sizeof(list) / sizeof(list[0]));
}

static int child_of(const qblk_graph *graph, int node, const char *role)
{
    for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++)
        if (strcmp(graph->edges[e].role, role) == 0)
            return graph->edges[e].child;
    return -1;
}

static void link_node(qblk_graph *graph, int index)
{
    /* What the filters call the child whose data they pass on; blkverify's "raw" is the reference,
     * through which it reads. */
    static const char *const roles[] = { "backing", "file", "image", "raw" };
    qblk_node *node = &graph->nodes[index];
    int *above;

    graph->image[index] = index;
    if (!graph_is_filter_driver(node->driver)) {
        node->backing = child_of(graph, index, "backing");
        node->file = child_of(graph, index, "file");
        return;
    }
    node->is_filter = true;
    for (size_t r = 0; r < sizeof(roles) / sizeof(roles[0]) && node->backing < 0; r++)
        node->backing = child_of(graph, index, roles[r]);
    if (node->backing < 0)
        return;
    graph->image[index] = graph->image[node->backing];
    above = &graph->filter_above[node->backing];
    if (*above < 0 || (graph_is_hidden_filter(node->driver)
                       && !graph_is_hidden_filter(graph->nodes[*above].driver)))
        *above = index;
}

int graph_link(qblk_graph *graph)
{
    size_t n = (size_t)graph->n_nodes + 1;
    int *order = graph_alloc(graph, n * sizeof(int));

    graph->image = graph_alloc(graph, n * sizeof(int));
    graph->filter_above = graph_alloc(graph, n * sizeof(int));
    graph->listed = graph_alloc(graph, n * sizeof(int));
    if (order == NULL || graph->image == NULL || graph->filter_above == NULL
        || graph->listed == NULL || cut_circles(graph, order) < 0)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++)
        graph->filter_above[i] = -1;
    for (int i = 0; i < graph->n_nodes; i++)
        link_node(graph, order[i]);
    return 0;
}
