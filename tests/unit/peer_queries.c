#include "peer_priv.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- replies to queries ---------------------------------------------------------------------- */

void peer_add_jobs(const struct peer *peer, char **to, bool is_block)
{
    const char *comma = "";

    peer_append(to, "[");
    for (size_t i = 0; i < peer->n_jobs; i++) {
        const struct peer_job *job = &peer->jobs[i];

        if (is_block && strcmp(job->type, "create") == 0)
            continue;
        if (is_block)
            peer_append(to, "%s{\"auto-finalize\": true, \"io-status\": \"%s\", "
                   "\"device\": \"%s\", "
                   "\"auto-dismiss\": false, \"busy\": false, \"len\": %u, \"offset\": %u, "
                   "\"status\": \"%s\", \"paused\": %s, \"speed\": 0, \"ready\": %s, "
                   "\"type\": \"%s\"", comma, job->is_stalled ? "nospace" : "ok", job->id, PEER_DISK_SIZE,
                   PEER_DISK_SIZE, job->status, job->is_stalled ? "true" : "false",
                   strcmp(job->status, "ready") == 0 ? "true" : "false", job->type);
        else
            peer_append(to, "%s{\"current-progress\": %u, \"status\": \"%s\", "
                   "\"total-progress\": %u, "
                   "\"type\": \"%s\", \"id\": \"%s\"", comma, PEER_DISK_SIZE, job->status,
                   PEER_DISK_SIZE, job->type, job->id);
        if (job->error[0] != '\0')
            peer_append(to, ", \"error\": \"%s\"", job->error);
        peer_append(to, "}");
        comma = ", ";
    }
    peer_append(to, "]");
}

static void add_image(struct peer *peer, char **to, const struct peer_node *node, int depth)
{
    const struct peer_node *backing = peer_node(peer, node->backing);
    unsigned long long size = node->size, actual = 4096;
    struct stat st;

    if (strcmp(node->driver, "file") == 0 && stat(node->file, &st) == 0) {
        size = ((unsigned long long)st.st_size + 511) / 512 * 512;
        actual = (unsigned long long)st.st_blocks * 512;
    }
    peer_append(to, "{\"virtual-size\": %llu, \"filename\": \"%s\", \"format\": \"%s\", "
           "\"actual-size\": %llu, \"dirty-flag\": false", size, node->file, node->driver, actual);
    if (backing != NULL || node->recorded[0] != '\0') {
        const char *file = node->recorded[0] != '\0' ? node->recorded : backing->file;

        peer_append(to, ", \"backing-filename\": \"%s\", \"backing-filename-format\": \"qcow2\", "
               "\"full-backing-filename\": \"%s\"", file, file);
    }
    if (backing != NULL && depth > 0) {
        peer_append(to, ", \"backing-image\": ");
        add_image(peer, to, backing, depth - 1);
    }
    peer_append(to, "}");
}

static void add_node_info(struct peer *peer, char **to, const struct peer_node *node, int depth)
{
    peer_append(to, "{\"iops_rd\": 0, \"detect_zeroes\": \"off\", \"iops_wr\": 0, \"ro\": false, "
           "\"node-name\": \"%s\", \"backing_file_depth\": 0, \"drv\": \"%s\", \"iops\": 0, "
           "\"bps_wr\": 0, \"write_threshold\": 0, \"encrypted\": %s, \"bps\": 0, "
           "\"bps_rd\": 0, "
           "\"cache\": {\"no-flush\": false, \"direct\": false, \"writeback\": true}, "
           "\"file\": \"%s\", \"image\": ", node->name, node->driver,
           node->is_encrypted ? "true" : "false", node->file);
    add_image(peer, to, node, depth);
    for (size_t i = 0; i < node->n_bitmaps; i++) {
        const char *lives = strcmp(node->bitmaps[i], "daily") == 0 ? "true" : "false";

        peer_append(to, "%s{\"name\": \"%s\", \"recording\": %s, \"persistent\": %s, "
               "\"busy\": false, \"granularity\": 65536, \"count\": 0}",
               i == 0 ? ", \"dirty-bitmaps\": [" : ", ", node->bitmaps[i], lives, lives);
    }
    if (node->more_bitmaps != NULL)
        peer_append(to, "%s%s", node->n_bitmaps == 0 ? ", \"dirty-bitmaps\": [" : ", ",
                    node->more_bitmaps);
    peer_append(to, "%s}", node->n_bitmaps > 0 || node->more_bitmaps != NULL ? "]" : "");
}

void peer_add_nodes(struct peer *peer, char **to)
{
    peer_append(to, "[");
    for (size_t i = 0; i < peer->n_nodes; i++) {
        peer_append(to, "%s", i > 0 ? ", " : "");
        add_node_info(peer, to, &peer->nodes[i], 0);
    }
    peer_append(to, "]");
}

/* query-block looks through filters, as QEMU's does. */
static void add_device(struct peer *peer, char **to, const char *name, const char *root)
{
    const struct peer_node *node = peer_node(peer, root);

    while (node != NULL && strcmp(node->driver, "mirror_top") == 0)
        node = peer_node(peer, node->backing);
    peer_append(to, "{\"io-status\": \"ok\", \"device\": \"\", \"locked\": false, "
           "\"removable\": false, "
           "\"qdev\": \"/machine/peripheral/%s/virtio-backend\", \"type\": \"unknown\"", name);
    if (node != NULL) {
        peer_append(to, ", \"inserted\": ");
        add_node_info(peer, to, node, 16);
    }
    peer_append(to, "}");
}

void peer_add_block(struct peer *peer, char **to)
{
    peer_append(to, "[");
    if (peer->root[0] != '\0') /* else it is unplugged */
        add_device(peer, to, "vd0", peer->root);
    if (peer->second[0] != '\0') {
        peer_append(to, peer->root[0] != '\0' ? ", " : "");
        add_device(peer, to, "vd1", peer->second);
    }
    peer_append(to, "]");
}

static int node_id(const struct peer *peer, const char *name)
{
    for (size_t i = 0; i < peer->n_nodes; i++) {
        if (strcmp(peer->nodes[i].name, name) == 0)
            return (int)i + 100;
    }
    return -1;
}

static void add_edge(const struct peer *peer, char **to, const char **comma, const char *role,
                     int parent, const char *child)
{
    if (node_id(peer, child) < 0)
        return;
    peer_append(to, "%s{\"name\": \"%s\", \"parent\": %d, \"child\": %d, \"perm\": [], "
           "\"shared-perm\": [\"resize\"]}", *comma, role, parent, node_id(peer, child));
    *comma = ", ";
}

void peer_add_debug(const struct peer *peer, char **to)
{
    const char *comma = "";

    peer_append(to, "{\"nodes\": [{\"id\": 1, \"type\": \"block-backend\", "
           "\"name\": \"/machine/peripheral/vd0/virtio-backend\"}");
    if (peer->second[0] != '\0')
        peer_append(to, ", {\"id\": 2, \"type\": \"block-backend\", "
               "\"name\": \"/machine/peripheral/vd1/virtio-backend\"}");
    if (peer->exported[0] != '\0')
        peer_append(to, ", {\"id\": 3, \"type\": \"block-backend\", \"name\": \"\"}");
    for (size_t i = 0; i < peer->n_nodes; i++)
        peer_append(to, ", {\"id\": %d, \"type\": \"block-driver\", \"name\": \"%s\"}",
                    (int)i + 100, peer->nodes[i].name);
    for (size_t i = 0; i < peer->n_jobs; i++)
        peer_append(to, ", {\"id\": %d, \"type\": \"block-job\", \"name\": \"%s\"}", (int)i + 10,
               peer->jobs[i].id);
    peer_append(to, "], \"edges\": [");
    add_edge(peer, to, &comma, "root", 1, peer->root);
    add_edge(peer, to, &comma, "root", 2, peer->second);
    add_edge(peer, to, &comma, "root", 3, peer->exported);
    for (size_t i = 0; i < peer->n_nodes; i++) {
        add_edge(peer, to, &comma, "file", (int)i + 100, peer->nodes[i].child);
        add_edge(peer, to, &comma, "backing", (int)i + 100, peer->nodes[i].backing);
    }
    for (size_t i = 0; i < peer->n_jobs; i++) {
        for (size_t k = 0; k < peer->jobs[i].n_holds; k++)
            add_edge(peer, to, &comma, k == 0 ? "main node" : "target", (int)i + 10,
                     peer->jobs[i].holds[k]);
    }
    peer_append(to, "]}");
}
