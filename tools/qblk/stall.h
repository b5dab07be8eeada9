/* What is said of a job that stopped on an I/O error: where, why, and how to go on. */
#ifndef QBLK_TOOL_STALL_H
#define QBLK_TOOL_STALL_H

#include <qblk/qblk.h>

#include "text.h"

/* "nospace, write on node t", as far as it is known. */
void stall_add_where(struct text *text, const qblk_job_info *job);
/* "make room, then 'qblk job resume ID'; or 'qblk job cancel ID'" */
void stall_add_advice(struct text *text, const qblk_job_info *job);
/* Both in one sentence that begins with the job. */
void stall_add(struct text *text, const qblk_job_info *job);

#endif
