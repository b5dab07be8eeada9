/* What a graph is made of. Shared by the files of this folder alone. */
#ifndef QBLK_SRC_GRAPH_PRIV_H
#define QBLK_SRC_GRAPH_PRIV_H

#include "base/pool.h"
#include "graph/graph.h"
#include "graph/names.h"
#include "qapi_types.h"

/* In both, the number by which they are grouped comes first. */
struct graph_edge {
    int parent;
    int child; /* -1: it closed a circle and is about to go */
    const char *role;
};

/* Who uses a node. The order of the kinds is that in which the users of a node are told. */
enum graph_use_kind { USE_JOB, USE_EXPORT, USE_BACKEND, USE_DEVICE, USE_NODE };

struct graph_use {
    int node;
    enum graph_use_kind kind;
    int from; /* index of the job or of the node that uses it; else -1 */
    qblk_user user;
};

struct graph_job {
    const char *id;
    const struct qapi_job_info *info;        /* NULL: it came between two replies */
    const struct qapi_block_job_info *block; /* NULL: not asked, or no block job */
    bool holds; /* a node */
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
    struct graph_job *held_by;
    int n_jobs;

    /* By node. */
    int *disk_of;      /* the first disk that holds it, or -1 */
    int *image;        /* the format node below any filters, or itself */
    int *filter_above; /* a filter that passes it on, one of a job before others; or -1 */
    int *listed;       /* place in the list that graph_deletable() makes; see there */
    struct names names;
    struct pool pool; /* all of the above, strings that no reply holds, and what it took to make it */

    /* The replies, which hold most strings. */
    struct qapi_job_info_list jobs;
    struct qapi_block_job_info_list block_jobs;
    struct qapi_block_info_list block;
    struct qapi_block_device_info_list named;
    struct qapi_x_dbg_block_graph debug;
    struct qapi_block_export_info_list exports;
    bool has_jobs, has_block_jobs, has_block, has_named, has_debug, has_exports;
};

/* The nodes of the debug graph by their numbers. */
struct graph_ids {
    struct graph_id {
        uint64_t id;
        int node; /* index, -1 if it is no node or none that is known */
        const struct qapi_x_dbg_block_graph_node *of;
    } *v;
    size_t n;
};
int graph_ids_init(const qblk_graph *graph, struct graph_ids *ids, struct pool *pool);
/* NULL if there is none. */
const struct graph_id *graph_ids_find(const struct graph_ids *ids, uint64_t id);

/* One of these three adds the edges. */
int graph_edges_from_children(qblk_graph *graph);
int graph_edges_from_debug(qblk_graph *graph);
int graph_edges_from_files(qblk_graph *graph);
/* Who uses a node, from the debug graph or, without it, from edges, drives and exports. */
int graph_make_uses(qblk_graph *graph);
/* Sorts edges and uses by their node. */
int graph_group_edges(qblk_graph *graph);
int graph_group_uses(qblk_graph *graph);
/* Sets backing, file, is_filter, image and filter_above of every node; cuts circles first. */
int graph_link(qblk_graph *graph);

bool graph_is_filter_driver(const char *driver);
/* Those that jobs put above a node, and that query-block looks through. */
bool graph_is_hidden_filter(const char *driver);

/* partial.c: what can be told without the node query. Nodes first, then (edges known, not linked
 * yet) which of them are filters, then (linked) the images below the disks. */
#define GRAPH_UNKNOWN_FILTER "filter"
void graph_nodes_from_debug(qblk_graph *graph);
void graph_guess_filters(qblk_graph *graph);
void graph_fill_images(qblk_graph *graph);

/* words.c: what is told of a graph. Names and texts are QEMU's, and QEMU's are its user's: with
 * graph_add_text() nothing reaches a terminal that could command it. */
void graph_add_text(struct buf *out, const char *text);
void graph_add_size(struct buf *out, uint64_t bytes);
/* Where the nodes could not be asked, QEMU told some sizes and not others. */
bool graph_knows_size(const qblk_graph *graph, int node);
/* "mirror running 33 %", "stream paused, stalled (nospace)"; nothing if only the id is known. */
void graph_add_job_state(struct buf *out, const struct graph_job *job);
/* "64 KiB dirty, granularity 64 KiB, recording, persistent" */
void graph_add_bitmap_state(struct buf *out, const qblk_bitmap *bitmap);
/* The name of the image's file. That of a node whose options no file name can express is a page of
 * json:{...}; the node that holds its bytes then has the name that people look for. */
const char *graph_file_name(const qblk_graph *graph, int node);
/* What a node is that no node uses: "active", "target", "journal", "unused", "other". */
const char *graph_root_role(const qblk_graph *graph, int node, bool is_disk);
/* One of the edges by which a job holds a node follows another. */
bool graph_is_same_job(const struct graph_use *a, const struct graph_use *b);

/* dot.c. Everything below the disk, or everything (-1). Returns 0 or -ENOMEM. */
int graph_draw_dot(const qblk_graph *graph, int disk, struct buf *out);

int graph_make_disks(qblk_graph *graph);
/* Zeroed, and lives as long as the graph. NULL when memory is gone. */
void *graph_alloc(qblk_graph *graph, size_t size);

#endif
