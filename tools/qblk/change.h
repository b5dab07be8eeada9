/* A change of a job in words, as job watch and watch print it. */
#ifndef QBLK_TOOL_CHANGE_H
#define QBLK_TOOL_CHANGE_H

#include <qblk/qblk.h>

#include "text.h"

/* The time of day, with a blank behind it. */
void text_add_clock(struct text *line);
/* Job, type, state, and outcome or progress. */
void add_job_change(struct text *line, const qblk_job_info *info, bool is_gone);

#endif
