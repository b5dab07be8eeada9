/* The beginning of an operation: the graph is read, the steps are planned and told, and off it goes. The
 * same again when it is taken up, here or by another client. */
#include "ops/guest.h"

#include "base/err.h"
#include "base/mem.h"
#include "monitor/claim.h"
#include "ops/op.h"

/* Whether what is left to do is planned from what is there and what is known of it here. */
static bool is_seen_anew(const qblk_op *op)
{
    return op->has_returned && op_plans_again(op);
}

static int plan(qblk_op *op, qblk_error *error)
{
    int r;

    op_see_cause(op);
    r = is_seen_anew(op) ? op->kind->plan_again(op, error)
        : op->is_resumed ? resume_plan(op, error)
                         : op->kind->plan(op, error);
    return r < 0 ? r : engine_ready(&op->engine, error);
}

int op_face_steps(qblk_op *op, qblk_error *error)
{
    qblk_step *steps = mem_realloc(op->steps, op->engine.n * sizeof(*steps));

    if (steps == NULL)
        return err_nomem(error);
    op->steps = steps;
    for (size_t i = 0; i < op->engine.n; i++) {
        op->steps[i].name = op->engine.steps[i].name;
        op->steps[i].command = op->engine.steps[i].command;
        op->steps[i].undo = op->engine.steps[i].undo;
        op->steps[i].agent = engine_is_agents(&op->engine.steps[i]) ? guest_path(op) : NULL;
        op->steps[i].is_conditional = op->engine.steps[i].when != NULL ||
                                      op->engine.steps[i].kind == STEP_SURVEY;
    }
    return 0;
}

static int tell_plan(qblk_op *op, qblk_error *error)
{
    qblk_plan told = QBLK_INIT(qblk_plan);
    int r = op_face_steps(op, error);

    if (r < 0)
        return r;
    told.steps = op->steps;
    told.n_steps = op->engine.n;
    told.chain_before = op->chain_before;
    told.chain_after = op->chain_after;
    told.warning = op->warning;
    if (op->common.ops.on_plan != NULL && !op->is_own)
        op->common.ops.on_plan(op, &told, op->common.arg);
    return 0;
}

/* Everything is known: plans, tells the plan, and sets off. */
static void go(qblk_op *op)
{
    qblk_error mine;

    if (plan(op, &mine) < 0 || tell_plan(op, &mine) < 0) {
        op_refuse(op, &mine);
        return;
    }
    op->is_planned = true;
    if (op->common.dry_run)
        op_end(op, QBLK_RESULT_PLANNED, NULL);
    else
        op_run(op);
}

static void take_features(void *arg, const qblk_error *error)
{
    qblk_op *op = arg;

    if (op->is_over)
        return;
    if (error != NULL)
        op_refuse(op, error);
    else
        go(op);
}

static void take_graph(void *arg, qblk_graph *graph, const qblk_error *error)
{
    qblk_op *op = arg;
    qblk_error mine;

    op->reading = NULL;
    op->graph = graph;
    if (op->is_over)
        return;
    if (graph == NULL) {
        op_refuse(op, error);
        return;
    }
    if (!op->is_resumed && !is_seen_anew(op) && plan_find_disk(op, &mine) < 0) {
        op_refuse(op, &mine);
        return;
    }
    if (op->is_resumed || op->kind->needs_features == NULL || features_known(op->monitor) ||
        !op->kind->needs_features(op)) {
        go(op);
        return;
    }
    op->asking.fn = take_features;
    op->asking.arg = op;
    if (features_ask(op->monitor, &op->asking, &mine) < 0)
        op_refuse(op, &mine);
}

int op_read_graph(qblk_op *op, qblk_error *error)
{
    return graph_read_start(op->monitor, take_graph, op, &op->reading, error);
}

static int begin(qblk_op *op, qblk_error *error)
{
    int r = op->common.dry_run ? 0 : claim_operation(op->monitor, op->id, error);

    if (r >= 0) {
        op->claim = r;
        r = op_listen(op, error);
    }
    if (r == 0)
        r = jobs_start(op->monitor, error);
    if (r == 0)
        r = op_read_graph(op, error);
    return r;
}

int op_begin(qblk_op *op, qblk_error *error)
{
    int r = begin(op, error);

    if (r < 0)
        op_drop(op);
    return r;
}

void op_go(qblk_op *op)
{
    if (!op->is_over && begin(op, &op->stillborn) < 0)
        monitor_ask_turn(op->monitor);
}
