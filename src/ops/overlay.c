/* What an overlay records of the image below it. A running chain looks right even if nothing is
 * recorded: QEMU fills the gap from its graph. But whoever opens the overlay afterwards finds an
 * image without the data below. So it is looked at before an overlay that was prepared is taken,
 * and of every overlay once it is in place. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "ops/overlay.h"
#include "qapi_types.h"

#define QCOW2_CLUSTER_MIN 512u
#define QCOW2_CLUSTER_MAX (2u << 20)

const struct op_part *overlay_part(const qblk_op *op, const struct target *to)
{
    const struct op_part *part = op->parts;

    while (&part->to != to)
        part++;
    return part;
}

/* QEMU may tell a json: name for the image itself. */
static bool is_name_of(const qblk_op *op, int image, const char *recorded)
{
    return recorded != NULL &&
           (target_is_same_file(plan_file_name(op, image), recorded) ||
            str_equal(qblk_graph_node(op->graph, image)->filename, recorded));
}

const char *overlay_backing_format(const qblk_op *op, int image)
{
    const qblk_node *node = qblk_graph_node(op->graph, image);

    return node->is_protocol ? "raw" : node->driver;
}

/* QEMU does not tell what an image has allocated, but how long its file is: one in which nothing
 * was ever written has a header, two refcount structures of a cluster each and the L1 table. What
 * is written needs two clusters more, and they are put behind. */
static int check_empty(const struct target *to, const struct qapi_image_info *image,
                       uint64_t length, qblk_error *error)
{
    uint64_t cluster = image->has_cluster_size ? (uint64_t)image->cluster_size : 0;
    uint64_t l1_size, most;

    if (length == 0 || cluster < QCOW2_CLUSTER_MIN || cluster > QCOW2_CLUSTER_MAX)
        return 0;
    l1_size = ((uint64_t)image->virtual_size / (cluster * (cluster / 8)) + 1) * 8;
    most = (3 + (l1_size + cluster - 1) / cluster) * cluster;
    if (length <= most)
        return 0;
    return err_set(error, QBLK_E_TARGET_INVALID, "the overlay %s has %" PRIu64 " bytes, an empty "
                   "one %" PRIu64 " at most: what it holds would hide the data of disk %s; prepare "
                   "an empty one, or let qblk make it", to->path, length, most, to->disk_name);
}

int overlay_judge(const qblk_op *op, const struct target *to,
                  const struct qapi_block_device_info *seen, uint64_t length, qblk_error *error)
{
    const struct op_part *part = overlay_part(op, to);
    const struct qapi_image_info *image = &seen->image;
    const char *below = plan_file_name(op, part->top);
    const char *format = overlay_backing_format(op, part->top);

    if (image->backing_filename == NULL)
        return err_set(error, QBLK_E_TARGET_INVALID, "the overlay %s records no backing file, so "
                       "that disk %s would have lost its data at the next start; record it with "
                       "\"qemu-img rebase -u -b %s -F %s %s\"", to->path, part->disk_name, below,
                       format, to->path);
    if (!is_name_of(op, part->top, image->backing_filename) &&
        !is_name_of(op, part->top, image->full_backing_filename))
        return err_set(error, QBLK_E_TARGET_INVALID, "the overlay %s records %s as its backing "
                       "file, but the top image of disk %s is %s; prepare an overlay of that "
                       "image", to->path, image->backing_filename, part->disk_name, below);
    if (!str_equal(image->backing_filename_format, format))
        return err_set(error, QBLK_E_TARGET_INVALID, "the overlay %s records %s as the format of "
                       "its backing file, which is %s; record it with \"qemu-img rebase -u -b %s "
                       "-F %s %s\"", to->path, image->backing_filename_format != NULL
                       ? image->backing_filename_format : "nothing", format,
                       image->backing_filename, format, to->path);
    /* Bitmaps take room as well, and are no data. */
    return seen->dirty_bitmaps.n > 0 ? 0 : check_empty(to, image, length, error);
}

/* ---- once it is in place --------------------------------------------------------------------- */

/* What the part's overlay was made to record is known unless it was made by an earlier client. */
static int see_overlay(const qblk_op *op, const struct op_part *part,
                       const struct qapi_image_info *image, qblk_error *error)
{
    const char *want = part->to.backing_string;
    const char *file = part->to.path != NULL ? part->to.path : image->filename;
    const char *below = part->top >= 0 && !op->is_resumed
                            ? plan_file_name(op, part->top) : "FILE";

    if (image->backing_filename != NULL &&
        (want == NULL || str_equal(image->backing_filename, want)))
        return 0;
    if (image->backing_filename != NULL && part->to.reuse &&
        is_name_of(op, part->top, image->full_backing_filename))
        return 0;
    return err_set(error, QBLK_E_TARGET_INVALID, "the snapshot of disk %s is taken, but its "
                   "overlay %s records %s as its backing file: this QEMU goes on rightly, but "
                   "nobody can open the overlay after it; once QEMU has ended, record the file "
                   "with \"qemu-img rebase -u -b %s -F FORMAT %s\"", part->disk_name, file,
                   image->backing_filename != NULL ? image->backing_filename : "nothing",
                   want != NULL ? want : below, file);
}

typedef int see_fn(const qblk_op *op, const struct op_part *part, const struct qapi_image_info *image,
                   qblk_error *error);

/* Shows see() the node of each part: its overlay, or the image that was its top. */
static int each_node(const qblk_op *op, const char *reply, bool is_overlay, see_fn *see, qblk_error *error)
{
    struct qapi_block_device_info_list list;
    int r = codec_reply(&qapi_cmd_query_named_block_nodes, reply, &list, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < op->n_parts && r == 0; i++) {
        const struct op_part *part = &op->parts[i];
        const char *name = is_overlay ? part->to.names.node : qblk_graph_node(op->graph, part->top)->name;

        for (size_t k = 0; k < list.n && r == 0; k++) {
            if (str_equal(list.v[k].node_name, name))
                r = see(op, part, &list.v[k].image, error);
        }
    }
    codec_reply_clear(&qapi_cmd_query_named_block_nodes, &list);
    return r;
}

static int see_nodes(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    (void)engine;
    return each_node(arg, reply, true, see_overlay, error);
}

static int see_part(const qblk_op *op, struct engine *engine, const struct op_part *part,
                    const struct qapi_block_info_list *list, qblk_error *error)
{
    for (size_t i = 0; i < list->n; i++) {
        const struct qapi_block_device_info *inserted = list->v[i].inserted;

        if (!plan_is_disk(&list->v[i], qblk_graph_disk(op->graph, part->disk)))
            continue;
        if (inserted != NULL && str_equal(inserted->node_name, part->to.names.node))
            return see_overlay(op, part, &inserted->image, error);
        break;
    }
    engine_note(engine, "disk %s does not use its overlay %s any more", part->disk_name,
                part->to.path);
    return 0;
}

static int see_disks(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    const qblk_op *op = arg;
    struct qapi_block_info_list list;
    int r = codec_reply(&qapi_cmd_query_block, reply, &list, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < op->n_parts && r == 0; i++)
        r = see_part(op, engine, &op->parts[i], &list, error);
    codec_reply_clear(&qapi_cmd_query_block, &list);
    return r;
}

/* ---- just before it is put in place ------------------------------------------------------------ */

static int see_size(const qblk_op *op, const struct op_part *part, const struct qapi_image_info *image,
                    qblk_error *error)
{
    (void)op;
    if ((uint64_t)image->virtual_size == part->to.size)
        return 0;
    return err_set(error, QBLK_E_SIZE_MISMATCH, "disk %s has been resized from %" PRIu64 " to %" PRId64 " bytes "
                   "meanwhile, which its overlay would take back; take the snapshot again", part->disk_name,
                   part->to.size, image->virtual_size);
}

static int see_node_sizes(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    (void)engine;
    return each_node(arg, reply, false, see_size, error);
}

static int see_disk_sizes(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    const qblk_op *op = arg;
    struct qapi_block_info_list list;
    int r = codec_reply(&qapi_cmd_query_block, reply, &list, error);

    (void)engine;
    if (r < 0)
        return r;
    for (size_t i = 0; i < op->n_parts && r == 0; i++) {
        for (size_t k = 0; k < list.n && r == 0; k++) {
            if (plan_is_disk(&list.v[k], qblk_graph_disk(op->graph, op->parts[i].disk)) &&
                list.v[k].inserted != NULL)
                r = see_size(op, &op->parts[i], &list.v[k].inserted->image, error);
        }
    }
    codec_reply_clear(&qapi_cmd_query_block, &list);
    return r;
}

/* ---- both --------------------------------------------------------------------------------------- */

bool overlay_needs_nodes(const qblk_op *op, const struct op_part *part)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, part->disk);

    return disk == NULL || part->root != part->top ||
           (disk->qom_path[0] == '\0' && disk->drive[0] == '\0');
}

static void plan_look(qblk_op *op, const char *name, step_check_fn *by_disk, step_check_fn *by_node)
{
    struct qapi_query_named_block_nodes_args flat = { .has_flat = true, .flat = true };
    struct step *step = plan_step(op, STEP_CHECK, name);
    bool by_nodes = op->is_resumed;

    for (size_t i = 0; i < op->n_parts; i++)
        by_nodes = by_nodes || overlay_needs_nodes(op, &op->parts[i]);
    step->check = by_nodes ? by_node : by_disk;
    if (by_nodes)
        step_command(&op->engine, step, &qapi_cmd_query_named_block_nodes, &flat);
    else
        step_command(&op->engine, step, &qapi_cmd_query_block, NULL);
}

void overlay_plan_sizes(qblk_op *op)
{
    plan_look(op, "see that the disks have kept their sizes", see_disk_sizes, see_node_sizes);
}

void overlay_plan_verify(qblk_op *op)
{
    plan_look(op, "see what the overlays record", see_disks, see_nodes);
}
