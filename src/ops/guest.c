#include "ops/guest.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "agent/agent.h"
#include "base/err.h"
#include "base/mem.h"

/* How long a guest may be frozen. Nothing that is done meanwhile takes that long unless it hangs,
 * and a guest that cannot write is worse than an operation that has failed. */
#define FROZEN_MS 60000
/* The same while there is no connection to QEMU. */
#define AWAY_MS 5000
/* Where the loop has no room for one more descriptor. */
#define BLIND_MS 50

/* What comes after an errand that is not the engine's. */
enum guest_after { AFTER_NOTHING, AFTER_LEAVE, AFTER_LOST };

struct guest {
    qblk_op *op;
    char *path;
    bool is_optional;
    size_t freeze;             /* number of the STEP_FREEZE, from 1 */
    struct agent *agent;       /* NULL: not spoken to yet */
    struct monitor_watch watch;
    struct monitor_timer timer;
    struct monitor_timer too_long;
    bool engine_waits;         /* for the errand under way, or the one put off */
    bool is_put_off;
    enum agent_errand put_off; /* the engine's, while another is under way */
    enum guest_after after;
    bool is_thaw_tried;        /* before leaving */
    qblk_error why;            /* AFTER_LOST */
    bool *ret_is_gone;         /* of the turn under way */
};

/* ---- the loop -------------------------------------------------------------------------------- */

static void follow(struct guest *guest)
{
    qblk_monitor *monitor = guest->op->monitor;
    int fd = agent_fd(guest->agent);
    int64_t at = agent_time(guest->agent);

    if (fd >= 0 && guest->watch.monitor == NULL &&
        monitor_watch_add(monitor, &guest->watch, fd, POLLIN, NULL) < 0) {
        int64_t soon = monitor_now_ms() + BLIND_MS;

        at = at < 0 || at > soon ? soon : at;
    }
    monitor_watch_want(&guest->watch, agent_events(guest->agent));
    if (at >= 0)
        monitor_timer_set(monitor, &guest->timer, at);
    else
        monitor_timer_stop(&guest->timer);
}

/* The end of an errand may be the end of the operation, and of this. */
static void turn(struct guest *guest)
{
    bool is_gone = false;

    /* cppcheck-suppress autoVariables ; taken back below, unless the guest is gone */
    guest->ret_is_gone = &is_gone;
    agent_turn(guest->agent, monitor_now_ms());
    if (is_gone)
        return;
    guest->ret_is_gone = NULL;
    if (guest->agent != NULL) /* the end of an operation that goes on without it */
        follow(guest);
}

static void ready(struct monitor_watch *watch)
{
    turn(LIST_ENTRY(watch, struct guest, watch));
}

static void due(struct monitor_timer *timer)
{
    turn(LIST_ENTRY(timer, struct guest, timer));
}

static void closing(void *arg)
{
    struct guest *guest = arg;

    monitor_watch_remove(&guest->watch);
}

static int open_agent(struct guest *guest, qblk_error *error)
{
    if (guest->agent != NULL)
        return 0;
    guest->agent = agent_new(guest->path, NULL, &guest->op->monitor->log, error);
    if (guest->agent == NULL)
        return -error->err;
    agent_on_close(guest->agent, closing, guest);
    return 0;
}

/* ---- errands --------------------------------------------------------------------------------- */

static void done(void *arg, const struct agent_found *found, const qblk_error *error);

static void start(struct guest *guest, enum agent_errand errand)
{
    agent_start(guest->agent, errand, monitor_now_ms(), done, guest);
    follow(guest);
}

static const char *how_long(const qblk_op *op)
{
    return op->is_away ? "5 s without a connection to QEMU" : "60 s";
}

static void too_long(struct monitor_timer *timer)
{
    struct guest *guest = LIST_ENTRY(timer, struct guest, too_long);
    qblk_op *op = guest->op;
    qblk_error error;

    (void)err_set(&error, QBLK_E_TIMEOUT, "the guest has been frozen for %s, which is too long; it "
                  "was thawed", how_long(op));
    engine_note(&op->engine, "the guest was thawed after %s, before the operation was done with it: "
                "what was made is not quiesced", how_long(op));
    if (!agent_is_busy(guest->agent))
        start(guest, AGENT_THAW);
    engine_give_up(&op->engine, &error);
    op_run(op);
}

/* The engine's errand has ended. */
static void tell_engine(struct guest *guest, const struct agent_found *found,
                        const qblk_error *error)
{
    qblk_op *op = guest->op;

    guest->engine_waits = false;
    if (error == NULL && found->was_frozen && !op->is_own)
        engine_note(&op->engine, "the guest had been left frozen, and was thawed");
    else if (error == NULL && found->is_frozen && found->count == 0)
        engine_note(&op->engine, "the guest agent found no file system to freeze");
    if (error == NULL && found->is_frozen)
        monitor_timer_set(op->monitor, &guest->too_long, monitor_now_ms() + FROZEN_MS);
    engine_agent(&op->engine, error, found->is_frozen);
    op_run(op);
}

static void end_lost(struct guest *guest)
{
    qblk_op *op = guest->op;
    qblk_error why = guest->why;

    guest->after = AFTER_NOTHING;
    lost_tell(op);
    op_end(op, QBLK_RESULT_LOST, &why);
}

static void done(void *arg, const struct agent_found *found, const qblk_error *error)
{
    struct guest *guest = arg;
    qblk_op *op = guest->op;

    if (!found->is_frozen)
        monitor_timer_stop(&guest->too_long);
    if (guest->after == AFTER_LOST) {
        if (error != NULL && found->is_frozen)
            engine_note(&op->engine, "%s", error->text);
        end_lost(guest);
    } else if (guest->is_put_off) {
        guest->is_put_off = false;
        start(guest, guest->put_off);
    } else if (guest->engine_waits) {
        tell_engine(guest, found, error);
    } else {
        if (error != NULL && error->code != QBLK_E_CANCELLED)
            engine_note(&op->engine, "%s", error->text);
        guest->after = AFTER_NOTHING;
        op_run(op);
    }
}

void guest_act(qblk_op *op, const struct act *act)
{
    struct guest *guest = op->guest;
    enum agent_errand errand = AGENT_THAW;
    qblk_error error;

    if (act->step->kind == STEP_FREEZE && !act->is_undo)
        errand = AGENT_FREEZE;
    else if (act->step->kind == STEP_MEND)
        errand = AGENT_MEND;
    else if (act->step->kind == STEP_HAIL)
        errand = AGENT_HAIL;
    if (open_agent(guest, &error) < 0) {
        engine_agent(&op->engine, &error, false);
        return;
    }
    guest->engine_waits = true;
    if (errand == AGENT_THAW)
        monitor_timer_stop(&guest->too_long);
    if (agent_is_busy(guest->agent)) {
        guest->is_put_off = true;
        guest->put_off = errand;
    } else {
        start(guest, errand);
    }
}

void guest_cancelled(qblk_op *op)
{
    struct guest *guest = op->guest;

    if (guest == NULL || guest->agent == NULL || !guest->engine_waits)
        return;
    agent_give_up(guest->agent, monitor_now_ms());
    follow(guest);
}

void guest_away(qblk_op *op)
{
    struct guest *guest = op->guest;

    if (guest == NULL || guest->agent == NULL)
        return;
    guest->engine_waits = guest->is_put_off = false;
    if (guest->too_long.is_set)
        monitor_timer_set(op->monitor, &guest->too_long, monitor_now_ms() + AWAY_MS);
    agent_give_up(guest->agent, monitor_now_ms());
    follow(guest);
}

bool guest_holds(qblk_op *op)
{
    struct guest *guest = op->guest;

    if (guest == NULL || guest->agent == NULL)
        return false;
    if (agent_is_busy(guest->agent)) {
        agent_give_up(guest->agent, monitor_now_ms());
        follow(guest);
        return true;
    }
    if (!agent_is_frozen(guest->agent) || guest->is_thaw_tried)
        return false;
    guest->is_thaw_tried = true;
    guest->after = AFTER_LEAVE;
    engine_note(&op->engine, "the guest is thawed before the operation is left: what it makes from "
                "here on is not quiesced");
    start(guest, AGENT_THAW);
    return true;
}

bool guest_outlives(qblk_op *op, const qblk_error *why)
{
    struct guest *guest = op->guest;

    if (guest == NULL || guest->agent == NULL)
        return false;
    if (guest->after == AFTER_LOST)
        return true;
    if (!agent_is_frozen(guest->agent)) {
        /* What it is about to do must not be done any more. */
        guest->agent = agent_free(guest->agent);
        monitor_timer_stop(&guest->timer);
        return false;
    }
    guest->after = AFTER_LOST;
    guest->why = *why;
    guest->is_put_off = false;
    monitor_timer_stop(&guest->too_long);
    if (agent_is_busy(guest->agent)) {
        agent_give_up(guest->agent, monitor_now_ms());
        follow(guest);
    } else {
        start(guest, AGENT_THAW);
    }
    return true;
}

bool guest_is_cut_off(qblk_op *op, qblk_error *ret_why)
{
    struct guest *guest = op->guest;

    if (guest == NULL || guest->after != AFTER_LOST)
        return false;
    *ret_why = guest->why;
    engine_note(&op->engine, "THE GUEST MAY STILL BE FROZEN: a thaw is sent, but there is no time to "
                "wait for its end; look with \"qblk agent status %s\"", guest->path);
    return true;
}

/* ---- making ---------------------------------------------------------------------------------- */

int guest_want(qblk_op *op, const char *path, bool is_optional, qblk_error *error)
{
    struct guest *guest;
    struct agent *agent;

    if (path == NULL)
        return 0;
    if (path[0] != '/')
        return err_set(error, QBLK_E_ARGUMENT, "the guest agent's socket %s is not an absolute path; "
                       "whoever recovers the operation may be in another directory", path);
    agent = agent_new(path, NULL, NULL, error); /* judges the path */
    if (agent == NULL)
        return error != NULL ? -error->err : -EINVAL;
    (void)agent_free(agent);
    guest = mem_zalloc(sizeof(*guest));
    if (guest == NULL || (guest->path = mem_strdup(path)) == NULL) {
        free(guest);
        return err_nomem(error);
    }
    guest->op = op;
    guest->is_optional = is_optional;
    guest->watch.ready = ready;
    guest->timer.due = due;
    guest->too_long.due = too_long;
    guest_free(op->guest);
    op->guest = guest;
    return 0;
}

void guest_free(struct guest *guest)
{
    if (guest == NULL)
        return;
    if (guest->ret_is_gone != NULL)
        *guest->ret_is_gone = true;
    (void)agent_free(guest->agent);
    monitor_watch_remove(&guest->watch);
    monitor_timer_stop(&guest->timer);
    monitor_timer_stop(&guest->too_long);
    free(guest->path);
    free(guest);
}

const char *guest_path(const qblk_op *op)
{
    return op->guest != NULL ? op->guest->path : NULL;
}

void plan_freeze(qblk_op *op)
{
    struct step *step;

    if (op->guest == NULL)
        return;
    step = plan_step(op, STEP_FREEZE, "freeze the guest's file systems");
    step_command(&op->engine, step, &qapi_cmd_guest_fsfreeze_freeze, NULL);
    step_undo(&op->engine, step, &qapi_cmd_guest_fsfreeze_thaw, NULL);
    step->is_optional = op->guest->is_optional;
    op->guest->freeze = op->engine.n;
}

void plan_hail(qblk_op *op)
{
    struct step *step;

    if (op->guest == NULL || op->guest->is_optional)
        return;
    step = plan_step(op, STEP_HAIL, "see that the guest could be frozen");
    step_command(&op->engine, step, &qapi_cmd_guest_info, NULL);
}

void plan_thaw(qblk_op *op)
{
    struct step *step;

    if (op->guest == NULL)
        return;
    step = plan_step(op, STEP_THAW, "thaw the guest's file systems");
    step_command(&op->engine, step, &qapi_cmd_guest_fsfreeze_thaw, NULL);
    step->retires = op->guest->freeze;
}

void plan_mend(qblk_op *op)
{
    struct step *step;

    if (op->guest == NULL)
        return;
    step = plan_step(op, STEP_MEND, "thaw the guest if it was left frozen");
    step->otherwise = mem_strdup(op->guest->path);
    step_command(&op->engine, step, &qapi_cmd_guest_fsfreeze_status, NULL);
}

int guest_record(const qblk_op *op, char **ret_value, qblk_error *error)
{
    *ret_value = NULL;
    if (op->guest == NULL)
        return 0;
    *ret_value = mem_printf("%s%s", op->guest->is_optional ? "?" : "", op->guest->path);
    return *ret_value != NULL ? 0 : err_nomem(error);
}

int guest_read_record(qblk_op *op, const char *value, qblk_error *error)
{
    bool is_optional = value != NULL && value[0] == '?';
    qblk_error mine;
    int r;

    if (op->is_own)
        return 0; /* its agent is there, and knows more */
    r = guest_want(op, value != NULL ? value + is_optional : NULL, is_optional, &mine);

    return r < 0 && mine.code == QBLK_E_MEMORY ? err_copy(error, &mine) : 0;
}
