#include "stall.h"

#include <string.h>

static bool is_nospace(const qblk_job_info *job)
{
    return job->stall_reason != NULL && strcmp(job->stall_reason, "nospace") == 0;
}

void stall_add_where(struct text *text, const qblk_job_info *job)
{
    text_add(text, job->stall_reason != NULL ? job->stall_reason : "failed");
    if (job->stall_op != NULL)
        text_addf(text, ", %s", job->stall_op);
    if (job->stall_op != NULL && job->stall_node != NULL)
        text_addf(text, " on node %s", job->stall_node);
}

void stall_add_advice(struct text *text, const qblk_job_info *job)
{
    text_addf(text, "%s, then 'qblk job resume %s'; or 'qblk job cancel %s'",
              is_nospace(job) ? "make room" : "mend what failed", job->id, job->id);
}

void stall_add(struct text *text, const qblk_job_info *job)
{
    text_addf(text, "job %s stopped on an I/O error (", job->id);
    stall_add_where(text, job);
    text_add(text, "): ");
    stall_add_advice(text, job);
}
