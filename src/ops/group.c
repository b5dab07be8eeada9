#include "ops/group.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/guest.h"
#include "ops/record.h"

struct member {
    qblk_op *op;         /* NULL once it is freed */
    char id[9];
    bool has_failed;     /* it turns back, or is over without success */
    bool is_over;
    bool is_clear;       /* it was taken up, and how far it was is known */
    enum engine_mode seen_mode;
    int seen_barrier;
    bool seen_over;
};

struct qblk_group {
    struct monitor_child child;
    qblk_monitor *monitor;
    struct member *members;
    size_t n, room;
    int passed;
    bool is_started;
    bool is_given_up;
    bool is_doomed; /* by one that was freed since */
    qblk_error cause;    /* why it is given up */
    char unclear_id[9];  /* the first that is over without having told how far it was, or "" */
    qblk_error unclear;  /* why */
    bool has_verdict;
    enum group_verdict verdict;
    qblk_ending ending;  /* that of the one that ended, with GROUP_FOLLOW */
    bool free_asked;
    bool is_turning;
};

static struct member *find(const qblk_group *group, const char *id)
{
    for (size_t i = 0; i < group->n; i++) {
        if (strcmp(group->members[i].id, id) == 0)
            return &group->members[i];
    }
    return NULL;
}

static void destroy(qblk_group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op != NULL)
            group->members[i].op->group = NULL;
    }
    list_remove(&group->child.link);
    free(group->members);
    free(group);
}

static void free_if_idle(qblk_group *group)
{
    if (!group->free_asked || group->is_turning)
        return;
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op != NULL)
            return;
    }
    destroy(group);
}

/* ---- what its members do --------------------------------------------------------------------- */

static void see(struct member *member)
{
    const qblk_op *op = member->op;

    if (op == NULL)
        return;
    member->is_over = op->is_over;
    member->has_failed = (!op->begins_again && (op->engine.mode == ENGINE_UNDO ||
                                                op->engine.error.code != QBLK_E_NONE)) ||
                         (op->is_over && op->error.code != QBLK_E_NONE);
}

static bool has_reached(const struct member *member, int barrier)
{
    const struct engine *engine = member->op != NULL ? &member->op->engine : NULL;

    /* Its job is about to end otherwise than was asked, as far as is known. */
    if ((barrier == GROUP_READY || barrier == GROUP_DECIDED) && engine != NULL &&
        !member->is_over &&
        (engine->cancel_asked ||
         (engine->main.is_ending && engine->main.outcome == QBLK_OUTCOME_NONE)))
        return false;
    return member->is_over || member->has_failed ||
           (engine != NULL && engine_barrier(engine) >= barrier);
}

static bool is_resumed(const qblk_group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op != NULL && group->members[i].op->is_resumed)
            return true;
    }
    return false;
}

static void give_up(qblk_group *group, const qblk_op *cause)
{
    const qblk_error *why = cause->error.code != QBLK_E_NONE ? &cause->error : &cause->engine.error;

    group->is_given_up = true;
    (void)err_set(&group->cause, QBLK_E_CANCELLED, "given up together with %s %s: %s",
                  cause->is_nameless ? "operation" : "disk",
                  cause->is_nameless ? cause->id : cause->disk_name, why->text);
}

/* A failure before the decision is everybody's. Of those that are taken up each has to be asked
 * first how far it is. */
static void share_failure(qblk_group *group)
{
    if (group->passed >= GROUP_DECIDED ||
        (is_resumed(group) && group->passed < GROUP_PLANNED && !group->has_verdict))
        return;
    for (size_t i = 0; i < group->n && !group->is_given_up; i++) {
        const struct member *member = &group->members[i];

        if (member->has_failed && member->op != NULL)
            give_up(group, member->op);
    }
    for (size_t i = 0; i < group->n && group->is_given_up; i++) {
        qblk_op *op = group->members[i].op;

        if (op == NULL || op->is_over || group->members[i].has_failed)
            continue;
        engine_give_up(&op->engine, &group->cause);
        guest_cancelled(op);
    }
}

/* Once they are given up, one whose job has completed all the same has nobody to wait for. */
static void open_barriers(qblk_group *group)
{
    bool all = !group->is_given_up;

    while (all && group->passed < GROUP_ENDED) {
        for (size_t i = 0; i < group->n; i++)
            all = all && has_reached(&group->members[i], group->passed + 1);
        if (all)
            group->passed++;
    }
    for (size_t i = 0; i < group->n; i++) {
        struct engine *engine = group->members[i].op != NULL ? &group->members[i].op->engine : NULL;

        if (engine != NULL)
            engine_pass(engine, group->is_given_up && engine->is_past ? GROUP_ENDED : group->passed);
    }
}

/* They come back together, but not in one instant: what one of them was before says nothing. */
static bool is_away(const qblk_group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op != NULL && group->members[i].op->is_away)
            return true;
    }
    return false;
}

/* Ending them all is one burst: nothing is read in between. */
static void turn(struct monitor_child *child)
{
    qblk_group *group = LIST_ENTRY(child, qblk_group, child);

    if (!group->is_started || is_away(group))
        return;
    group->is_turning = true;
    for (size_t i = 0; i < group->n; i++)
        see(&group->members[i]);
    share_failure(group);
    open_barriers(group);
    for (size_t i = 0; i < group->n; i++) {
        qblk_op *op = group->members[i].op;

        if (op != NULL && !op->is_over && op->graph != NULL)
            op_run(op);
        else if (op != NULL && !op->is_over && op->engine.cancel_asked && !op->has_returned)
            monitor_ask_turn(group->monitor); /* one that has returned heeds it when it is planned */
    }
    group->is_turning = false;
    free_if_idle(group);
}

/* Each of its operations looks anew how far it is, and what was agreed on with it: nothing, but for
 * one that has ended as was decided. */
static void lost(struct monitor_child *child, const qblk_error *why)
{
    qblk_group *group = LIST_ENTRY(child, qblk_group, child);

    (void)why;
    group->passed = GROUP_NONE;
    group->has_verdict = false;
    group->is_given_up = group->is_doomed;
    group->verdict = GROUP_GO_ON;
}

static void ended(struct monitor_child *child, const qblk_error *why)
{
    (void)child;
    (void)why;
}

static void freed(struct monitor_child *child)
{
    destroy(LIST_ENTRY(child, qblk_group, child));
}

void group_notice(qblk_op *op)
{
    struct member *member = op->group != NULL ? find(op->group, op->id) : NULL;
    int barrier = engine_barrier(&op->engine);

    if (member == NULL ||
        (member->seen_mode == op->engine.mode && member->seen_barrier == barrier &&
         member->seen_over == op->is_over))
        return;
    member->seen_mode = op->engine.mode;
    member->seen_barrier = barrier;
    member->seen_over = op->is_over;
    monitor_ask_turn(op->monitor);
}

/* ---- membership ------------------------------------------------------------------------------ */

int group_add(qblk_group *group, qblk_op *op, qblk_error *error)
{
    struct member *member;

    if (group->is_started || group->monitor != op->monitor)
        return err_set(error, QBLK_E_ARGUMENT, "an operation can join a group only before that is "
                       "started, and on the group's monitor");
    if (find(group, op->id) != NULL)
        return err_set(error, QBLK_E_ARGUMENT, "operation %s is in the group already", op->id);
    if (mem_grow(&group->members, &group->room, group->n, sizeof(*group->members)) < 0)
        return err_nomem(error);
    member = &group->members[group->n++];
    memset(member, 0, sizeof(*member));
    member->op = op;
    memcpy(member->id, op->id, sizeof(member->id));
    op->group = group;
    return 0;
}

/* One whose record is gone was undone; one that cannot be understood must not be contradicted, also when its
 * user has freed it. */
static void see_unclear(qblk_group *group, const struct member *member)
{
    const qblk_op *op = member->op;

    if (op == NULL || group->unclear_id[0] != '\0' || member->is_clear || !op->is_over || !op->is_resumed ||
        op->has_returned || op->error.code == QBLK_E_UNKNOWN_JOB)
        return;
    memcpy(group->unclear_id, op->id, sizeof(group->unclear_id));
    group->unclear = op->error;
}

void group_remove(qblk_op *op)
{
    qblk_group *group = op->group;
    struct member *member = group != NULL ? find(group, op->id) : NULL;

    if (member == NULL)
        return;
    see(member);
    if (member->has_failed && group->is_started && !group->is_given_up && !is_resumed(group) &&
        group->passed < GROUP_DECIDED) {
        give_up(group, op);
        group->is_doomed = true; /* nobody is left to say so again */
        monitor_ask_turn(group->monitor);
    }
    if (group->is_started)
        see_unclear(group, member);
    member->is_over = true;
    member->op = NULL;
    op->group = NULL;
    if (!group->is_started) /* it never began, so it is nobody's companion */
        *member = group->members[--group->n];
    free_if_idle(group);
}

bool group_has(const qblk_op *op, const char *id)
{
    return op->group != NULL && id != NULL && find(op->group, id) != NULL;
}

bool group_is_first(const qblk_op *op)
{
    return op->group == NULL || op->group->members[0].op == op;
}

bool group_is_started(const qblk_group *group)
{
    return group->is_started;
}

int group_list_others(const qblk_op *op, struct journal_nodes *ids)
{
    const qblk_group *group = op->group;

    for (size_t i = 0; group != NULL && i < group->n; i++) {
        if (strcmp(group->members[i].id, op->id) != 0 &&
            journal_add(ids, group->members[i].id) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* The node that the disk of a planned operation hangs on, or "". */
static const char *root_name(const qblk_op *op)
{
    return op->graph != NULL && op->root >= 0 ? qblk_graph_node(op->graph, op->root)->name : "";
}

int group_check_clash(const qblk_op *op, qblk_error *error)
{
    const qblk_group *group = op->group;

    for (size_t i = 0; group != NULL && i < group->n; i++) {
        const qblk_op *other = group->members[i].op;

        if (other == NULL || other == op)
            continue;
        if (strcmp(root_name(other), root_name(op)) == 0)
            return err_set(error, QBLK_E_ARGUMENT, "disk %s is named twice (%s)", op->disk_name,
                           other->disk_name);
        if (str_equal(other->to.path, op->to.path))
            return err_set(error, QBLK_E_TARGET_INVALID, "the target %s is named for two disks, %s "
                           "and %s", op->to.path, other->disk_name, op->disk_name);
    }
    return 0;
}

void group_plan_barrier(qblk_op *op, enum group_barrier barrier, const char *name)
{
    if (op->group != NULL)
        plan_step(op, STEP_BARRIER, name)->barrier = (int)barrier;
}

/* ---- taken up again -------------------------------------------------------------------------- */

/* Whether all that one of them names as its companions are here. */
static bool is_complete(const qblk_group *group, const qblk_op *op)
{
    for (size_t i = 0; i < op->journal.with.n; i++) {
        if (find(group, op->journal.with.v[i]) == NULL)
            return false;
    }
    return true;
}

/* What an operation of another client that has come to its end, before the connection was lost,
 * means for the others. */
static enum group_verdict verdict_of_over(const qblk_op *op)
{
    return op->error.code != QBLK_E_NONE || op->report.result == QBLK_RESULT_UNDONE ? GROUP_UNDO
                                                                                     : GROUP_GO_ON;
}

/* A record that names another which does not name it back is forged, or old. */
static int check_mutual(const qblk_group *group, const qblk_op *op, qblk_error *error)
{
    for (size_t i = 0; i < op->journal.with.n; i++) {
        struct member *member = find(group, op->journal.with.v[i]);

        if (member != NULL && member->op != NULL && member->op->journal.op != NULL &&
            !journal_has_node(&member->op->journal.with, op->id))
            return record_refuse_companion(op, member->id, error);
    }
    return 0;
}

/* Whether it was kept, nobody has decided how they all end, and this is not how its user wants to end it. */
static bool is_other_wish(const qblk_op *op, qblk_ending ending)
{
    bool is_kept = !op->is_over && !op->is_own && op->found == GROUP_FOUND_JOB &&
                   str_equal(op->journal.intent, "keep");

    return is_kept &&
           (op->how == QBLK_RESUME_UNDO ||
            (op->how == QBLK_RESUME_PIVOT && ending != QBLK_END_PIVOT) ||
            (op->how == QBLK_RESUME_FINISH && ending == QBLK_END_PIVOT));
}

static int check_wishes(const qblk_group *group, const qblk_op *ended, qblk_error *error)
{
    bool has_pivoted = ended->ending == QBLK_END_PIVOT;

    for (size_t i = 0; i < group->n; i++) {
        const qblk_op *op = group->members[i].op;

        if (op != NULL && is_other_wish(op, ended->ending))
            return err_set(error, QBLK_E_JOB_STATE, "operation %s was started together with %s, which has "
                           "ended %s: end it like that, with %s, or end job %s by hand (\"qblk job cancel "
                           "%s\")", op->id, ended->id, has_pivoted ? "by a pivot" : "without a pivot",
                           has_pivoted ? "--pivot" : "--finish", op->names.job, op->names.job);
    }
    return 0;
}

static int judge(qblk_group *group, const qblk_op *op, qblk_error *error)
{
    group->verdict = GROUP_GO_ON;
    for (size_t i = 0; i < group->n; i++) {
        const qblk_op *member = group->members[i].op;
        int r = member != NULL ? check_mutual(group, member, error) : 0;

        if (r < 0)
            return r;
        see_unclear(group, &group->members[i]);
    }
    if (group->unclear_id[0] != '\0')
        return err_set(error, QBLK_E_BUSY, "operation %s belongs together with %s, which cannot be taken up: %s",
                       op->id, group->unclear_id, group->unclear.text);
    for (size_t i = 0; i < group->n; i++) {
        const qblk_op *member = group->members[i].op;
        int r;

        if (member == NULL) {
            group->verdict = GROUP_UNDO;
            continue;
        }
        if (member->is_over && op->has_returned) {
            if (verdict_of_over(member) == GROUP_UNDO)
                group->verdict = GROUP_UNDO;
            continue;
        }
        if (member->found == GROUP_FOUND_ENDED) {
            r = check_wishes(group, member, error);
            if (r < 0)
                return r;
            group->verdict = GROUP_FOLLOW;
            group->ending = member->ending;
            group->passed = GROUP_DECIDED;
            return 0;
        }
        if (member->is_over || member->found != GROUP_FOUND_JOB || !is_complete(group, member))
            group->verdict = GROUP_UNDO;
    }
    if (op->is_own)
        group->verdict = GROUP_GO_ON; /* a failure is shared, and what is missing begins again */
    return 0;
}

void group_forget(qblk_op *op)
{
    struct member *member = op->group != NULL ? find(op->group, op->id) : NULL;

    if (member != NULL)
        member->seen_barrier = -1;
}

void group_begins_again(qblk_op *op)
{
    if (op->group != NULL && op->group->passed > GROUP_SAFE && op->group->passed < GROUP_DECIDED)
        op->group->passed = GROUP_SAFE;
}

bool group_gives_up(qblk_op *op, qblk_error *ret_why)
{
    qblk_group *group = op->group;

    if (group == NULL || !op->begins_again)
        return false;
    for (size_t i = 0; i < group->n; i++)
        see(&group->members[i]);
    share_failure(group);
    if (group->is_given_up)
        *ret_why = group->cause;
    return group->is_given_up;
}

int group_judge(qblk_op *op, enum group_verdict *ret_verdict, qblk_ending *ret_ending,
                qblk_error *error)
{
    qblk_group *group = op->group;
    struct member *member = find(group, op->id);
    int r = 0;

    if (!group->has_verdict)
        r = judge(group, op, error);
    if (r < 0)
        return r;
    if (member != NULL)
        member->is_clear = true;
    group->has_verdict = true;
    engine_pass(&op->engine, group->passed);
    *ret_verdict = group->verdict;
    *ret_ending = group->ending;
    return 0;
}

/* ---- public ---------------------------------------------------------------------------------- */

int qblk_group_new(qblk_monitor *monitor, qblk_group **ret_group, qblk_error *error)
{
    qblk_group *group;

    if (monitor->state == QBLK_MONITOR_DEAD)
        return monitor_dead(monitor, error);
    group = mem_zalloc(sizeof(*group));
    if (group == NULL)
        return err_nomem(error);
    group->monitor = monitor;
    group->child.ended = ended;
    group->child.lost = lost;
    group->child.freed = freed;
    group->child.turn = turn;
    list_append(&monitor->children, &group->child.link);
    *ret_group = group;
    return 0;
}

int qblk_group_start(qblk_group *group, qblk_error *error)
{
    if (group->is_started)
        return err_set(error, QBLK_E_ARGUMENT, "the group has been started already");
    if (group->n == 0)
        return err_set(error, QBLK_E_ARGUMENT, "there is no operation in the group");
    group->is_started = true;
    for (size_t i = 0; i < group->n; i++)
        op_go(group->members[i].op);
    return 0;
}

void qblk_group_cancel(qblk_group *group)
{
    if (group->passed >= GROUP_DECIDED) {
        log_debug(&group->monitor->log, "group: too late to cancel, the decision has fallen");
        return;
    }
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op == NULL || group->members[i].op->is_over)
            continue;
        engine_cancel(&group->members[i].op->engine);
        guest_cancelled(group->members[i].op);
    }
    monitor_ask_turn(group->monitor);
}

void qblk_group_leave(qblk_group *group)
{
    for (size_t i = 0; i < group->n; i++) {
        if (group->members[i].op != NULL)
            op_leave_alone(group->members[i].op);
    }
}

void qblk_group_free(qblk_group *group)
{
    if (group == NULL)
        return;
    group->free_asked = true;
    free_if_idle(group);
}
