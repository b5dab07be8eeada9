#include "progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "sizes.h"
#include "text.h"

#define ASK_MS 250
#define BAR_MAX 40
#define BAR_MIN 10

void progress_init(struct progress *progress, struct out *to, bool is_wanted)
{
    const char *term = getenv("TERM");
    bool is_dumb = term != NULL && strcmp(term, "dumb") == 0;

    progress->is_enabled = is_wanted && !is_dumb && isatty(STDERR_FILENO) == 1;
    progress->is_shown = false;
    progress->to = to;
}

void progress_ask(const struct progress *progress, qblk_monitor *monitor)
{
    if (progress->is_enabled)
        qblk_jobs_progress(monitor, ASK_MS);
}

static void add_left(struct text *to, int64_t eta_ms)
{
    int64_t s = (eta_ms + 999) / 1000;

    if (s >= 3600)
        text_addf(to, "%" PRId64 ":%02" PRId64 ":%02" PRId64 " left", s / 3600, s / 60 % 60,
                  s % 60);
    else
        text_addf(to, "%" PRId64 ":%02" PRId64 " left", s / 60, s % 60);
}

/* Rate, time left, state: what stands right of the bar. */
static void add_facts(struct text *to, const qblk_job_info *job)
{
    char size[SIZE_TEXT];
    bool moves = job->state == QBLK_JOB_RUNNING || job->state == QBLK_JOB_READY;

    if (moves && job->rate > 0)
        text_addf(to, "  %s/s", format_size(job->rate, size));
    if (moves && job->eta_ms >= 0 && !job->is_ready) {
        text_add(to, "  ");
        add_left(to, job->eta_ms);
    }
    text_add(to, "  ");
    if (job->is_stalled)
        text_addf(to, "stopped on an error");
    else
        text_add(to, qblk_job_state_name(job->state));
}

int progress_percent(const qblk_job_info *job)
{
    if (job->current >= job->total)
        return 100;
    return (int)((double)job->current / (double)job->total * 100);
}

static void add_bar(struct text *to, int width, int done)
{
    int full = width * done / 100;

    text_add(to, " [");
    for (int i = 0; i < width; i++)
        text_add(to, i < full ? "#" : ".");
    text_add(to, "]");
}

void progress_format(const char *label, const qblk_job_info *job, int columns, char *buf,
                     size_t size)
{
    struct text left = { NULL, 0, 0 };
    struct text right = { NULL, 0, 0 };

    text_add_plain(&left, label, false);
    if (job->total > 0) {
        int room;

        text_addf(&right, " %3d%%", progress_percent(job));
        add_facts(&right, job);
        /* The last column stays empty: some terminals wrap when it is written. */
        room = columns - 1 - (int)text_width(left.s) - (int)text_width(right.s) - 3;
        if (room >= BAR_MIN)
            add_bar(&left, room > BAR_MAX ? BAR_MAX : room, progress_percent(job));
    } else {
        add_facts(&right, job);
    }
    text_add(&left, right.s);
    /* Cut at characters, not in their middle. */
    while (left.len > 0 && (text_width(left.s) >= (size_t)columns || left.len >= size))
        left.s[--left.len] = '\0';
    (void)snprintf(buf, size, "%s", left.s);
    text_free(&left);
    text_free(&right);
}

void progress_show(struct progress *progress, const char *label, const qblk_job_info *job)
{
    struct winsize window;
    char line[512];
    int columns = 80;

    /* Where nobody reads what was said before, there will be a newer one when he does. */
    if (!progress->is_enabled || out_is_waiting(progress->to))
        return;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        columns = window.ws_col;
    progress_format(label, job, columns, line, sizeof(line));
    out_put(progress->to, "\r\033[K");
    out_put(progress->to, line);
    progress->is_shown = true;
}

void progress_clear(struct progress *progress)
{
    if (!progress->is_shown)
        return;
    progress->is_shown = false;
    out_put(progress->to, "\r\033[K");
}
