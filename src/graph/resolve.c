/* What a user calls a disk or an image, made an index. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "graph/graph_priv.h"

/* Appends as much as fits, never more than the text holds; cuts with "...". */
static void append(char *text, size_t room, const char *more)
{
    size_t len = strlen(text), left = room - len - 1;

    if (strlen(more) <= left) {
        memcpy(text + len, more, strlen(more) + 1);
    } else if (left >= 4) {
        memcpy(text + len, " ...", 5);
    }
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static bool is_file(const char *filename, const char *name)
{
    return filename[0] != '\0' && strcmp(filename, name) == 0;
}

static bool is_base_name(const char *filename, const char *name)
{
    return filename[0] != '\0' && strchr(name, '/') == NULL && !str_starts(filename, "json:")
           && strcmp(base_name(filename), name) == 0;
}

/* ---- disks ---------------------------------------------------------------------------------- */

#define BACKEND "/virtio-backend"

static bool has_qom_path(const qblk_disk *disk, const char *name)
{
    size_t len = strlen(disk->qom_path), tail = strlen(BACKEND);

    if (len == 0)
        return false;
    if (strcmp(disk->qom_path, name) == 0)
        return true;
    if (len > tail && strcmp(disk->qom_path + len - tail, BACKEND) == 0)
        return strlen(name) == len - tail && strncmp(disk->qom_path, name, len - tail) == 0;
    return str_starts(name, disk->qom_path) && strcmp(name + len, BACKEND) == 0;
}

/* The nodes that stand for the disk as a whole: its filters, its top image, and that one's file. */
static bool has_node(const qblk_graph *graph, const qblk_disk *disk, const char *name)
{
    int node = names_find(&graph->names, name);

    if (node < 0 || disk->root < 0)
        return false;
    for (int at = disk->root; at >= 0; at = graph->nodes[at].backing) {
        if (at == node || graph->nodes[at].file == node)
            return true;
        if (at == disk->top)
            break;
    }
    return false;
}

#define TIERS 6

static bool answers(const qblk_graph *graph, int d, const char *name, int tier)
{
    const qblk_disk *disk = &graph->disks[d];
    const qblk_node *top = disk->top >= 0 ? &graph->nodes[disk->top] : NULL;

    switch (tier) {
    case 0:
        return disk->device[0] != '\0' && strcmp(disk->device, name) == 0;
    case 1:
        return has_qom_path(disk, name);
    case 2:
        return disk->drive[0] != '\0' && strcmp(disk->drive, name) == 0;
    case 3:
        return has_node(graph, disk, name);
    case 4:
        return top != NULL && is_file(top->filename, name);
    default:
        return top != NULL && is_base_name(top->filename, name);
    }
}

static int ambiguous(const qblk_graph *graph, const char *name, int tier, qblk_error *error)
{
    int r = err_set(error, QBLK_E_AMBIGUOUS, "'%.200s' is more than one disk:", name);

    if (error == NULL)
        return r;
    for (int d = 0; d < graph->n_disks; d++) {
        if (!answers(graph, d, name, tier))
            continue;
        append(error->text, sizeof(error->text), " ");
        append(error->text, sizeof(error->text), graph->disks[d].name);
    }
    append(error->text, sizeof(error->text), "; use one of these names");
    return r;
}

static int unknown(const qblk_graph *graph, const char *name, qblk_error *error)
{
    int node = names_find(&graph->names, name), in = graph_disk_of(graph, node);
    int r;

    if (in >= 0)
        return err_set(error, QBLK_E_UNKNOWN_DISK,
                       "node '%.100s' is no disk, but an image below disk %.200s; name that disk",
                       name, graph->disks[in].name);
    r = err_set(error, QBLK_E_UNKNOWN_DISK, "there is no disk '%.200s'; %s", name,
                graph->n_disks > 0 ? "there are:" : "this QEMU has no disks at all");
    if (error == NULL)
        return r;
    for (int d = 0; d < graph->n_disks; d++) {
        append(error->text, sizeof(error->text), d > 0 ? ", " : " ");
        append(error->text, sizeof(error->text), graph->disks[d].name);
        if (strlen(error->text) > sizeof(error->text) - 8)
            break;
    }
    return r;
}

int qblk_graph_find_disk(const qblk_graph *graph, const char *name, qblk_error *error)
{
    for (int tier = 0; tier < TIERS; tier++) {
        int found = -1;

        for (int d = 0; d < graph->n_disks; d++) {
            if (!answers(graph, d, name, tier))
                continue;
            if (found >= 0)
                return ambiguous(graph, name, tier, error);
            found = d;
        }
        if (found >= 0)
            return found;
    }
    return unknown(graph, name, error);
}

/* ---- images in a chain ---------------------------------------------------------------------- */

static int refuse_image(const qblk_graph *graph, int disk, const char *name, qblk_error_code code,
                        const char *what, qblk_error *error)
{
    int depth = 0;
    int r = err_set(error, code, "'%.200s' is %s the chain of disk %.200s, which is", name, what,
                    graph->disks[disk].name);

    if (error == NULL)
        return r;
    for (int at = graph->disks[disk].top; at >= 0; at = graph_backing_image(graph, at), depth++) {
        AUTO_FREE char *item = mem_printf("%s @%d %s (%s)", depth > 0 ? "," : "", depth,
                                          graph->nodes[at].name, graph->nodes[at].filename);

        if (item == NULL || strlen(error->text) > sizeof(error->text) - 8)
            break;
        append(error->text, sizeof(error->text), item);
    }
    return r;
}

/* "@3"; -1 if it is no such thing. */
static int depth_of(const char *name)
{
    char *end;
    long depth;

    if (name[0] != '@' || name[1] < '0' || name[1] > '9')
        return -1;
    depth = strtol(name + 1, &end, 10);
    return *end == '\0' && depth <= INT_MAX ? (int)depth : -1;
}

static bool image_answers(const qblk_graph *graph, int node, const char *name, int tier)
{
    const qblk_node *image = &graph->nodes[node];

    switch (tier) {
    case 0:
        return strcmp(image->name, name) == 0;
    case 1:
        return is_file(image->filename, name);
    default:
        return is_base_name(image->filename, name);
    }
}

int qblk_graph_find_in_chain(const qblk_graph *graph, int disk, const char *name,
                             qblk_error *error)
{
    const qblk_disk *in = qblk_graph_disk(graph, disk);
    int depth = depth_of(name), named, at;

    if (in == NULL)
        return err_set(error, QBLK_E_ARGUMENT, "there is no disk number %d", disk);
    if (in->top < 0)
        return err_set(error, QBLK_E_UNKNOWN_DISK, "disk %.200s is empty", in->name);
    if (depth >= 0) {
        for (at = in->top; at >= 0 && depth > 0; depth--)
            at = graph_backing_image(graph, at);
        return at >= 0 ? at
                       : refuse_image(graph, disk, name, QBLK_E_UNKNOWN_DISK, "deeper than", error);
    }
    for (int tier = 0; tier < 3; tier++) {
        int found = -1;

        for (at = in->top; at >= 0; at = graph_backing_image(graph, at)) {
            if (!image_answers(graph, at, name, tier))
                continue;
            if (found >= 0)
                return refuse_image(graph, disk, name, QBLK_E_AMBIGUOUS, "more than one image in",
                                    error);
            found = at;
        }
        if (found >= 0)
            return found;
    }
    /* A filter of the chain, or the file node of one of its images, means that image. */
    named = names_find(&graph->names, name);
    for (at = in->root; named >= 0 && at >= 0; at = graph->nodes[at].backing)
        if (at == named || graph->nodes[at].file == named)
            return graph_skip_filters(graph, at);
    return refuse_image(graph, disk, name, QBLK_E_UNKNOWN_DISK, "not in", error);
}
