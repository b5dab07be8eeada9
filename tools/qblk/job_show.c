/* The verbs job list and job info. */
#include <stdio.h>

#include "follow.h"
#include "json.h"
#include "report.h"
#include "sizes.h"
#include "stall.h"
#include "verbs.h"

#define PROGRESS_TEXT (2 * SIZE_TEXT + 32)

static const char *stalled_text(const qblk_job_info *job, char *buf, size_t size)
{
    struct text text = { NULL, 0, 0 };

    stall_add_where(&text, job);
    (void)snprintf(buf, size, "stalled (%s)", text.s);
    text_free(&text);
    return buf;
}

static const char *state_text(const qblk_job_info *job, char *buf, size_t size)
{
    if (job->is_stalled)
        return stalled_text(job, buf, size);
    else if (job->outcome != QBLK_OUTCOME_NONE)
        (void)snprintf(buf, size, "%s (%s)", qblk_job_state_name(job->state),
                       qblk_job_outcome_name(job->outcome));
    else
        (void)snprintf(buf, size, "%s", qblk_job_state_name(job->state));
    return buf;
}

static const char *progress_text(const qblk_job_info *job, char buf[PROGRESS_TEXT])
{
    char done[SIZE_TEXT];
    char total[SIZE_TEXT];

    if (job->total == 0)
        return NULL;
    (void)snprintf(buf, PROGRESS_TEXT, "%s of %s", format_size(job->current, done),
                   format_size(job->total, total));
    return buf;
}

static const char *speed_text(const qblk_job_info *job, char buf[PROGRESS_TEXT])
{
    char size[SIZE_TEXT];

    if (job->speed == 0)
        return NULL;
    (void)snprintf(buf, PROGRESS_TEXT, "%s/s", format_size(job->speed, size));
    return buf;
}

/* How to go on is no part of the table. */
static void say_stalls(struct cli *cli, qblk_monitor *monitor)
{
    for (qblk_job *job = qblk_job_next(monitor, NULL); job != NULL;
         job = qblk_job_next(monitor, job)) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        struct text text = { NULL, 0, 0 };

        qblk_job_get_info(job, &info);
        if (!info.is_stalled)
            continue;
        stall_add(&text, &info);
        note(cli, "%s", text.s);
        text_free(&text);
    }
}

static void list_table(struct cli *cli, qblk_monitor *monitor)
{
    static const char *const heads[] = { "ID", "TYPE", "STATE", "PROGRESS", "LIMIT", "OWNER" };
    struct table table;
    struct text text = { NULL, 0, 0 };

    table_init(&table, 6);
    for (int i = 0; i < 6; i++)
        table_cell(&table, heads[i]);
    for (qblk_job *job = qblk_job_next(monitor, NULL); job != NULL;
         job = qblk_job_next(monitor, job)) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        char state[96];
        char progress[PROGRESS_TEXT];
        char speed[PROGRESS_TEXT];

        qblk_job_get_info(job, &info);
        table_cell(&table, info.id);
        table_cell(&table, info.type);
        table_cell(&table, state_text(&info, state, sizeof(state)));
        table_cell(&table, progress_text(&info, progress));
        table_cell(&table, speed_text(&info, speed));
        table_cell(&table, info.operation != NULL ? info.operation : "other");
    }
    if (table.n_cells > 6) {
        table_print(&table, &text);
        out_text(cli, text.s);
    }
    table_done(&table);
    text_free(&text);
    say_stalls(cli, monitor);
}

static void list_json(struct cli *cli, qblk_monitor *monitor)
{
    struct text line = { NULL, 0, 0 };

    json_open(&line, NULL, '{');
    json_open(&line, "result", '[');
    for (qblk_job *job = qblk_job_next(monitor, NULL); job != NULL;
         job = qblk_job_next(monitor, job)) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);

        qblk_job_get_info(job, &info);
        json_open(&line, NULL, '{');
        json_job_members(&line, &info);
        json_close(&line, '}');
    }
    json_close(&line, ']');
    json_close(&line, '}');
    out_line(cli, &line);
}

int run_job_list(struct cli *cli)
{
    struct session session;
    qblk_error error;
    int status = EXIT_DONE;

    if (session_open(&session, cli, NULL, NULL, &error) < 0 ||
        qblk_jobs_sync(session.monitor, cli_left_ms(cli), &error) < 0)
        status = report_error(cli, &error);
    else if (cli->opt.json)
        list_json(cli, session.monitor);
    else
        list_table(cli, session.monitor);
    return session_end(&session, status);
}

static void info_line(struct text *text, const char *name, const char *value)
{
    if (value == NULL || *value == '\0')
        return;
    text_addf(text, "%-12s ", name);
    text_add_plain(text, value, false);
    text_add(text, "\n");
}

static void info_stall(struct text *text, const qblk_job_info *info)
{
    struct text value = { NULL, 0, 0 };

    if (!info->is_stalled)
        return;
    stall_add_where(&value, info);
    info_line(text, "stalled:", value.s);
    text_free(&value);
    stall_add_advice(&value, info);
    info_line(text, "to go on:", value.s);
    text_free(&value);
}

static void info_lines(struct cli *cli, const qblk_job_info *info)
{
    struct text text = { NULL, 0, 0 };
    char buf[PROGRESS_TEXT];

    info_line(&text, "id:", info->id);
    info_line(&text, "type:", info->type);
    info_line(&text, "state:", qblk_job_state_name(info->state));
    info_line(&text, "status:", info->status);
    if (info->outcome != QBLK_OUTCOME_NONE)
        info_line(&text, "outcome:", qblk_job_outcome_name(info->outcome));
    info_line(&text, "error:", info->error);
    info_line(&text, "owner:", info->operation != NULL ? info->operation : "other");
    info_line(&text, "progress:", progress_text(info, buf));
    info_line(&text, "limit:", speed_text(info, buf));
    info_line(&text, "ready:", info->is_ready ? "yes" : "no");
    info_stall(&text, info);
    if (info->is_listed) {
        info_line(&text, "finalize:", info->auto_finalize ? "by itself" : "by hand");
        info_line(&text, "dismiss:", info->auto_dismiss ? "by itself" : "by hand");
    }
    out_text(cli, text.s);
    text_free(&text);
}

static void info_json(struct cli *cli, const qblk_job_info *info)
{
    struct text line = { NULL, 0, 0 };

    json_open(&line, NULL, '{');
    json_open(&line, "result", '{');
    json_job_members(&line, info);
    json_close(&line, '}');
    json_close(&line, '}');
    out_line(cli, &line);
}

int run_job_info(struct cli *cli)
{
    struct session session;
    qblk_job_info info = QBLK_INIT(qblk_job_info);
    qblk_job *job = NULL;
    qblk_error error;
    int r = session_open(&session, cli, NULL, NULL, &error);

    if (r == 0)
        r = qblk_jobs_sync(session.monitor, cli_left_ms(cli), &error);
    if (r == 0) {
        job = qblk_job_find(session.monitor, cli->args[0]);
        if (job == NULL) {
            follow_unknown_error(cli->args[0], &error);
            follow_name_job(&session, &error);
        }
    }
    if (job == NULL)
        return session_end(&session, report_error(cli, &error));
    qblk_job_get_info(job, &info);
    if (cli->opt.json)
        info_json(cli, &info);
    else
        info_lines(cli, &info);
    return session_end(&session, EXIT_DONE);
}
