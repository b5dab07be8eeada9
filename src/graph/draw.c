/* The graph drawn: a tree for people, DOT for Graphviz, or one line. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "graph/graph_priv.h"

/* Names and texts are QEMU's, and QEMU's are its user's: nothing reaches a terminal that could
 * command it. */
static void add_text(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;

        if (c < 0x20 || c == 0x7f || is_c1) {
            buf_addc(out, '?');
            text += is_c1;
        } else {
            buf_addc(out, *text);
        }
    }
}

static void add_size(struct buf *out, uint64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    unsigned unit = 0;
    uint64_t whole = bytes, rest = 0;

    while (whole >= 1024) {
        rest = whole % 1024;
        whole /= 1024;
        unit++;
    }
    if (rest >= 103) /* a tenth or more */
        buf_addf(out, "%" PRIu64 ".%" PRIu64 " %s", whole, rest * 10 / 1024, units[unit]);
    else
        buf_addf(out, "%" PRIu64 " %s", whole, units[unit]);
}

static void add_job_state(struct buf *out, const qblk_graph *graph, int job)
{
    const struct qapi_job_info *info;

    if (job < 0)
        return;
    info = &graph->jobs.v[job];
    add_text(out, info->type);
    buf_addc(out, ' ');
    add_text(out, info->status);
    if (info->total_progress > 0 && info->current_progress >= 0) {
        int64_t whole = info->current_progress < info->total_progress ? info->current_progress
                                                                       : info->total_progress;

        buf_addf(out, " %d %%", (int)((double)whole * 100.0 / (double)info->total_progress));
    }
}

/* A job holds a node by several edges; it is told once. */
static bool is_told(const qblk_graph *graph, int node, int use)
{
    for (int u = graph->first_use[node]; u < use; u++)
        if (strcmp(graph->uses[u].user.kind, "job") == 0
            && strcmp(graph->uses[u].user.name, graph->uses[use].user.name) == 0)
            return true;
    return false;
}

static void add_node(struct buf *out, const qblk_graph *graph, int index)
{
    const qblk_node *node = &graph->nodes[index];

    add_text(out, node->name);
    if (node->driver[0] != '\0') {
        buf_adds(out, "  ");
        add_text(out, node->driver);
    }
    if (node->filename[0] != '\0' && !node->is_filter) {
        buf_adds(out, "  ");
        add_text(out, node->filename);
    }
    if (!node->is_filter && node->driver[0] != '\0') {
        buf_adds(out, "  ");
        add_size(out, node->virtual_size);
    }
    if (node->is_filter)
        buf_adds(out, "  [filter]");
    if (node->is_read_only)
        buf_adds(out, "  [read-only]");
    if (node->bitmaps > 0)
        buf_addf(out, "  [%d bitmap%s]", node->bitmaps, node->bitmaps == 1 ? "" : "s");
    for (int u = graph->first_use[index]; u < graph->first_use[index + 1]; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (strcmp(use->user.kind, "job") != 0 || is_told(graph, index, u))
            continue;
        buf_adds(out, "  <- job ");
        add_text(out, use->user.name);
        buf_adds(out, " (");
        add_text(out, use->user.role);
        if (use->job >= 0) {
            buf_adds(out, ", ");
            add_job_state(out, graph, use->job);
        }
        buf_addc(out, ')');
    }
    buf_addc(out, '\n');
}

/* ---- tree ----------------------------------------------------------------------------------- */

/* Deeper than this the lines are not indented any more: they would only grow. */
#define INDENT_MAX 60

struct level {
    int node;
    int next; /* edge to be drawn next */
};

struct tree {
    const qblk_graph *graph;
    struct buf *out;
    char *drawn; /* by node */
    struct level *stack;
    int depth;
};

static bool has_more(const struct tree *tree, const struct level *level)
{
    for (int e = level->next; e < tree->graph->first_edge[level->node + 1]; e++)
        if (tree->graph->edges[e].child >= 0)
            return true;
    return false;
}

static void add_branch(struct tree *tree, const char *role)
{
    int top = tree->depth - 1;

    buf_adds(tree->out, "  ");
    for (int d = 0; d < top && d < INDENT_MAX; d++)
        buf_adds(tree->out, has_more(tree, &tree->stack[d]) ? "│  " : "   ");
    buf_adds(tree->out, has_more(tree, &tree->stack[top]) ? "├─ " : "└─ ");
    add_text(tree->out, role);
    buf_adds(tree->out, ": ");
}

static void draw_below(struct tree *tree, int root)
{
    const qblk_graph *graph = tree->graph;

    tree->stack[0] = (struct level){ root, graph->first_edge[root] };
    tree->depth = 1;
    while (tree->depth > 0 && buf_ok(tree->out) == 0) {
        struct level *level = &tree->stack[tree->depth - 1];
        const struct graph_edge *edge = &graph->edges[level->next];

        if (level->next == graph->first_edge[level->node + 1]) {
            tree->depth--;
            continue;
        }
        level->next++;
        if (edge->child < 0)
            continue;
        add_branch(tree, edge->role);
        if (tree->drawn[edge->child]) {
            add_text(tree->out, graph->nodes[edge->child].name);
            buf_adds(tree->out, "  (see above)\n");
            continue;
        }
        tree->drawn[edge->child] = 1;
        add_node(tree->out, graph, edge->child);
        tree->stack[tree->depth++] =
            (struct level){ edge->child, graph->first_edge[edge->child] };
    }
}

static void draw_root(struct tree *tree, int root)
{
    buf_adds(tree->out, "  ");
    if (tree->drawn[root]) {
        add_text(tree->out, tree->graph->nodes[root].name);
        buf_adds(tree->out, "  (see above)\n");
        return;
    }
    tree->drawn[root] = 1;
    add_node(tree->out, tree->graph, root);
    draw_below(tree, root);
}

static void draw_disk(struct tree *tree, const qblk_disk *disk)
{
    struct buf *out = tree->out;

    add_text(out, disk->name);
    if (disk->root >= 0) {
        buf_adds(out, "  ");
        add_size(out, disk->virtual_size);
    }
    if (disk->drive[0] != '\0' && disk->drive != disk->name) {
        buf_adds(out, "  drive ");
        add_text(out, disk->drive);
    }
    if (disk->qom_path[0] != '\0' && disk->qom_path != disk->name) {
        buf_adds(out, "  ");
        add_text(out, disk->qom_path);
    }
    if (disk->io_status[0] != '\0' && strcmp(disk->io_status, "ok") != 0) {
        buf_adds(out, "  [io-status ");
        add_text(out, disk->io_status);
        buf_addc(out, ']');
    }
    if (disk->root < 0) {
        buf_adds(out, "  (empty)\n");
        return;
    }
    buf_addc(out, '\n');
    draw_root(tree, disk->root);
}

static bool has_parent(const qblk_graph *graph, int node)
{
    for (int u = graph->first_use[node]; u < graph->first_use[node + 1]; u++)
        if (strcmp(graph->uses[u].user.kind, "node") == 0)
            return true;
    return false;
}

static void draw_rest(struct tree *tree)
{
    bool is_first = true;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < tree->graph->n_nodes; i++) {
            if (tree->drawn[i] || (pass == 0 && has_parent(tree->graph, i)))
                continue;
            if (is_first)
                buf_adds(tree->out, "other nodes\n");
            is_first = false;
            draw_root(tree, i);
        }
    }
}

static int draw_tree(const qblk_graph *graph, int disk, struct buf *out)
{
    size_t n = (size_t)graph->n_nodes + 1;
    AUTO_FREE char *drawn = mem_zalloc(n);
    AUTO_FREE struct level *stack = mem_zalloc(n * sizeof(*stack));
    struct tree tree = { graph, out, drawn, stack, 0 };

    if (drawn == NULL || stack == NULL)
        return -ENOMEM;
    for (int d = 0; d < graph->n_disks; d++)
        if (disk < 0 || d == disk)
            draw_disk(&tree, &graph->disks[d]);
    if (disk < 0)
        draw_rest(&tree);
    return 0;
}

/* ---- dot ------------------------------------------------------------------------------------ */

/* A backslash is doubled, so that none of the sender's means anything. */
static void add_quoted(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '"' || *text == '\\')
            buf_addc(out, '\\');
        buf_addc(out, (unsigned char)*text < 0x20 ? ' ' : *text);
    }
}

static void dot_node(struct buf *out, const qblk_graph *graph, int index)
{
    const qblk_node *node = &graph->nodes[index];

    buf_addf(out, "  n%d [label=\"", index);
    add_quoted(out, node->name);
    buf_adds(out, "\\n");
    add_quoted(out, node->driver);
    if (!node->is_filter) {
        buf_adds(out, "\\n");
        add_quoted(out, node->filename);
        buf_adds(out, "\\n");
        add_size(out, node->virtual_size);
    }
    buf_addf(out, "\"%s%s];\n", node->is_filter ? ", style=dashed" : "",
             node->is_read_only ? ", color=gray" : "");
    for (int e = graph->first_edge[index]; e < graph->first_edge[index + 1]; e++) {
        if (graph->edges[e].child < 0)
            continue;
        buf_addf(out, "  n%d -> n%d [label=\"", index, graph->edges[e].child);
        add_quoted(out, graph->edges[e].role);
        buf_adds(out, "\"];\n");
    }
}

static void dot_jobs(struct buf *out, const qblk_graph *graph, const char *shown)
{
    AUTO_FREE char *drawn = mem_zalloc(graph->jobs.n + 1);

    for (int u = 0; u < graph->n_uses; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (strcmp(use->user.kind, "job") != 0 || use->job < 0 || !shown[use->node])
            continue;
        if (drawn != NULL && !drawn[use->job]) {
            drawn[use->job] = 1;
            buf_addf(out, "  j%d [shape=hexagon, label=\"", use->job);
            add_quoted(out, use->user.name);
            buf_adds(out, "\\n");
            add_job_state(out, graph, use->job);
            buf_adds(out, "\"];\n");
        }
        buf_addf(out, "  j%d -> n%d [style=dotted, label=\"", use->job, use->node);
        add_quoted(out, use->user.role);
        buf_adds(out, "\"];\n");
    }
}

/* Everything below the disk, or everything. */
static int draw_dot(const qblk_graph *graph, int disk, struct buf *out)
{
    AUTO_FREE char *shown = mem_zalloc((size_t)graph->n_nodes + 1);
    AUTO_FREE int *stack = mem_zalloc((size_t)(graph->n_nodes + graph->n_edges + 1) * sizeof(int));
    int n = 0;

    if (shown == NULL || stack == NULL)
        return -ENOMEM;
    if (disk >= 0 && graph->disks[disk].root >= 0)
        stack[n++] = graph->disks[disk].root;
    while (n > 0) {
        int node = stack[--n];

        if (shown[node])
            continue;
        shown[node] = 1;
        for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++)
            if (graph->edges[e].child >= 0)
                stack[n++] = graph->edges[e].child;
    }
    buf_adds(out, "digraph block {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n");
    for (int d = 0; d < graph->n_disks; d++) {
        if (disk >= 0 && d != disk)
            continue;
        buf_addf(out, "  d%d [shape=cylinder, label=\"", d);
        add_quoted(out, graph->disks[d].name);
        buf_adds(out, "\"];\n");
        if (graph->disks[d].root >= 0)
            buf_addf(out, "  d%d -> n%d;\n", d, graph->disks[d].root);
    }
    for (int i = 0; i < graph->n_nodes; i++) {
        shown[i] = shown[i] || disk < 0;
        if (shown[i])
            dot_node(out, graph, i);
    }
    dot_jobs(out, graph, shown);
    buf_adds(out, "}\n");
    return 0;
}

/* ---- one line ------------------------------------------------------------------------------- */

static void draw_chain(const qblk_graph *graph, int disk, struct buf *out)
{
    int node = graph->disks[disk].top;

    if (node < 0)
        buf_adds(out, "(empty)");
    for (bool is_first = true; node >= 0; node = graph_backing_image(graph, node)) {
        const qblk_node *image = &graph->nodes[node];

        if (!is_first)
            buf_adds(out, " -> ");
        is_first = false;
        /* A name that QEMU made up says nothing where there is a better one. */
        if (image->filename[0] == '\0') {
            add_text(out, image->name);
        } else if (image->name[0] == '#') {
            add_text(out, image->filename);
        } else {
            add_text(out, image->name);
            buf_adds(out, " (");
            add_text(out, image->filename);
            buf_addc(out, ')');
        }
    }
    buf_addc(out, '\n');
}

int qblk_graph_print(const qblk_graph *graph, int disk, qblk_draw how, char **ret_text,
                     qblk_error *error)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT;
    int r = 0;

    if (disk < -1 || disk >= graph->n_disks)
        return err_set(error, QBLK_E_ARGUMENT, "there is no disk number %d", disk);
    switch (how) {
    case QBLK_DRAW_TREE:
        r = draw_tree(graph, disk, &out);
        break;
    case QBLK_DRAW_DOT:
        r = draw_dot(graph, disk, &out);
        break;
    case QBLK_DRAW_CHAIN:
        for (int d = 0; d < graph->n_disks; d++) {
            if (disk >= 0 && d != disk)
                continue;
            if (disk < 0) {
                add_text(&out, graph->disks[d].name);
                buf_adds(&out, ": ");
            }
            draw_chain(graph, d, &out);
        }
        break;
    default:
        return err_set(error, QBLK_E_ARGUMENT, "there is no way %d to draw a graph", (int)how);
    }
    buf_adds(&out, ""); /* nothing to draw is an empty text */
    if (r < 0 || buf_ok(&out) < 0)
        return err_nomem(error);
    *ret_text = buf_take(&out);
    return *ret_text != NULL ? 0 : err_nomem(error);
}
