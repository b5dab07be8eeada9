/* Edges between nodes, from whichever reply tells. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "graph/graph_priv.h"

static void add_edge(qblk_graph *graph, int parent, int child, const char *role)
{
    if (parent < 0 || child < 0)
        return;
    graph->edges[graph->n_edges++] = (struct graph_edge){ parent, child, role };
}

static int room_for_edges(qblk_graph *graph, size_t n)
{
    graph->edges = graph_alloc(graph, (n + 1) * sizeof(*graph->edges));
    return graph->edges != NULL ? 0 : -ENOMEM;
}

int graph_edges_from_children(qblk_graph *graph)
{
    size_t n = 0;

    for (size_t i = 0; i < graph->named.n; i++)
        n += graph->named.v[i].children.n;
    if (room_for_edges(graph, n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->named.n; i++) {
        const struct qapi_block_device_info *info = &graph->named.v[i];
        int parent = info->node_name != NULL ? names_find(&graph->names, info->node_name) : -1;

        for (size_t c = 0; c < info->children.n; c++)
            add_edge(graph, parent, names_find(&graph->names, info->children.v[c].node_name),
                     info->children.v[c].child);
    }
    return 0;
}

/* ---- from x-debug-query-block-graph --------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    const struct graph_id *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

int graph_ids_init(const qblk_graph *graph, struct graph_ids *ids, struct pool *pool)
{
    ids->n = graph->debug.nodes.n;
    ids->v = pool_alloc(pool, (ids->n + 1) * sizeof(*ids->v), 8, 0);
    if (ids->v == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < ids->n; i++) {
        const struct qapi_x_dbg_block_graph_node *of = &graph->debug.nodes.v[i];
        bool is_node = strcmp(of->type, "block-driver") == 0;

        ids->v[i] = (struct graph_id){ of->id, is_node ? names_find(&graph->names, of->name) : -1,
                                       of };
    }
    if (ids->n > 0)
        qsort(ids->v, ids->n, sizeof(*ids->v), compare_ids);
    return 0;
}

const struct graph_id *graph_ids_find(const struct graph_ids *ids, uint64_t id)
{
    struct graph_id key = { id, -1, NULL };

    return ids->n > 0 ? bsearch(&key, ids->v, ids->n, sizeof(*ids->v), compare_ids) : NULL;
}

static int node_of(const struct graph_ids *ids, uint64_t id)
{
    const struct graph_id *found = graph_ids_find(ids, id);

    return found != NULL ? found->node : -1;
}

int graph_edges_from_debug(qblk_graph *graph)
{
    struct graph_ids ids;

    if (graph_ids_init(graph, &ids, &graph->pool) < 0 || room_for_edges(graph, graph->debug.edges.n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->debug.edges.n; i++) {
        const struct qapi_x_dbg_block_graph_edge *edge = &graph->debug.edges.v[i];

        add_edge(graph, node_of(&ids, edge->parent), node_of(&ids, edge->child), edge->name);
    }
    return 0;
}

static bool is_shared(const struct qapi_x_dbg_block_graph_edge *edge, const char *permission)
{
    for (size_t i = 0; i < edge->shared_perm.n; i++)
        if (strcmp(edge->shared_perm.v[i], permission) == 0)
            return true;
    return false;
}

const char *graph_who_forbids(const qblk_graph *graph, int node, const char *permission)
{
    CLEANUP(pool_done) struct pool pool = POOL_INIT;
    struct graph_ids ids;

    if (!graph->has_debug || graph_ids_init(graph, &ids, &pool) < 0)
        return NULL;
    for (size_t i = 0; i < graph->debug.edges.n; i++) {
        const struct qapi_x_dbg_block_graph_edge *edge = &graph->debug.edges.v[i];
        const struct graph_id *parent = graph_ids_find(&ids, edge->parent);

        if (parent == NULL || node_of(&ids, edge->child) != node || is_shared(edge, permission))
            continue;
        return parent->of->name[0] != '\0'                       ? parent->of->name
               : strcmp(parent->of->type, "block-backend") == 0 ? "an export"
                                                                : parent->of->type;
    }
    return NULL;
}

/* ---- without it ----------------------------------------------------------------------------- */

/* The file names in the chain of a drive's image say which nodes follow each other, and nodes with
 * the same file name are an image, its bytes, and the filters above it. */
static void edges_of_chain(qblk_graph *graph, const struct names *images, const char *root,
                           const struct qapi_image_info *image)
{
    int parent = names_find(&graph->names, root);

    if (parent >= 0 && graph_is_filter_driver(graph->nodes[parent].driver))
        parent = names_find(images, image->filename);
    for (image = image->backing_image; image != NULL; image = image->backing_image) {
        int child = names_find(images, image->filename);

        if (parent == child)
            continue; /* the filter came first, then what it shows */
        add_edge(graph, parent, child, "backing");
        parent = child;
    }
}

int graph_edges_from_files(qblk_graph *graph)
{
    struct names images, protocols;
    size_t most = (size_t)graph->n_nodes;

    if (names_init(&images, most, &graph->pool) < 0 || names_init(&protocols, most, &graph->pool) < 0)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++)
        if (!graph_is_filter_driver(graph->nodes[i].driver))
            names_add(graph->nodes[i].is_protocol ? &protocols : &images,
                      graph->nodes[i].filename, i);
    for (size_t i = 0; i < graph->block.n; i++)
        if (graph->block.v[i].inserted != NULL)
            for (const struct qapi_image_info *image = &graph->block.v[i].inserted->image;
                 image != NULL; image = image->backing_image)
                most++;
    if (room_for_edges(graph, most) < 0)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++) {
        const qblk_node *node = &graph->nodes[i];
        int below = names_find(&protocols, node->filename);

        if (node->is_protocol || node->filename[0] == '\0')
            continue;
        if (graph_is_filter_driver(node->driver) && names_find(&images, node->filename) >= 0)
            below = names_find(&images, node->filename);
        add_edge(graph, i, below, "file");
    }
    for (size_t i = 0; i < graph->block.n; i++) {
        const struct qapi_block_device_info *inserted = graph->block.v[i].inserted;

        if (inserted != NULL && inserted->node_name != NULL)
            edges_of_chain(graph, &images, inserted->node_name, &inserted->image);
    }
    return 0;
}
