/* What is open: read as resume.c reads it, and not acted on. What is going to become of it:
 * fate.c. */
#include "ops/open.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/claim.h"
#include "monitor/hazard.h"
#include "ops/record.h"

const char *open_own(qblk_remains *remains, char *text)
{
    if (text == NULL)
        return NULL;
    if (mem_grow(&remains->owned, &remains->owned_room, remains->n_owned,
                 sizeof(*remains->owned)) < 0) {
        free(text);
        return NULL;
    }
    return remains->owned[remains->n_owned++] = text;
}

struct open_op *open_find(const qblk_remains *remains, const char *id)
{
    for (size_t i = 0; i < remains->n_ops; i++) {
        if (strcmp(remains->ops[i].shadow->id, id) == 0)
            return &remains->ops[i];
    }
    return NULL;
}

/* ---- shadows --------------------------------------------------------------------------------- */

static qblk_op *make_shadow(const qblk_remains *remains, const char *id)
{
    qblk_op *op = mem_zalloc(sizeof(*op));

    if (op == NULL)
        return NULL;
    op->monitor = remains->monitor;
    op->graph = remains->graph;
    op->kind = &op_pull;
    op->disk = op->root = op->top = op->below = -1;
    memcpy(op->id, id, sizeof(op->id));
    op_name(op);
    return op;
}

static void free_shadow(qblk_op *op)
{
    if (op == NULL)
        return;
    journal_done(&op->journal);
    op_free_parts(op);
    free(op->disk_name);
    free(op->own);
    target_done(&op->to);
    free(op);
}

/* The operation of that id, made if need be. */
static struct open_op *get(qblk_remains *remains, const char *id)
{
    struct open_op *op = open_find(remains, id);

    if (op != NULL)
        return op;
    if (mem_grow(&remains->ops, &remains->room, remains->n_ops, sizeof(*remains->ops)) < 0)
        return NULL;
    op = &remains->ops[remains->n_ops];
    memset(op, 0, sizeof(*op));
    op->shadow = make_shadow(remains, id);
    if (op->shadow == NULL)
        return NULL;
    remains->n_ops++;
    return op;
}

/* ---- finding --------------------------------------------------------------------------------- */

static int find_by_nodes(qblk_remains *remains)
{
    for (int i = 0; i < qblk_graph_node_count(remains->graph); i++) {
        char id[9];
        const char *role = str_our_name(qblk_graph_node(remains->graph, i)->name, id);
        bool is_journal = role != NULL && strcmp(role, "journal") == 0;
        bool is_look = role != NULL && /* ".1" and so on of further targets */
                       (str_starts(role, "probe") || str_starts(role, "look"));
        struct open_op *op;

        if (!is_journal && !is_look)
            continue;
        op = get(remains, id);
        if (op == NULL)
            return -ENOMEM;
        op->told.has_journal = op->told.has_journal || is_journal;
        op->has_look = op->has_look || is_look;
    }
    return 0;
}

static int copy_string(qblk_remains *remains, const char **text)
{
    if (*text != NULL && (*text = open_own(remains, mem_strdup(*text))) == NULL)
        return -ENOMEM;
    return 0;
}

static int take_job(qblk_remains *remains, struct open_op *op, const qblk_job_info *info)
{
    const char **const strings[] = { &op->job.id, &op->job.type, &op->job.status, &op->job.error,
                                     &op->job.operation, &op->job.stall_reason, &op->job.stall_node,
                                     &op->job.stall_op };

    op->job = *info;
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        if (copy_string(remains, strings[i]) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int find_by_jobs(qblk_remains *remains)
{
    qblk_job *job = NULL;
    int r = 0;

    while (r == 0 && (job = qblk_job_next(remains->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        struct open_op *op;
        char id[9];

        qblk_job_get_info(job, &info);
        if (info.state == QBLK_JOB_GONE || str_our_name(info.id, id) == NULL)
            continue;
        op = get(remains, id);
        if (op == NULL)
            return -ENOMEM;
        if (op->job.id == NULL || str_starts(str_our_name(op->job.id, NULL), "create-"))
            r = take_job(remains, op, &info);
    }
    return r;
}

/* Those whose job keeps the records of others from being read come first. */
static void sort(qblk_remains *remains)
{
    for (size_t i = 0, first = 0; i < remains->n_ops; i++) {
        struct open_op op = remains->ops[i];

        if (!str_equal(op.job.type, "stream") && !str_equal(op.job.type, "backup"))
            continue;
        memmove(&remains->ops[first + 1], &remains->ops[first], (i - first) * sizeof(op));
        remains->ops[first++] = op;
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

int open_refuse(struct open_op *op)
{
    op->is_refused = true;
    op->told.fate = QBLK_FATE_LEAVE;
    op->told.stage = QBLK_STAGE_UNKNOWN;
    return 0;
}

static int read_names(const qblk_remains *remains, int node, struct journal_nodes *names)
{
    qblk_bitmap bitmap;
    int r = 0;

    for (int k = 0; r == 0 && qblk_graph_bitmap(remains->graph, node, k, &bitmap) > 0; k++)
        r = journal_add(names, bitmap.name);
    return r;
}

static int read_record(qblk_remains *remains, struct open_op *op)
{
    qblk_op *shadow = op->shadow;
    int node = qblk_graph_find_node(remains->graph, shadow->names.journal);
    struct journal_nodes names = { NULL, 0, 0 };
    qblk_job_info info;
    int r = node >= 0 ? read_names(remains, node, &names) : 0;

    if (r == 0 && node >= 0) {
        r = record_check_node(shadow, qblk_graph_node(remains->graph, node)->driver, &op->told.why);
        if (r == 0 && names.n > 0)
            r = record_take(shadow, names.v, names.n, &op->told.why);
        if (r < 0 && op->told.why.code != QBLK_E_MEMORY)
            r = open_refuse(op);
    }
    if (r == 0 && !op->is_refused && (shadow->kind == &op_snapshot || shadow->journal.n_more > 0))
        r = op_make_parts(shadow, shadow->journal.n_more + 1, NULL);
    journal_free_nodes(&names);
    if (r < 0 || op->is_refused)
        return r < 0 ? -ENOMEM : 0;
    if (record_is_seen_done(shadow))
        shadow->journal.has_ended = true;
    if (record_find_job(shadow, &info) != NULL)
        r = take_job(remains, op, &info);
    op->found = record_how_far(shadow, record_find_job(shadow, &info) != NULL, op->job.outcome);
    if (op->found == GROUP_FOUND_ENDED)
        record_see_ending(shadow);
    return r;
}

static bool is_main(const struct open_op *op, const char *id)
{
    qblk_job_info info;

    return record_find_job(op->shadow, &info) != NULL && strcmp(info.id, id) == 0;
}

/* The jobs because of which this QEMU could not be asked for its nodes. */
static void look_for_hazard(qblk_remains *remains, struct open_op *op)
{
    unsigned version = remains->monitor->client.version;
    qblk_job *job = NULL;

    while ((job = qblk_job_next(remains->monitor, job)) != NULL && !op->is_refused) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        bool is_creation, is_own;

        qblk_job_get_info(job, &info);
        is_own = str_equal(info.operation, op->shadow->id);
        if (info.type == NULL || info.state == QBLK_JOB_GONE ||
            (is_own && (is_main(op, info.id) || strcmp(info.type, "create") == 0)) ||
            !hazard_forbids_nodes(version, info.type, info.state == QBLK_JOB_CONCLUDED))
            continue;
        is_creation = info.operation != NULL && strcmp(info.type, "create") == 0;
        if (is_creation ||
            (!is_own && info.operation != NULL && open_find(remains, info.operation) != NULL &&
             open_find(remains, info.operation)->told.has_journal)) {
            (void)err_set(&op->told.why, QBLK_E_HAZARD, "its record cannot be read before %s job %s is "
                          "over, or this version of QEMU could crash", info.type, info.id);
            op->is_late = true;
        } else {
            (void)record_refuse_hazard(&info, &op->told.why);
            (void)open_refuse(op);
        }
    }
}

/* Neither a journal nor what comes before one. */
static void look_for_journal(struct open_op *op)
{
    if (op->told.has_journal || op->has_look)
        return;
    (void)err_set(&op->told.why, QBLK_E_JOURNAL, "job %s carries the id of a qblk operation, but there is "
                  "no journal for it; \"qblk job %s %s\" ends it", op->job.id,
                  qblk_job_allows(op->job.state, QBLK_VERB_DISMISS) ? "dismiss" : "cancel", op->job.id);
    (void)open_refuse(op);
}

static int read_one(qblk_remains *remains, struct open_op *op)
{
    look_for_journal(op);
    if (op->is_refused)
        return 0;
    if (graph_is_complete(remains->graph))
        return read_record(remains, op);
    look_for_hazard(remains, op);
    return 0;
}

/* ---- telling --------------------------------------------------------------------------------- */

static const char *target_of(const qblk_remains *remains, const struct open_op *op, size_t number)
{
    const struct target_names *names = &op_target(op->shadow, number)->names;
    const char *file = journal_file(&op->shadow->journal, number);
    int node = qblk_graph_find_node(remains->graph, names->file);

    if (node < 0)
        node = qblk_graph_find_node(remains->graph, names->node);
    if (file == NULL && node >= 0)
        file = qblk_graph_node(remains->graph, node)->filename;
    return file != NULL && file[0] != '\0' ? file : NULL;
}

static int tell_targets(qblk_remains *remains, struct open_op *op)
{
    size_t n = op_n_targets(op->shadow);

    op->disks = mem_zalloc(n * sizeof(*op->disks));
    op->files = mem_zalloc(n * sizeof(*op->files));
    if (op->disks == NULL || op->files == NULL)
        return -ENOMEM;
    for (size_t i = 0; i < n; i++) {
        qblk_op_disk *disk = &op->disks[i];
        const char *made = journal_file(&op->shadow->journal, i);

        disk->disk = i == 0 ? op->shadow->journal.disk : op->shadow->journal.more[i - 1].disk;
        disk->target = target_of(remains, op, i);
        disk->node = op_target(op->shadow, i)->names.node;
        if (copy_string(remains, &disk->disk) < 0 || copy_string(remains, &disk->target) < 0 ||
            copy_string(remains, &disk->node) < 0)
            return -ENOMEM;
        if (made != NULL)
            op->files[op->told.n_files++] = disk->target;
    }
    op->told.files = op->told.n_files > 0 ? op->files : NULL;
    op->told.disk = op->disks[0].disk;
    op->told.target = op->disks[0].target;
    if (op->shadow->n_parts > 0) {
        op->told.disks = op->disks;
        op->told.n_disks = n;
    }
    return 0;
}

static int tell(qblk_remains *remains, struct open_op *op)
{
    const struct op_kind *by_job = op->job.id != NULL ? op_kind_find(str_our_name(op->job.id, NULL))
                                                      : NULL;
    bool has_record = op->shadow->journal.op != NULL;

    op->told.size = sizeof(op->told);
    op->told.operation = open_own(remains, mem_strdup(op->shadow->id));
    op->told.job = op->job.id != NULL ? &op->job : NULL;
    op->told.kind = has_record ? op->shadow->journal.op : by_job != NULL ? by_job->name : NULL;
    op->told.intent = op->shadow->journal.intent;
    op->told.has_client = claim_is_operation_held(remains->monitor, op->shadow->id, &op->told.client);
    if (op->told.operation == NULL || copy_string(remains, &op->told.kind) < 0 ||
        copy_string(remains, &op->told.intent) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < op->told.n_with; i++) {
        if (copy_string(remains, &op->with[i]) < 0)
            return -ENOMEM;
    }
    return has_record ? tell_targets(remains, op) : 0;
}

static int fill(qblk_remains *remains)
{
    int r = find_by_nodes(remains);

    if (r == 0)
        r = find_by_jobs(remains);
    if (r < 0)
        return r;
    sort(remains);
    for (size_t i = 0; i < remains->n_ops && r == 0; i++)
        r = read_one(remains, &remains->ops[i]);
    if (r == 0)
        r = fate_judge_all(remains);
    if (r == 0)
        r = strays_find(remains);
    for (size_t i = 0; i < remains->n_ops && r == 0; i++)
        r = tell(remains, &remains->ops[i]);
    return r;
}

int open_list(qblk_monitor *monitor, qblk_graph *graph, qblk_remains **ret_remains,
              qblk_error *error)
{
    qblk_remains *remains = mem_zalloc(sizeof(*remains));
    int r;

    if (remains == NULL)
        return err_nomem(error);
    remains->monitor = monitor;
    remains->graph = graph;
    r = fill(remains);
    for (size_t i = 0; i < remains->n_ops; i++) {
        free_shadow(remains->ops[i].shadow);
        remains->ops[i].shadow = NULL;
    }
    remains->monitor = NULL;
    remains->graph = NULL;
    if (r < 0) {
        (void)qblk_remains_free(remains);
        return err_nomem(error);
    }
    *ret_remains = remains;
    return 0;
}

/* ---- public ---------------------------------------------------------------------------------- */

static int left_ms(int64_t deadline)
{
    int64_t left = deadline - monitor_now_ms();

    return deadline < 0 ? -1 : left > 0 ? (int)left : 0;
}

int qblk_remains_read(qblk_monitor *monitor, int timeout_ms, qblk_remains **ret_remains,
                      qblk_error *error)
{
    int64_t deadline = monitor_deadline(timeout_ms);
    qblk_graph *graph = NULL;
    int r = qblk_jobs_sync(monitor, timeout_ms, error);

    if (r == 0)
        r = qblk_graph_read(monitor, left_ms(deadline), &graph, error);
    if (r < 0)
        return r;
    r = open_list(monitor, graph, ret_remains, error);
    (void)qblk_graph_free(graph);
    return r;
}

qblk_remains *qblk_remains_free(qblk_remains *remains)
{
    if (remains == NULL)
        return NULL;
    for (size_t i = 0; i < remains->n_ops; i++) {
        free(remains->ops[i].files);
        free(remains->ops[i].with);
        free(remains->ops[i].disks);
    }
    for (size_t i = 0; i < remains->n_owned; i++)
        free(remains->owned[i]);
    free(remains->owned);
    free(remains->ops);
    free(remains->strays);
    free(remains);
    return NULL;
}

const qblk_open_op *qblk_remains_op(const qblk_remains *remains, int index)
{
    return index >= 0 && (size_t)index < remains->n_ops ? &remains->ops[index].told : NULL;
}

const qblk_stray *qblk_remains_stray(const qblk_remains *remains, int index)
{
    return index >= 0 && (size_t)index < remains->n_strays ? &remains->strays[index] : NULL;
}

const char *qblk_stage_name(qblk_stage stage)
{
    static const char *const names[] = {
        [QBLK_STAGE_UNKNOWN] = "unknown", [QBLK_STAGE_BEGUN] = "begun",
        [QBLK_STAGE_PREPARED] = "prepared", [QBLK_STAGE_RUNNING] = "running",
        [QBLK_STAGE_READY] = "ready", [QBLK_STAGE_ENDED] = "ended",
        [QBLK_STAGE_CLEANING] = "cleaning",
    };

    return (size_t)stage < sizeof(names) / sizeof(names[0]) ? names[stage] : "unknown";
}

const char *qblk_fate_name(qblk_fate fate)
{
    static const char *const names[] = {
        [QBLK_FATE_LEAVE] = "leave", [QBLK_FATE_LATER] = "later", [QBLK_FATE_CLOSE] = "close",
        [QBLK_FATE_UNDO] = "undo",   [QBLK_FATE_WAIT] = "wait",   [QBLK_FATE_FINISH] = "finish",
        [QBLK_FATE_PIVOT] = "pivot", [QBLK_FATE_KEEP] = "keep",   [QBLK_FATE_CLEAN] = "clean",
        [QBLK_FATE_GO_ON] = "go-on",
    };

    return (size_t)fate < sizeof(names) / sizeof(names[0]) ? names[fate] : "leave";
}
