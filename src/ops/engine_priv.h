/* What the parts of the engine share. */
#ifndef QBLK_SRC_OPS_ENGINE_PRIV_H
#define QBLK_SRC_OPS_ENGINE_PRIV_H

#include "ops/engine.h"

/* Where a step is. */
enum {
    PHASE_IDLE,    /* nothing given out yet */
    PHASE_SENT,    /* its command is in flight */
    PHASE_JOB,     /* waits for a job, or for what was urged */
    PHASE_DISMISS, /* the job has ended and is to be dismissed */
    PHASE_LAST     /* that dismiss is in flight */
};

/* The step under way is done. */
void engine_next_step(struct engine *engine);
/* It has failed, for this reason, which is given the step's name. */
void engine_fail_step(struct engine *engine, qblk_error *error);
/* From now on what is done is undone; what was the cause first stays it. */
void engine_turn_back(struct engine *engine, const qblk_error *error);
/* The main job is about to end before its time, or has: how it ends decides whether there is any
 * use in this step, which is to be taken while it lives, and may be why it has failed. */
bool engine_awaits_end(const struct engine *engine, const struct step *step);
/* How a job that did not complete ended. */
void engine_job_error(const struct engine_job *job, qblk_error *error);

#endif
