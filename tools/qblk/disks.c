/* The verbs disks and tree: the block graph, shown. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "report.h"
#include "session.h"
#include "sizes.h"
#include "verbs.h"

/* By node: the job that uses it or a node of the chain below it, NULL if there is none. Disks may
 * share what is below them; it is looked at once. */
struct chain_jobs {
    const char **job;
    bool *is_known;
    int *path;
};

static void chain_jobs_init(struct chain_jobs *jobs, const qblk_graph *graph)
{
    size_t n = (size_t)qblk_graph_node_count(graph) + 1;

    jobs->job = xrealloc(NULL, n, sizeof(*jobs->job));
    jobs->is_known = xrealloc(NULL, n, sizeof(*jobs->is_known));
    jobs->path = xrealloc(NULL, n, sizeof(*jobs->path));
    memset(jobs->is_known, 0, n * sizeof(*jobs->is_known));
}

static void chain_jobs_done(struct chain_jobs *jobs)
{
    free(jobs->job);
    free(jobs->is_known);
    free(jobs->path);
}

static const char *disk_job(struct chain_jobs *jobs, const qblk_graph *graph, const qblk_disk *disk)
{
    int at = disk->root, n = 0;
    const char *below;

    while (qblk_graph_node(graph, at) != NULL && !jobs->is_known[at]) {
        jobs->is_known[at] = true;
        jobs->path[n++] = at;
        at = qblk_graph_node(graph, at)->backing;
    }
    below = qblk_graph_node(graph, at) != NULL ? jobs->job[at] : NULL;
    while (n-- > 0) {
        qblk_user first;

        /* The users of a node begin with the jobs. */
        at = jobs->path[n];
        if (qblk_graph_user(graph, at, 0, &first) == 1 && strcmp(first.kind, "job") == 0)
            below = first.name;
        jobs->job[at] = below;
    }
    return below;
}

/* The file of an image. The name of a node whose options no file name can express is a page of
 * json:{...}; the node that holds its bytes then has the name that people look for. */
static const char *node_file(const qblk_graph *graph, const qblk_node *node)
{
    const qblk_node *file;

    if (node == NULL)
        return NULL;
    if (*node->filename != '\0' && strncmp(node->filename, "json:", 5) != 0)
        return node->filename;
    file = qblk_graph_node(graph, node->file);
    return file != NULL && *file->filename != '\0' ? file->filename : node->filename;
}

static void disks_table(struct cli *cli, const qblk_graph *graph)
{
    static const char *const heads[] = { "NAME", "SIZE", "TOP-NODE", "FORMAT", "FILE", "JOB" };
    struct table table;
    struct chain_jobs jobs;
    struct text text = { NULL, 0, 0 };

    chain_jobs_init(&jobs, graph);
    table_init(&table, 6);
    for (int i = 0; i < 6; i++)
        table_cell(&table, heads[i]);
    for (int i = 0; i < qblk_graph_disk_count(graph); i++) {
        const qblk_disk *disk = qblk_graph_disk(graph, i);
        const qblk_node *top = qblk_graph_node(graph, disk->top);
        char size[SIZE_TEXT];

        table_cell(&table, disk->name);
        table_cell(&table, format_size(disk->virtual_size, size));
        table_cell(&table, top != NULL ? top->name : NULL);
        table_cell(&table, top != NULL ? top->driver : NULL);
        table_cell(&table, node_file(graph, top));
        table_cell(&table, disk_job(&jobs, graph, disk));
    }
    if (qblk_graph_disk_count(graph) > 0) {
        table_print(&table, &text);
        out_text(cli, text.s);
    } else {
        note(cli, "this QEMU has no disks");
    }
    table_done(&table);
    chain_jobs_done(&jobs);
    text_free(&text);
}

static void disk_json(struct text *line, const qblk_graph *graph, const qblk_disk *disk,
                      const char *job)
{
    const qblk_node *root = qblk_graph_node(graph, disk->root);
    const qblk_node *top = qblk_graph_node(graph, disk->top);

    json_open(line, NULL, '{');
    json_str(line, "name", disk->name);
    json_word(line, "device", disk->device);
    json_word(line, "qom_path", disk->qom_path);
    json_word(line, "drive", disk->drive);
    json_str(line, "root", root != NULL ? root->name : NULL);
    json_str(line, "top", top != NULL ? top->name : NULL);
    json_str(line, "format", top != NULL ? top->driver : NULL);
    json_word(line, "file", node_file(graph, top));
    json_u64(line, "virtual_size", disk->virtual_size);
    json_word(line, "io_status", disk->io_status);
    json_bool(line, "read_only", disk->is_read_only);
    json_bool(line, "removable", disk->is_removable);
    json_word(line, "job", job);
    json_close(line, '}');
}

static void disks_json(struct cli *cli, const qblk_graph *graph)
{
    struct text line = { NULL, 0, 0 };
    struct chain_jobs jobs;

    chain_jobs_init(&jobs, graph);
    json_open(&line, NULL, '{');
    json_open(&line, "result", '[');
    for (int i = 0; i < qblk_graph_disk_count(graph); i++) {
        const qblk_disk *disk = qblk_graph_disk(graph, i);

        disk_json(&line, graph, disk, disk_job(&jobs, graph, disk));
    }
    chain_jobs_done(&jobs);
    json_close(&line, ']');
    json_close(&line, '}');
    out_line(cli, &line);
}

/* Opens a session and reads the graph. */
static int read_graph(struct cli *cli, struct session *session, qblk_graph **ret_graph,
                      qblk_error *error)
{
    int r = session_open(session, cli, NULL, NULL, error);

    return r < 0 ? r : qblk_graph_read(session->monitor, cli_left_ms(cli), ret_graph, error);
}

int run_disks(struct cli *cli)
{
    struct session session;
    qblk_graph *graph = NULL;
    qblk_error error;
    int status = EXIT_DONE;

    if (read_graph(cli, &session, &graph, &error) < 0)
        status = report_error(cli, &error);
    else if (cli->opt.json)
        disks_json(cli, graph);
    else
        disks_table(cli, graph);
    qblk_graph_free(graph);
    return session_end(&session, status);
}

static void user_json(struct text *line, const qblk_user *user)
{
    json_open(line, NULL, '{');
    json_word(line, "kind", user->kind);
    json_word(line, "name", user->name);
    json_word(line, "role", user->role);
    json_close(line, '}');
}

static const char *node_name(const qblk_graph *graph, int index)
{
    const qblk_node *node = qblk_graph_node(graph, index);

    return node != NULL ? node->name : NULL;
}

static void bitmap_json(struct text *line, const qblk_bitmap *bitmap)
{
    json_open(line, NULL, '{');
    json_str(line, "name", bitmap->name);
    json_u64(line, "granularity", bitmap->granularity);
    json_u64(line, "count", bitmap->count);
    json_bool(line, "recording", bitmap->is_recording);
    json_bool(line, "persistent", bitmap->is_persistent);
    json_bool(line, "inconsistent", bitmap->is_inconsistent);
    json_bool(line, "busy", bitmap->is_busy);
    json_close(line, '}');
}

static void child_json(struct text *line, const qblk_graph *graph, const qblk_child *child)
{
    json_open(line, NULL, '{');
    json_str(line, "name", node_name(graph, child->node));
    json_word(line, "role", child->role);
    json_close(line, '}');
}

/* Not known of a node that could not be asked about. */
static void cache_json(struct text *line, const qblk_node *node)
{
    if (node->detect_zeroes[0] != '\0') {
        json_bool(line, "direct", node->is_direct);
        json_bool(line, "no_flush", node->no_flush);
    } else {
        json_null(line, "direct");
        json_null(line, "no_flush");
    }
    json_word(line, "detect_zeroes", node->detect_zeroes);
}

static void node_json(struct text *line, const qblk_graph *graph, int index)
{
    const qblk_node *node = qblk_graph_node(graph, index);
    qblk_bitmap bitmap;
    qblk_child child;
    qblk_user user;

    json_open(line, NULL, '{');
    json_str(line, "name", node->name);
    json_word(line, "driver", node->driver);
    json_word(line, "filename", node->filename);
    json_str(line, "backing_string", node->backing_string);
    json_str(line, "backing_format", node->backing_format);
    json_u64(line, "virtual_size", node->virtual_size);
    json_u64(line, "actual_size", node->actual_size);
    json_bool(line, "read_only", node->is_read_only);
    json_bool(line, "filter", node->is_filter);
    json_bool(line, "protocol", node->is_protocol);
    json_bool(line, "ours", node->is_ours);
    json_bool(line, "encrypted", node->is_encrypted);
    cache_json(line, node);
    json_str(line, "backing", node_name(graph, node->backing));
    json_str(line, "file", node_name(graph, node->file));
    json_open(line, "bitmaps", '[');
    for (int k = 0; qblk_graph_bitmap(graph, index, k, &bitmap) == 1; k++)
        bitmap_json(line, &bitmap);
    json_close(line, ']');
    json_open(line, "children", '[');
    for (int k = 0; qblk_graph_child(graph, index, k, &child) == 1; k++)
        child_json(line, graph, &child);
    json_close(line, ']');
    json_open(line, "users", '[');
    for (int k = 0; qblk_graph_user(graph, index, k, &user) == 1; k++)
        user_json(line, &user);
    json_close(line, ']');
    json_close(line, '}');
}

/* Marks what is drawn of a disk: everything below its root. */
static void mark(const qblk_graph *graph, int root, bool *is_wanted)
{
    int *stack = xrealloc(NULL, (size_t)qblk_graph_node_count(graph) + 1, sizeof(int));
    qblk_child child;
    int n = 0;

    if (qblk_graph_node(graph, root) != NULL) {
        is_wanted[root] = true;
        stack[n++] = root;
    }
    while (n > 0) {
        int node = stack[--n];

        for (int k = 0; qblk_graph_child(graph, node, k, &child) == 1; k++) {
            if (!is_wanted[child.node])
                stack[n++] = child.node;
            is_wanted[child.node] = true;
        }
    }
    free(stack);
}

static void tree_json(struct cli *cli, const qblk_graph *graph, int disk, const char *drawing)
{
    int n = qblk_graph_node_count(graph);
    bool *is_wanted = xrealloc(NULL, (size_t)n + 1, sizeof(bool));
    struct text line = { NULL, 0, 0 };

    memset(is_wanted, disk < 0, (size_t)n + 1);
    if (disk >= 0)
        mark(graph, qblk_graph_disk(graph, disk)->root, is_wanted);
    json_open(&line, NULL, '{');
    json_open(&line, "result", '{');
    json_str(&line, "disk", disk >= 0 ? qblk_graph_disk(graph, disk)->name : NULL);
    json_str(&line, "drawing", drawing);
    json_open(&line, "nodes", '[');
    for (int i = 0; i < n; i++) {
        if (is_wanted[i])
            node_json(&line, graph, i);
    }
    json_close(&line, ']');
    json_close(&line, '}');
    json_close(&line, '}');
    out_line(cli, &line);
    free(is_wanted);
}

static int print_tree(struct cli *cli, const qblk_graph *graph, qblk_error *error)
{
    char *drawing = NULL;
    int disk = -1;

    if (cli->n_args > 0) {
        disk = qblk_graph_find_disk(graph, cli->args[0], error);
        if (disk < 0)
            return disk;
    }
    if (qblk_graph_print(graph, disk, cli->opt.dot ? QBLK_DRAW_DOT : QBLK_DRAW_TREE, &drawing,
                         error) < 0)
        return -EIO;
    if (cli->opt.json) {
        tree_json(cli, graph, disk, drawing);
    } else {
        struct text text = { NULL, 0, 0 };

        text_add_plain(&text, drawing, true);
        out_text(cli, text_str(&text));
        text_free(&text);
    }
    free(drawing);
    return 0;
}

int run_tree(struct cli *cli)
{
    struct session session;
    qblk_graph *graph = NULL;
    qblk_error error;
    int status = EXIT_DONE;

    if (read_graph(cli, &session, &graph, &error) < 0 || print_tree(cli, graph, &error) < 0)
        status = report_error(cli, &error);
    qblk_graph_free(graph);
    return session_end(&session, status);
}
