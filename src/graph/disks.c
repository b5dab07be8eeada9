/* Disks: what query-block lists, or in qemu-storage-daemon the nodes that nothing else uses. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "graph/graph_priv.h"

#define PERIPHERAL "/machine/peripheral/"

/* A string of the graph's own: both, one behind the other. */
static const char *own(qblk_graph *graph, const char *before, const char *text, size_t len)
{
    size_t all = strlen(before) + len;
    char *own = graph_alloc(graph, all + 1);

    if (own != NULL)
        (void)snprintf(own, all + 1, "%s%.*s", before, (int)len, text);
    return own;
}

/* The id given to -device: the whole of qdev, or the part of its path below peripheral. */
static const char *device_id(qblk_graph *graph, const char *qdev)
{
    const char *id = qdev, *end;

    if (str_starts(qdev, PERIPHERAL))
        id = qdev + strlen(PERIPHERAL);
    else if (qdev[0] == '/')
        return "";
    end = strchr(id, '/');
    if (end == NULL)
        return id;
    return own(graph, "", id, (size_t)(end - id));
}

/* QEMU says the path, or for a device with an id that alone, which says the path too. */
static const char *qom_path(qblk_graph *graph, const char *qdev)
{
    if (qdev[0] == '/' || qdev[0] == '\0')
        return qdev;
    return own(graph, PERIPHERAL, qdev, strlen(qdev));
}

/* query-block looks through the filters of jobs, whose top one is what the device uses. */
static int above_hidden(const qblk_graph *graph, int node)
{
    int up;

    while ((up = graph->filter_above[node]) >= 0 && graph_is_hidden_filter(graph->nodes[up].driver))
        node = up;
    return node;
}

/* Where the backend of that name is rooted, by the debug graph; else what query-block says. */
static int find_root(const qblk_graph *graph, const struct names *backends,
                     const struct qapi_block_info *info)
{
    int root = -1;

    if (info->inserted == NULL || info->inserted->node_name == NULL)
        return -1;
    if (info->device[0] != '\0')
        root = names_find(backends, info->device);
    if (root < 0 && info->qdev != NULL)
        root = names_find(backends, info->qdev);
    if (root < 0)
        root = names_find(&graph->names, info->inserted->node_name);
    return root >= 0 && !graph->has_debug ? above_hidden(graph, root) : root;
}

static int add_drive(qblk_graph *graph, const struct names *backends,
                     const struct qapi_block_info *info)
{
    qblk_disk *disk = &graph->disks[graph->n_disks];
    const char *qdev = info->qdev != NULL ? info->qdev : "";

    disk->device = device_id(graph, qdev);
    disk->qom_path = qom_path(graph, qdev);
    if (disk->device == NULL || disk->qom_path == NULL)
        return -ENOMEM;
    disk->drive = info->device;
    disk->root = find_root(graph, backends, info);
    disk->top = disk->root >= 0 ? graph_skip_filters(graph, disk->root) : -1;
    disk->io_status = info->io_status != NULL ? info->io_status : "";
    disk->is_removable = info->removable;
    if (disk->top >= 0) {
        disk->virtual_size = graph->nodes[disk->top].virtual_size;
        disk->is_read_only = info->inserted->ro;
    }
    disk->name = disk->device[0] != '\0'  ? disk->device
                 : disk->drive[0] != '\0' ? disk->drive
                 : disk->top >= 0         ? graph->nodes[disk->top].name
                                          : disk->qom_path;
    if (disk->name[0] != '\0')
        graph->n_disks++;
    return 0;
}

static int make_drives(qblk_graph *graph)
{
    struct names backends;

    if (names_init(&backends, (size_t)graph->n_uses, &graph->pool) < 0)
        return -ENOMEM;
    for (int u = 0; u < graph->n_uses; u++)
        if (graph->has_debug && graph->uses[u].kind == USE_DEVICE)
            names_add(&backends, graph->uses[u].user.name, graph->uses[u].node);
    for (size_t i = 0; i < graph->block.n; i++)
        if (add_drive(graph, &backends, &graph->block.v[i]) < 0)
            return -ENOMEM;
    return 0;
}

static bool is_top_of_its_own(const qblk_graph *graph, int node)
{
    bool has_outside_user = false;

    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (use->kind == USE_NODE
            || (use->kind == USE_JOB && strcmp(use->user.role, "target") == 0))
            return false;
        has_outside_user = has_outside_user || use->kind != USE_JOB;
    }
    /* Of the nodes of operations two kinds stand for a disk: the filter that a job has put above
     * it, and the target that it has pivoted to, which then has a user. */
    return !graph->nodes[node].is_ours || graph->nodes[node].is_filter || has_outside_user;
}

static void add_node_disk(qblk_graph *graph, int node)
{
    qblk_disk *disk = &graph->disks[graph->n_disks];
    const qblk_node *top;

    disk->root = node;
    disk->top = graph_skip_filters(graph, node);
    top = &graph->nodes[disk->top];
    /* The filter that a job puts on top has a new name every time. */
    disk->name = graph->nodes[node].name[0] == '#' || graph->nodes[node].is_ours
                     ? top->name : graph->nodes[node].name;
    disk->device = disk->qom_path = disk->drive = disk->io_status = "";
    disk->virtual_size = top->virtual_size;
    disk->is_read_only = graph->nodes[node].is_read_only;
    graph->n_disks++;
}

int graph_make_disks(qblk_graph *graph)
{
    size_t most = graph->block.n > 0 ? graph->block.n : (size_t)graph->n_nodes;

    graph->disks = graph_alloc(graph, (most + 1) * sizeof(*graph->disks));
    if (graph->disks == NULL)
        return -ENOMEM;
    if (graph->block.n > 0)
        return make_drives(graph);
    for (int i = 0; i < graph->n_nodes; i++)
        if (is_top_of_its_own(graph, i))
            add_node_disk(graph, i);
    return 0;
}

const struct qapi_block_device_info *graph_medium(const qblk_graph *graph, int disk)
{
    const qblk_disk *of = qblk_graph_disk(graph, disk);

    /* The name of its drive, empty or not, is the very string of its entry. */
    for (size_t i = 0; of != NULL && i < graph->block.n; i++)
        if (graph->block.v[i].device == of->drive)
            return graph->block.v[i].inserted;
    return NULL;
}
