/* The step engine: takes steps forward, undoes them backward. Pure: what happened goes in, what to
 * do next comes out. The driver (run.c) sends and listens; a test or a simulator can do the same.
 *
 * Going forward a step fails, or the main job does: then the finished steps are undone in reverse,
 * the first cause is kept, and what cannot be undone becomes a note. Once the main job has ended
 * well (past the STEP_ENDED, or the STEP_POINT where there is no job) nothing is undone any more:
 * what is left to do is cleaning, whose failures are notes.
 */
#ifndef QBLK_SRC_OPS_ENGINE_H
#define QBLK_SRC_OPS_ENGINE_H

#include <stdbool.h>

#include "codec/engine.h"
#include <qblk/ops.h>

enum step_kind {
    STEP_CALL,     /* a command; an error reply fails the operation */
    STEP_ABSENT,   /* a command that must fail; if it succeeds, something is in the way */
    STEP_CREATE,   /* a small job of its own: start it, wait for its end, dismiss it. Without a command:
                    * one that an earlier client has started, whose outcome no longer matters */
    STEP_START,    /* starts the main job; its undo is to end and dismiss that job */
    STEP_READY,    /* waits until the main job is READY */
    STEP_VERB,     /* a command that ends the READY main job; left out if it has ended by itself */
    STEP_ENDED,    /* waits for the main job's outcome */
    STEP_OVER,     /* the same, but any outcome will do */
    STEP_POINT,    /* a command that is the point of no return of an operation without a main job: once
                    * it has succeeded nothing is undone any more */
    STEP_UNDO,     /* turns back: what is done is to be undone */
    STEP_MARK,     /* nothing to do: something that undoing has to undo comes to be from here on */
    STEP_CHECK,    /* a query whose reply a function judges */
    STEP_BARRIER,  /* waits until engine_pass() lets it through: others are as far. Its check (or NULL)
                    * is asked then, without a reply */
    STEP_DISMISS,  /* dismisses the main job, unless it is gone */
    STEP_CLEAN,    /* a command whose failure is only a note */
    STEP_SURVEY,   /* a query, only sent if a STEP_CLEAN failed, that says what is really left */
    STEP_URGE,     /* a command, given again and again until what it asks for has come about, which is
                    * told by engine_come(); nothing is undone after it */
    /* What goes to the guest agent instead of QEMU: */
    STEP_HAIL,     /* sees that the guest could be frozen, before anything is changed */
    STEP_FREEZE,   /* freezes the guest; its undo is to thaw it */
    STEP_THAW,     /* thaws it, if the STEP_FREEZE that this retires is in effect; failure is a note */
    STEP_MEND      /* thaws it if an earlier client has left it frozen; failure is a note */
};

struct engine;
struct step;

/* Judges a reply, and may add steps at the end of the list. 0, or a negative errno and *error. For
 * STEP_SURVEY error is not looked at. */
typedef int step_check_fn(void *arg, struct engine *engine, const char *reply, qblk_error *error);

struct step {
    enum step_kind kind;
    char *name;
    char *command;        /* NULL for READY, ENDED, OVER, MARK, BARRIER, and the START of a job that runs */
    char *undo;           /* or NULL */
    char *unlink;         /* CREATE, MARK: a file that is there now; removed by undo, first. Or NULL */
    char *node;           /* CLEAN: the node that it removes. Or NULL */
    const char *job;      /* id of the job concerned; borrowed from the operation */
    step_check_fn *check; /* CHECK, SURVEY, BARRIER; ABSENT: says what is in the way; URGE: whether a refusal
                           * of the command is a failure */
    int again_ms, tries;  /* URGE: how long to wait after each try, and how many there are */
    const void *subject;  /* for the check: what it is about; borrowed. Or NULL */
    char *otherwise;      /* CLEAN: what its failure means, for the note. MEND: the agent's socket. Or NULL */
    char *note;           /* CLEAN: of its success. Or NULL */
    int barrier;          /* BARRIER: its number */
    qblk_error_code fails_as; /* CALL: the code of its failure, NONE for QEMU's own */
    const bool *when;     /* left out unless this holds when its turn comes; borrowed. Or NULL */
    const bool *unless;   /* left out if this holds; the same */
    size_t retires;       /* with this done, step number retires - 1 needs no undo any more; or 0 */
    bool if_completed;    /* only if the main job completed */
    bool keeps_job;       /* CREATE: the job stays, as a proof of what it made; undo dismisses it */
    bool is_vital;        /* the same: that it fails is the operation's failure, however that went */
    bool is_quiet;        /* CLEAN, and any that is undone: that it fails is no news */
    bool in_spite;        /* CLEAN: sent though the operation is to be cancelled */
    bool is_optional;     /* FREEZE: if it fails, the operation goes on without */
    bool is_unlinked;
    bool was_seen;        /* the file, when it was made: */
    uint64_t dev, ino;    /* which one it is; 0: not seen from here */
    bool is_done;
};

/* What the engine knows of a job it deals with. */
struct engine_job {
    char id[64];
    bool is_known;
    bool is_ready;
    bool is_ending;        /* no verb can change its course any more */
    bool is_gone;
    qblk_job_outcome outcome;
    char error[512];
};

enum engine_mode { ENGINE_FORWARD, ENGINE_UNDO, ENGINE_OVER };

struct engine {
    struct step *steps;
    size_t n, room;
    size_t at;
    size_t sent;           /* steps whose commands are given out: cleaning does not wait for replies */
    enum engine_mode mode;
    int phase;             /* within the step; see engine_priv.h */
    bool is_past;          /* the main job has ended well, or the point of no return is passed */
    bool cancel_asked;
    qblk_error cancel_error; /* what the operation ends with then */
    bool cancel_sent;
    bool is_left;          /* it is undone by a STEP_UNDO alone: nothing has failed, and nobody asked for it */
    bool is_blind;         /* what there is to undo is not known yet: a cancel waits for that */
    int passed;            /* the barriers up to this one are open */
    bool aux_busy;         /* a job-cancel is in flight beside the step's own command */
    struct step none;      /* what a step that could not be built is written to */
    bool failed_alloc;     /* a step could not be built; found by engine_ready() */
    qblk_error plan_error;
    qblk_error error;      /* the first cause; code QBLK_E_NONE while all is well */
    struct engine_job main;
    struct engine_job side; /* of the STEP_CREATE under way */
    char **notes;
    size_t n_notes, notes_room;
    int tried;             /* times that the command of the STEP_URGE was given out */
    bool has_come;         /* what it asked for; or it will not come, for the reason that follows */
    qblk_error no_come;
    bool is_time;          /* it has been waited for long enough */
    bool is_in_doubt;      /* some node could not be removed, or is not there */
    bool keeps_files;      /* undoing: somebody uses what is to be undone, so no file is removed any more */
    qblk_error flaw;       /* all else may have gone well: a STEP_MEND has failed (QBLK_E_FROZEN), or what is
                            * vital to clean or to undo */
    bool is_void;          /* a check has seen that the main job, though completed, has changed nothing */
    char scratch[160];     /* the text of a job verb given out last */
    void *arg;             /* for the checks */
};

enum act_kind {
    ACT_SEND,   /* send text; its reply goes to engine_reply() with the same tag */
    ACT_AGENT,  /* do to the guest what text says: thaw if is_undo, else what the kind of step is; the
                 * result goes to engine_agent() */
    ACT_UNLINK, /* remove the file text; the result goes to engine_unlinked() */
    ACT_LOOK,   /* tell what is known of the job text, by engine_hear_job() or engine_no_job() */
    ACT_WAIT,   /* nothing to do until something is heard */
    ACT_OVER    /* all is done or undone */
};

enum act_tag { TAG_STEP, TAG_AUX };

struct act {
    enum act_kind kind;
    enum act_tag tag;
    const char *text;
    const struct step *step; /* the step that this belongs to */
    bool is_undo;
    int wait_ms;             /* WAIT: engine_time() is to be called after that long; 0: not at all */
};

void engine_init(struct engine *engine, const char *main_job, void *arg);
void engine_done(struct engine *engine);

/* steps.c. Building the list. Out of memory or an encoding error is remembered and told by
 * engine_ready(). */
struct step *engine_add(struct engine *engine, enum step_kind kind, const char *name);
void step_command(struct engine *engine, struct step *step, const struct codec_command *command,
                  const void *args);
void step_undo(struct engine *engine, struct step *step, const struct codec_command *command,
               const void *args);
int engine_ready(const struct engine *engine, qblk_error *error);

/* What QEMU said to a command: 0 for a return, else its error, or the one that came for a reply. */
int engine_judge(const char *reply, const qblk_error *error, qblk_error *ret_error);

/* What to do now. A SEND, AGENT or UNLINK is given out once. */
struct act engine_next(struct engine *engine);

/* Takes the SEND back that was given out last, going forward: it will be given out again. */
void engine_hold(struct engine *engine, const struct step *step);

/* What happened. */
void engine_reply(struct engine *engine, enum act_tag tag, const char *reply,
                  const qblk_error *error);
/* What came of an ACT_AGENT; error is NULL if all went well. is_frozen: the guest is frozen, or may
 * be. */
void engine_agent(struct engine *engine, const qblk_error *error, bool is_frozen);
void engine_unlinked(struct engine *engine, int err);
void engine_hear_job(struct engine *engine, const qblk_job_info *info);
void engine_no_job(struct engine *engine, const char *id);
/* The user does not want it any more. */
void engine_cancel(struct engine *engine);
/* It is to be cancelled for another reason; what is asked first counts. */
void engine_give_up(struct engine *engine, const qblk_error *why);
/* Opens the barriers up to this number. */
void engine_pass(struct engine *engine, int barrier);
/* The barrier at which it waits; 0 if it does not. */
int engine_barrier(const struct engine *engine);
/* What the STEP_URGE under way asks for has come about (why NULL), or never will. */
void engine_come(struct engine *engine, const qblk_error *why);
/* Something was heard of it and could not be read: it is asked for again at once, if it may be. */
void engine_misheard(struct engine *engine);
void engine_time(struct engine *engine); /* what ACT_WAIT said has passed */

/* Within a check: the subject of its step. */
const void *engine_subject(const struct engine *engine);

/* Whether its commands are the guest agent's. */
bool engine_is_agents(const struct step *step);

/* Whether anything was done, or is being done, that would have to be undone. */
bool engine_has_changed(const struct engine *engine);
/* Whether a step of that kind is done, or begun. */
bool engine_has_begun(const struct engine *engine, enum step_kind kind);

/* Adds a note for the user; text as by printf. */
void engine_note(struct engine *engine, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Takes back the note about the node, which turned out not to be there. */
void engine_unnote(struct engine *engine, const char *node);

#endif
