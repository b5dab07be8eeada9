/* The life of an operation: made, heard of by its monitor, ended, freed; and what its user may do with it
 * meanwhile. */
#include "ops/guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/claim.h"

const char *qblk_result_name(qblk_result result)
{
    static const char *const names[] = {
        [QBLK_RESULT_NONE] = "none",           [QBLK_RESULT_COMPLETED] = "completed",
        [QBLK_RESULT_FINISHED] = "finished",   [QBLK_RESULT_PIVOTED] = "pivoted",
        [QBLK_RESULT_KEPT] = "kept",           [QBLK_RESULT_LEFT] = "left",
        [QBLK_RESULT_FAILED] = "failed",       [QBLK_RESULT_CANCELLED] = "cancelled",
        [QBLK_RESULT_LOST] = "lost",           [QBLK_RESULT_PLANNED] = "planned",
        [QBLK_RESULT_UNDONE] = "undone",
    };

    return (size_t)result < sizeof(names) / sizeof(names[0]) ? names[result] : "unknown";
}

const char *qblk_op_id(const qblk_op *op)
{
    return op->id;
}

/* ---- making --------------------------------------------------------------------------------- */

void op_name(qblk_op *op)
{
    struct {
        char *to;
        const char *role;
    } names[] = {
        { op->names.job, op->kind->name },
        { op->names.journal, "journal" },
        { op->names.filter, "filter" },
        { op->names.old, "old" },
    };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)snprintf(names[i].to, OP_NAME_MAX, "qblk.%s.%s", op->id, names[i].role);
    target_name(&op->to, op->id, 0);
}

int op_make_parts(qblk_op *op, size_t n, qblk_error *error)
{
    op->parts = mem_zalloc(n * sizeof(*op->parts));
    op->told_disks = mem_zalloc(n * sizeof(*op->told_disks));
    if (op->parts == NULL || op->told_disks == NULL)
        return err_nomem(error);
    op->n_parts = n;
    for (size_t i = 0; i < n; i++) {
        op->parts[i].disk = op->parts[i].root = op->parts[i].top = -1;
        target_name(&op->parts[i].to, op->id, (int)i);
    }
    return 0;
}

size_t op_n_targets(const qblk_op *op)
{
    return op->n_parts > 0 ? op->n_parts : 1;
}

struct target *op_target(qblk_op *op, size_t number)
{
    return op->n_parts > 0 ? &op->parts[number].to : &op->to;
}

void op_free_parts(qblk_op *op)
{
    for (size_t i = 0; i < op->n_parts; i++) {
        free(op->parts[i].disk_name);
        target_done(&op->parts[i].to);
    }
    free(op->parts);
    free(op->told_disks);
    op->parts = NULL;
    op->told_disks = NULL;
    op->n_parts = 0;
}

static int draw_id(qblk_op *op, qblk_error *error)
{
    uint32_t random;

    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return err_sys(error, errno, "no random number for the operation's id");
    (void)snprintf(op->id, sizeof(op->id), "%08x", random);
    return 0;
}

void op_drop_plan(qblk_op *op)
{
    op->graph = qblk_graph_free(op->graph);
    if (op->nodes != NULL)
        codec_reply_clear(&qapi_cmd_query_named_block_nodes, op->nodes);
    free(op->nodes);
    op->nodes = NULL;
    journal_done(&op->journal);
    journal_free_nodes(&op->old_creations);
    for (int i = 0; i < op->n_record; i++)
        free(op->record[i]);
    free(op->record);
    op->record = NULL;
    op->n_record = 0;
    free(op->steps);
    free(op->chain_before);
    free(op->chain_after);
    free(op->warning);
    op->steps = NULL;
    op->chain_before = op->chain_after = op->warning = NULL;
}

static void destroy(qblk_op *op)
{
    void (*release)(void *) = op->common.ops.release;
    void *arg = op->common.arg;

    if (op->ret_is_gone != NULL)
        *op->ret_is_gone = true;
    list_remove(&op->child.link);
    group_remove(op);
    guest_free(op->guest);
    op_end_turn(op);
    monitor_timer_stop(&op->timer);
    monitor_timer_stop(&op->resend);
    if (op->listener != NULL)
        jobs_unlisten(op->monitor, op->listener);
    if (op->reading != NULL)
        graph_read_abandon(op->reading);
    features_abandon(&op->asking);
    engine_done(&op->engine);
    op_drop_plan(op);
    journal_free_nodes(&op->worths);
    free(op->disk_name);
    target_done(&op->to);
    op_free_parts(op);
    free(op->base);
    free(op->into);
    free(op->bottom);
    free(op->commit_top);
    free(op->backing_file);
    free(op->sync);
    free(op->on_source_error);
    free(op->on_target_error);
    free(op->own);
    claim_drop(op->claim);
    free(op);
    if (release != NULL)
        release(arg);
}

void op_drop(qblk_op *op)
{
    destroy(op);
}

static void child_freed(struct monitor_child *child)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);
    qblk_error why;

    if (!op->is_over && guest_is_cut_off(op, &why)) {
        op->is_pumping = true; /* it is freed here, whoever asks for it meanwhile */
        lost_tell(op);
        op_end(op, QBLK_RESULT_LOST, &why);
    }
    destroy(op);
}

/* Before the graph came for the first time there is nothing to undo, and no need to wait for it. */
static void cancel_early(qblk_op *op)
{
    qblk_error error;

    op->is_idle = true;
    if (op->group != NULL) /* perhaps for the sake of another */
        error = op->engine.cancel_error;
    else
        (void)err_set(&error, QBLK_E_CANCELLED, "cancelled before anything was changed");
    op_end(op, QBLK_RESULT_CANCELLED, &error);
}

static void child_turn(struct monitor_child *child)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);

    if (op->is_over) {
        if (op->free_asked)
            qblk_op_free(op);
        return;
    }
    if (op->is_away && !op->is_left) {
        if (op->is_read_anew)
            op_take_up(op);
        return;
    }
    if (op->stillborn.code != QBLK_E_NONE)
        op_refuse(op, &op->stillborn);
    else if (op->is_planned || op->is_left)
        op_run(op);
    else if (op->engine.cancel_asked && !op->has_returned)
        cancel_early(op);
}

static void child_hear(struct monitor_child *child, const char *name, const char *text)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);

    if (op->kind->hear != NULL && !op->is_over && !op->is_away && op->graph != NULL)
        op->kind->hear(op, name, text);
}

static void timer_due(struct monitor_timer *timer)
{
    qblk_op *op = LIST_ENTRY(timer, qblk_op, timer);

    engine_time(&op->engine);
    op_run(op);
}

static void child_ended(struct monitor_child *child, const qblk_error *why)
{
    qblk_op *op = LIST_ENTRY(child, qblk_op, child);
    qblk_error error = *why;

    if (op->is_over)
        return;
    if (op->has_job)
        (void)snprintf(error.job, sizeof(error.job), "%s", op->names.job);
    if (guest_outlives(op, &error))
        return;
    lost_tell(op);
    op_end(op, QBLK_RESULT_LOST, &error);
}

int op_set_kind(qblk_op *op, const struct op_kind *kind, qblk_error *error)
{
    op->kind = kind;
    if (op->own == NULL && kind->own_size > 0 && (op->own = mem_zalloc(kind->own_size)) == NULL)
        return err_nomem(error);
    return 0;
}

int op_start(qblk_monitor *monitor, const struct op_kind *kind, const char *disk,
             const qblk_op_common *common, qblk_op **ret_op, qblk_error *error)
{
    qblk_op *op = mem_zalloc(sizeof(*op));
    int r;

    if (op == NULL) {
        if (common->ops.release != NULL)
            common->ops.release(common->arg);
        return err_nomem(error);
    }
    op->monitor = monitor;
    op->common = *common;
    op->disk = op->root = op->top = op->below = -1;
    op->child.ended = child_ended;
    op->child.freed = child_freed;
    op->child.turn = child_turn;
    op->child.hear = child_hear;
    op->child.lost = op_lost;
    op->timer.due = timer_due;
    op->unsent.kind = ACT_WAIT;
    op->resend.due = op_resend_due;
    list_append(&monitor->children, &op->child.link);
    op->started_ms = monitor_now_ms();
    r = op_set_kind(op, kind, error);
    if (r == 0 && (op->disk_name = mem_strdup(disk)) == NULL)
        r = err_nomem(error);
    if (r == 0)
        r = draw_id(op, error);
    if (r < 0) {
        destroy(op);
        return r;
    }
    op_name(op);
    engine_init(&op->engine, op->names.job, op);
    *ret_op = op;
    return 0;
}

/* ---- ending --------------------------------------------------------------------------------- */

static void tell_parts(qblk_op *op)
{
    if (op->n_parts == 0 || op->parts[0].disk_name == NULL)
        return; /* taken up again before it had a record */
    for (size_t i = 0; i < op->n_parts; i++) {
        const struct op_part *part = &op->parts[i];

        op->told_disks[i] = (qblk_op_disk){ part->disk_name, part->to.path, part->to.names.node };
    }
    op->report.disks = op->told_disks;
    op->report.n_disks = op->n_parts;
}

void op_end(qblk_op *op, qblk_result result, const qblk_error *error)
{
    if (op->is_over)
        return;
    op->is_over = true;
    monitor_timer_stop(&op->timer);
    monitor_timer_stop(&op->resend);
    op_end_turn(op);
    claim_drop(op->claim);
    op->claim = 0;
    for (size_t i = 0; i < op_n_targets(op); i++) {
        claim_drop(op_target(op, i)->claim);
        op_target(op, i)->claim = 0;
    }
    if (error != NULL) {
        op->error = *error;
        (void)snprintf(op->error.operation, sizeof(op->error.operation), "%s", op->id);
        if (op->has_job && op->error.job[0] == '\0')
            (void)snprintf(op->error.job, sizeof(op->error.job), "%s", op->names.job);
    }
    op->report.size = sizeof(op->report);
    op->report.result = result;
    op->report.operation = op->is_idle ? NULL : op->id;
    op->report.kind = op->is_nameless ? NULL : op->kind->name;
    op->report.disk = op->is_nameless ? NULL : op->disk_name;
    op->report.target = op_target(op, 0)->path;
    op->report.job = op->has_job ? op->names.job : NULL;
    op->report.bytes = op->bytes;
    op->report.elapsed_ms = monitor_now_ms() - op->started_ms;
    op->report.disk_size = op->disk_size;
    op->report.notes = (const char *const *)op->engine.notes;
    op->report.n_notes = op->engine.n_notes;
    tell_parts(op);
    log_debug(&op->monitor->log, "operation %s: %s", op->id, qblk_result_name(result));
    group_notice(op);
    if (op->common.ops.on_end != NULL)
        op->common.ops.on_end(op, &op->report, error != NULL ? &op->error : NULL,
                              op->common.arg);
}

/* Taken up again here, and not to be gone on with for now. That was not refused: "nothing was changed" would
 * be untrue of it. */
static void leave_open(qblk_op *op, const qblk_error *error)
{
    qblk_error why = *error;

    if (why.kind == QBLK_KIND_REFUSED)
        why.kind = QBLK_KIND_FAILED;
    if (op->cause.code != QBLK_E_NONE)
        engine_note(&op->engine, "it was being undone: %s", op->cause.text);
    if (op->kind->tell_left != NULL)
        op->kind->tell_left(op);
    else
        engine_note(&op->engine, "operation %s is left open as it was when the connection was lost; \"qblk "
                    "recover --operation %s\" takes it up again", op->id, op->id);
    op_end(op, QBLK_RESULT_FAILED, &why);
}

void op_refuse(qblk_op *op, const qblk_error *error)
{
    if (op->has_returned && guest_outlives(op, error))
        return;
    if (error->kind == QBLK_KIND_CONNECTION)
        op_end(op, QBLK_RESULT_LOST, error);
    else if (op->has_returned)
        leave_open(op, error);
    else
        op_end(op, QBLK_RESULT_FAILED, error);
}

/* ---- public --------------------------------------------------------------------------------- */

/* A callback may free the operation, or its monitor, while it is waited for. */
struct waiting {
    const qblk_op *op;
    bool is_gone;
};

static bool is_over(void *arg)
{
    const struct waiting *waiting = arg;

    return waiting->is_gone || waiting->op->is_over;
}

int qblk_op_wait(qblk_op *op, int timeout_ms, qblk_op_report *ret_report, qblk_error *error)
{
    struct waiting waiting = { .op = op };
    int r = 0;

    if (!op->is_over && op->group != NULL && !group_is_started(op->group))
        return err_set(error, QBLK_E_ARGUMENT, "the operation is in a group that has not been "
                       "started: qblk_group_start() does that");
    if (!op->is_over)
        r = monitor_may_block(op->monitor, error); /* another call, further out, may wait already */
    if (r == 0 && !op->is_over) {
        /* cppcheck-suppress autoVariables ; taken back below, unless the operation is gone */
        op->ret_is_gone = &waiting.is_gone;
        r = monitor_linger(op->monitor, is_over, &waiting, monitor_deadline(timeout_ms), error);
        if (waiting.is_gone)
            return r < 0 ? r : err_set(error, QBLK_E_ARGUMENT, "the operation was freed by a "
                                       "callback while it was waited for");
        op->ret_is_gone = NULL;
    }
    if (r < 0 && !op->is_over) {
        if (error != NULL)
            (void)snprintf(error->operation, sizeof(error->operation), "%s", op->id);
        return r;
    }
    if (ret_report != NULL) {
        size_t size = ret_report->size;

        if (size == 0 || size > sizeof(op->report))
            return err_set(error, QBLK_E_ARGUMENT, "the size member of the report is not set; use "
                           "QBLK_INIT(qblk_op_report)");
        memcpy(ret_report, &op->report, size);
        ret_report->size = size;
    }
    return op->error.code != QBLK_E_NONE ? err_copy(error, &op->error) : 0;
}

void qblk_op_free(qblk_op *op)
{
    if (op == NULL)
        return;
    if (!op->is_over) {
        log_debug(&op->monitor->log, "operation %s: not freed, it goes on", op->id);
        return;
    }
    op->free_asked = true;
    if (op->in_flight > 0 || op->is_pumping)
        return;
    if (op->monitor->listening_depth > 0)
        monitor_ask_turn(op->monitor); /* the list of listeners that it is in is being walked */
    else
        destroy(op);
}

void qblk_op_cancel(qblk_op *op)
{
    if (op->is_over)
        return;
    if (op->group != NULL) {
        qblk_group_cancel(op->group);
        return;
    }
    engine_cancel(&op->engine);
    guest_cancelled(op);
    monitor_ask_turn(op->monitor);
}

void op_leave_alone(qblk_op *op)
{
    if (op->is_over || op->is_left)
        return;
    op->is_left = true;
    monitor_ask_turn(op->monitor);
}

void qblk_op_leave(qblk_op *op)
{
    if (op->group != NULL)
        qblk_group_leave(op->group);
    else
        op_leave_alone(op);
}
