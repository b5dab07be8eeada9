/* Edges between nodes, and who uses a node, from whichever reply tells. */
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
    graph->edges = mem_zalloc((n + 1) * sizeof(*graph->edges));
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

struct debug_id {
    uint64_t id;
    size_t at;
};

static int compare_ids(const void *a, const void *b)
{
    const struct debug_id *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static struct debug_id *sort_ids(const qblk_graph *graph)
{
    size_t n = graph->debug.nodes.n;
    struct debug_id *ids = mem_zalloc((n + 1) * sizeof(*ids));

    if (ids == NULL)
        return NULL;
    for (size_t i = 0; i < n; i++)
        ids[i] = (struct debug_id){ graph->debug.nodes.v[i].id, i };
    if (n > 0)
        qsort(ids, n, sizeof(*ids), compare_ids);
    return ids;
}

static const struct qapi_x_dbg_block_graph_node *debug_node(const qblk_graph *graph,
                                                            const struct debug_id *ids,
                                                            uint64_t id)
{
    struct debug_id key = { id, 0 };
    const struct debug_id *found =
        graph->debug.nodes.n > 0
            ? bsearch(&key, ids, graph->debug.nodes.n, sizeof(*ids), compare_ids)
            : NULL;

    return found != NULL ? &graph->debug.nodes.v[found->at] : NULL;
}

/* The index of a block-driver node; -1 for others and for unknown ones. */
static int driver_index(const qblk_graph *graph, const struct qapi_x_dbg_block_graph_node *node)
{
    if (node == NULL || strcmp(node->type, "block-driver") != 0)
        return -1;
    return names_find(&graph->names, node->name);
}

int graph_edges_from_debug(qblk_graph *graph)
{
    AUTO_FREE struct debug_id *ids = sort_ids(graph);

    if (ids == NULL || room_for_edges(graph, graph->debug.edges.n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->debug.edges.n; i++) {
        const struct qapi_x_dbg_block_graph_edge *edge = &graph->debug.edges.v[i];

        add_edge(graph, driver_index(graph, debug_node(graph, ids, edge->parent)),
                 driver_index(graph, debug_node(graph, ids, edge->child)), edge->name);
    }
    return 0;
}

static int make_job_names(const qblk_graph *graph, struct names *names)
{
    if (names_init(names, graph->jobs.n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->jobs.n; i++)
        names_add(names, graph->jobs.v[i].id, (int)i);
    return 0;
}

static void add_use(qblk_graph *graph, int node, const char *kind, const char *name,
                    const char *role, int job)
{
    graph->uses[graph->n_uses++] = (struct graph_use){ node, job, { kind, name, role } };
}

static int room_for_uses(qblk_graph *graph, size_t n)
{
    graph->uses = mem_zalloc((n + 1) * sizeof(*graph->uses));
    return graph->uses != NULL ? 0 : -ENOMEM;
}

int graph_uses_from_debug(qblk_graph *graph)
{
    AUTO_FREE struct debug_id *ids = sort_ids(graph);
    CLEANUP(names_done) struct names jobs = { NULL, 0 };

    if (ids == NULL || make_job_names(graph, &jobs) < 0
        || room_for_uses(graph, graph->debug.edges.n) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < graph->debug.edges.n; i++) {
        const struct qapi_x_dbg_block_graph_edge *edge = &graph->debug.edges.v[i];
        const struct qapi_x_dbg_block_graph_node *parent = debug_node(graph, ids, edge->parent);
        int child = driver_index(graph, debug_node(graph, ids, edge->child));

        if (child < 0 || parent == NULL)
            continue;
        if (strcmp(parent->type, "block-driver") == 0)
            add_use(graph, child, "node", parent->name, edge->name, -1);
        else if (strcmp(parent->type, "block-job") == 0)
            add_use(graph, child, "job", parent->name, edge->name,
                    names_find(&jobs, parent->name));
        else
            add_use(graph, child, parent->name[0] != '\0' ? "device" : "export", parent->name,
                    edge->name, -1);
    }
    return 0;
}

/* ---- without it ----------------------------------------------------------------------------- */

int graph_uses_from_edges(qblk_graph *graph)
{
    if (room_for_uses(graph, (size_t)graph->n_edges + graph->block.n) < 0)
        return -ENOMEM;
    for (int e = 0; e < graph->n_edges; e++)
        if (graph->edges[e].child >= 0)
            add_use(graph, graph->edges[e].child, "node", graph->nodes[graph->edges[e].parent].name,
                    graph->edges[e].role, -1);
    for (size_t i = 0; i < graph->block.n; i++) {
        const struct qapi_block_info *info = &graph->block.v[i];
        int node = info->inserted != NULL && info->inserted->node_name != NULL
                       ? names_find(&graph->names, info->inserted->node_name)
                       : -1;

        if (node >= 0)
            add_use(graph, node, "device",
                    info->device[0] != '\0' || info->qdev == NULL ? info->device : info->qdev,
                    "root", -1);
    }
    return 0;
}

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
    CLEANUP(names_done) struct names images = { NULL, 0 }, protocols = { NULL, 0 };
    size_t most = (size_t)graph->n_nodes;

    if (names_init(&images, most) < 0 || names_init(&protocols, most) < 0)
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
