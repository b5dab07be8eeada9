/* The verb recover: finishes or undoes what clients have left open in QEMU. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "op.h"
#include "report.h"
#include "verbs.h"

/* An operation that is open: known by its journal node, or by a job that carries its id. */
struct open_op {
    char id[9];
    char job[64];   /* its job, or "" */
    char state[32]; /* of that job */
    bool has_journal;
    bool has_probe; /* the node that looks at the target; it comes before the journal */
    bool is_done;
    char (*with)[9]; /* the operations that were started together with it */
    int n_with;
};

#define WITH_MAX 256

struct open_ops {
    struct open_op *v;
    size_t n;
};

/* "qblk.<8 hex digits>.<role>": the role, with the digits in ret_id; NULL for other names. */
static const char *our_role(const char *name, char *ret_id)
{
    if (strncmp(name, "qblk.", 5) != 0 || strspn(name + 5, "0123456789abcdef") != 8 ||
        name[13] != '.')
        return NULL;
    memcpy(ret_id, name + 5, 8);
    ret_id[8] = '\0';
    return name + 14;
}

static struct open_op *find_op(struct open_ops *ops, const char *id)
{
    struct open_op *grown;

    for (size_t i = 0; i < ops->n; i++) {
        if (strcmp(ops->v[i].id, id) == 0)
            return &ops->v[i];
    }
    grown = realloc(ops->v, (ops->n + 1) * sizeof(*grown));
    if (grown == NULL)
        return NULL;
    ops->v = grown;
    memset(&grown[ops->n], 0, sizeof(*grown));
    memcpy(grown[ops->n].id, id, sizeof(grown->id));
    return &grown[ops->n++];
}

/* Reads what there is; if the connection is lost meanwhile, once more on the next. */
static int read_all(struct session *session, qblk_graph **ret_graph, qblk_error *error)
{
    int r;

    do {
        r = qblk_jobs_sync(session->monitor, cli_left_ms(session->cli), error);
        if (r == 0)
            r = qblk_graph_read(session->monitor, cli_left_ms(session->cli), ret_graph, error);
    } while (r < 0 && error->code == QBLK_E_LOST &&
             qblk_monitor_get_state(session->monitor) == QBLK_MONITOR_AWAY);
    return r;
}

static int find_all(struct session *session, struct open_ops *ops, qblk_error *error)
{
    qblk_graph *graph = NULL;
    qblk_job *job = NULL;
    char id[9];
    int r = read_all(session, &graph, error);

    if (r < 0)
        return r;
    for (int i = 0; i < qblk_graph_node_count(graph); i++) {
        const char *role = our_role(qblk_graph_node(graph, i)->name, id);
        bool is_journal = role != NULL && strcmp(role, "journal") == 0;
        bool is_probe = role != NULL && /* ".1" and so on of further targets */
                        (strncmp(role, "probe", 5) == 0 || strncmp(role, "look", 4) == 0);
        struct open_op *op = is_journal || is_probe ? find_op(ops, id) : NULL;

        if (op != NULL && is_journal)
            op->has_journal = true;
        else if (op != NULL)
            op->has_probe = true;
    }
    while ((job = qblk_job_next(session->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        const char *role;
        struct open_op *op;

        qblk_job_get_info(job, &info);
        role = info.state == QBLK_JOB_GONE ? NULL : our_role(info.id, id);
        if (role == NULL || (op = find_op(ops, id)) == NULL ||
            (strncmp(role, "create-", 7) == 0 && op->job[0] != '\0'))
            continue;
        (void)snprintf(op->job, sizeof(op->job), "%s", info.id);
        (void)snprintf(op->state, sizeof(op->state), "%s", info.status);
    }
    for (size_t i = 0; i < ops->n; i++) {
        ops->v[i].with = xrealloc(NULL, WITH_MAX, sizeof(*ops->v[i].with));
        ops->v[i].n_with = qblk_group_companions(graph, ops->v[i].id, ops->v[i].with, WITH_MAX);
    }
    (void)qblk_graph_free(graph);
    return 0;
}

static void list(struct cli *cli, const struct open_ops *ops)
{
    struct text line = { NULL, 0, 0 };

    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '[');
        for (size_t i = 0; i < ops->n; i++) {
            json_open(&line, NULL, '{');
            json_str(&line, "operation", ops->v[i].id);
            json_str(&line, "job", ops->v[i].job[0] != '\0' ? ops->v[i].job : NULL);
            json_str(&line, "state", ops->v[i].job[0] != '\0' ? ops->v[i].state : NULL);
            json_bool(&line, "journal", ops->v[i].has_journal);
            json_close(&line, '}');
        }
        json_close(&line, ']');
        json_close(&line, '}');
        out_line(cli, &line);
        return;
    }
    for (size_t i = 0; i < ops->n; i++) {
        struct text row = { NULL, 0, 0 };

        text_addf(&row, "%s  %s%s%s%s", ops->v[i].id,
                  ops->v[i].job[0] != '\0' ? ops->v[i].job : "no job",
                  ops->v[i].job[0] != '\0' ? " (" : "", ops->v[i].state,
                  ops->v[i].job[0] != '\0' ? ")" : "");
        if (!ops->v[i].has_journal)
            text_add(&row, "  no journal");
        out_line(cli, &row);
    }
}

static int start_resume(struct op_run *run, const qblk_op_common *common, qblk_error *error)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);

    options.common = *common;
    if (run->cli->opt.undo)
        options.how = QBLK_RESUME_UNDO;
    else if (run->cli->opt.ending == QBLK_END_PIVOT)
        options.how = QBLK_RESUME_PIVOT;
    else if (run->cli->opt.ending == QBLK_END_FINISH)
        options.how = QBLK_RESUME_FINISH;
    options.group = run->many != NULL ? run->many->group : NULL;
    return qblk_resume(run->session.monitor, run->disk, &options, &run->op, error);
}

/* Without a journal there is nothing to go by but the job's name: it is left to its user. */
static int recover_one(struct op_run *run, const struct open_op *op)
{
    qblk_error error;

    if (!op->has_journal && !op->has_probe) {
        note(run->cli, "job %s carries the id of a qblk operation, but there is no journal for it; "
             "\"qblk job cancel %s\" or \"qblk job dismiss %s\" end it", op->job, op->job, op->job);
        return EXIT_DONE;
    }
    return op_continue(run, start_resume, "recover", op->id, &error);
}

static bool belongs(const struct open_op *op, const char *id)
{
    for (int i = 0; i < op->n_with; i++) {
        if (strcmp(op->with[i], id) == 0)
            return true;
    }
    return strcmp(op->id, id) == 0;
}

/* One whose record was not written yet is named by the others only. */
static struct open_op *speaker(struct open_ops *ops, struct open_op *op)
{
    for (size_t i = 0; i < ops->n && op->n_with == 0; i++) {
        if (ops->v[i].n_with > 0 && !ops->v[i].is_done && belongs(&ops->v[i], op->id))
            return &ops->v[i];
    }
    return op;
}

/* All that were started together with this one and are still open. */
static int recover_together(struct op_run *run, const struct open_op *op, struct open_ops *ops)
{
    struct many many = { .runs = xrealloc(NULL, ops->n, sizeof(*many.runs)) };
    qblk_error error;
    int status;

    memset(many.runs, 0, ops->n * sizeof(*many.runs));
    for (size_t i = 0; i < ops->n; i++) {
        if (!belongs(op, ops->v[i].id) || (ops->v[i].is_done && &ops->v[i] != op) ||
            (!ops->v[i].has_journal && !ops->v[i].has_probe))
            continue;
        ops->v[i].is_done = true;
        many.runs[many.n++].disk = ops->v[i].id;
    }
    status = many_continue(run, &many, start_resume, "recover", &error);
    free(many.runs);
    return status;
}

/* With --json the last line: what became of each operation, or the first reason for a failure. */
static void say_end(struct op_run *run, bool found)
{
    struct cli *cli = run->cli;
    struct text line = { NULL, 0, 0 };

    if (!cli->opt.json && found)
        return;
    if (!cli->opt.json) {
        text_add(&line, "nothing to recover");
    } else if (run->has_failed) {
        (void)report_error(cli, &run->failure);
        return;
    } else {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '[');
        text_add(&line, text_str(&run->results));
        json_close(&line, ']');
        json_close(&line, '}');
    }
    out_line(cli, &line);
}

/* While a stream or backup job waits to be dismissed, some versions of QEMU must not be asked for the
 * nodes that the journals of others are in: such operations come first. */
static bool comes_first(const struct open_op *op)
{
    const char *role = strrchr(op->job, '.');

    return role != NULL && (strcmp(role, ".pull") == 0 || strcmp(role, ".backup") == 0);
}

static int recover_all(struct op_run *run, struct open_ops *ops)
{
    struct cli *cli = run->cli;
    int status = EXIT_DONE;
    bool found = false;

    for (size_t k = 0; k < 2 * ops->n; k++) {
        struct open_op *op = &ops->v[k % ops->n];
        int r;

        if (op->is_done || comes_first(op) != (k < ops->n) ||
            (cli->opt.operation != NULL && strcmp(cli->opt.operation, op->id) != 0))
            continue;
        found = true;
        op = speaker(ops, op);
        op->is_done = true;
        r = op->n_with > 0 ? recover_together(run, op, ops) : recover_one(run, op);
        status = status == EXIT_DONE ? r : status;
        if (run->session.die_of != 0 || run->is_timed_out)
            return status;
    }
    if (!found && cli->opt.operation != NULL) {
        qblk_error error;

        (void)own_error(&error, QBLK_KIND_REFUSED, QBLK_E_UNKNOWN_JOB, "there is no open operation "
                        "'%s'; 'qblk recover --list' shows what is open", cli->opt.operation);
        return report_error(cli, &error);
    }
    if (!run->is_to_try_again || !run->may_try_again)
        say_end(run, found);
    return status;
}

static void forget(struct open_ops *ops)
{
    for (size_t i = 0; i < ops->n; i++)
        free(ops->v[i].with);
    free(ops->v);
    *ops = (struct open_ops){ NULL, 0 };
}

/* While an image is being made some versions of QEMU must not be asked what belongs together. The one
 * that was waited for says so then, and all is looked at anew. */
static int recover_twice(struct op_run *run, struct open_ops *ops)
{
    qblk_error error;
    int status, again;

    run->may_try_again = true;
    status = recover_all(run, ops);
    run->may_try_again = false;
    if (!run->is_to_try_again || run->session.die_of != 0 || run->is_timed_out)
        return status;
    forget(ops);
    if (find_all(&run->session, ops, &error) < 0)
        return report_error(run->cli, &error);
    again = recover_all(run, ops);
    return status != EXIT_DONE ? status : again;
}

int run_recover(struct cli *cli)
{
    struct op_run run = { .cli = cli, .past = "recovered", .is_one_of_many = true };
    struct open_ops ops = { NULL, 0 };
    qblk_error error;
    int status;

    if (cli->opt.undo && cli->opt.ending != QBLK_END_DEFAULT) {
        (void)usage_error(&error, "--undo and --pivot or --finish exclude one another");
        return report_error(cli, &error);
    }
    if (cli->opt.operation != NULL && (strlen(cli->opt.operation) != 8 ||
                                       strspn(cli->opt.operation, "0123456789abcdef") != 8)) {
        (void)usage_error(&error, "'%.40s' is not the id of an operation, which is 8 hex digits; "
                          "'qblk recover --list' shows what is open", cli->opt.operation);
        return report_error(cli, &error);
    }
    if (op_open(&run, &error) < 0)
        return report_error(cli, &error);
    if (find_all(&run.session, &ops, &error) < 0)
        status = report_error(cli, &error);
    else if (cli->opt.list) {
        list(cli, &ops);
        status = EXIT_DONE;
    } else if (session_loop(&run.session, &error) < 0) {
        status = report_error(cli, &error);
    } else {
        status = recover_twice(&run, &ops);
    }
    forget(&ops);
    text_free(&run.results);
    return session_end(&run.session, status);
}
