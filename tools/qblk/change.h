/* A job's state, and a change of it in words, as job watch and watch print it. */
#ifndef QBLK_TOOL_CHANGE_H
#define QBLK_TOOL_CHANGE_H

#include <qblk/qblk.h>

#include "text.h"

/* Whether it has begun its work, and is not past it: only then does QEMU tell how far it is. */
bool job_is_at_work(qblk_job_state state);

/* The time of day, with a blank behind it. */
void text_add_clock(struct text *line);
/* Job, type, state, and outcome or progress. */
void add_job_change(struct text *line, const qblk_job_info *info, bool is_gone);

#endif
