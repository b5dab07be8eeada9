/* The progress line: on stderr, and only if that is a terminal. */
#ifndef QBLK_TOOL_PROGRESS_H
#define QBLK_TOOL_PROGRESS_H

#include <stdbool.h>

#include <qblk/job.h>

#include "out.h"

struct progress {
    struct out *to;
    bool is_enabled;
    bool is_shown;
};

/* Whether to show it at all: a terminal, and the user did not ask for silence or a log. to is stderr. */
void progress_init(struct progress *progress, struct out *to, bool is_wanted);
/* Has the library ask QEMU for progress, if it will be shown. */
void progress_ask(const struct progress *progress, qblk_monitor *monitor);
/* Draws the line anew. label says what is being done, "copy vd0". */
void progress_show(struct progress *progress, const char *label, const qblk_job_info *job);
/* Takes it off the screen; every other output does that first. */
void progress_clear(struct progress *progress);

/* How much of a job is done, of its total, which is not 0: 0 to 100, whatever QEMU says. */
int progress_percent(const qblk_job_info *job);

/* The text of the line for a terminal of that many columns, into buf. */
void progress_format(const char *label, const qblk_job_info *job, int columns, char *buf,
                     size_t size);

#endif
