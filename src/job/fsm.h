/* The job state machine: tables without a hand or a memory. What follows from a state and an event
 * is looked up here; job/job.c writes it down and job/set.c acts on it. Manual: libqblk-states(7),
 * which is printed from these tables. */
#ifndef QBLK_SRC_JOB_FSM_H
#define QBLK_SRC_JOB_FSM_H

#include <stdbool.h>

#include <qblk/job.h>

/* The public states and two more: CONCLUDED is split by whether the result has been read, and a job
 * that QEMU forgot before it answered our start command waits for that answer in VANISHED. */
#define FSM_STATE_LIST(X) \
    X(STARTING, "starting", QBLK_JOB_STARTING) \
    X(CREATED, "created", QBLK_JOB_CREATED) \
    X(RUNNING, "running", QBLK_JOB_RUNNING) \
    X(PAUSED, "paused", QBLK_JOB_PAUSED) \
    X(READY, "ready", QBLK_JOB_READY) \
    X(STANDBY, "standby", QBLK_JOB_STANDBY) \
    X(WAITING, "waiting", QBLK_JOB_WAITING) \
    X(PENDING, "pending", QBLK_JOB_PENDING) \
    X(ABORTING, "aborting", QBLK_JOB_ABORTING) \
    X(CONCLUDED, "concluded", QBLK_JOB_CONCLUDED) \
    X(ENDED, "ended", QBLK_JOB_CONCLUDED) \
    X(VANISHED, "vanished", QBLK_JOB_GONE) \
    X(GONE, "gone", QBLK_JOB_GONE) \
    X(LOST, "lost", QBLK_JOB_LOST)

enum fsm_state {
#define X(name_, word_, public_) FSM_##name_,
    FSM_STATE_LIST(X)
#undef X
};
#define FSM_STATES 14

/* A status is heard in a JOB_STATUS_CHANGE event or seen in a reading. "Early" is: before the reply
 * to our own command that starts the job. */
#define FSM_EVENT_LIST(X) \
    X(CREATED, "created") \
    X(RUNNING, "running") \
    X(PAUSED, "paused") \
    X(READY, "ready") \
    X(STANDBY, "standby") \
    X(WAITING, "waiting") \
    X(PENDING, "pending") \
    X(ABORTING, "aborting") \
    X(CONCLUDED, "concluded") \
    X(NIL, "null") \
    X(NIL_EARLY, "null, early") \
    X(UNKNOWN, "an unknown status") \
    X(SEEN_CREATED, "seen created") \
    X(SEEN_RUNNING, "seen running") \
    X(SEEN_PAUSED, "seen paused") \
    X(SEEN_READY, "seen ready") \
    X(SEEN_STANDBY, "seen standby") \
    X(SEEN_WAITING, "seen waiting") \
    X(SEEN_PENDING, "seen pending") \
    X(SEEN_ABORTING, "seen aborting") \
    X(SEEN_CONCLUDED, "seen concluded") \
    X(SEEN_UNKNOWN, "seen in an unknown status") \
    X(ABSENT, "absent") \
    X(ABSENT_EARLY, "absent, early") \
    X(B_READY, "BLOCK_JOB_READY") \
    X(B_PENDING, "BLOCK_JOB_PENDING") \
    X(B_COMPLETED, "BLOCK_JOB_COMPLETED") \
    X(B_CANCELLED, "BLOCK_JOB_CANCELLED") \
    X(B_ERROR, "BLOCK_JOB_ERROR") \
    X(STARTED, "started") \
    X(ACCEPTED, "accepted") \
    X(REFUSED, "refused") \
    X(HANGUP, "hangup")

enum fsm_event {
#define X(name_, word_) EV_##name_,
    FSM_EVENT_LIST(X)
#undef X
};
#define FSM_EVENTS 33

#define FSM_ACTION_LIST(X) \
    X(NONE, "none", "nothing") \
    X(TELL, "tell", "on_state, if the state is another one") \
    X(ASK, "ask", "it does not fit: read query-jobs and query-block-jobs, which settle it") \
    X(WATCH, "watch", "ask, and again at growing distances until a status is heard") \
    X(SETTLE, "settle", "it says it is over: ask if \"concluded\" does not follow soon") \
    X(COLLECT, "collect", "read query-jobs for the result") \
    X(END, "end", "the reading holds the result: on_end") \
    X(GONE, "gone", "on_end by what is known, if it has not run; on_gone") \
    X(LOST, "lost", "on_end: the connection is gone") \
    X(REPLACE, "replace", "as gone; the event then belongs to a new job of the same id")

enum fsm_action {
#define X(name_, word_, text_) ACT_##name_,
    FSM_ACTION_LIST(X)
#undef X
};
#define FSM_ACTIONS 10

#define FSM_VERBS 9

struct fsm_step {
    enum fsm_state to;
    enum fsm_action act;
    bool fits; /* the table has a rule; if not, the state is kept and the action is ASK */
};

struct fsm_step fsm_next(enum fsm_state from, enum fsm_event event);

/* The event for a status word that was heard or seen; EV_UNKNOWN or EV_SEEN_UNKNOWN for a word that
 * is not known, EV_NIL or EV_ABSENT for "null". */
enum fsm_event fsm_heard(const char *status);
enum fsm_event fsm_seen(const char *status);

/* Whether the outcome of a job in that state is settled: nothing leads back from there. */
bool fsm_is_over(enum fsm_state state);

bool fsm_allows(enum fsm_state state, qblk_job_verb verb);
/* The states in which a verb is allowed, in words: "ready or standby". */
const char *fsm_verb_needs(qblk_job_verb verb);

/* QEMU's own transitions (advisory: GONE stands for its "null"), one step or any number of them. */
bool fsm_qemu_steps(enum fsm_state from, enum fsm_state to);
bool fsm_qemu_reaches(enum fsm_state from, enum fsm_state to);

qblk_job_state fsm_public(enum fsm_state state);
const char *fsm_state_name(enum fsm_state state);
const char *fsm_event_name(enum fsm_event event);
const char *fsm_action_name(enum fsm_action action);
const char *fsm_action_text(enum fsm_action action);

#endif
