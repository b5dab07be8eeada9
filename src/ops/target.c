/* The image that copy, backup and snapshot write to: may it be used, how is it made, how does it
 * go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/claim.h"
#include "ops/like.h"
#include "ops/op.h"
#include "ops/overlay.h"
#include "qapi_types.h"

void target_name(struct target *to, const char *id, int number)
{
    struct target_names *names = &to->names;
    char suffix[8] = "";
    struct {
        char *to;
        const char *role;
    } all[] = {
        { names->node, "target" },  { names->file, "file" },
        { names->probe, "probe" },  { names->look, "look" },
        { names->create_file, "create-file" },
        { names->create_fmt, "create-format" },
    };

    if (number > 0)
        (void)snprintf(suffix, sizeof(suffix), ".%d", number % 1000);
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        (void)snprintf(all[i].to, OP_NAME_MAX, "qblk.%s.%s%s", id, all[i].role, suffix);
}

void target_forget(struct target *to)
{
    free(to->nbd.host);
    free(to->nbd.port);
    free(to->nbd.socket);
    free(to->nbd.export_name);
    free(to->backing_string);
    memset(&to->nbd, 0, sizeof(to->nbd));
    to->backing_string = NULL;
    to->is_new_file = false;
    /* has_empty_file stays: what the file holds by now is what this operation has written. */
}

void target_done(struct target *to)
{
    target_forget(to);
    claim_drop(to->claim);
    free(to->path);
    free(to->format);
    memset(to, 0, sizeof(*to));
}

/* What --reuse-external does with it. */
static const char *reuse_is_to(const struct target *to)
{
    return to->is_overlay ? "use the overlay that was prepared in it"
                          : "overwrite the image in it";
}

static bool is_same_inode(const char *a, const char *b)
{
    struct stat st, other;

    return stat(a, &st) == 0 && stat(b, &other) == 0 && st.st_dev == other.st_dev &&
           st.st_ino == other.st_ino;
}

bool target_is_same_file(const char *a, const char *b)
{
    return str_equal(a, b) || (a != NULL && b != NULL && a[0] == '/' && is_same_inode(a, b));
}

bool target_is_same_path(const char *a, const char *b)
{
    const char *name_a = strrchr(a, '/'), *name_b = strrchr(b, '/');

    if (target_is_same_file(a, b))
        return true;
    if (name_a == NULL || name_b == NULL || strcmp(name_a, name_b) != 0)
        return false;

    AUTO_FREE char *dir_a = mem_strndup(a, (size_t)(name_a - a) + 1);
    AUTO_FREE char *dir_b = mem_strndup(b, (size_t)(name_b - b) + 1);

    return dir_a != NULL && dir_b != NULL && is_same_inode(dir_a, dir_b);
}

int target_check_clear(const qblk_op *op, const struct target *to, int image, int stop, qblk_error *error)
{
    if (to->reuse)
        return 0;
    while (image >= 0 && image != stop && !plan_is_encrypted(op, image))
        image = graph_backing_image(op->graph, image);
    if (image < 0 || image == stop)
        return 0;
    return err_set(error, QBLK_E_TARGET_INVALID, "disk %s is encrypted (node %s), and %s would hold its data in "
                   "clear; copy it to an encrypted image with --blockdev, or prepare the target and say "
                   "--reuse-external if that is meant", to->disk_name, qblk_graph_node(op->graph, image)->name,
                   to->path);
}

int target_suit(qblk_op *op, struct target *to, qblk_error *error)
{
    const char *own = qblk_graph_node(op->graph, op->top)->driver;
    int stop = op->shallow ? graph_backing_image(op->graph, op->top) : -1;

    to->disk_name = op->disk_name;
    to->size = qblk_graph_node(op->graph, op->root)->virtual_size;
    if (to->format == NULL)
        to->format = mem_strdup(to->kind != TARGET_FILE || strcmp(own, "raw") == 0 ? "raw"
                                                                                   : "qcow2");
    if (to->format == NULL)
        return err_nomem(error);
    /* What is not made here is there already. */
    to->reuse = to->reuse || to->kind != TARGET_FILE;
    return to->kind == TARGET_NBD ? remote_parse_uri(to->path, to, error)
                                  : target_check_clear(op, to, op->top, stop, error);
}

static bool is_raw(const struct target *to)
{
    return strcmp(to->format, "raw") == 0;
}

/* ---- may it be used? ------------------------------------------------------------------------- */

static int check_unused(const qblk_op *op, const struct target *to, const struct stat *st,
                        qblk_error *error)
{
    for (int i = 0; i < qblk_graph_node_count(op->graph); i++) {
        const qblk_node *node = qblk_graph_node(op->graph, i);
        struct stat other;

        if (node->filename[0] == '\0')
            continue;
        if (strcmp(node->filename, to->path) == 0 ||
            (st != NULL && node->filename[0] == '/' && stat(node->filename, &other) == 0 &&
             other.st_dev == st->st_dev && other.st_ino == st->st_ino))
            return err_set(error, QBLK_E_TARGET_INVALID, "the target %s is in use by this QEMU "
                           "itself, as node %s; choose another file", to->path, node->name);
    }
    return 0;
}

static int check_file(struct target *to, const struct stat *st, qblk_error *error)
{
    if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
        return err_set(error, QBLK_E_TARGET_INVALID, "the target %s is neither a regular file nor "
                       "a block device", to->path);
    if (to->reuse)
        return 0;
    if (S_ISBLK(st->st_mode))
        return err_set(error, QBLK_E_TARGET_EXISTS, "the target %s is a block device, whose "
                       "content would be overwritten; prepare it with the right format and size "
                       "and say --reuse-external if that is meant", to->path);
    if (st->st_size > 0 && !to->has_empty_file)
        return err_set(error, QBLK_E_TARGET_EXISTS, "the target %s exists and is not empty (%lld "
                       "bytes); choose another name, or say --reuse-external to %s", to->path,
                       (long long)st->st_size, reuse_is_to(to));
    to->has_empty_file = true;
    return 0;
}

static int check_absent(const qblk_op *op, struct target *to, int err, qblk_error *error)
{
    struct stat link;
    int r = check_unused(op, to, NULL, error);

    if (r == 0 && lstat(to->path, &link) == 0)
        r = err_set(error, QBLK_E_TARGET_INVALID, "the target %s is a symbolic link that leads "
                    "nowhere (%s); name the file itself", to->path, strerror(err));
    if (r == 0 && to->reuse)
        r = err_set(error, QBLK_E_TARGET_INVALID, "the target %s is to be reused but cannot be "
                    "looked at: %s", to->path, strerror(err));
    to->is_new_file = true;
    return r;
}

int target_check(qblk_op *op, struct target *to, bool shallow, qblk_error *error)
{
    struct stat st;
    int r;

    if (to->kind != TARGET_FILE) {
        r = check_unused(op, to, NULL, error);
        return r == 0 ? plan_check_question(op, "looking at the target's size", error) : r;
    }
    if (shallow && is_raw(to) && !to->reuse)
        return err_set(error, QBLK_E_TARGET_INVALID, "a raw target cannot have a backing image, "
                       "so it cannot take the top image alone; use --format qcow2, or copy all");
    /* Before it is looked at: what another operation is about to make is not there yet. */
    if (to->claim == 0 && !op->common.dry_run)
        to->claim = claim_file(op->monitor, to->path, error);
    if (to->claim < 0) {
        to->claim = 0;
        return -EBUSY;
    }
    r = others_check_file(op, to->path, error);
    if (r < 0)
        return r;
    if (stat(to->path, &st) == 0) {
        r = check_unused(op, to, &st, error);
        if (r == 0)
            r = check_file(to, &st, error);
    } else {
        r = check_absent(op, to, errno, error);
    }
    if (r == 0 && to->reuse)
        r = plan_check_question(op, "looking at the target's size", error);
    return r;
}

/* ---- steps ----------------------------------------------------------------------------------- */

/* QEMU may live in another mount namespace and see a file where we see none. */
static int in_the_way(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    const struct target *to = engine_subject(engine);

    (void)arg;
    (void)reply;
    return err_set(error, QBLK_E_TARGET_EXISTS, "the target %s exists for QEMU, though not for "
                   "this process; choose another name, or say --reuse-external to %s", to->path,
                   reuse_is_to(to));
}

static void plan_probe(qblk_op *op, const struct target *to)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_FILE,
                                          .node_name = to->names.probe, .has_read_only = true,
                                          .read_only = true };
    struct qapi_blockdev_del_args del = { .node_name = to->names.probe };
    struct step *step = plan_step(op, STEP_ABSENT, "see that the target does not exist");

    node.u.file.filename = to->path;
    step->check = in_the_way;
    step->subject = to;
    step_command(&op->engine, step, &qapi_cmd_blockdev_add, &node);
    step_undo(&op->engine, step, &qapi_cmd_blockdev_del, &del);
}

static struct step *plan_create(qblk_op *op, const char *name, const char *job,
                                const struct qapi_blockdev_create_options *options)
{
    struct qapi_blockdev_create_args args = { .job_id = job, .options = *options };
    struct step *step = plan_step(op, STEP_CREATE, name);

    step->job = job;
    step_command(&op->engine, step, &qapi_cmd_blockdev_create, &args);
    return step;
}

static struct step *plan_file_node(qblk_op *op, const struct target *to, const char *name,
                                   bool read_only)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_FILE,
                                          .node_name = name };
    struct qapi_blockdev_cache_options cache = { 0 };
    struct stat st;

    if (to->kind == TARGET_NBD)
        return remote_plan_nbd(op, to, name, read_only);
    node.has_read_only = node.read_only = read_only;
    if (!read_only)
        like_disk(op, to, true, &node, &cache);
    if (stat(to->path, &st) == 0 && S_ISBLK(st.st_mode)) {
        node.driver = QAPI_BLOCKDEV_DRIVER_HOST_DEVICE;
        node.u.host_device.filename = to->path;
    } else {
        node.u.file.filename = to->path;
    }
    return plan_add(op, "add the target's file node", &node);
}

static struct step *plan_format_node(qblk_op *op, const struct target *to, const char *name,
                                     const char *file, const char *backing, bool read_only)
{
    struct qapi_blockdev_options node = { .node_name = name };
    struct qapi_blockdev_cache_options cache = { 0 };

    if (to->kind == TARGET_NODE)
        return remote_plan_json(op, to, name, read_only);

    node.has_read_only = node.read_only = read_only;
    if (!read_only)
        like_disk(op, to, false, &node, &cache);
    if (is_raw(to)) {
        node.driver = QAPI_BLOCKDEV_DRIVER_RAW;
        node.u.raw.file = file;
    } else {
        node.driver = QAPI_BLOCKDEV_DRIVER_QCOW2;
        node.u.qcow2.file = file;
        node.u.qcow2.has_backing = true;
        node.u.qcow2.backing = backing;
    }
    return plan_add(op, "add the target node", &node);
}

/* A step that marks that the file is there because of us. */
static void plan_unlink(qblk_op *op, const struct target *to, const char *name)
{
    struct step *step = plan_step(op, STEP_MARK, name);

    step->unlink = mem_strdup(to->path);
}

/* While the file is there, something in QEMU proves that it is ours: the job that made it until the
 * node is there, and that one until the file has gone. Whoever takes the operation up after us
 * removes no file without such a proof. */
static void plan_new_file(qblk_op *op, const struct target *to, uint64_t size)
{
    struct qapi_blockdev_create_options file = { .driver = QAPI_BLOCKDEV_DRIVER_FILE };
    struct qapi_job_dismiss_args dismiss = { .id = to->names.create_file };
    size_t at = op->engine.n;
    struct step *step;

    file.u.file.filename = to->path;
    file.u.file.size = size;
    step = plan_create(op, "create the target's file", to->names.create_file, &file);
    if (!to->is_new_file) {
        (void)plan_file_node(op, to, to->names.file, false);
        return;
    }
    step->keeps_job = true;
    step->unlink = mem_strdup(to->path);
    step_undo(&op->engine, step, &qapi_cmd_job_dismiss, &dismiss);
    (void)plan_file_node(op, to, to->names.file, false);
    plan_unlink(op, to, "the target's file is made");
    step = plan_step(op, STEP_CLEAN, "dismiss the job that made it");
    step_command(&op->engine, step, &qapi_cmd_job_dismiss, &dismiss);
    step->retires = at + 1;
}

/* A format that a new image can record for its backing image; -1 for others. */
static int backing_format(const char *driver)
{
    static const struct {
        const char *name;
        enum qapi_blockdev_driver driver;
    } formats[] = {
        { "qcow2", QAPI_BLOCKDEV_DRIVER_QCOW2 }, { "raw", QAPI_BLOCKDEV_DRIVER_RAW },
        { "qed", QAPI_BLOCKDEV_DRIVER_QED },     { "vdi", QAPI_BLOCKDEV_DRIVER_VDI },
        { "vhdx", QAPI_BLOCKDEV_DRIVER_VHDX },   { "vmdk", QAPI_BLOCKDEV_DRIVER_VMDK },
        { "vpc", QAPI_BLOCKDEV_DRIVER_VPC },
    };

    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        if (strcmp(formats[i].name, driver) == 0)
            return (int)formats[i].driver;
    }
    return -1;
}

static int plan_new_image(qblk_op *op, const struct target *to, int backing,
                          qblk_error *error)
{
    AUTO_FREE char *backing_file = NULL;
    struct qapi_blockdev_create_options qcow2 = { .driver = QAPI_BLOCKDEV_DRIVER_QCOW2 };
    int r;

    plan_new_file(op, to, is_raw(to) ? to->size : 0);
    if (is_raw(to))
        return 0;
    qcow2.u.qcow2.file = to->names.file;
    qcow2.u.qcow2.size = to->size;
    if (backing >= 0) {
        const char *driver = overlay_backing_format(op, backing);
        int format = backing_format(driver);

        backing_file = mem_strdup(to->backing_string);
        r = backing_file != NULL
                ? 0 : plan_backing_string(op, backing, to->path, &backing_file, error);
        if (r < 0)
            return r;
        if (format < 0)
            return err_set(error, QBLK_E_UNSUPPORTED, "the backing image is of format %s, which "
                           "cannot be recorded in a new image; prepare the target with qemu-img "
                           "and say --reuse-external", driver);
        qcow2.u.qcow2.backing_file = backing_file;
        qcow2.u.qcow2.has_backing_fmt = true;
        qcow2.u.qcow2.backing_fmt = (enum qapi_blockdev_driver)format;
    }
    (void)plan_create(op, "create the target image", to->names.create_fmt, &qcow2);
    return 0;
}

static const struct qapi_block_device_info *
find_node(const struct qapi_block_device_info_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (str_equal(list->v[i].node_name, name))
            return &list->v[i];
    }
    return NULL;
}

/* What an image records as lying below it is what lies there at its next start, whatever it lies on now. */
static int judge_backing(qblk_op *op, const struct target *to, const struct qapi_image_info *image,
                         qblk_error *error)
{
    const char *recorded = image->full_backing_filename != NULL ? image->full_backing_filename
                                                                : image->backing_filename;
    int below = op->shallow ? graph_backing_image(op->graph, op->top) : -1;

    if (is_raw(to) || str_equal(op->sync, "none"))
        return 0;
    if (below < 0 && recorded != NULL)
        return err_set(error, QBLK_E_TARGET_INVALID, "the target %s records %s as its backing file, which "
                       "would be read through it at its next start; for a copy of all data prepare an image "
                       "without one (\"qemu-img rebase -u -b '' %s\")", to->path, recorded, to->path);
    if (below >= 0 && recorded == NULL)
        return err_set(error, QBLK_E_TARGET_INVALID, "the target %s records no backing file, so that what "
                       "is below the top image of disk %s would be missing at its next start; record it "
                       "with \"qemu-img rebase -u -b %s -F %s %s\"", to->path, to->disk_name,
                       plan_file_name(op, below), overlay_backing_format(op, below), to->path);
    if (below >= 0 && !target_is_same_file(plan_file_name(op, below), recorded))
        engine_note(&op->engine, "the target %s records %s as its backing file, where disk %s has %s: it is "
                    "right only if both hold the same", to->path, recorded, to->disk_name,
                    plan_file_name(op, below));
    return 0;
}

static int judge_look(qblk_op *op, const struct target *to,
                      const struct qapi_block_device_info_list *list, qblk_error *error)
{
    const struct qapi_block_device_info *seen = find_node(list, to->names.look);
    const struct qapi_block_device_info *file = find_node(list, to->names.probe);
    bool is_file = file != NULL && strcmp(file->drv, "file") == 0;
    uint64_t have;

    if (seen == NULL)
        return err_set(error, QBLK_E_PROTOCOL, "QEMU does not list node %s, which it has just "
                       "added", to->names.look);
    have = (uint64_t)seen->image.virtual_size;
    if (have > to->size && is_raw(to) && op->kind->take_bigger != NULL)
        return op->kind->take_bigger(op, have, error);
    if (have != to->size)
        return err_set(error, QBLK_E_SIZE_MISMATCH, "the target %s has a virtual size of %llu "
                       "bytes, disk %s one of %llu; they must be equal: resize the target with "
                       "qemu-img resize, or let qblk create it", to->path,
                       (unsigned long long)have, to->disk_name, (unsigned long long)to->size);
    if (to->judge == NULL)
        return judge_backing(op, to, &seen->image, error);
    return to->judge(op, to, seen, is_file ? (uint64_t)file->image.virtual_size : 0, error);
}

/* The size of a reused image is only known once it is open. */
static int check_size(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    struct qapi_block_device_info_list list;
    int r = codec_reply(&qapi_cmd_query_named_block_nodes, reply, &list, error);

    if (r < 0)
        return r;
    r = judge_look(arg, engine_subject(engine), &list, error);
    codec_reply_clear(&qapi_cmd_query_named_block_nodes, &list);
    return r;
}

static void plan_size_check(qblk_op *op, const struct target *to)
{
    struct qapi_query_named_block_nodes_args flat = { .has_flat = true, .flat = true };
    struct step *step = plan_step(op, STEP_CHECK, "compare the sizes");

    step->check = check_size;
    step->subject = to;
    step_command(&op->engine, step, &qapi_cmd_query_named_block_nodes, &flat);
}

static void plan_retire(qblk_op *op, const char *name, const char *node, size_t retires)
{
    struct qapi_blockdev_del_args del = { .node_name = node };
    struct step *step = plan_step(op, STEP_CALL, name);

    step->retires = retires;
    step_command(&op->engine, step, &qapi_cmd_blockdev_del, &del);
}

/* Opening an image for writing can change it already, so it is opened read-only for the look. What
 * fails here is refused: nothing is changed yet. */
static void plan_look(qblk_op *op, const struct target *to)
{
    size_t at = op->engine.n;
    bool has_file = to->kind != TARGET_NODE;

    if (has_file)
        plan_file_node(op, to, to->names.probe, true)->fails_as = QBLK_E_TARGET_INVALID;
    plan_format_node(op, to, to->names.look, to->names.probe, NULL, true)->fails_as =
        QBLK_E_TARGET_INVALID;
    plan_size_check(op, to);
    plan_retire(op, "take the target node away again", to->names.look, at + 1 + has_file);
    if (has_file)
        plan_retire(op, "take its file node away again", to->names.probe, at + 1);
}

void target_plan_look(qblk_op *op, const struct target *to)
{
    if (to->reuse)
        plan_look(op, to);
    else if (to->is_new_file)
        plan_probe(op, to);
}

int target_plan(qblk_op *op, struct target *to, int backing, qblk_error *error)
{
    int r = 0;

    if (!to->reuse)
        r = plan_new_image(op, to, backing, error);
    else if (to->kind != TARGET_NODE)
        (void)plan_file_node(op, to, to->names.file, false);
    if (r < 0)
        return r;
    (void)plan_format_node(op, to, to->names.node, to->names.file,
                           backing >= 0 && !to->is_overlay
                               ? qblk_graph_node(op->graph, backing)->name : NULL, false);
    to->node_step = op->engine.n;
    return 0;
}

void target_plan_legacy(qblk_op *op, const struct target *to, void (*start)(qblk_op *op))
{
    size_t at = op->engine.n;

    /* Even a command that is refused may have made it. Once there is a job, that is the proof, and
     * the file goes before the job does. */
    if (to->is_new_file)
        plan_unlink(op, to, "the target's file is QEMU's to make");
    start(op);
    if (to->is_new_file && op->engine.n > 0) {
        op->engine.steps[op->engine.n - 1].retires = at + 1;
        plan_unlink(op, to, "the target's file is made");
    }
}

int target_record(qblk_op *op, const struct target *to, qblk_error *error)
{
    if (to->is_new_file && (op->journal.file = mem_strdup(to->path)) == NULL)
        return err_nomem(error);
    if (to->kind == TARGET_NODE && journal_opt(&op->journal, "blockdev") < 0)
        return err_nomem(error);
    return 0;
}

void target_plan_removal(qblk_op *op, const struct target *to)
{
    plan_delete(op, to->names.node);
    if (to->kind != TARGET_NODE)
        plan_delete(op, to->names.file);
}
