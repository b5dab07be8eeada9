#include "peer_priv.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- commands -------------------------------------------------------------------------------- */

const char peer_no_device[] = "There is no such device";
const char peer_no_command[] = "The command has not been found";

const char *peer_text_of(json_t *args, const char *key)
{
    const char *text = json_string_value(json_object_get(args, key));

    return text != NULL ? text : "";
}

/* An image's header is all that its file holds, and all of that the name of its backing file. */
static void read_header(struct peer_node *node)
{
    int fd = open(node->file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, node->recorded, sizeof(node->recorded) - 1) : 0;

    node->recorded[n > 0 && node->recorded[0] == '/' ? n : 0] = '\0';
    if (fd >= 0)
        (void)close(fd);
}

static bool write_header(const struct peer_node *node, const char *backing)
{
    int fd = open(node->file, O_WRONLY | O_TRUNC | O_CLOEXEC);
    ssize_t len = (ssize_t)strlen(backing);
    bool ok = fd >= 0 && write(fd, backing, (size_t)len) == len;

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* Each answers with NULL or the text of its refusal. */
static const char *do_add(struct peer *peer, json_t *args)
{
    const char *driver = peer_text_of(args, "driver"), *file = peer_text_of(args, "filename");
    const struct peer_node *child = peer_node(peer, peer_text_of(args, "file"));
    struct peer_node *node;

    if (peer_node(peer, peer_text_of(args, "node-name")) != NULL)
        return "Duplicate nodes with node-name";
    if (strcmp(driver, "file") == 0 && access(file, F_OK) < 0 && !peer->sees_more)
        return "Could not open the file: No such file or directory";
    if (json_object_get(args, "file") != NULL && child == NULL)
        return "Cannot find device= nor node-name";
    node = peer_add_node(peer, peer_text_of(args, "node-name"), driver,
                         child != NULL ? child->file : file, peer_text_of(args, "file"),
                         peer_text_of(args, "backing"));
    if (strcmp(driver, "qcow2") != 0)
        return NULL;
    read_header(node);
    if (!json_is_true(json_object_get(args, "read-only")))
        node->lock = peer_lock(node->file);
    return NULL;
}

static const char *do_del(struct peer *peer, json_t *args)
{
    const char *name = peer_text_of(args, "node-name");

    if (peer_node(peer, name) == NULL)
        return "Failed to find node with that node-name";
    if (peer_is_used(peer, name))
        return "Node is in use";
    peer_del_node(peer, peer_node(peer, name));
    peer_sweep(peer);
    return NULL;
}

static const char *do_bitmap(struct peer *peer, json_t *args)
{
    struct peer_node *node = peer_node(peer, peer_text_of(args, "node"));

    if (node == NULL)
        return "Cannot find the node";
    for (size_t i = 0; i < node->n_bitmaps; i++) {
        if (strcmp(node->bitmaps[i], peer_text_of(args, "name")) == 0)
            return "Bitmap already exists";
    }
    node->bitmaps[node->n_bitmaps++] = strdup(peer_text_of(args, "name"));
    return NULL;
}

static const char *undo_bitmap(struct peer *peer, json_t *args)
{
    struct peer_node *node = peer_node(peer, peer_text_of(args, "node"));

    for (size_t i = 0; node != NULL && i < node->n_bitmaps; i++) {
        if (strcmp(node->bitmaps[i], peer_text_of(args, "name")) == 0) {
            free(node->bitmaps[i]);
            node->bitmaps[i] = node->bitmaps[--node->n_bitmaps];
            return NULL;
        }
    }
    return "Dirty bitmap not found";
}

/* Everybody who used the node uses the overlay then. */
static const char *do_snapshot(struct peer *peer, json_t *args)
{
    const char *below = peer_text_of(args, "node");
    struct peer_node *overlay = peer_node(peer, peer_text_of(args, "overlay"));

    if (peer_node(peer, below) == NULL || overlay == NULL)
        return "Cannot find device= nor node-name";
    if (overlay->backing[0] != '\0')
        return "The overlay already has a backing image";
    for (size_t i = 0; i < peer->n_nodes; i++) {
        if (strcmp(peer->nodes[i].backing, below) == 0)
            PUT(peer->nodes[i].backing, overlay->name);
    }
    PUT(overlay->backing, below);
    if (strcmp(peer->root, below) == 0)
        PUT(peer->root, overlay->name);
    if (strcmp(peer->second, below) == 0)
        PUT(peer->second, overlay->name);
    return NULL;
}

/* Those that the client sends here cannot fail half-way: names were just made. */
static const char *do_transaction(struct peer *peer, json_t *args)
{
    json_t *action;
    size_t i;

    json_array_foreach (json_object_get(args, "actions"), i, action) {
        json_t *data = json_object_get(action, "data");
        const char *why = strcmp(peer_text_of(action, "type"), "blockdev-snapshot") == 0
                              ? do_snapshot(peer, data) : do_bitmap(peer, data);

        if (why != NULL)
            return why;
    }
    peer->n_started++;
    return NULL;
}

static void start_events(struct peer *peer, struct peer_job *job)
{
    peer_status(peer, true, job, "created");
    peer_status(peer, true, job, "running");
}

static bool make_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static const char *do_create(struct peer *peer, json_t *args)
{
    json_t *options = json_object_get(args, "options");
    const struct peer_node *node = peer_node(peer, peer_text_of(options, "file"));
    struct peer_job *job;

    if (strcmp(peer_text_of(options, "driver"), "file") == 0 &&
        !make_file(peer_text_of(options, "filename"), ""))
        return "Could not create the file";
    if (peer_text_of(options, "backing-file")[0] != '\0' &&
        (node == NULL || !write_header(node, peer_text_of(options, "backing-file"))))
        return "Could not write the image";
    job = peer_add_job(peer, peer_text_of(args, "job-id"), "create", "created");
    if (node != NULL) { /* has the image open while it makes it */
        char name[24];

        (void)snprintf(name, sizeof(name), "#block%zu", 900 + peer->n_sent);
        peer_add_node(peer, name, peer_text_of(options, "driver"), node->file, node->name, "")
            ->is_implicit = true;
        peer_hold(job, name);
    }
    start_events(peer, job);
    return NULL;
}

/* Puts a filter under the device. */
static void put_filter(struct peer *peer, struct peer_job *job, const char *name,
                       const char *driver)
{
    (void)peer_add_node(peer, name, driver, "", "", job->device);
    PUT(job->filter, name);
    if (strcmp(peer->root, job->device) == 0)
        PUT(peer->root, name);
    if (strcmp(peer->second, job->device) == 0)
        PUT(peer->second, name);
}

static const char *do_copy(struct peer *peer, json_t *args, const char *type, bool is_legacy)
{
    const char *filter = peer_text_of(args, "filter-node-name");
    const char *target = peer_text_of(args, "target");
    struct peer_job *job;

    if (peer_node(peer, peer_text_of(args, "device")) == NULL)
        return "Cannot find device= nor node-name";
    if (peer_job(peer, peer_text_of(args, "job-id")) != NULL)
        return "Job ID already in use";
    if (is_legacy) {
        const char *name = peer_text_of(args, "node-name");

        if (strcmp(peer_text_of(args, "mode"), "existing") != 0 && !make_file(target, "x"))
            return "Could not create the file";
        if (name[0] == '\0')
            name = "#block900";
        peer_add_node(peer, "#block901", "file", target, "", "")->is_implicit = true;
        (void)peer_add_node(peer, name, peer_text_of(args, "format"), target, "#block901", "");
        target = name;
    } else if (peer_node(peer, target) == NULL) {
        return "Cannot find device= nor node-name";
    }
    job = peer_add_job(peer, peer_text_of(args, "job-id"), type, "created");
    PUT(job->device, peer_text_of(args, "device"));
    PUT(job->target, target);
    job->drops_target = is_legacy;
    put_filter(peer, job, filter[0] != '\0' ? filter : "#block902",
               strcmp(type, "mirror") == 0 ? "mirror_top" : "copy-before-write");
    peer->n_started++;
    peer_hold(job, job->filter);
    peer_hold(job, target);
    job->lock = peer_lock(peer_node(peer, target)->file);
    start_events(peer, job);
    return NULL;
}

static const char *do_stream(struct peer *peer, json_t *args)
{
    const struct peer_node *node = peer_node(peer, peer_text_of(args, "device"));
    struct peer_job *job;

    if (node == NULL)
        return "Cannot find device= nor node-name";
    job = peer_add_job(peer, peer_text_of(args, "job-id"), "stream", "created");
    peer->n_started++;
    PUT(job->device, node->name);
    PUT(job->base, peer_text_of(args, "base-node"));
    peer_hold(job, node->name);
    for (node = peer_node(peer, node->backing); node != NULL && strcmp(node->name, job->base) != 0;
         node = peer_node(peer, node->backing))
        peer_hold(job, node->name);
    start_events(peer, job);
    return NULL;
}

static bool is_over(const struct peer_job *job)
{
    return strcmp(job->status, "concluded") == 0;
}

static const char *do_job(struct peer *peer, const char *command, json_t *args)
{
    const char *id = peer_text_of(args, "id");
    struct peer_job *job = peer_job(peer, id[0] != '\0' ? id : peer_text_of(args, "device"));

    if (job == NULL)
        return "Job not found";
    if (strcmp(command, "job-dismiss") == 0) {
        if (!is_over(job))
            return "Job in this state cannot accept command verb 'dismiss'";
        peer_status(peer, true, job, "null");
        peer_forget_job(peer, job);
        return NULL;
    }
    if (is_over(job))
        return "Job in state 'concluded' cannot accept that command verb";
    if (strcmp(command, "job-cancel") == 0 && !peer->cancels_softly) {
        peer_abort_job(peer, job, "Operation canceled");
        return NULL;
    }
    if (!job->is_ready && strcmp(command, "job-cancel") != 0)
        return "The active block job cannot be completed";
    job->is_pivot = strstr(command, "complete") != NULL;
    peer_conclude(peer, job);
    return NULL;
}

static const char *do_resize(struct peer *peer, json_t *args)
{
    struct peer_node *node = peer_node(peer, peer_text_of(args, "node-name"));

    if (node == NULL)
        return "Cannot find device= nor node-name";
    if (!peer->keeps_size)
        node->size = (uint64_t)json_integer_value(json_object_get(args, "size"));
    return NULL;
}

/* An event comes for each part of the device. */
static const char *do_unplug(struct peer *peer)
{
    bool is_again = peer->is_unplugging;

    if (peer->root[0] == '\0')
        return peer_no_device;
    peer->is_unplugging = true;
    if (peer->guest_refuses) {
        peer_event(peer, false, "DEVICE_UNPLUG_GUEST_ERROR",
                   "{\"device\": \"vd0\", \"path\": \"/machine/peripheral/vd0\"}");
    } else if (peer->unplug_after == 0 || --peer->unplug_after == 0) {
        PUT(peer->root, "");
        peer_sweep(peer);
        peer_event(peer, false, "DEVICE_DELETED",
                   "{\"path\": \"/machine/peripheral/vd0/virtio-backend\"}");
        if (!peer->loses_unplug)
            peer_event(peer, false, "DEVICE_DELETED",
                       "{\"device\": \"vd0\", \"path\": \"/machine/peripheral/vd0\"}");
    }
    return is_again ? "Device vd0 is already in the process of unplug" : NULL;
}

/* query-named-block-nodes is deadly for some. */
static bool crashes(const struct peer *peer)
{
    unsigned release = peer->version / 1000;

    for (size_t i = 0; i < peer->n_jobs; i++) {
        if (is_over(&peer->jobs[i]) &&
            ((release == 5002 && strcmp(peer->jobs[i].type, "backup") == 0) ||
             (release == 7002 && strcmp(peer->jobs[i].type, "stream") == 0)))
            return true;
    }
    return false;
}

const char *peer_carry_out(struct peer *peer, const char *name, json_t *args, char **result)
{
    if (strcmp(name, "query-jobs") == 0)
        peer_add_jobs(peer, result, false);
    else if (strcmp(name, "query-block-jobs") == 0)
        peer_add_jobs(peer, result, true);
    else if (strcmp(name, "query-block") == 0)
        peer_add_block(peer, result);
    else if (strcmp(name, "query-named-block-nodes") == 0 && (peer->has_crashed = crashes(peer)))
        return "crash";
    else if (strcmp(name, "query-named-block-nodes") == 0)
        peer_add_nodes(peer, result);
    else if (strcmp(name, "x-debug-query-block-graph") == 0)
        peer_add_debug(peer, result);
    else if (strcmp(name, "query-qmp-schema") == 0 && peer->schema != NULL)
        peer_append(result, "%s", peer->schema);
    else if (strcmp(name, "blockdev-add") == 0)
        return do_add(peer, args);
    else if (strcmp(name, "blockdev-del") == 0)
        return do_del(peer, args);
    else if (strcmp(name, "block-dirty-bitmap-add") == 0)
        return do_bitmap(peer, args);
    else if (strcmp(name, "block-dirty-bitmap-remove") == 0)
        return undo_bitmap(peer, args);
    else if (strcmp(name, "transaction") == 0)
        return do_transaction(peer, args);
    else if (strcmp(name, "blockdev-create") == 0)
        return do_create(peer, args);
    else if (strcmp(name, "blockdev-mirror") == 0 || strcmp(name, "drive-mirror") == 0)
        return do_copy(peer, args, "mirror", name[0] == 'd');
    else if (strcmp(name, "blockdev-backup") == 0 || strcmp(name, "drive-backup") == 0)
        return do_copy(peer, args, "backup", name[0] == 'd');
    else if (strcmp(name, "block-stream") == 0)
        return do_stream(peer, args);
    else if (strcmp(name, "block_resize") == 0)
        return do_resize(peer, args);
    else if (strcmp(name, "device_del") == 0)
        return do_unplug(peer);
    else if (strcmp(name, "block_set_io_throttle") == 0)
        return NULL;
    else if (strcmp(name, "block-job-change") == 0)
        return peer_no_command; /* 8.2 has it first */
    else if (strncmp(name, "job-", 4) == 0 || strncmp(name, "block-job-", 10) == 0)
        return do_job(peer, name, args);
    else if (strcmp(name, "qmp_capabilities") != 0)
        return peer_no_command;
    return NULL;
}
