#include "job/fsm.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fsm_rule {
    bool ok;
    uint8_t to;
    uint8_t act;
};

#define ON(from_, ev_) [FSM_##from_][EV_##ev_]
#define GO(to_, act_) { .ok = true, .to = FSM_##to_, .act = ACT_##act_ }

/* What every state answers in which QEMU has the job or may have it. A reading that is not older
 * than what was heard is believed whatever it says. */
#define ALIVE(st_) \
    ON(st_, CONCLUDED) = GO(CONCLUDED, COLLECT), \
    ON(st_, SEEN_CREATED) = GO(CREATED, TELL), \
    ON(st_, SEEN_RUNNING) = GO(RUNNING, TELL), \
    ON(st_, SEEN_PAUSED) = GO(PAUSED, TELL), \
    ON(st_, SEEN_READY) = GO(READY, TELL), \
    ON(st_, SEEN_STANDBY) = GO(STANDBY, TELL), \
    ON(st_, SEEN_WAITING) = GO(WAITING, TELL), \
    ON(st_, SEEN_PENDING) = GO(PENDING, TELL), \
    ON(st_, SEEN_ABORTING) = GO(ABORTING, TELL), \
    ON(st_, SEEN_CONCLUDED) = GO(ENDED, END), \
    ON(st_, SEEN_UNKNOWN) = GO(st_, TELL), \
    ON(st_, ABSENT) = GO(GONE, GONE), \
    ON(st_, B_COMPLETED) = GO(st_, SETTLE), \
    ON(st_, B_CANCELLED) = GO(st_, SETTLE), \
    ON(st_, B_ERROR) = GO(st_, NONE), \
    ON(st_, STARTED) = GO(st_, NONE), \
    ON(st_, HANGUP) = GO(LOST, LOST)

/* What these answer, save STARTING: there the reply is news, and a reading older than the job. */
#define KNOWN(st_) \
    ALIVE(st_), \
    ON(st_, NIL_EARLY) = GO(VANISHED, NONE), \
    ON(st_, ABSENT_EARLY) = GO(VANISHED, NONE), \
    ON(st_, ACCEPTED) = GO(st_, NONE)

/* An id that shows another life after its job was over is in use by another job. */
#define REUSED(st_) \
    ON(st_, SEEN_CREATED) = GO(GONE, REPLACE), \
    ON(st_, SEEN_RUNNING) = GO(GONE, REPLACE), \
    ON(st_, SEEN_PAUSED) = GO(GONE, REPLACE), \
    ON(st_, SEEN_READY) = GO(GONE, REPLACE), \
    ON(st_, SEEN_STANDBY) = GO(GONE, REPLACE), \
    ON(st_, SEEN_WAITING) = GO(GONE, REPLACE), \
    ON(st_, SEEN_PENDING) = GO(GONE, REPLACE), \
    ON(st_, SEEN_ABORTING) = GO(GONE, REPLACE)

#define AFTER_GONE(ev_, word_) ON(GONE, ev_) = GO(GONE, NONE),
#define AFTER_LOST(ev_, word_) ON(LOST, ev_) = GO(LOST, NONE),

/* An empty cell: the event does not fit. The state is kept and a reading asked for. QEMU says no
 * status twice, so hearing one again does not fit either: something between was lost or overtaken.
 * A jump forward over a status that was not heard is taken, and asked about. */
static const struct fsm_rule rules[FSM_STATES][FSM_EVENTS] = {
    ALIVE(STARTING),
    ON(STARTING, CREATED) = GO(CREATED, TELL),
    ON(STARTING, RUNNING) = GO(RUNNING, ASK),
    ON(STARTING, PAUSED) = GO(PAUSED, ASK),
    ON(STARTING, READY) = GO(READY, ASK),
    ON(STARTING, STANDBY) = GO(STANDBY, ASK),
    ON(STARTING, WAITING) = GO(WAITING, ASK),
    ON(STARTING, PENDING) = GO(PENDING, ASK),
    ON(STARTING, ABORTING) = GO(ABORTING, ASK),
    ON(STARTING, NIL_EARLY) = GO(VANISHED, NONE),
    ON(STARTING, ABSENT_EARLY) = GO(STARTING, NONE), /* not begun yet */
    ON(STARTING, B_READY) = GO(READY, ASK),
    ON(STARTING, B_PENDING) = GO(PENDING, ASK),
    ON(STARTING, ACCEPTED) = GO(STARTING, WATCH), /* events overtake replies: they were lost */
    ON(STARTING, REFUSED) = GO(GONE, GONE),

    KNOWN(CREATED),
    ON(CREATED, RUNNING) = GO(RUNNING, TELL),
    ON(CREATED, PAUSED) = GO(PAUSED, ASK),
    ON(CREATED, READY) = GO(READY, ASK),
    ON(CREATED, STANDBY) = GO(STANDBY, ASK),
    ON(CREATED, WAITING) = GO(WAITING, ASK),
    ON(CREATED, PENDING) = GO(PENDING, ASK),
    ON(CREATED, ABORTING) = GO(ABORTING, TELL), /* its transaction was undone */
    ON(CREATED, NIL) = GO(GONE, GONE),         /* its start was refused late */
    ON(CREATED, B_READY) = GO(READY, ASK),
    ON(CREATED, B_PENDING) = GO(PENDING, ASK),

    KNOWN(RUNNING),
    ON(RUNNING, PAUSED) = GO(PAUSED, TELL),
    ON(RUNNING, READY) = GO(READY, TELL),
    ON(RUNNING, STANDBY) = GO(STANDBY, ASK),
    ON(RUNNING, WAITING) = GO(WAITING, TELL),
    ON(RUNNING, PENDING) = GO(PENDING, ASK),
    ON(RUNNING, ABORTING) = GO(ABORTING, TELL),
    ON(RUNNING, B_READY) = GO(READY, TELL),
    ON(RUNNING, B_PENDING) = GO(PENDING, ASK),

    KNOWN(PAUSED),
    ON(PAUSED, RUNNING) = GO(RUNNING, TELL),
    ON(PAUSED, READY) = GO(READY, ASK),
    ON(PAUSED, STANDBY) = GO(STANDBY, ASK),
    ON(PAUSED, WAITING) = GO(WAITING, ASK),
    ON(PAUSED, PENDING) = GO(PENDING, ASK),
    ON(PAUSED, ABORTING) = GO(ABORTING, ASK),
    ON(PAUSED, B_READY) = GO(READY, ASK),
    ON(PAUSED, B_PENDING) = GO(PENDING, ASK),

    KNOWN(READY),
    ON(READY, STANDBY) = GO(STANDBY, TELL),
    ON(READY, WAITING) = GO(WAITING, TELL),
    ON(READY, PENDING) = GO(PENDING, ASK),
    ON(READY, ABORTING) = GO(ABORTING, TELL),
    ON(READY, B_READY) = GO(READY, NONE), /* said twice, by two events */
    ON(READY, B_PENDING) = GO(PENDING, ASK),

    KNOWN(STANDBY),
    ON(STANDBY, READY) = GO(READY, TELL),
    ON(STANDBY, WAITING) = GO(WAITING, ASK),
    ON(STANDBY, PENDING) = GO(PENDING, ASK),
    ON(STANDBY, ABORTING) = GO(ABORTING, ASK),
    ON(STANDBY, B_READY) = GO(STANDBY, NONE), /* paused between the two events */
    ON(STANDBY, B_PENDING) = GO(PENDING, ASK),

    KNOWN(WAITING),
    ON(WAITING, PENDING) = GO(PENDING, TELL),
    ON(WAITING, ABORTING) = GO(ABORTING, TELL), /* another one of its transaction failed */
    ON(WAITING, B_PENDING) = GO(PENDING, ASK),

    KNOWN(PENDING),
    ON(PENDING, ABORTING) = GO(ABORTING, TELL),
    ON(PENDING, B_PENDING) = GO(PENDING, NONE),

    KNOWN(ABORTING),
    ON(ABORTING, ABORTING) = GO(ABORTING, NONE), /* QEMU's own table has it */

    REUSED(CONCLUDED),
    ON(CONCLUDED, CONCLUDED) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, NIL) = GO(GONE, GONE), /* dismissed before we could read it */
    ON(CONCLUDED, NIL_EARLY) = GO(VANISHED, NONE),
    ON(CONCLUDED, SEEN_CONCLUDED) = GO(ENDED, END),
    ON(CONCLUDED, SEEN_UNKNOWN) = GO(CONCLUDED, TELL),
    ON(CONCLUDED, ABSENT) = GO(GONE, GONE),
    ON(CONCLUDED, ABSENT_EARLY) = GO(VANISHED, NONE),
    ON(CONCLUDED, B_READY) = GO(CONCLUDED, NONE), /* late ones change nothing: it is being read */
    ON(CONCLUDED, B_PENDING) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, B_COMPLETED) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, B_CANCELLED) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, B_ERROR) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, STARTED) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, ACCEPTED) = GO(CONCLUDED, NONE),
    ON(CONCLUDED, HANGUP) = GO(LOST, LOST),

    REUSED(ENDED),
    ON(ENDED, CONCLUDED) = GO(ENDED, NONE),
    ON(ENDED, NIL) = GO(GONE, GONE),
    ON(ENDED, NIL_EARLY) = GO(GONE, GONE),
    ON(ENDED, SEEN_CONCLUDED) = GO(ENDED, NONE),
    ON(ENDED, SEEN_UNKNOWN) = GO(ENDED, TELL),
    ON(ENDED, ABSENT) = GO(GONE, GONE),
    ON(ENDED, ABSENT_EARLY) = GO(GONE, GONE),
    ON(ENDED, B_READY) = GO(ENDED, NONE),
    ON(ENDED, B_PENDING) = GO(ENDED, NONE),
    ON(ENDED, B_COMPLETED) = GO(ENDED, NONE),
    ON(ENDED, B_CANCELLED) = GO(ENDED, NONE),
    ON(ENDED, B_ERROR) = GO(ENDED, NONE),
    ON(ENDED, STARTED) = GO(GONE, REPLACE),
    ON(ENDED, ACCEPTED) = GO(ENDED, NONE),
    ON(ENDED, HANGUP) = GO(ENDED, NONE),

    /* It may come back: what was heard of it may have belonged to the last job of that id. */
    ALIVE(VANISHED),
    ON(VANISHED, CREATED) = GO(CREATED, ASK),
    ON(VANISHED, RUNNING) = GO(RUNNING, ASK),
    ON(VANISHED, PAUSED) = GO(PAUSED, ASK),
    ON(VANISHED, READY) = GO(READY, ASK),
    ON(VANISHED, STANDBY) = GO(STANDBY, ASK),
    ON(VANISHED, WAITING) = GO(WAITING, ASK),
    ON(VANISHED, PENDING) = GO(PENDING, ASK),
    ON(VANISHED, ABORTING) = GO(ABORTING, ASK),
    ON(VANISHED, NIL_EARLY) = GO(VANISHED, NONE),
    ON(VANISHED, ABSENT_EARLY) = GO(VANISHED, NONE),
    ON(VANISHED, B_READY) = GO(VANISHED, NONE),
    ON(VANISHED, B_PENDING) = GO(VANISHED, NONE),
    ON(VANISHED, REFUSED) = GO(GONE, GONE), /* the reply says why */

    FSM_EVENT_LIST(AFTER_GONE)
    FSM_EVENT_LIST(AFTER_LOST)
};

#define IN(st_) (1u << FSM_##st_)
#define BEFORE_DONE (IN(CREATED) | IN(RUNNING) | IN(PAUSED) | IN(READY) | IN(STANDBY))

/* Where a verb is allowed. Not in STARTING: the id could yet turn out to be somebody else's job.
 * Dismissal waits until the result has been read. */
static const struct {
    unsigned allowed;
    const char *needs;
} verbs[FSM_VERBS] = {
    [QBLK_VERB_PAUSE] = { BEFORE_DONE, "created, running, paused, ready or standby" },
    [QBLK_VERB_RESUME] = { BEFORE_DONE, "created, running, paused, ready or standby" },
    [QBLK_VERB_SPEED] = { BEFORE_DONE, "created, running, paused, ready or standby" },
    [QBLK_VERB_CANCEL] = { BEFORE_DONE | IN(WAITING) | IN(PENDING),
                           "created, running, paused, ready, standby, waiting or pending" },
    [QBLK_VERB_FINISH] = { IN(READY) | IN(STANDBY), "ready or standby" },
    [QBLK_VERB_COMPLETE] = { IN(READY) | IN(STANDBY), "ready or standby" },
    [QBLK_VERB_FINALIZE] = { IN(PENDING), "pending" },
    [QBLK_VERB_DISMISS] = { IN(ENDED), "concluded, with its result read" },
    [QBLK_VERB_CHANGE] = { BEFORE_DONE, "created, running, paused, ready or standby" },
};

/* job.c of QEMU 5.2 to 10.2. */
static const unsigned qemu_steps[FSM_STATES] = {
    [FSM_STARTING] = IN(CREATED),
    [FSM_CREATED] = IN(RUNNING) | IN(ABORTING) | IN(GONE),
    [FSM_RUNNING] = IN(PAUSED) | IN(READY) | IN(WAITING) | IN(ABORTING),
    [FSM_PAUSED] = IN(RUNNING),
    [FSM_READY] = IN(STANDBY) | IN(WAITING) | IN(ABORTING),
    [FSM_STANDBY] = IN(READY),
    [FSM_WAITING] = IN(PENDING) | IN(ABORTING),
    [FSM_PENDING] = IN(ABORTING) | IN(CONCLUDED),
    [FSM_ABORTING] = IN(ABORTING) | IN(CONCLUDED),
    [FSM_CONCLUDED] = IN(GONE),
    [FSM_ENDED] = IN(GONE),
};

static const char *const state_names[FSM_STATES] = {
#define X(name_, word_, public_) word_,
    FSM_STATE_LIST(X)
#undef X
};

static const qblk_job_state public_states[FSM_STATES] = {
#define X(name_, word_, public_) public_,
    FSM_STATE_LIST(X)
#undef X
};

static const char *const event_names[FSM_EVENTS] = {
#define X(name_, word_) word_,
    FSM_EVENT_LIST(X)
#undef X
};

static const struct {
    const char *name, *text;
} actions[FSM_ACTIONS] = {
#define X(name_, word_, text_) { word_, text_ },
    FSM_ACTION_LIST(X)
#undef X
};

static const struct {
    const char *status;
    enum fsm_event heard, seen;
} statuses[] = {
#define STATUS(word_, name_) { word_, EV_##name_, EV_SEEN_##name_ }
    STATUS("created", CREATED), STATUS("running", RUNNING),   STATUS("paused", PAUSED),
    STATUS("ready", READY),     STATUS("standby", STANDBY),   STATUS("waiting", WAITING),
    STATUS("pending", PENDING), STATUS("aborting", ABORTING), STATUS("concluded", CONCLUDED),
    { "null", EV_NIL, EV_ABSENT },
};

struct fsm_step fsm_next(enum fsm_state from, enum fsm_event event)
{
    const struct fsm_rule *rule = &rules[from][event];
    struct fsm_step step = { from, ACT_ASK, false };

    if (rule->ok) {
        step.to = (enum fsm_state)rule->to;
        step.act = (enum fsm_action)rule->act;
        step.fits = true;
    }
    return step;
}

enum fsm_event fsm_heard(const char *status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (strcmp(statuses[i].status, status) == 0)
            return statuses[i].heard;
    return EV_UNKNOWN;
}

enum fsm_event fsm_seen(const char *status)
{
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++)
        if (strcmp(statuses[i].status, status) == 0)
            return statuses[i].seen;
    return EV_SEEN_UNKNOWN;
}

bool fsm_is_over(enum fsm_state state)
{
    return state == FSM_ENDED || state == FSM_GONE || state == FSM_LOST;
}

bool fsm_allows(enum fsm_state state, qblk_job_verb verb)
{
    return (unsigned)verb < FSM_VERBS && (verbs[verb].allowed & (1u << state)) != 0;
}

const char *fsm_verb_needs(qblk_job_verb verb)
{
    return (unsigned)verb < FSM_VERBS ? verbs[verb].needs : "in no state at all";
}

bool fsm_qemu_steps(enum fsm_state from, enum fsm_state to)
{
    return (qemu_steps[from] & (1u << to)) != 0;
}

bool fsm_qemu_reaches(enum fsm_state from, enum fsm_state to)
{
    unsigned reached = qemu_steps[from], before;

    do {
        before = reached;
        for (unsigned s = 0; s < FSM_STATES; s++)
            if ((before & (1u << s)) != 0)
                reached |= qemu_steps[s];
    } while (reached != before);
    return from == to || (reached & (1u << to)) != 0;
}

qblk_job_state fsm_public(enum fsm_state state)
{
    return public_states[state];
}

const char *fsm_state_name(enum fsm_state state)
{
    return state_names[state];
}

const char *fsm_event_name(enum fsm_event event)
{
    return event_names[event];
}

const char *fsm_action_name(enum fsm_action action)
{
    return actions[action].name;
}

const char *fsm_action_text(enum fsm_action action)
{
    return actions[action].text;
}
