/* Resize: block_resize of what the guest's device uses. Contract: the disk has the size asked for
 * (rounded up to 512 bytes), and QEMU says so afterwards. A job on the disk is in the way.
 *
 * QEMU makes a disk smaller without a word, so that has to be asked for. One command is all there
 * is: nothing to undo, and nothing to recover. */
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

#define SECTOR 512u

struct resize {
    uint64_t wanted, size; /* as asked; as sent */
    uint64_t before;       /* what it was when that was planned */
    bool shrink;
};

/* The node of the image's bytes if that is a block device of the host, whose size is not QEMU's. */
static const qblk_node *host_device(const qblk_op *op)
{
    const qblk_node *top = qblk_graph_node(op->graph, op->top);
    const qblk_node *file = top->is_protocol ? top : qblk_graph_node(op->graph, top->file);

    return file != NULL && strcmp(file->driver, "host_device") == 0 &&
                   (top == file || strcmp(top->driver, "raw") == 0) ? file : NULL;
}

static int check_device(const qblk_op *op, qblk_error *error)
{
    const struct resize *mine = op->own;
    const qblk_node *device = host_device(op);

    if (device == NULL || device->virtual_size == 0 || device->virtual_size == mine->size)
        return 0;
    return err_set(error, QBLK_E_SIZE_MISMATCH, "disk %s is the block device %s, which has %" PRIu64
                   " bytes: it can be given exactly that size; change the device first",
                   op->disk_name, device->filename, device->virtual_size);
}

static int check_shrink(qblk_op *op, uint64_t now, qblk_error *error)
{
    const struct resize *mine = op->own;

    if (mine->size >= now)
        return 0;
    if (!mine->shrink)
        return err_set(error, QBLK_E_SIZE_MISMATCH, "disk %s has %" PRIu64 " bytes, and %" PRIu64
                       " are fewer: what is beyond them would be lost; shrink the file system in "
                       "the guest first, and then say --shrink", op->disk_name, now, mine->size);
    op->warning = mem_printf("shrinking disk %s from %" PRIu64 " to %" PRIu64 " bytes destroys "
                             "what is beyond, for good, whatever the guest has there",
                             op->disk_name, now, mine->size);
    return op->warning != NULL ? 0 : err_nomem(error);
}

/* The size of the disk's root node. */
static bool find_size(const qblk_op *op, const char *reply, uint64_t *ret_size, qblk_error *error)
{
    const char *root = qblk_graph_node(op->graph, op->root)->name;
    struct qapi_block_device_info_list list;
    bool found = false;

    if (codec_reply(&qapi_cmd_query_named_block_nodes, reply, &list, error) < 0)
        return false;
    for (size_t i = 0; i < list.n && !found; i++) {
        found = str_equal(list.v[i].node_name, root);
        if (found)
            *ret_size = (uint64_t)list.v[i].image.virtual_size;
    }
    codec_reply_clear(&qapi_cmd_query_named_block_nodes, &list);
    if (!found)
        (void)err_set(error, QBLK_E_QEMU, "node %s is not there any more", root);
    return found;
}

static int see_size(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    const struct resize *mine = op->own;

    (void)engine;
    if (!find_size(op, reply, &op->disk_size, error))
        return -error->err;
    if (op->disk_size == mine->size)
        return 0;
    return err_set(error, QBLK_E_QEMU, "QEMU took it, and says that disk %s has %" PRIu64
                   " bytes now, not %" PRIu64, op->disk_name, op->disk_size, mine->size);
}

static int plan_steps(qblk_op *op, qblk_error *error)
{
    const struct resize *mine = op->own;
    struct qapi_query_named_block_nodes_args flat = { .has_flat = true, .flat = true };
    struct qapi_block_resize_args args = {
        .node_name = qblk_graph_node(op->graph, op->root)->name, .size = (int64_t)mine->size,
    };
    struct step *step;
    int r = plan_check_question(op, "looking at the disk's size", error);

    if (r < 0)
        return r;
    step = plan_step(op, STEP_CALL, "resize the disk");
    step->otherwise = mem_printf("QEMU may count on the new size of disk %s all the same: \"qblk "
                                 "disks\" shows it%s", op->disk_name,
                                 mine->shrink ? "; what was beyond the smaller one may be lost"
                                              : "");
    step_command(&op->engine, step, &qapi_cmd_block_resize, &args);
    step = plan_step(op, STEP_CHECK, "see that it has the size");
    step->check = see_size;
    step_command(&op->engine, step, &qapi_cmd_query_named_block_nodes, &flat);
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    struct resize *mine = op->own;
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    int r = plan_check_busy(op, -1, error);

    if (r == 0 && disk->is_read_only)
        r = err_set(error, QBLK_E_BUSY, "disk %s is read-only, and keeps its size",
                    op->disk_name);
    if (r == 0)
        r = plan_check_size_free(op, error);
    if (r == 0)
        r = check_device(op, error);
    if (r == 0)
        r = check_shrink(op, disk->virtual_size, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    if (r < 0)
        return r;
    op->disk_size = mine->before = disk->virtual_size;
    if (mine->size != mine->wanted)
        engine_note(&op->engine, "%" PRIu64 " bytes are no multiple of %u, so it is %" PRIu64,
                    mine->wanted, SECTOR, mine->size);
    if (mine->size == disk->virtual_size) {
        engine_note(&op->engine, "disk %s has %" PRIu64 " bytes already: there is nothing to do",
                    op->disk_name, mine->size);
        return 0;
    }
    return plan_steps(op, error);
}

/* The connection was lost once QEMU had been told: the disk's size says whether it did it. */
static int plan_again(qblk_op *op, qblk_error *error)
{
    const struct resize *mine = op->own;
    int r = plan_find_disk(op, error);

    if (r < 0)
        return r;
    op->disk_size = qblk_graph_disk(op->graph, op->disk)->virtual_size;
    if (op->disk_size == mine->size)
        return 0;
    if (op->disk_size != mine->before)
        return err_set(error, QBLK_E_QEMU, "the connection was lost, and disk %s has %" PRIu64
                       " bytes now, neither the %" PRIu64 " it had nor the %" PRIu64 " asked for: "
                       "somebody else has resized it", op->disk_name, op->disk_size, mine->before,
                       mine->size);
    return plan(op, error);
}

static void tell_left(qblk_op *op)
{
    engine_note(&op->engine, "QEMU was told to resize disk %s; \"qblk disks\" shows whether it has",
                op->disk_name);
}

const struct op_kind op_resize = {
    .name = "resize",
    .own_size = sizeof(struct resize),
    .plan = plan,
    .plan_again = plan_again,
    .tell_left = tell_left,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_resize(qblk_monitor *monitor, const char *disk, uint64_t bytes,
                const qblk_resize_options *options, qblk_op **ret_op, qblk_error *error)
{
    qblk_resize_options o = QBLK_INIT(qblk_resize_options);
    struct resize *mine;
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_resize_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0 && bytes > INT64_MAX - SECTOR)
        r = err_set(error, QBLK_E_ARGUMENT, "%" PRIu64 " bytes are more than a disk can have",
                    bytes);
    if (r == 0 && bytes == 0)
        r = err_set(error, QBLK_E_ARGUMENT, "a disk of 0 bytes is none");
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_resize, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    mine = op->own;
    mine->wanted = bytes;
    mine->size = (bytes + SECTOR - 1) / SECTOR * SECTOR;
    mine->shrink = o.shrink;
    return op_launch(op, NULL, 0, ret_op, error);
}
