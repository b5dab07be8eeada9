/* Detach: device_del until the device is gone, then the nodes that only its disk used. Contract:
 * the guest has let go of the device, and what was added for it by hand is removed, so that its
 * images can be used elsewhere; or nothing has changed but that the guest was asked.
 *
 * A guest may ignore being asked, for the moment or for good, so it is asked several times, and
 * that it is gone is known by DEVICE_DELETED alone, or, after a lost connection, by its absence.
 * What was asked for cannot be taken back. The journal has the nodes: whoever takes the operation
 * up removes them, after asking once more if the device is there still, since nothing shows whether
 * it was asked for before. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

#define TRIES 8
#define INTERVAL_MS 20000
#define TRIES_ON 2 /* taken up again */
#define INTERVAL_ON_MS 5000

struct detach {
    bool keep_nodes;
    int tries, interval_ms;
    bool is_deleted;     /* DEVICE_DELETED has been heard */
    char root[64];       /* the node that the device uses */
    const char *device;  /* its id, or ""; within the same piece of memory, as is */
    char *path;          /* the device in QEMU's object tree */
    char room[];
};

/* What device_del takes; its id where it has one. Of a device that has gone, what the disk was
 * called. */
static const char *device_of(const qblk_op *op)
{
    const struct detach *mine = op->own;

    if (mine == NULL || mine->path == NULL)
        return op->disk_name;
    return mine->device[0] != '\0' ? mine->device : mine->path;
}

/* QEMU names the part of a device that has the disk, and unplugs the whole: with an id that is
 * /machine/peripheral/ID; without one, the path up to the index behind peripheral-anon. */
static int find_path(qblk_op *op, qblk_error *error)
{
    static const char anon[] = "/machine/peripheral-anon/", named[] = "/machine/peripheral/";
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    const char *path = disk->qom_path;
    size_t skip = str_starts(path, anon)    ? strlen(anon)
                  : str_starts(path, named) ? strlen(named)
                                            : 0;
    size_t len = skip + strcspn(path + skip, "/");
    struct detach *mine;

    if (path[0] == '\0')
        return err_set(error, QBLK_E_UNSUPPORTED, "no device uses disk %s, so there is nothing to "
                       "unplug; remove its nodes with blockdev-del", op->disk_name);
    if (skip == 0)
        len = strlen(path);
    mine = mem_realloc(op->own, sizeof(*mine) + len + 1 + strlen(disk->device) + 1);
    if (mine == NULL)
        return err_nomem(error);
    op->own = mine;
    memcpy(mine->room, path, len);
    mine->room[len] = '\0';
    mine->path = mine->room;
    mine->device = memcpy(mine->room + len + 1, disk->device, strlen(disk->device) + 1);
    (void)snprintf(mine->root, sizeof(mine->root), "%s",
                   qblk_graph_node(op->graph, op->root)->name);
    return 0;
}

/* ---- what is heard -------------------------------------------------------------------------- */

/* An event comes for every part of the device: by its id, or else by the whole path. */
static bool is_ours(const qblk_op *op, const char *device, const char *path)
{
    const struct detach *mine = op->own;

    return mine != NULL && mine->path != NULL &&
           (str_equal(path, mine->path) || (device != NULL && strcmp(device, mine->device) == 0));
}

/* An event for which there was no memory. Asked again, QEMU says what it said. */
static void not_read(qblk_op *op, int r)
{
    if (r != -ENOMEM)
        return;
    engine_misheard(&op->engine);
    monitor_ask_turn(op->monitor);
}

static void hear_deleted(qblk_op *op, const char *text)
{
    struct qapi_device_deleted_event data;
    struct detach *mine = op->own;
    int r = codec_event(&qapi_event_device_deleted, text, &data, NULL, NULL);

    if (r < 0) {
        not_read(op, r);
        return;
    }
    if (is_ours(op, data.device, data.path)) {
        mine->is_deleted = true;
        engine_come(&op->engine, NULL);
        monitor_ask_turn(op->monitor);
    }
    codec_clear(qapi_event_device_deleted.data, &data);
}

static void hear_refused(qblk_op *op, const char *text)
{
    struct qapi_device_unplug_guest_error_event data;
    int r = codec_event(&qapi_event_device_unplug_guest_error, text, &data, NULL, NULL);
    qblk_error error;

    if (r < 0) {
        not_read(op, r);
        return;
    }
    if (is_ours(op, data.device, data.path)) {
        (void)err_set(&error, QBLK_E_QEMU, "the guest refused to let go of it "
                      "(DEVICE_UNPLUG_GUEST_ERROR): see that nothing in the guest uses the disk, "
                      "and try again");
        engine_come(&op->engine, &error);
        monitor_ask_turn(op->monitor);
    }
    codec_clear(qapi_event_device_unplug_guest_error.data, &data);
}

static void hear(qblk_op *op, const char *name, const char *text)
{
    if (strcmp(name, "DEVICE_DELETED") == 0)
        hear_deleted(op, text);
    else if (strcmp(name, "DEVICE_UNPLUG_GUEST_ERROR") == 0)
        hear_refused(op, text);
}

/* device_del was refused. Asked for once more, a device that is not there is gone, and any other
 * refusal says that QEMU still waits for the guest. The first time it may be waiting for an earlier
 * request, which nothing but its words tells apart from a device that cannot be unplugged at all. A
 * device that was asked for by whoever began this, or over a connection that was lost, may be going
 * just now: it has no name any more, but has its disk until the event, which is still to come
 * unless it came between the look and the command. */
static int see_refusal(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    const qblk_op *op = arg;
    const struct detach *mine = op->own;
    bool is_unknown = strcmp(error->qmp_class, "DeviceNotFound") == 0;

    (void)reply;
    if (error->code != QBLK_E_QEMU)
        return -error->err;
    if (is_unknown && (engine->tried > 1 || mine->is_deleted))
        engine_come(engine, NULL);
    else if (engine->tried == 1 && strstr(error->text, "in the process of unplug") == NULL &&
             !(is_unknown && (op->is_resumed || op->was_urged)))
        return -error->err;
    return 0;
}

/* ---- planning ------------------------------------------------------------------------------- */

static int keep(qblk_op *op, int node, qblk_error *error)
{
    return journal_add(&op->journal.old_nodes, qblk_graph_node(op->graph, node)->name) < 0
               ? err_nomem(error) : 0;
}

/* Somebody besides the device uses what the device uses. */
static bool is_shared(qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    qblk_user user = { NULL, NULL, NULL };

    for (int k = 0; qblk_graph_user(op->graph, op->root, k, &user) > 0; k++) {
        bool is_device = strcmp(user.kind, "device") == 0 &&
                         (strcmp(user.name, disk->qom_path) == 0 ||
                          strcmp(user.name, disk->device) == 0 || strcmp(user.name, disk->drive) == 0);

        if (!is_device) {
            engine_note(&op->engine, "node %s and what is below it stay: %s %s uses them too",
                        qblk_graph_node(op->graph, op->root)->name, user.kind,
                        user.name[0] != '\0' ? user.name : "of no name (most likely an export)");
            return true;
        }
    }
    return false;
}

/* The nodes that go with the device, those above before those below. */
static int list_nodes(qblk_op *op, qblk_error *error)
{
    int room = qblk_graph_node_count(op->graph), n = 0, steps = room;
    AUTO_FREE int *list = mem_zalloc(((size_t)room + 1) * sizeof(*list));

    if (list == NULL)
        return err_nomem(error);
    for (int node = op->root; node >= 0 && steps-- > 0;
         node = qblk_graph_node(op->graph, node)->backing) {
        int begin = n, r = 0;

        if (node == op->root)
            (void)graph_released(op->graph, node, list, room, &n);
        else
            (void)graph_deletable(op->graph, node, list, room, &n);
        /* What stays keeps all that is below it. */
        if (n == begin)
            break;
        for (int i = begin; i < n && r == 0; i++)
            r = keep(op, list[i], error);
        if (r < 0)
            return r;
    }
    return 0;
}

static void plan_urge(qblk_op *op)
{
    const struct detach *mine = op->own;
    struct qapi_device_del_args del = { .id = device_of(op) };
    AUTO_FREE char *name = mem_printf("ask the guest to let go of device %s", del.id);
    struct step *step = plan_step(op, STEP_URGE, name != NULL ? name : "ask the guest");

    step_command(&op->engine, step, &qapi_cmd_device_del, &del);
    step->check = see_refusal;
    step->tries = mine->tries;
    step->again_ms = mine->interval_ms;
}

/* What follows once the device is gone. */
static void plan_after(qblk_op *op, bool has_journal)
{
    plan_delete_old(op);
    if (has_journal)
        plan_close_journal(op);
    else
        plan_survey(op);
}

static int plan_steps(qblk_op *op, qblk_error *error)
{
    const struct detach *mine = op->own;
    int r = 0;

    /* Those that QEMU has made for a drive have names of QEMU's, and go with it. */
    if (!mine->keep_nodes && !is_shared(op))
        r = list_nodes(op, error);
    if (r == 0 && op->journal.old_nodes.n > 0)
        r = plan_open_journal(op, "finish", error);
    if (r < 0)
        return r;
    plan_urge(op);
    if (op->journal.old_nodes.n > 0)
        plan_after(op, true);
    return 0;
}

static int plan(qblk_op *op, qblk_error *error)
{
    int r = plan_check_busy(op, -1, error);

    if (r == 0)
        r = find_path(op, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0 && (op->chain_after = mem_strdup("")) == NULL)
        r = err_nomem(error);
    return r == 0 ? plan_steps(op, error) : r;
}

/* Whether a device uses the disk, and through that node: another one may have been plugged in its
 * place, which nobody wants gone. */
static bool has_root(const qblk_op *op, const qblk_disk *disk, const char *root)
{
    return disk != NULL && disk->qom_path[0] != '\0' && disk->root >= 0 &&
           strcmp(qblk_graph_node(op->graph, disk->root)->name, root) == 0;
}

/* The disk of the device, or NULL: it is gone. */
static const qblk_disk *find_device(const qblk_op *op)
{
    const struct detach *mine = op->own;
    size_t len = strlen(mine->path);

    for (int i = 0; i < qblk_graph_disk_count(op->graph); i++) {
        const qblk_disk *disk = qblk_graph_disk(op->graph, i);

        if (strncmp(disk->qom_path, mine->path, len) == 0 &&
            (disk->qom_path[len] == '/' || disk->qom_path[len] == '\0'))
            return disk;
    }
    return NULL;
}

/* The nodes that went with the device before the connection was lost. */
static void forget_gone(qblk_op *op)
{
    struct journal_nodes *nodes = &op->journal.old_nodes;
    size_t n = 0;

    for (size_t i = 0; i < nodes->n; i++) {
        if (qblk_graph_find_node(op->graph, nodes->v[i]) >= 0)
            nodes->v[n++] = nodes->v[i];
        else
            free(nodes->v[i]);
    }
    nodes->n = n;
}

/* A journal that was opened before the connection was lost goes if nothing comes of it. */
static void mark_journal(qblk_op *op)
{
    struct qapi_blockdev_del_args del = { .node_name = op->names.journal };

    step_undo(&op->engine, plan_step(op, STEP_MARK, "the journal is open"),
              &qapi_cmd_blockdev_del, &del);
    old_plan_marked(op);
}

/* Nothing is left to be done but to remove the journal, if it is there, and to end with that
 * error. */
static void plan_giving_up(qblk_op *op, int journal, const qblk_error *why)
{
    op->engine.error = *why;
    if (why->kind == QBLK_KIND_CANCELLED && op->was_urged)
        engine_note(&op->engine, "the guest was asked to let go of device %s, which cannot be taken back",
                    device_of(op));
    if (journal >= 0)
        mark_journal(op);
    (void)plan_step(op, STEP_UNDO, "give it up");
}

static int plan_again(qblk_op *op, qblk_error *error)
{
    const struct detach *mine = op->own;
    int node = qblk_graph_find_node(op->graph, op->names.journal);
    const qblk_disk *disk = find_device(op);
    qblk_bitmap record;
    int r;

    if (op->was_past || disk == NULL) {
        op->engine.is_past = true;
        forget_gone(op);
        if (node >= 0 || op->journal.old_nodes.n > 0)
            plan_after(op, node >= 0);
        return 0;
    }
    if (!has_root(op, disk, mine->root)) {
        qblk_error other;

        (void)err_set(&other, QBLK_E_JOB_STATE, "while the connection was lost, device %s has come to use "
                      "%s instead of node %s: it is another one now, or its disk has moved; look at it "
                      "(\"qblk tree\"), and detach it again if it is to go", device_of(op),
                      disk->root >= 0 ? qblk_graph_node(op->graph, disk->root)->name : "nothing",
                      mine->root);
        plan_giving_up(op, node, &other);
        return 0;
    }
    if (op->cause.code != QBLK_E_NONE) {
        plan_giving_up(op, node, &op->cause);
        return 0;
    }
    r = plan_find_disk(op, error);
    if (r < 0)
        return r;
    if (node >= 0 && qblk_graph_bitmap(op->graph, node, 0, &record) > 0) {
        mark_journal(op);
        plan_urge(op);
        plan_after(op, true);
        return 0;
    }
    if (node >= 0) { /* it was cut off before it was written, as far as can be seen */
        plan_keep_old(op);
        plan_delete(op, op->names.journal)->in_spite = true;
    }
    journal_done(&op->journal);
    return plan(op, error);
}

/* Taken up again by somebody else: whether the device is there with its uppermost node, which comes
 * first in the record. A record whose nodes do not say the same is not acted on. */
static bool can_go_on(const qblk_op *op)
{
    const struct journal_nodes *old = &op->journal.old_nodes;

    return old->n > 0 && old_has_mark(op, old->v[0]) &&
           has_root(op, qblk_graph_disk(op->graph, op->disk), old->v[0]);
}

/* A device by the disk's name that uses something else. Whether it is the one that was to go, its disk having
 * moved since, or another one that was plugged after it, nothing tells. */
static bool has_other_device(const qblk_op *op)
{
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);

    return disk != NULL && disk->qom_path[0] != '\0' && disk->root >= 0 &&
           op->journal.old_nodes.n > 0 && !has_root(op, disk, op->journal.old_nodes.v[0]);
}

static void tell_other_device(qblk_op *op)
{
    if (has_other_device(op))
        engine_note(&op->engine, "device %s is there and uses node %s instead of %s: its disk has moved "
                    "since, or it is another one; detach it again if it is to go", op->disk_name,
                    qblk_graph_node(op->graph, qblk_graph_disk(op->graph, op->disk)->root)->name,
                    op->journal.old_nodes.v[0]);
}

/* The record says that it has gone. */
static void tell_device(qblk_op *op)
{
    const struct journal_nodes *old = &op->journal.old_nodes;

    if (op->engine.is_past && old->n > 0 && has_root(op, qblk_graph_disk(op->graph, op->disk), old->v[0]))
        engine_note(&op->engine, "device %s is there and uses node %s: it did not go, or was plugged in again; "
                    "detach it again if it is to go", op->disk_name, old->v[0]);
}

static void plan_clean(qblk_op *op)
{
    tell_device(op);
    tell_other_device(op);
    plan_delete_old(op);
}

static bool plan_on(qblk_op *op)
{
    struct detach *mine;
    qblk_error ignored;

    tell_other_device(op);
    if (!can_go_on(op) || find_path(op, &ignored) < 0)
        return false;
    mine = op->own;
    mine->tries = TRIES_ON;
    mine->interval_ms = INTERVAL_ON_MS;
    plan_urge(op);
    return true;
}

static void tell_left(qblk_op *op)
{
    if (op->engine.is_past || op->was_past)
        engine_note(&op->engine, "device %s is gone; nodes of its disk may be left (\"qblk "
                    "tree\"), which blockdev-del removes", device_of(op));
    else if (op->engine.tried > 0 || op->was_urged || op->is_resumed)
        engine_note(&op->engine, "the guest was asked to let go of device %s, and may still do so; to "
                    "wait for it again, detach it again", device_of(op));
    else
        engine_note(&op->engine, "the guest was not asked yet to let go of device %s", device_of(op));
    if (op->journal.old_nodes.n > 0 || op->is_resumed)
        engine_note(&op->engine, "\"qblk recover --operation %s\" asks again and removes the nodes",
                    op->id);
}

/* That the device is gone: it is not there, and nobody uses its uppermost node. That may still be
 * found as a disk of its own, and a disk of the old name may be another one. Without its mark it was
 * never to go, or undoing has begun. Without the node a device of that name may still be the one. */
static bool is_seen_done(const qblk_op *op)
{
    const struct journal_nodes *old = &op->journal.old_nodes;
    int node = old->n > 0 ? qblk_graph_find_node(op->graph, old->v[0]) : -1;
    qblk_user user;

    return op->journal.op != NULL && !can_go_on(op) &&
           (node < 0 ? !has_other_device(op)
                     : old_has_mark(op, old->v[0]) && qblk_graph_user(op->graph, node, 0, &user) == 0);
}

const struct op_kind op_detach = {
    .name = "detach",
    .own_size = sizeof(struct detach),
    .plan = plan,
    .can_go_on = can_go_on,
    .plan_on = plan_on,
    .plan_again = plan_again,
    .plan_clean = plan_clean,
    .tell_left = tell_left,
    .hear = hear,
    .is_seen_done = is_seen_done,
};

/* ---- public --------------------------------------------------------------------------------- */

int qblk_detach(qblk_monitor *monitor, const char *disk, const qblk_detach_options *options,
                qblk_op **ret_op, qblk_error *error)
{
    qblk_detach_options o = QBLK_INIT(qblk_detach_options);
    struct detach *mine;
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_detach_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0 && (o.tries < 0 || o.interval_ms < 0))
        r = err_set(error, QBLK_E_ARGUMENT, "%d tries of %d ms make no sense", o.tries,
                    o.interval_ms);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_detach, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    mine = op->own;
    mine->keep_nodes = o.keep_nodes;
    mine->tries = o.tries > 0 ? o.tries : TRIES;
    mine->interval_ms = o.interval_ms > 0 ? o.interval_ms : INTERVAL_MS;
    return op_launch(op, NULL, 0, ret_op, error);
}
