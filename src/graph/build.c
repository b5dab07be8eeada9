/* Replies to nodes. */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "graph/graph_priv.h"

/* A node takes about so much. */
#define NODE_BYTES 640

void *graph_alloc(qblk_graph *graph, size_t size)
{
    return pool_alloc(&graph->pool, size, 8, (graph->named.n + graph->block.n + 4) * NODE_BYTES);
}

static bool is_one_of(const char *word, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i], word) == 0)
            return true;
    return false;
}

/* Drivers that hold the bytes themselves. */
static bool is_protocol(const char *driver)
{
    static const char *const list[] = {
        "file",     "host_device", "host_cdrom", "nbd",          "null-co", "null-aio",
        "http",     "https",       "ftp",        "ftps",         "iscsi",   "nfs",
        "rbd",      "ssh",         "gluster",    "nvme",         "vvfat",   "sheepdog",
        "io_uring", "vxhs",        "tftp",       "nvme-io_uring"
    };

    return is_one_of(driver, list, sizeof(list) / sizeof(list[0]))
           || str_starts(driver, "virtio-blk-");
}

static uint64_t unsign(int64_t n)
{
    return n > 0 ? (uint64_t)n : 0;
}

static const char *or_empty(const char *text)
{
    return text != NULL ? text : "";
}

/* Of the node that is just being added. */
static void add_bitmaps(qblk_graph *graph, const struct qapi_block_device_info *info)
{
    graph->first_bitmap[graph->n_nodes] = graph->n_bitmaps;
    for (size_t i = 0; i < info->dirty_bitmaps.n; i++) {
        const struct qapi_block_dirty_info *from = &info->dirty_bitmaps.v[i];

        if (from->name == NULL)
            continue; /* a job's */
        graph->bitmaps[graph->n_bitmaps++] = (qblk_bitmap){
            .name = from->name,
            .granularity = unsign(from->granularity),
            .count = unsign(from->count),
            .is_recording = from->recording,
            .is_persistent = from->persistent,
            .is_inconsistent = from->has_inconsistent && from->inconsistent,
            .is_busy = from->busy,
        };
        graph->nodes[graph->n_nodes].bitmaps++;
    }
}

static void add_node(qblk_graph *graph, const struct qapi_block_device_info *info)
{
    qblk_node *node = &graph->nodes[graph->n_nodes];

    if (info->node_name == NULL || info->node_name[0] == '\0'
        || names_find(&graph->names, info->node_name) >= 0)
        return;
    node->name = info->node_name;
    node->driver = or_empty(info->drv);
    node->filename = or_empty(info->file);
    node->backing_string = info->image.backing_filename;
    node->backing_format = info->image.backing_filename_format;
    node->virtual_size = unsign(info->image.virtual_size);
    node->actual_size = info->image.has_actual_size ? unsign(info->image.actual_size) : 0;
    node->is_read_only = info->ro;
    node->is_encrypted = info->encrypted;
    node->is_direct = info->cache != NULL && info->cache->direct;
    node->no_flush = info->cache != NULL && info->cache->no_flush;
    node->detect_zeroes = or_empty(info->detect_zeroes);
    node->is_protocol = is_protocol(node->driver);
    node->is_ours = str_our_name(node->name, NULL) != NULL;
    node->backing = node->file = -1;
    add_bitmaps(graph, info);
    names_add(&graph->names, node->name, graph->n_nodes++);
}

static size_t count_bitmaps(const qblk_graph *graph)
{
    size_t n = 0;

    for (size_t i = 0; i < graph->named.n; i++)
        n += graph->named.v[i].dirty_bitmaps.n;
    for (size_t i = 0; i < graph->block.n; i++)
        if (graph->block.v[i].inserted != NULL)
            n += graph->block.v[i].inserted->dirty_bitmaps.n;
    return n;
}

static int make_nodes(qblk_graph *graph, qblk_error *error)
{
    size_t most = graph->named.n + graph->block.n + (graph->has_named ? 0 : graph->debug.nodes.n);
    size_t most_bitmaps = count_bitmaps(graph);

    if (most > INT_MAX / 8 || most_bitmaps > INT_MAX / 8)
        return err_set(error, QBLK_E_PROTOCOL, "QEMU names %zu nodes, more than can be", most);
    graph->nodes = graph_alloc(graph, most * sizeof(*graph->nodes));
    graph->bitmaps = graph_alloc(graph, most_bitmaps * sizeof(*graph->bitmaps));
    graph->first_bitmap = graph_alloc(graph, most * sizeof(*graph->first_bitmap));
    if (graph->nodes == NULL || graph->bitmaps == NULL || graph->first_bitmap == NULL
        || names_init(&graph->names, most, &graph->pool) < 0)
        return err_nomem(error);
    for (size_t i = 0; i < graph->named.n; i++)
        add_node(graph, &graph->named.v[i]);
    /* One that came between the two replies, or the only ones if the nodes could not be asked. */
    for (size_t i = 0; i < graph->block.n; i++)
        if (graph->block.v[i].inserted != NULL)
            add_node(graph, graph->block.v[i].inserted);
    graph_nodes_from_debug(graph);
    return 0;
}

static bool names_children(const struct qapi_block_device_info_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (list->v[i].has_children)
            return true;
    return false;
}

static int make_edges(qblk_graph *graph)
{
    int r;

    if (names_children(&graph->named))
        r = graph_edges_from_children(graph);
    else if (graph->has_debug)
        r = graph_edges_from_debug(graph);
    else
        r = graph_edges_from_files(graph);
    if (r == 0)
        r = graph_group_edges(graph);
    if (r == 0) {
        graph_guess_filters(graph);
        r = graph_link(graph);
    }
    if (r == 0)
        graph_fill_images(graph);
    if (r == 0)
        r = graph_make_uses(graph);
    if (r == 0)
        r = graph_group_uses(graph);
    return r;
}

/* Several disks may share a base: it belongs to the first. */
static int assign_disks(qblk_graph *graph)
{
    int *stack = graph_alloc(graph, (size_t)(graph->n_nodes + graph->n_edges + 1) * sizeof(int));

    graph->disk_of = graph_alloc(graph, (size_t)(graph->n_nodes + 1) * sizeof(int));
    if (stack == NULL || graph->disk_of == NULL)
        return -ENOMEM;
    for (int i = 0; i < graph->n_nodes; i++)
        graph->disk_of[i] = -1;
    for (int d = 0; d < graph->n_disks; d++) {
        int n = 0;

        if (graph->disks[d].root >= 0)
            stack[n++] = graph->disks[d].root;
        while (n > 0) {
            int node = stack[--n];

            if (graph->disk_of[node] >= 0)
                continue;
            graph->disk_of[node] = d;
            for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++) {
                const struct graph_edge *edge = &graph->edges[e];

                /* What a backup writes to is no part of the disk that it reads. */
                if (strcmp(edge->role, "target") != 0)
                    stack[n++] = edge->child;
            }
        }
    }
    return 0;
}

static int decode_reply(const struct codec_command *command, const char *reply, void *value,
                        bool *ret_has, qblk_error *error)
{
    int r = reply != NULL ? codec_reply(command, reply, value, error) : 0;

    *ret_has = reply != NULL && r == 0;
    return r;
}

/* Of a command that a QEMU may lack or refuse, or that is unstable and may be another one some
 * day. */
static int decode_or_do_without(const struct codec_command *command, const char *reply, void *value,
                                bool *ret_has, qblk_error *error)
{
    qblk_error refused = { 0 };

    (void)decode_reply(command, reply, value, ret_has, &refused);
    return refused.code == QBLK_E_MEMORY ? err_copy(error, &refused) : 0;
}

static int decode(qblk_graph *graph, const struct graph_replies *replies, qblk_error *error)
{
    int r =
        decode_reply(&qapi_cmd_query_jobs, replies->jobs, &graph->jobs, &graph->has_jobs, error);

    if (r == 0)
        r = decode_reply(&qapi_cmd_query_block, replies->block, &graph->block, &graph->has_block,
                         error);
    if (r == 0)
        r = decode_reply(&qapi_cmd_query_named_block_nodes, replies->named_nodes, &graph->named,
                         &graph->has_named, error);
    if (r == 0)
        r = decode_or_do_without(&qapi_cmd_x_debug_query_block_graph, replies->debug_graph,
                                 &graph->debug, &graph->has_debug, error);
    if (r == 0)
        r = decode_or_do_without(&qapi_cmd_query_block_exports, replies->exports, &graph->exports,
                                 &graph->has_exports, error);
    if (r == 0)
        r = decode_or_do_without(&qapi_cmd_query_block_jobs, replies->block_jobs,
                                 &graph->block_jobs, &graph->has_block_jobs, error);
    return r;
}

int graph_build(const struct graph_replies *replies, qblk_graph **ret_graph, qblk_error *error)
{
    qblk_graph *graph = mem_zalloc(sizeof(*graph));
    int r;

    if (graph == NULL)
        return err_nomem(error);
    r = decode(graph, replies, error);
    if (r == 0)
        r = make_nodes(graph, error);
    if (r == 0 && (make_edges(graph) < 0 || graph_make_disks(graph) < 0 || assign_disks(graph) < 0))
        r = err_nomem(error);
    if (r < 0) {
        (void)qblk_graph_free(graph);
        return r;
    }
    *ret_graph = graph;
    return 0;
}

qblk_graph *qblk_graph_free(qblk_graph *graph)
{
    if (graph == NULL)
        return NULL;
    pool_done(&graph->pool);
    if (graph->has_jobs)
        codec_reply_clear(&qapi_cmd_query_jobs, &graph->jobs);
    if (graph->has_block)
        codec_reply_clear(&qapi_cmd_query_block, &graph->block);
    if (graph->has_named)
        codec_reply_clear(&qapi_cmd_query_named_block_nodes, &graph->named);
    if (graph->has_debug)
        codec_reply_clear(&qapi_cmd_x_debug_query_block_graph, &graph->debug);
    if (graph->has_exports)
        codec_reply_clear(&qapi_cmd_query_block_exports, &graph->exports);
    if (graph->has_block_jobs)
        codec_reply_clear(&qapi_cmd_query_block_jobs, &graph->block_jobs);
    free(graph);
    return NULL;
}
