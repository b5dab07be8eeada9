/* What a graph is made of. Shared by the files of this folder alone. */
#ifndef QBLK_SRC_GRAPH_PRIV_H
#define QBLK_SRC_GRAPH_PRIV_H

#include "graph/graph.h"
#include "graph/names.h"
#include "qapi_types.h"

/* In both, the number by which they are grouped comes first. */
struct graph_edge {
    int parent;
    int child; /* -1: it closed a circle and was cut */
    const char *role;
};

struct graph_use {
    int node;
    int job; /* index in jobs, -1 if it is none or nothing is known of it */
    qblk_user user;
};

struct qblk_graph {
    qblk_node *nodes;
    int n_nodes;
    qblk_bitmap *bitmaps; /* those of node i: from first_bitmap[i] on, as many as it says */
    int n_bitmaps;
    int *first_bitmap;
    qblk_disk *disks;
    int n_disks;
    struct graph_edge *edges; /* those of node i: first_edge[i] up to first_edge[i + 1] */
    int n_edges;
    int *first_edge;
    struct graph_use *uses; /* the same by first_use */
    int n_uses;
    int *first_use;
    int *disk_of; /* by node: the first disk that holds it, or -1 */
    struct names names;
    char **owned; /* strings that no reply holds */
    size_t n_owned, owned_room;

    /* The replies, which hold the strings. */
    struct qapi_job_info_list jobs;
    struct qapi_block_info_list block;
    struct qapi_block_device_info_list named;
    struct qapi_x_dbg_block_graph debug;
    bool has_jobs, has_block, has_named, has_debug;
};

/* One of these three adds the edges, one of the next two who uses a node. */
int graph_edges_from_children(qblk_graph *graph);
int graph_edges_from_debug(qblk_graph *graph);
int graph_edges_from_files(qblk_graph *graph);
int graph_uses_from_debug(qblk_graph *graph);
int graph_uses_from_edges(qblk_graph *graph);
/* Sorts edges and uses by their node. */
int graph_group_edges(qblk_graph *graph);
int graph_group_uses(qblk_graph *graph);
/* Sets backing, file, is_filter of every node; cuts circles first. */
int graph_link(qblk_graph *graph);

bool graph_is_filter_driver(const char *driver);

/* partial.c: what can be told without the node query. Nodes first, then (edges known, not linked yet)
 * which of them are filters, then (linked) the images below the disks. */
#define GRAPH_UNKNOWN_FILTER "filter"
void graph_nodes_from_debug(qblk_graph *graph);
void graph_guess_filters(qblk_graph *graph);
void graph_fill_images(qblk_graph *graph);

int graph_make_disks(qblk_graph *graph);
/* A formatted string that lives as long as the graph, or NULL. */
const char *graph_own(qblk_graph *graph, char *text);

#endif
