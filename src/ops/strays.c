/* What belongs to no operation that is open: the jobs of others, exports, nodes that nothing uses;
 * and what would free each. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "ops/open.h"
#include "qapi_types.h"

/* The command's words for a shell; names are QEMU's, or whoever's it took them from. */
static const char *command_line(qblk_remains *remains, const char *words, const char *name)
{
    struct buf text = BUF_INIT;
    bool is_word = strcmp(name, "true") == 0 || strcmp(name, "false") == 0 || strcmp(name, "null") == 0;

    is_word = is_word && strchr(words, '=') != NULL; /* it would be taken as JSON */
    (void)buf_add(&text, words, strlen(words) - is_word);
    if (is_word) {
        (void)buf_addf(&text, ":='\"%s\"'", name);
    } else if (str_is_id(name)) {
        (void)buf_adds(&text, name);
    } else {
        (void)buf_addc(&text, '\'');
        for (const char *p = name; *p != '\0'; p++)
            (void)buf_adds(&text, *p == '\'' ? "'\\''" : (char[]){ *p, '\0' });
        (void)buf_addc(&text, '\'');
    }
    return open_own(remains, buf_take(&text));
}

static const char *qmp_text(qblk_remains *remains, const struct codec_command *command,
                            const void *args)
{
    struct buf text = BUF_INIT;

    if (codec_command(command, args, &text, NULL) < 0) {
        buf_done(&text);
        return NULL;
    }
    return open_own(remains, buf_take(&text));
}

/* All strings are the list's by now, or NULL for want of memory. */
static int add(qblk_remains *remains, const char *kind, const char *name, char *what,
               const char *command, const char *qmp, bool has_command)
{
    qblk_stray *stray;
    const char *own_name = open_own(remains, mem_strdup(name)), *own_what = open_own(remains, what);

    if (own_name == NULL || own_what == NULL || (has_command && (command == NULL || qmp == NULL)) ||
        mem_grow(&remains->strays, &remains->strays_room, remains->n_strays,
                 sizeof(*remains->strays)) < 0)
        return -ENOMEM;
    stray = &remains->strays[remains->n_strays++];
    *stray = (qblk_stray){ .size = sizeof(*stray), .kind = kind, .name = own_name, .what = own_what,
                           .command = command, .qmp = qmp };
    return 0;
}

/* Told of with the operation whose id it has. Without a journal that is one job alone. */
static bool is_of_open(const qblk_remains *remains, const qblk_job_info *info)
{
    const struct open_op *op = info->operation != NULL ? open_find(remains, info->operation) : NULL;

    return op != NULL && (op->told.has_journal || op->has_look || str_equal(op->job.id, info->id));
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static const char *free_job(qblk_remains *remains, const qblk_job_info *info, const char **ret_qmp)
{
    struct qapi_job_dismiss_args dismiss = { .id = info->id };
    struct qapi_job_finalize_args finalize = { .id = info->id };
    struct qapi_job_cancel_args cancel = { .id = info->id };
    struct qapi_block_job_cancel_args finish = { .device = info->id };

    if (qblk_job_allows(info->state, QBLK_VERB_DISMISS)) {
        *ret_qmp = qmp_text(remains, &qapi_cmd_job_dismiss, &dismiss);
        return command_line(remains, "job dismiss ", info->id);
    }
    if (qblk_job_allows(info->state, QBLK_VERB_FINALIZE)) {
        *ret_qmp = qmp_text(remains, &qapi_cmd_job_finalize, &finalize);
        return command_line(remains, "job finalize ", info->id);
    }
    if (info->state == QBLK_JOB_READY) {
        *ret_qmp = qmp_text(remains, &qapi_cmd_block_job_cancel, &finish);
        return command_line(remains, "job finish ", info->id);
    }
    if (qblk_job_allows(info->state, QBLK_VERB_CANCEL)) {
        *ret_qmp = qmp_text(remains, &qapi_cmd_job_cancel, &cancel);
        return command_line(remains, "job cancel ", info->id);
    }
    *ret_qmp = NULL;
    return command_line(remains, "job wait ", info->id);
}

static int find_jobs(qblk_remains *remains)
{
    qblk_job *job = NULL;
    int r = 0;

    while (r == 0 && (job = qblk_job_next(remains->monitor, job)) != NULL) {
        qblk_job_info info = QBLK_INIT(qblk_job_info);
        const char *command, *qmp;
        char *what;

        qblk_job_get_info(job, &info);
        if (info.state == QBLK_JOB_GONE || is_of_open(remains, &info))
            continue;
        what = mem_printf("%s, %s%s%s", info.type[0] != '\0' ? info.type : "job",
                          info.status != NULL ? info.status : qblk_job_state_name(info.state),
                          info.outcome != QBLK_OUTCOME_NONE ? ", " : "",
                          info.outcome != QBLK_OUTCOME_NONE ? qblk_job_outcome_name(info.outcome)
                                                            : "");
        command = free_job(remains, &info, &qmp);
        r = add(remains, "job", info.id, what, command, qmp, qmp != NULL);
        r = command == NULL ? -ENOMEM : r;
    }
    return r;
}

/* ---- exports and nodes ----------------------------------------------------------------------- */

static bool is_told(const qblk_remains *remains, const char *kind, const char *name)
{
    for (size_t i = 0; i < remains->n_strays; i++) {
        if (strcmp(remains->strays[i].kind, kind) == 0 &&
            strcmp(remains->strays[i].name, name) == 0)
            return true;
    }
    return false;
}

static int add_export(qblk_remains *remains, const qblk_user *user, const char *node)
{
    struct qapi_block_export_del_args args = { .id = user->name };

    if (is_told(remains, "export", user->name))
        return 0;
    return add(remains, "export", user->name, mem_printf("%s of node %s", user->role, node),
               command_line(remains, "qmp block-export-del id=", user->name),
               qmp_text(remains, &qapi_cmd_block_export_del, &args), true);
}

static int add_node(qblk_remains *remains, const qblk_node *node)
{
    struct qapi_blockdev_del_args args = { .node_name = node->name };

    return add(remains, "node", node->name,
               mem_printf("%s%s%s", node->driver[0] != '\0' ? node->driver : "unknown",
                          node->filename[0] != '\0' ? " " : "", node->filename),
               command_line(remains, "qmp blockdev-del node-name=", node->name),
               qmp_text(remains, &qapi_cmd_blockdev_del, &args), true);
}

static int find_exports(qblk_remains *remains)
{
    qblk_user user;
    int r = 0;

    for (int i = 0; r == 0 && i < qblk_graph_node_count(remains->graph); i++) {
        for (int k = 0; r == 0 && qblk_graph_user(remains->graph, i, k, &user) > 0; k++) {
            if (strcmp(user.kind, "export") == 0 && user.name[0] != '\0')
                r = add_export(remains, &user, qblk_graph_node(remains->graph, i)->name);
        }
    }
    return r;
}

/* Those that QEMU has named ("#block...") cannot be removed by that. */
static int find_nodes(qblk_remains *remains)
{
    int r = 0;

    for (int i = 0; r == 0 && i < qblk_graph_node_count(remains->graph); i++) {
        const qblk_node *node = qblk_graph_node(remains->graph, i);
        qblk_user user;
        char id[9];

        if (node->name[0] == '#' || qblk_graph_user(remains->graph, i, 0, &user) > 0 ||
            (str_our_name(node->name, id) != NULL && open_find(remains, id) != NULL))
            continue;
        r = add_node(remains, node);
    }
    return r;
}

int strays_find(qblk_remains *remains)
{
    int r = find_jobs(remains);

    if (r == 0)
        r = find_exports(remains);
    return r == 0 ? find_nodes(remains) : r;
}
