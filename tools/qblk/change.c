#include "change.h"

#include <time.h>

#include "progress.h"
#include "stall.h"

void text_add_clock(struct text *line)
{
    struct timespec now = { 0, 0 };
    struct tm tm;
    char clock[16] = "";

    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &tm) != NULL)
        (void)strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
    text_addf(line, "%s.%03ld ", clock, now.tv_nsec / 1000000);
}

static void add_stall(struct text *line, const qblk_job_info *info)
{
    text_add(line, "stalled (");
    stall_add_where(line, info);
    text_add(line, "): ");
    stall_add_advice(line, info);
}

bool job_is_at_work(qblk_job_state state)
{
    return state == QBLK_JOB_RUNNING || state == QBLK_JOB_PAUSED || state == QBLK_JOB_READY ||
           state == QBLK_JOB_STANDBY;
}

/* One that is ready has done all that there was, though the last reading may be of before. */
static bool is_on_its_way(const qblk_job_info *info)
{
    return info->state == QBLK_JOB_RUNNING || info->state == QBLK_JOB_PAUSED;
}

void add_job_change(struct text *line, const qblk_job_info *info, bool is_gone)
{
    text_addf(line, "%s %s ", info->id,
              info->type != NULL && *info->type != '\0' ? info->type : "-");
    if (is_gone)
        text_add(line, "gone");
    else if (info->outcome != QBLK_OUTCOME_NONE && info->state == QBLK_JOB_GONE)
        text_add(line, qblk_job_state_name(QBLK_JOB_CONCLUDED)); /* its end and that in one */
    else if (info->is_stalled)
        add_stall(line, info);
    else
        text_add(line, qblk_job_state_name(info->state));
    if (info->outcome != QBLK_OUTCOME_NONE && !is_gone)
        text_addf(line, " %s%s%s", qblk_job_outcome_name(info->outcome),
                  info->error != NULL ? ": " : "", info->error != NULL ? info->error : "");
    else if (is_on_its_way(info) && !is_gone && !info->is_stalled && info->total > 0)
        text_addf(line, " %d%%", progress_percent(info));
}
