/* qblk/graph.h - the block graph at one instant: disks, nodes, chains, who holds what.
 *
 * Read by query-jobs, query-block, query-named-block-nodes (flat) and x-debug-query-block-graph,
 * which tells who uses what and may be refused; where a job is paused, by query-block-jobs; where
 * somebody without a name uses a node, or nothing is known of users, by query-block-exports. A
 * version of QEMU that the node query could crash just now (while a stream job exists, or a backup
 * job in 5.2) is not asked it: then driver, file and size are known only of the images that a disk
 * holds, and are "" and 0 elsewhere.
 */
#ifndef QBLK_GRAPH_H
#define QBLK_GRAPH_H

#include <qblk/base.h>

QBLK_BEGIN_DECLS

/* A node. Pointers and indices are valid as long as the graph. */
typedef struct qblk_node {
    const char *name;           /* node-name */
    const char *driver;         /* "qcow2", "raw", "file", "nbd", "copy-on-read", ... */
    const char *filename;       /* as QEMU opened it, or "" */
    const char *backing_string; /* what the image's header records as its backing file, or NULL */
    const char *backing_format; /* and as that file's format, or NULL */
    uint64_t virtual_size;      /* bytes; 0 also if unknown */
    uint64_t actual_size;       /* bytes allocated on the host, 0 if unknown */
    bool is_read_only;
    bool is_filter;             /* passes the data of one child on */
    bool is_protocol;           /* holds the bytes of an image: file, nbd, host_device, ... */
    bool is_ours;               /* named qblk.<id>.<role> */
    int backing;                /* index of the backing (or filtered) node below, -1 if none */
    int file;                   /* index of the node that holds this one's bytes, -1 if none */
    int bitmaps;                /* number of named dirty bitmaps, see qblk_graph_bitmap() */
    bool is_encrypted;          /* what is read of it is not what its file holds */
    bool is_direct;             /* cache.direct: past the host's page cache */
    bool no_flush;              /* cache.no-flush: it does not flush */
    const char *detect_zeroes;  /* "off", "on", "unmap"; "" if unknown, as the two before are then */
} qblk_node;

/* A named dirty bitmap of a node. */
typedef struct qblk_bitmap {
    const char *name;
    uint64_t granularity; /* bytes that one bit stands for */
    uint64_t count;       /* dirty bytes */
    bool is_recording;    /* takes note of writes; else it is disabled */
    bool is_persistent;   /* stored in the image when that is closed */
    bool is_inconsistent; /* was not stored properly: can only be removed */
    bool is_busy;         /* held by a job or an export */
} qblk_bitmap;

/* A disk: a guest device or a drive with a medium, or, in qemu-storage-daemon, a node that nothing
 * else uses. */
typedef struct qblk_disk {
    const char *name;     /* what to call it: device id, drive name, or node name */
    const char *device;   /* id given to -device, or "" */
    const char *qom_path; /* or "" */
    const char *drive;    /* name given to -drive, or "" */
    int root;             /* index of the node that the device uses */
    int top;              /* index of the format node below any filters */
    const char *io_status;/* "ok", "failed", "nospace", or "" */
    uint64_t virtual_size;
    bool is_read_only;
    bool is_removable;
} qblk_disk;

/* Who uses a node. */
typedef struct qblk_user {
    const char *kind; /* "job", "export", "backend" (one that QEMU does not name), "device",
                       * "node" */
    const char *name; /* job id, export id, "", QOM path or drive name, node-name */
    const char *role; /* the edge's name: "main node", "target", "root", "backing", "file", ...; of
                       * an export its type: "nbd", "vhost-user-blk", ... */
} qblk_user;

/* A node that a node uses. */
typedef struct qblk_child {
    int node;
    const char *role; /* "file", "backing", "data-file", "image", "target", ... */
} qblk_child;

/* Reads the graph. Blocks up to timeout_ms (-1: for ever). The graph is the caller's. Returns 0,
 * -ETIMEDOUT, -ECONNRESET, ... Since: 0.1. */
QBLK_API int qblk_graph_read(qblk_monitor *monitor, int timeout_ms, qblk_graph **ret_graph,
                             qblk_error *error) QBLK_MUST_CHECK;

/* Frees it; NULL is fine. Returns NULL. Since: 0.1. */
QBLK_API qblk_graph *qblk_graph_free(qblk_graph *graph);

QBLK_API int qblk_graph_node_count(const qblk_graph *graph);
/* Borrowed; NULL if index is out of range. */
QBLK_API const qblk_node *qblk_graph_node(const qblk_graph *graph, int index);
/* Index of the node of that name, or -1. */
QBLK_API int qblk_graph_find_node(const qblk_graph *graph, const char *name);

QBLK_API int qblk_graph_disk_count(const qblk_graph *graph);
QBLK_API const qblk_disk *qblk_graph_disk(const qblk_graph *graph, int index);

/* Finds the disk meant by name: device id, QOM path, drive name, node name, file name, in that
 * order. Returns its index; -ENOENT with QBLK_E_UNKNOWN_DISK or -EPERM with QBLK_E_AMBIGUOUS, the
 * text naming the candidates. Since: 0.1. */
QBLK_API int qblk_graph_find_disk(const qblk_graph *graph, const char *name, qblk_error *error);

/* Finds an image in the disk's chain: node name, file name, or depth ("@0" is the top, "@1" its
 * backing image, ...; filters do not count). Returns the node's index or an error as above. */
QBLK_API int qblk_graph_find_in_chain(const qblk_graph *graph, int disk, const char *name,
                                      qblk_error *error);

/* The k-th user of a node, in *ret_user; returns 1, or 0 if there are not that many. They come in
 * the order of the kinds above; a job may use a node in several roles. */
QBLK_API int qblk_graph_user(const qblk_graph *graph, int node, int k, qblk_user *ret_user);

/* The k-th child of a node, in *ret_child; returns 1, or 0 if there are not that many. What holds
 * its bytes comes first, what it is an overlay of last. Since: 0.1. */
QBLK_API int qblk_graph_child(const qblk_graph *graph, int node, int k, qblk_child *ret_child);

/* The k-th named dirty bitmap of a node, in *ret_bitmap; returns 1, or 0 if there are not that
 * many. Its name is borrowed from the graph. Bitmaps without a name, which jobs have, are left out.
 * Since: 0.1. */
QBLK_API int qblk_graph_bitmap(const qblk_graph *graph, int node, int k, qblk_bitmap *ret_bitmap);

typedef enum qblk_draw { QBLK_DRAW_TREE, QBLK_DRAW_DOT, QBLK_DRAW_CHAIN } qblk_draw;

/* Draws the disk's chain (disk -1: everything) as an indented tree, as Graphviz input, or as one
 * line, top first. The text is the caller's. Returns 0, -ENOMEM, -EINVAL. Since: 0.1. */
QBLK_API int qblk_graph_print(const qblk_graph *graph, int disk, qblk_draw how, char **ret_text,
                              qblk_error *error) QBLK_MUST_CHECK;

QBLK_END_DECLS

#endif
