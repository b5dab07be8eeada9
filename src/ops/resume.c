/* Takes up an operation that an earlier client left open. What happened is read from QEMU: the job
 * says how far the work is, the journal what was meant and what is to be removed, the graph what is
 * there. From these the end of the step list is built anew; steps that are done are marks that only
 * undoing looks at.
 *
 *   job there            wait for it, end it as intended, clean up; or, if it failed, undo
 *   no job, ended        only the cleaning is left; so too if what is there shows that it was done: by
 *                        an operation without a job, or by a job that somebody else has dismissed
 *   no job, not ended    the job never started: undo
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/hazard.h"
#include "ops/guest.h"
#include "ops/record.h"
#include "ops/remains.h"
#include "qapi_types.h"

/* ---- building the rest of the list ----------------------------------------------------------- */

static void plan_rest_after_job(qblk_op *op)
{
    record_see_ending(op);
    if (op->kind->plan_clean != NULL)
        op->kind->plan_clean(op);
    plan_close_journal(op);
}

/* A job that has ended well already has ended one way or the other, whatever was meant. */
static void see_ending(qblk_op *op)
{
    if (op->engine.main.outcome == QBLK_OUTCOME_COMPLETED && op->top >= 0)
        record_see_ending(op);
}

/* A job that is paused comes to no end, nor does it keep a copy in sync, nor can it be told to end by a pivot
 * or without one. A cancel finds it all the same. */
static void plan_wake(qblk_op *op, const qblk_job_info *info)
{
    struct qapi_job_resume_args args = { .id = op->names.job };
    struct step *step;

    if (op->how == QBLK_RESUME_UNDO ||
        (info->state != QBLK_JOB_PAUSED && info->state != QBLK_JOB_STANDBY))
        return;
    step = plan_step(op, STEP_CLEAN, "resume the paused job");
    step->is_quiet = true; /* it may have been QEMU's own pause, of an instant */
    step->note = mem_printf("job %s %s, and was resumed", op->names.job,
                            info->is_stalled ? "had stopped on an I/O error" : "was paused");
    step_command(&op->engine, step, &qapi_cmd_job_resume, &args);
}

static void plan_rest(qblk_op *op, const qblk_job_info *job)
{
    if (job != NULL) {
        see_ending(op);
        if (op->engine.main.outcome != QBLK_OUTCOME_NONE)
            op->is_quiesced = false; /* it was, or was not, when the job ended */
        plan_wake(op, job);
        bitmaps_plan_moved(op, op->top, op->landing);
        op->kind->plan_end(op);
        if (op->how == QBLK_RESUME_UNDO)
            engine_cancel(&op->engine);
    } else if (op->journal.has_ended) {
        op->engine.is_past = true;
        plan_rest_after_job(op);
    } else if (op->how != QBLK_RESUME_UNDO && op->journal.op != NULL && op->kind->plan_on != NULL &&
               op->kind->plan_on(op)) {
        plan_rest_after_job(op);
    } else {
        (void)plan_step(op, STEP_UNDO, "undo what was begun");
    }
}

/* ---- reading the journal --------------------------------------------------------------------- */

static int take_record(qblk_op *op, char *const *names, size_t n, qblk_error *error)
{
    int r = record_take(op, names, n, error);

    if (r < 0)
        return r;
    (void)snprintf(op->engine.main.id, sizeof(op->engine.main.id), "%s", op->names.job);
    if (op->how == QBLK_RESUME_PIVOT && journal_has_opt(&op->journal, "no-pivot"))
        return err_set(error, QBLK_E_JOB_STATE, "the target of operation %s holds only what was "
                       "written since it began, so the disk cannot move there; end it with "
                       "--finish or --undo", op->id);
    if (record_has_endings(op) && op->how == QBLK_RESUME_FINISH)
        op->ending = QBLK_END_FINISH;
    if (record_has_endings(op) && op->how == QBLK_RESUME_PIVOT)
        op->ending = QBLK_END_PIVOT;
    if (op->how == QBLK_RESUME_UNDO && op->ending == QBLK_END_KEEP)
        op->ending = QBLK_END_FINISH; /* it is cancelled before that */
    return guest_read_record(op, op->journal.agent, error);
}

static int no_such_operation(const qblk_op *op, qblk_error *error)
{
    return err_set(error, QBLK_E_UNKNOWN_JOB, "there is no open operation %s; \"qblk recover "
                   "--list\" shows what is open", op->id);
}

static int read_record(qblk_op *op, const struct qapi_block_device_info_list *list,
                       qblk_error *error)
{
    const struct qapi_block_device_info *node = remains_find_node(list, op->names.journal);
    char **names;
    size_t n = 0;
    int r;

    /* Its owner died while it looked at the target, before it opened the journal. */
    if (node == NULL && remains_has_look(op, list))
        return remains_make_parts(op, list, error);
    if (node == NULL)
        return no_such_operation(op, error);
    r = record_check_node(op, node->drv, error);
    if (r < 0)
        return r;
    names = mem_zalloc((node->dirty_bitmaps.n + 1) * sizeof(*names));
    if (names == NULL)
        return err_nomem(error);
    for (size_t i = 0; i < node->dirty_bitmaps.n; i++) {
        if (node->dirty_bitmaps.v[i].name != NULL)
            names[n++] = node->dirty_bitmaps.v[i].name;
    }
    r = 0; /* no record: its owner died before writing it, and nothing else exists */
    if (n > 0)
        r = take_record(op, names, n, error);
    free(names);
    if (r == 0)
        r = remains_make_parts(op, list, error);
    if (r == 0 && record_is_seen_done(op))
        op->journal.has_ended = true;
    return r;
}

static int plan_on(qblk_op *op, qblk_error *error)
{
    qblk_job_info info;
    bool has_job = op->journal.op != NULL && record_find_job(op, &info) != NULL;
    int r = remains_plan(op, op->nodes, has_job, error);

    if (r < 0)
        return r;
    op->engine.is_blind = false;
    plan_rest(op, has_job ? &info : NULL);
    r = engine_ready(&op->engine, error);
    return r == 0 ? op_face_steps(op, error) : r;
}

/* What was begun cannot be gone on with: one that belongs to it is not there any more. */
static void turn_to_undoing(qblk_op *op)
{
    op->how = QBLK_RESUME_UNDO;
    if (op->ending == QBLK_END_KEEP)
        op->ending = QBLK_END_FINISH;
}

/* All that were started together know by now how far they are. */
static int plan_together(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    enum group_verdict verdict;
    qblk_ending ending;
    int r;

    (void)reply;
    op_see_cause(op);
    r = group_judge(op, &verdict, &ending, error);
    if (r < 0)
        return r;
    if (verdict == GROUP_FOLLOW) {
        op->how = QBLK_RESUME_INTENT;
        op->ending = ending;
        engine->cancel_asked = false; /* too late: the decision has fallen */
    } else if (verdict == GROUP_UNDO) {
        turn_to_undoing(op);
    }
    op->begins_again = op->is_own && verdict == GROUP_GO_ON && op->how == QBLK_RESUME_INTENT &&
                       !op->was_running && op->found < GROUP_FOUND_JOB;
    return plan_on(op, error);
}

/* Whether that journal holds a record that does not name the operation. */
static int is_disowned(const qblk_op *op, const struct qapi_block_device_info *journal)
{
    struct journal other = { 0 };
    struct journal_nodes names = { NULL, 0, 0 };
    int r = 0;

    for (size_t i = 0; i < journal->dirty_bitmaps.n && r == 0; i++) {
        if (journal->dirty_bitmaps.v[i].name != NULL)
            r = journal_add(&names, journal->dirty_bitmaps.v[i].name);
    }
    if (r == 0 && names.n > 0 && journal_decode(names.v, names.n, &other, NULL) == 0)
        r = !journal_has_node(&other.with, op->id);
    journal_done(&other);
    journal_free_nodes(&names);
    return r;
}

/* One that was not started alone, and is taken up alone. */
static int see_companions(qblk_op *op, qblk_error *error)
{
    for (size_t i = 0; i < op->journal.with.n; i++) {
        AUTO_FREE char *name = mem_printf("qblk.%.8s.journal", op->journal.with.v[i]);
        const struct qapi_block_device_info *node;
        int r;

        if (name == NULL)
            return err_nomem(error);
        node = remains_find_node(op->nodes, name);
        r = node != NULL ? is_disowned(op, node) : 0;
        if (r != 0)
            return r < 0 ? err_nomem(error)
                         : record_refuse_companion(op, op->journal.with.v[i], error);
        if (node != NULL)
            return err_set(error, QBLK_E_BUSY, "operation %s was started together with %.8s and "
                           "has to be taken up together with it, which \"qblk recover\" does",
                           op->id, op->journal.with.v[i]);
    }
    if (op->journal.with.n > 0 && op->found != GROUP_FOUND_ENDED)
        turn_to_undoing(op);
    return 0;
}

static int read_journal(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    qblk_op *op = arg;
    struct step *step;
    qblk_job_info info;
    int r;

    (void)engine;
    op_see_cause(op);
    op->nodes = mem_zalloc(sizeof(*op->nodes));
    if (op->nodes == NULL)
        return err_nomem(error);
    r = codec_reply(&qapi_cmd_query_named_block_nodes, reply, op->nodes, error);
    if (r < 0) {
        memset(op->nodes, 0, sizeof(*op->nodes));
        return r;
    }
    r = read_record(op, op->nodes, error);
    if (r < 0)
        return r;
    plan_mend(op); /* before all else: its guest hangs */
    op->found = record_how_far(op, op->journal.op != NULL && record_find_job(op, &info) != NULL,
                               op->engine.main.outcome);
    if (op->found == GROUP_FOUND_ENDED && !op->journal.has_ended)
        see_ending(op);
    else if (op->found == GROUP_FOUND_ENDED)
        record_see_ending(op);
    if (op->group == NULL) {
        r = see_companions(op, error);
        return r < 0 ? r : plan_on(op, error);
    }
    step = plan_step(op, STEP_BARRIER, "see how far the others are");
    step->barrier = GROUP_PLANNED;
    step->check = plan_together;
    r = engine_ready(&op->engine, error);
    return r == 0 ? op_face_steps(op, error) : r;
}

/* ---- the beginning of the list --------------------------------------------------------------- */

static int see_journal(void *arg, struct engine *engine, const char *reply, qblk_error *error)
{
    const qblk_op *op = arg;
    struct qapi_x_dbg_block_graph graph;
    bool found = false;
    int r = codec_reply(&qapi_cmd_x_debug_query_block_graph, reply, &graph, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < graph.nodes.n; i++)
        found = found || strcmp(graph.nodes.v[i].name, op->names.journal) == 0;
    codec_reply_clear(&qapi_cmd_x_debug_query_block_graph, &graph);
    if (!found)
        return no_such_operation(op, error);
    if (op->how == QBLK_RESUME_UNDO)
        engine_cancel(engine);
    return 0;
}

/* The debug graph is safe to ask for: without a journal the job is not touched. */
static void plan_see_journal(qblk_op *op)
{
    struct step *step = plan_step(op, STEP_CHECK, "see that there is a journal");

    step->check = see_journal;
    step_command(&op->engine, step, &qapi_cmd_x_debug_query_block_graph, NULL);
}

/* A concluded job of this type makes reading the nodes, and with them the journal, deadly: it is
 * waited for, its outcome written down, and dismissed first. An image that is being made comes to
 * its end by itself, whichever operation it is of: perhaps of a companion, which waits for ours. If
 * somebody else's job is in the way, nothing is done. */
static int plan_around_hazard(qblk_op *op, qblk_error *error)
{
    unsigned version = op->monitor->client.version;
    qblk_job *job = NULL;
    struct step *step;

    while ((job = qblk_job_next(op->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        bool is_creation, is_own;

        qblk_job_get_info(job, &info);
        if (info.type == NULL || info.state == QBLK_JOB_GONE ||
            !hazard_forbids_nodes(version, info.type, info.state == QBLK_JOB_CONCLUDED))
            continue;
        /* That of a companion, which waits for it. */
        if (!str_equal(info.operation, op->id) && group_has(op, info.operation))
            continue;
        is_creation = strcmp(info.type, "create") == 0;
        /* A name like ours alone does not make it so. */
        is_own = str_equal(info.operation, op->id) &&
                 (is_creation || strcmp(info.id, op->names.job) == 0);
        if (!is_own && (info.operation == NULL || !is_creation))
            return record_refuse_hazard(&info, error);
        if (is_creation) {
            int r = remains_plan_creation_end(op, info.id, error);

            if (r < 0)
                return r;
            continue;
        }
        plan_see_journal(op);
        plan_wake(op, &info);
        (void)plan_step(op, STEP_OVER, "wait for the job's end");
        step = plan_end_journal(op); /* an earlier client may have done that */
        step->if_completed = true;
        step->is_quiet = true;
        plan_dismiss(op);
    }
    return 0;
}

int resume_plan(qblk_op *op, qblk_error *error)
{
    struct qapi_query_named_block_nodes_args flat = { .has_flat = true, .flat = true };
    qblk_job_info info;
    struct step *step;
    int r;

    op->engine.is_blind = true;
    if (record_find_job(op, &info) != NULL) {
        (void)snprintf(op->engine.main.id, sizeof(op->engine.main.id), "%s", info.id);
        (void)snprintf(op->names.job, sizeof(op->names.job), "%s", info.id);
        engine_hear_job(&op->engine, &info);
    }
    r = plan_around_hazard(op, error);
    if (r < 0)
        return r;
    group_plan_barrier(op, GROUP_SAFE, "wait until the others can be looked at");
    step = plan_step(op, STEP_CHECK, "read the journal");
    step->check = read_journal;
    step_command(&op->engine, step, &qapi_cmd_query_named_block_nodes, &flat);
    return 0;
}

/* ---- public --------------------------------------------------------------------------------- */

static bool is_operation_id(const char *id)
{
    return id != NULL && strlen(id) == 8 && strspn(id, "0123456789abcdef") == 8;
}

int qblk_resume(qblk_monitor *monitor, const char *id, const qblk_resume_options *options,
                qblk_op **ret_op, qblk_error *error)
{
    qblk_resume_options o = QBLK_INIT(qblk_resume_options);
    qblk_op *op;
    int r = op_take_options(&o, sizeof(o), options, "qblk_resume_options", error);

    if (r < 0)
        return r;
    r = op_check_common(monitor, "?", &o.common, error);
    if (r == 0 && !is_operation_id(id))
        r = err_set(error, QBLK_E_ARGUMENT, "\"%.40s\" is not the id of an operation, which is 8 "
                    "hex digits", id != NULL ? id : "");
    if (r < 0)
        return op_refused(&o.common, r);
    r = op_start(monitor, &op_pull, "?", &o.common, &op, error);
    if (r < 0)
        return r;
    memcpy(op->id, id, sizeof(op->id));
    op_name(op);
    engine_done(&op->engine);
    engine_init(&op->engine, op->names.job, op);
    op->is_resumed = op->is_nameless = true;
    op->how = o.how;
    op->is_to_undo = o.how == QBLK_RESUME_UNDO;
    if (o.group != NULL && (r = group_add(o.group, op, error)) < 0) {
        op_drop(op);
        return r;
    }
    return op_launch(op, NULL, 0, ret_op, error);
}
