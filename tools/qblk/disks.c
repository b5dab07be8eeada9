/* The verbs disks and tree: the block graph, shown. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "report.h"
#include "session.h"
#include "sizes.h"
#include "verbs.h"

/* A job that uses a node of the disk's chain; NULL if there is none. */
static const char *disk_job(const qblk_graph *graph, const qblk_disk *disk)
{
    int limit = qblk_graph_node_count(graph);
    const qblk_node *node;

    for (int at = disk->root; limit-- > 0; at = node->backing) {
        qblk_user user;

        node = qblk_graph_node(graph, at);
        if (node == NULL)
            return NULL;
        for (int k = 0; qblk_graph_user(graph, at, k, &user) == 1; k++) {
            if (user.kind != NULL && strcmp(user.kind, "job") == 0)
                return user.name;
        }
    }
    return NULL;
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
    struct text text = { NULL, 0, 0 };

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
        table_cell(&table, disk_job(graph, disk));
    }
    if (qblk_graph_disk_count(graph) > 0) {
        table_print(&table, &text);
        out_text(cli, text.s);
    } else {
        note(cli, "this QEMU has no disks");
    }
    table_done(&table);
    text_free(&text);
}

static void disk_json(struct text *line, const qblk_graph *graph, const qblk_disk *disk)
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
    json_word(line, "job", disk_job(graph, disk));
    json_close(line, '}');
}

static void disks_json(struct cli *cli, const qblk_graph *graph)
{
    struct text line = { NULL, 0, 0 };

    json_open(&line, NULL, '{');
    json_open(&line, "result", '[');
    for (int i = 0; i < qblk_graph_disk_count(graph); i++)
        disk_json(&line, graph, qblk_graph_disk(graph, i));
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

static void node_json(struct text *line, const qblk_graph *graph, int index)
{
    const qblk_node *node = qblk_graph_node(graph, index);
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
    json_str(line, "backing", node_name(graph, node->backing));
    json_str(line, "file", node_name(graph, node->file));
    json_i64(line, "bitmaps", node->bitmaps);
    json_open(line, "users", '[');
    for (int k = 0; qblk_graph_user(graph, index, k, &user) == 1; k++)
        user_json(line, &user);
    json_close(line, ']');
    json_close(line, '}');
}

/* Marks the nodes of a disk: its chain, and the files below. */
static void mark(const qblk_graph *graph, int index, bool *is_wanted)
{
    const qblk_node *node;

    while ((node = qblk_graph_node(graph, index)) != NULL && !is_wanted[index]) {
        is_wanted[index] = true;
        mark(graph, node->file, is_wanted);
        index = node->backing;
    }
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
