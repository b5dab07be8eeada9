/* Throttle: block_set_io_throttle, limits of the guest's I/O on one device. Contract: the limits
 * given are set, the others stay as they were. QEMU's command sets all of them, so those are read
 * first.
 *
 * The job's speed is another thing. A throttle node in the graph is one, too: its limits are those
 * of a group that is an object of its own. One command is all there is: nothing to undo or
 * recover. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"
#include "qapi_types.h"

struct throttle {
    bool off;
    bool is_given[QBLK_LIMITS];
    uint64_t value[QBLK_LIMITS];
    char group[128];
};

#define FIELD(name_) offsetof(struct qapi_block_device_info, name_), \
                     offsetof(struct qapi_block_set_io_throttle_args, name_)
#define ALWAYS(name_) FIELD(name_), 0, 0
#define MAYBE(name_) FIELD(name_), offsetof(struct qapi_block_device_info, has_##name_), \
                     offsetof(struct qapi_block_set_io_throttle_args, has_##name_)

/* Where each limit stands in what query-block says and in what is sent; 0: it is always there. */
static const struct {
    const char *name;
    size_t from, to, has_from, has_to;
} limits[QBLK_LIMITS] = {
    [QBLK_LIMIT_BPS] = { "bps", ALWAYS(bps) },
    [QBLK_LIMIT_BPS_RD] = { "bps-rd", ALWAYS(bps_rd) },
    [QBLK_LIMIT_BPS_WR] = { "bps-wr", ALWAYS(bps_wr) },
    [QBLK_LIMIT_IOPS] = { "iops", ALWAYS(iops) },
    [QBLK_LIMIT_IOPS_RD] = { "iops-rd", ALWAYS(iops_rd) },
    [QBLK_LIMIT_IOPS_WR] = { "iops-wr", ALWAYS(iops_wr) },
    [QBLK_LIMIT_BPS_MAX] = { "bps-max", MAYBE(bps_max) },
    [QBLK_LIMIT_BPS_RD_MAX] = { "bps-rd-max", MAYBE(bps_rd_max) },
    [QBLK_LIMIT_BPS_WR_MAX] = { "bps-wr-max", MAYBE(bps_wr_max) },
    [QBLK_LIMIT_IOPS_MAX] = { "iops-max", MAYBE(iops_max) },
    [QBLK_LIMIT_IOPS_RD_MAX] = { "iops-rd-max", MAYBE(iops_rd_max) },
    [QBLK_LIMIT_IOPS_WR_MAX] = { "iops-wr-max", MAYBE(iops_wr_max) },
    [QBLK_LIMIT_IOPS_SIZE] = { "iops-size", MAYBE(iops_size) },
};

/* How long each burst may last, in seconds: not offered here, and not to be lost. */
static const struct {
    qblk_limit of;
    size_t from, to, has_from, has_to;
} lengths[] = {
    { QBLK_LIMIT_BPS_MAX, MAYBE(bps_max_length) },
    { QBLK_LIMIT_BPS_RD_MAX, MAYBE(bps_rd_max_length) },
    { QBLK_LIMIT_BPS_WR_MAX, MAYBE(bps_wr_max_length) },
    { QBLK_LIMIT_IOPS_MAX, MAYBE(iops_max_length) },
    { QBLK_LIMIT_IOPS_RD_MAX, MAYBE(iops_rd_max_length) },
    { QBLK_LIMIT_IOPS_WR_MAX, MAYBE(iops_wr_max_length) },
};

const char *qblk_limit_name(qblk_limit limit)
{
    return (unsigned)limit < QBLK_LIMITS ? limits[limit].name : "unknown";
}

static int64_t number_at(const void *base, size_t at)
{
    int64_t n;

    memcpy(&n, (const char *)base + at, sizeof(n));
    return n;
}

static void put_at(void *base, size_t at, size_t has_at, int64_t n)
{
    memcpy((char *)base + at, &n, sizeof(n));
    if (has_at != 0)
        memcpy((char *)base + has_at, &(bool){ true }, sizeof(bool));
}

static void read_limits(const struct qapi_block_device_info *medium, uint64_t value[QBLK_LIMITS])
{
    for (int i = 0; i < QBLK_LIMITS; i++) {
        int64_t n = number_at(medium, limits[i].from);

        value[i] = n > 0 ? (uint64_t)n : 0;
    }
}

/* A filter between the device and its image that has limits of its own, or NULL. */
static const qblk_node *throttle_node(const qblk_graph *graph, const qblk_disk *disk)
{
    int steps = qblk_graph_node_count(graph);

    for (int i = disk->root; i >= 0 && i != disk->top && steps-- > 0;
         i = qblk_graph_node(graph, i)->backing)
        if (strcmp(qblk_graph_node(graph, i)->driver, "throttle") == 0)
            return qblk_graph_node(graph, i);
    return NULL;
}

static int check_device(const qblk_graph *graph, int index, qblk_error *error)
{
    const qblk_disk *disk = qblk_graph_disk(graph, index);

    if (disk->qom_path[0] == '\0' && disk->drive[0] == '\0')
        return err_set(error, QBLK_E_UNSUPPORTED, "no device of a guest uses disk %s, and QEMU "
                       "limits the I/O of devices alone; in qemu-storage-daemon put a node of "
                       "driver throttle above node %s, with an object throttle-group that has the "
                       "limits, and export that node", disk->name,
                       qblk_graph_node(graph, disk->root)->name);
    return 0;
}

/* ---- setting -------------------------------------------------------------------------------- */

/* QEMU takes a limit on the total or limits on reads and writes, not both: the newer kind stays. */
static const struct {
    qblk_limit total, rd, wr;
} kinds[] = {
    { QBLK_LIMIT_BPS, QBLK_LIMIT_BPS_RD, QBLK_LIMIT_BPS_WR },
    { QBLK_LIMIT_IOPS, QBLK_LIMIT_IOPS_RD, QBLK_LIMIT_IOPS_WR },
    { QBLK_LIMIT_BPS_MAX, QBLK_LIMIT_BPS_RD_MAX, QBLK_LIMIT_BPS_WR_MAX },
    { QBLK_LIMIT_IOPS_MAX, QBLK_LIMIT_IOPS_RD_MAX, QBLK_LIMIT_IOPS_WR_MAX },
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

#define BURST_OF(limit_) ((limit_) + QBLK_LIMIT_BPS_MAX)

static bool is_set(const struct throttle *mine, qblk_limit limit)
{
    return mine->is_given[limit] && mine->value[limit] > 0;
}

static void merge(const struct throttle *mine, uint64_t value[QBLK_LIMITS])
{
    for (size_t i = 0; i < N_KINDS; i++) {
        if (is_set(mine, kinds[i].total))
            value[kinds[i].rd] = value[kinds[i].wr] = 0;
        if (is_set(mine, kinds[i].rd) || is_set(mine, kinds[i].wr))
            value[kinds[i].total] = 0;
    }
    for (int i = 0; i < QBLK_LIMITS; i++) {
        if (mine->is_given[i])
            value[i] = mine->value[i];
    }
    /* A burst is one above a limit: it goes with it. */
    for (int i = QBLK_LIMIT_BPS; i <= QBLK_LIMIT_IOPS_WR; i++) {
        if (value[i] == 0 && !mine->is_given[BURST_OF(i)])
            value[BURST_OF(i)] = 0;
    }
}

static int check_bursts(const uint64_t value[QBLK_LIMITS], qblk_error *error)
{
    for (int i = QBLK_LIMIT_BPS; i <= QBLK_LIMIT_IOPS_WR; i++) {
        uint64_t burst = value[BURST_OF(i)];

        if (burst > 0 && (value[i] == 0 || burst < value[i]))
            return err_set(error, QBLK_E_ARGUMENT, "%s would be %" PRIu64 " and %s %" PRIu64
                           ": a burst is more than a limit that there is; give both",
                           limits[i].name, value[i], limits[BURST_OF(i)].name, burst);
    }
    return 0;
}

static int fill(const qblk_op *op, const struct qapi_block_device_info *medium,
                struct qapi_block_set_io_throttle_args *args, qblk_error *error)
{
    const struct throttle *mine = op->own;
    const qblk_disk *disk = qblk_graph_disk(op->graph, op->disk);
    uint64_t value[QBLK_LIMITS] = { 0 }, sum = 0;

    if (disk->qom_path[0] != '\0')
        args->id = disk->qom_path;
    else
        args->device = disk->drive;
    if (mine->group[0] != '\0')
        args->group = mine->group;
    if (mine->off)
        return 0;
    read_limits(medium, value);
    merge(mine, value);
    for (int i = 0; i < QBLK_LIMITS; i++) {
        if (limits[i].has_to == 0 || value[i] > 0)
            put_at(args, limits[i].to, limits[i].has_to, (int64_t)value[i]);
    }
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        bool has_length;

        memcpy(&has_length, (const char *)medium + lengths[i].has_from, sizeof(has_length));
        if (has_length && value[lengths[i].of] > 0)
            put_at(args, lengths[i].to, lengths[i].has_to, number_at(medium, lengths[i].from));
    }
    for (int i = 0; i < QBLK_LIMIT_BPS_MAX; i++)
        sum |= value[i];
    if (sum == 0 && mine->group[0] != '\0')
        return err_set(error, QBLK_E_ARGUMENT, "group %s has no limits, and without any a disk is "
                       "in no group: give limits too", mine->group);
    return check_bursts(value, error);
}

static int check_node(const qblk_op *op, qblk_error *error)
{
    const qblk_node *node = throttle_node(op->graph, qblk_graph_disk(op->graph, op->disk));

    if (node == NULL)
        return 0;
    return err_set(error, QBLK_E_UNSUPPORTED, "disk %s is behind the throttle node %s: its limits "
                   "are those of that node's throttle-group; set them with \"qblk qmp qom-set "
                   "path=/objects/GROUP property=limits value:='{\"bps-total\": N}'\"",
                   op->disk_name, node->name);
}

/* Whose limits those given change: the disk's own, or those of the group that it is to join. */
static const struct qapi_block_device_info *base_of(const qblk_op *op)
{
    const struct throttle *mine = op->own;

    for (int i = 0; mine->group[0] != '\0' && i < qblk_graph_disk_count(op->graph); i++) {
        const struct qapi_block_device_info *medium = graph_medium(op->graph, i);

        if (medium != NULL && str_equal(medium->group, mine->group))
            return medium;
    }
    return graph_medium(op->graph, op->disk);
}

static int plan(qblk_op *op, qblk_error *error)
{
    struct qapi_block_set_io_throttle_args args = { .bps = 0 };
    const struct qapi_block_device_info *medium = base_of(op);
    int r = check_device(op->graph, op->disk, error);

    if (r == 0)
        r = check_node(op, error);
    if (r == 0 && medium == NULL)
        r = err_set(error, QBLK_E_UNKNOWN_DISK, "disk %s has no medium", op->disk_name);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_before, error);
    if (r == 0)
        r = plan_chain_text(op, NULL, op->top, &op->chain_after, error);
    if (r == 0)
        r = fill(op, medium, &args, error);
    if (r < 0)
        return r;
    step_command(&op->engine, plan_step(op, STEP_CALL, "set the limits"),
                 &qapi_cmd_block_set_io_throttle, &args);
    return 0;
}

/* Limits that are set once more are the same. */
static int plan_again(qblk_op *op, qblk_error *error)
{
    int r = plan_find_disk(op, error);

    if (op->has_returned && op->engine.cancel_asked)
        engine_note(&op->engine, "the connection was lost when QEMU had been told the limits of disk %s: it "
                    "may have set them; \"qblk throttle\" shows them", op->disk_name);
    return r == 0 ? plan(op, error) : r;
}

static void tell_left(qblk_op *op)
{
    engine_note(&op->engine, "QEMU was told the limits of disk %s; \"qblk throttle\" shows them",
                op->disk_name);
}

const struct op_kind op_throttle = {
    .name = "throttle",
    .own_size = sizeof(struct throttle),
    .plan = plan,
    .plan_again = plan_again,
    .tell_left = tell_left,
};

/* ---- public --------------------------------------------------------------------------------- */

static int check_options(const qblk_throttle_options *o, qblk_error *error)
{
    struct throttle mine = { .off = o->off };
    bool is_any = o->group != NULL;

    for (int i = 0; i < QBLK_LIMITS; i++) {
        is_any = is_any || o->is_given[i];
        mine.is_given[i] = o->is_given[i];
        mine.value[i] = o->value[i];
        if (o->is_given[i] && o->value[i] > INT64_MAX)
            return err_set(error, QBLK_E_ARGUMENT, "%s %" PRIu64 " is more than QEMU can be told "
                           "(2^63-1); 0 means no limit", limits[i].name, o->value[i]);
    }
    if (o->off && is_any)
        return err_set(error, QBLK_E_ARGUMENT, "no limits at all and limits exclude one another");
    if (!o->off && !is_any)
        return err_set(error, QBLK_E_ARGUMENT, "no limit was given");
    for (size_t i = 0; i < N_KINDS; i++) {
        if (is_set(&mine, kinds[i].total) &&
            (is_set(&mine, kinds[i].rd) || is_set(&mine, kinds[i].wr)))
            return err_set(error, QBLK_E_ARGUMENT, "%s and %s or %s exclude one another: limit the "
                           "total, or reads and writes", limits[kinds[i].total].name,
                           limits[kinds[i].rd].name, limits[kinds[i].wr].name);
    }
    if (o->group != NULL && strlen(o->group) >= sizeof(mine.group))
        return err_set(error, QBLK_E_ARGUMENT, "the name of the group is over %zu bytes long",
                       sizeof(mine.group) - 1);
    return 0;
}

int qblk_throttle(qblk_monitor *monitor, const char *disk, const qblk_throttle_options *options,
                  qblk_op **ret_op, qblk_error *error)
{
    qblk_throttle_options o = QBLK_INIT(qblk_throttle_options);
    struct throttle *mine;
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_throttle_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, disk, &o.common, error);
    if (r == 0)
        r = check_options(&o, error);
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_throttle, disk, &o.common, &op, error);
    if (r < 0)
        return r;
    mine = op->own;
    mine->off = o.off;
    memcpy(mine->is_given, o.is_given, sizeof(mine->is_given));
    memcpy(mine->value, o.value, sizeof(mine->value));
    if (o.group != NULL)
        (void)snprintf(mine->group, sizeof(mine->group), "%s", o.group);
    return op_launch(op, NULL, 0, ret_op, error);
}

static int read_disk(const qblk_graph *graph, const char *name, qblk_limits *limits_of,
                     qblk_error *error)
{
    int index = qblk_graph_find_disk(graph, name, error);
    const struct qapi_block_device_info *medium;
    const qblk_disk *disk;
    const qblk_node *node;
    int r = index < 0 ? index : check_device(graph, index, error);

    if (r < 0)
        return r;
    disk = qblk_graph_disk(graph, index);
    medium = graph_medium(graph, index);
    if (medium == NULL)
        return err_set(error, QBLK_E_UNKNOWN_DISK, "disk %s has no medium", disk->name);
    read_limits(medium, limits_of->value);
    (void)snprintf(limits_of->disk, sizeof(limits_of->disk), "%s", disk->name);
    (void)snprintf(limits_of->group, sizeof(limits_of->group), "%s",
                   medium->group != NULL ? medium->group : "");
    node = throttle_node(graph, disk);
    (void)snprintf(limits_of->node, sizeof(limits_of->node), "%s", node != NULL ? node->name : "");
    return 0;
}

int qblk_throttle_read(qblk_monitor *monitor, const char *disk, int timeout_ms,
                       qblk_limits *ret_limits, qblk_error *error)
{
    qblk_limits found = QBLK_INIT(qblk_limits);
    size_t size = ret_limits->size;
    qblk_graph *graph;
    int r;

    if (size == 0 || size > sizeof(found))
        return err_set(error, QBLK_E_ARGUMENT, "the size member of the limits is not set; use "
                       "QBLK_INIT(qblk_limits)");
    r = qblk_graph_read(monitor, timeout_ms, &graph, error);
    if (r < 0)
        return r;
    r = read_disk(graph, disk, &found, error);
    if (r == 0) {
        memcpy(ret_limits, &found, size);
        ret_limits->size = size;
    }
    (void)qblk_graph_free(graph);
    return r;
}
