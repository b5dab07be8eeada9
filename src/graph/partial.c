/* A graph without the node query, which some versions of QEMU do not survive just then: the edges
 * tell which nodes there are, query-block tells of the images below each disk. What no disk holds
 * has a name and a place, and nothing more. */
#include <string.h>

#include "base/str.h"
#include "graph/graph_priv.h"

void graph_nodes_from_debug(qblk_graph *graph)
{
    if (graph->has_named || !graph->has_debug)
        return;
    for (size_t i = 0; i < graph->debug.nodes.n; i++) {
        const struct qapi_x_dbg_block_graph_node *from = &graph->debug.nodes.v[i];
        qblk_node *node = &graph->nodes[graph->n_nodes];

        if (strcmp(from->type, "block-driver") != 0 || from->name[0] == '\0' ||
            names_find(&graph->names, from->name) >= 0)
            continue;
        node->name = from->name;
        node->driver = node->filename = node->detect_zeroes = "";
        node->is_ours = str_our_name(node->name, NULL) != NULL;
        node->backing = node->file = -1;
        names_add(&graph->names, node->name, graph->n_nodes++);
    }
}

static int n_children(const qblk_graph *graph, int node)
{
    return graph->first_edge[node + 1] - graph->first_edge[node];
}

/* The only child of the node that data is read from, or NULL. A backup's filter has its target
 * too. */
static const struct graph_edge *only_source(const qblk_graph *graph, int node)
{
    const struct graph_edge *only = NULL;

    for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++) {
        if (strcmp(graph->edges[e].role, "target") == 0)
            continue;
        if (only != NULL)
            return NULL;
        only = &graph->edges[e];
    }
    return only;
}

/* A node whose only child is no leaf passes that child's data on: a format node has a leaf below
 * it, and a backing image beside that. */
void graph_guess_filters(qblk_graph *graph)
{
    for (int i = 0; i < graph->n_nodes; i++) {
        const struct graph_edge *edge = only_source(graph, i);

        if (graph->nodes[i].driver[0] != '\0' || edge == NULL || edge->child < 0)
            continue;
        if (strcmp(edge->role, "backing") == 0 || n_children(graph, edge->child) > 0)
            graph->nodes[i].driver = GRAPH_UNKNOWN_FILTER;
    }
}

static void fill(qblk_node *node, const struct qapi_image_info *image)
{
    if (node->driver[0] != '\0')
        return;
    node->driver = image->format;
    node->filename = image->filename;
    node->backing_string = image->backing_filename;
    node->backing_format = image->backing_filename_format;
    node->is_encrypted = image->encrypted;
    node->virtual_size = image->virtual_size > 0 ? (uint64_t)image->virtual_size : 0;
    node->actual_size = image->has_actual_size && image->actual_size > 0
                            ? (uint64_t)image->actual_size : 0;
}

/* The node of an image's bytes has the image's file name. */
static void fill_file(qblk_graph *graph, int at, const struct qapi_image_info *image)
{
    qblk_node *file = graph->nodes[at].file >= 0 ? &graph->nodes[graph->nodes[at].file] : NULL;

    if (file == NULL || file->driver[0] != '\0')
        return;
    file->driver = "file"; /* most likely */
    file->filename = image->filename;
    file->is_protocol = true;
}

/* QEMU tells of a chain image by image, filters that have a name of their own included. */
void graph_fill_images(qblk_graph *graph)
{
    if (graph->has_named)
        return;
    for (size_t i = 0; i < graph->block.n; i++) {
        const struct qapi_block_device_info *inserted = graph->block.v[i].inserted;
        const struct qapi_image_info *image;
        int at, limit = graph->n_nodes;

        if (inserted == NULL || inserted->node_name == NULL)
            continue;
        at = names_find(&graph->names, inserted->node_name);
        for (image = &inserted->image; image != NULL && at >= 0 && limit-- > 0;
             image = image->backing_image) {
            if (!graph_is_filter_driver(image->format))
                at = graph_skip_filters(graph, at);
            fill(&graph->nodes[at], image);
            fill_file(graph, at, image);
            at = graph->nodes[at].backing;
        }
    }
}
