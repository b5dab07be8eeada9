/* The block graph from QEMU's replies. Pure. The public face is qblk/graph.h. */
#ifndef QBLK_SRC_GRAPH_H
#define QBLK_SRC_GRAPH_H

#include <qblk/graph.h>

#include "base/buf.h"

/* What QEMU said, each as the text of a whole reply message; NULL where it was not asked. */
struct graph_replies {
    const char *jobs;        /* query-jobs: type, status and percentage of those that hold nodes */
    const char *block;       /* query-block */
    const char *named_nodes; /* query-named-block-nodes {"flat": true} */
    const char *debug_graph; /* x-debug-query-block-graph; an error reply counts as not asked */
    const char *exports;     /* query-block-exports, and the same of an error reply */
    const char *block_jobs;  /* query-block-jobs: why a job is stalled */
};

/* Builds the graph. Edges come from "children" of the nodes (11.1+), else from debug_graph, else
 * from the order of file names in the chains of query-block. Returns 0, -EPROTO, -ENOMEM. */
int graph_build(const struct graph_replies *replies, qblk_graph **ret_graph, qblk_error *error);

/* Whether somebody without a name uses a node, or who uses the nodes is not known at all, so that
 * query-block-exports, which was not asked, could tell more. */
bool graph_is_unexplained(const qblk_graph *graph);

/* Whether the nodes could be asked: if not, the bitmaps of all but the nodes that a device uses are
 * unknown. */
bool graph_is_complete(const qblk_graph *graph);

/* Whether QEMU told its debug graph, which a strict one does not. */
bool graph_has_debug(const qblk_graph *graph);

/* The id of a job that holds this node or any node of its chain down to (and without) stop (-1: the
 * whole chain), with the node that it holds; NULL if none does. */
const char *graph_job_on(const qblk_graph *graph, int node, int stop, const char **ret_node);

/* Appends, for an error's text, who uses the node: "job 'j' (mirror, running 33 %), device 'vd0'
 * and node 'top' (backing)". Users of the same kind beyond a few are counted. Returns how many
 * there are; with none it appends nothing. */
int graph_tell_users(const qblk_graph *graph, int node, struct buf *out);

/* Appends to list the indices of the named nodes that exist only for this one and go when it goes,
 * in the order in which blockdev-del must take them: the node, then its file nodes. Nodes with
 * another user than those listed, and nodes that QEMU named ("#block..."), are left out. Returns
 * how many were added. list has room for room entries in all, *n are taken. The graph keeps notes
 * for it: one list at a time. */
int graph_deletable(const qblk_graph *graph, int node, int *list, int room, int *n);

/* The same for a node whose users are about to let go of it, and so do not count. */
int graph_released(const qblk_graph *graph, int node, int *list, int room, int *n);

/* Who uses the node and does not let others do that with it ("resize"): its name, or its kind if it
 * has none; NULL if nobody is known to. */
const char *graph_who_forbids(const qblk_graph *graph, int node, const char *permission);

/* What query-block says of the disk's medium, or NULL: in qemu-storage-daemon there are no devices.
 * Borrowed. */
struct qapi_block_device_info;
const struct qapi_block_device_info *graph_medium(const qblk_graph *graph, int disk);

/* The next image below (through filters), -1 at the end. */
int graph_backing_image(const qblk_graph *graph, int node);
/* The format node below any filters: the node itself if it is no filter. */
int graph_skip_filters(const qblk_graph *graph, int node);
/* The disk whose chain or tree holds the node, or -1. */
int graph_disk_of(const qblk_graph *graph, int node);

#endif
