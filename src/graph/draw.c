/* The graph drawn as a tree for people, or as one line. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "graph/graph_priv.h"

/* ---- tree ----------------------------------------------------------------------------------- */

/* Deeper than this the lines are not indented any more: they would only grow. */
#define INDENT_MAX 60

struct level {
    int node;
    int next;         /* edge to be drawn next */
    const char *role; /* what the node is to the one above it */
};

struct tree {
    const qblk_graph *graph;
    struct buf *out;
    char *drawn;    /* by node */
    char *is_root;  /* by node: a disk's, whose line says who uses it */
    char *told_job; /* by job */
    struct level *stack;
    int depth;
};

/* A node that came after a filter is to the image above what the filter is. */
static const char *role_below(const qblk_graph *graph, const struct level *above,
                              const struct graph_edge *edge)
{
    const qblk_node *node = &graph->nodes[above->node];

    return node->is_filter && node->backing == edge->child ? above->role : edge->role;
}

static void add_user(struct tree *tree, const struct graph_use *use)
{
    struct buf *out = tree->out;

    if (use->kind == USE_BACKEND) {
        buf_adds(out, "  <- another backend");
        return;
    }
    buf_addf(out, "  <- %s ", use->user.kind);
    graph_add_text(out, use->user.name);
    if (use->kind == USE_DEVICE)
        return;
    buf_adds(out, " (");
    graph_add_text(out, use->user.role);
    if (use->kind == USE_JOB && !tree->told_job[use->from]
        && tree->graph->held_by[use->from].info != NULL) {
        buf_adds(out, ", ");
        graph_add_job_state(out, &tree->graph->held_by[use->from]);
    }
    if (use->kind == USE_JOB)
        tree->told_job[use->from] = 1;
    buf_addc(out, ')');
}

/* The users come in the order of their kinds: the nodes, which the tree itself shows, last. */
static void add_users(struct tree *tree, int index)
{
    const qblk_graph *graph = tree->graph;

    for (int u = graph->first_use[index]; u < graph->first_use[index + 1]; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (use->kind == USE_NODE || (use->kind == USE_DEVICE && tree->is_root[index]))
            return;
        if (u == graph->first_use[index] || !graph_is_same_job(&use[-1], use))
            add_user(tree, use);
    }
}

/* What the line of the node above has said already is left out. */
static void add_image(struct tree *tree, int index, int above)
{
    const qblk_graph *graph = tree->graph;
    const qblk_node *node = &graph->nodes[index];
    const char *file = graph_file_name(graph, index);

    if (file[0] != '\0'
        && (above < 0 || graph->nodes[above].is_filter
            || strcmp(graph_file_name(graph, above), file) != 0)) {
        buf_adds(tree->out, "  ");
        graph_add_text(tree->out, file);
    }
    if (!graph_knows_size(graph, index))
        return;
    buf_adds(tree->out, "  ");
    graph_add_size(tree->out, node->virtual_size);
    if (node->actual_size > 0
        && (above < 0 || graph->nodes[above].actual_size != node->actual_size)) {
        buf_adds(tree->out, " (");
        graph_add_size(tree->out, node->actual_size);
        buf_adds(tree->out, " allocated)");
    }
}

static void add_node(struct tree *tree, int index, int above, const char *role)
{
    const qblk_node *node = &tree->graph->nodes[index];
    struct buf *out = tree->out;

    graph_add_text(out, node->is_filter ? "filter" : role);
    buf_adds(out, ": ");
    graph_add_text(out, node->name);
    if (tree->drawn[index]) {
        buf_adds(out, "  (see above)\n");
        return;
    }
    tree->drawn[index] = 1;
    if (node->driver[0] != '\0') {
        buf_adds(out, "  ");
        graph_add_text(out, node->driver);
    }
    if (!node->is_filter)
        add_image(tree, index, above >= 0 && tree->graph->nodes[above].file == index ? above : -1);
    if (node->is_read_only)
        buf_adds(out, "  [read-only]");
    add_users(tree, index);
    buf_addc(out, '\n');
}

static bool has_more(const struct tree *tree, const struct level *level)
{
    return level->next < tree->graph->first_edge[level->node + 1];
}

static void add_branch(struct tree *tree, bool is_last)
{
    int top = tree->depth - 1;

    buf_adds(tree->out, "  ");
    for (int d = 0; d < top && d < INDENT_MAX; d++)
        buf_adds(tree->out, has_more(tree, &tree->stack[d]) ? "│  " : "   ");
    buf_adds(tree->out, is_last ? "└─ " : "├─ ");
}

static void push(struct tree *tree, int index, const char *role)
{
    const qblk_graph *graph = tree->graph;
    struct level *level = &tree->stack[tree->depth++];

    *level = (struct level){ index, graph->first_edge[index], role };
    for (int b = 0; b < graph->nodes[index].bitmaps; b++) {
        const qblk_bitmap *bitmap = &graph->bitmaps[graph->first_bitmap[index] + b];

        add_branch(tree, b + 1 == graph->nodes[index].bitmaps && !has_more(tree, level));
        buf_adds(tree->out, "bitmap: ");
        graph_add_text(tree->out, bitmap->name);
        buf_adds(tree->out, "  ");
        graph_add_bitmap_state(tree->out, bitmap);
        buf_addc(tree->out, '\n');
    }
}

static void draw_root(struct tree *tree, int root, const char *role)
{
    const qblk_graph *graph = tree->graph;
    bool is_drawn = tree->drawn[root];

    buf_adds(tree->out, "  ");
    add_node(tree, root, -1, role);
    tree->depth = 0;
    if (!is_drawn)
        push(tree, root, role);
    while (tree->depth > 0 && buf_ok(tree->out) == 0) {
        struct level *level = &tree->stack[tree->depth - 1];
        const struct graph_edge *edge = &graph->edges[level->next];
        const char *below;

        if (!has_more(tree, level)) {
            tree->depth--;
            continue;
        }
        level->next++;
        below = role_below(graph, level, edge);
        add_branch(tree, !has_more(tree, level));
        is_drawn = tree->drawn[edge->child];
        add_node(tree, edge->child, level->node, below);
        if (!is_drawn)
            push(tree, edge->child, below);
    }
}

static void draw_disk(struct tree *tree, const qblk_disk *disk)
{
    struct buf *out = tree->out;
    bool has_device = disk->qom_path[0] != '\0' || disk->drive[0] != '\0';
    int root = disk->root;

    graph_add_text(out, disk->name);
    if (root >= 0) {
        buf_adds(out, "  ");
        graph_add_size(out, disk->virtual_size);
    }
    if (disk->drive[0] != '\0' && disk->drive != disk->name) {
        buf_adds(out, "  drive ");
        graph_add_text(out, disk->drive);
    }
    if (disk->qom_path[0] != '\0' && disk->qom_path != disk->name) {
        buf_adds(out, "  ");
        graph_add_text(out, disk->qom_path);
    }
    if (disk->io_status[0] != '\0' && strcmp(disk->io_status, "ok") != 0) {
        buf_adds(out, "  [io-status ");
        graph_add_text(out, disk->io_status);
        buf_addc(out, ']');
    }
    buf_adds(out, root >= 0 ? "\n" : "  (empty)\n");
    if (root >= 0)
        draw_root(tree, root,
                  graph_root_role(tree->graph, root,
                                  has_device || tree->graph->first_use[root]
                                                    < tree->graph->first_use[root + 1]));
}

/* A node comes last among the users. */
static bool has_parent(const qblk_graph *graph, int node)
{
    int end = graph->first_use[node + 1];

    return graph->first_use[node] < end && graph->uses[end - 1].kind == USE_NODE;
}

static void draw_rest(struct tree *tree)
{
    const qblk_graph *graph = tree->graph;
    bool is_first = true;

    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < graph->n_nodes; i++) {
            if (tree->drawn[i] || (pass == 0 && has_parent(graph, i)))
                continue;
            if (is_first)
                buf_adds(tree->out, "other nodes\n");
            is_first = false;
            draw_root(tree, i, graph_root_role(graph, i, false));
        }
    }
    is_first = true;
    for (int j = 0; j < graph->n_jobs; j++) {
        if (graph->held_by[j].holds)
            continue;
        if (is_first)
            buf_adds(tree->out, "other jobs\n");
        is_first = false;
        buf_adds(tree->out, "  ");
        graph_add_text(tree->out, graph->held_by[j].id);
        buf_adds(tree->out, "  ");
        graph_add_job_state(tree->out, &graph->held_by[j]);
        buf_addc(tree->out, '\n');
    }
}

static int draw_tree(const qblk_graph *graph, int disk, struct buf *out)
{
    size_t n = (size_t)graph->n_nodes + 1;
    AUTO_FREE char *drawn = mem_zalloc(n), *is_root = mem_zalloc(n);
    AUTO_FREE char *told_job = mem_zalloc((size_t)graph->n_jobs + 1);
    AUTO_FREE struct level *stack = mem_zalloc(n * sizeof(*stack));
    struct tree tree = { graph, out, drawn, is_root, told_job, stack, 0 };

    if (drawn == NULL || is_root == NULL || told_job == NULL || stack == NULL)
        return -ENOMEM;
    for (int d = 0; d < graph->n_disks; d++)
        if (graph->disks[d].root >= 0 && (disk < 0 || d == disk))
            is_root[graph->disks[d].root] = 1;
    for (int d = 0; d < graph->n_disks; d++)
        if (disk < 0 || d == disk)
            draw_disk(&tree, &graph->disks[d]);
    if (disk < 0)
        draw_rest(&tree);
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
        const char *file = graph_file_name(graph, node);

        if (!is_first)
            buf_adds(out, " -> ");
        is_first = false;
        /* A name that QEMU made up says nothing where there is a better one. */
        if (file[0] == '\0') {
            graph_add_text(out, image->name);
        } else if (image->name[0] == '#') {
            graph_add_text(out, file);
        } else {
            graph_add_text(out, image->name);
            buf_adds(out, " (");
            graph_add_text(out, file);
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
        r = graph_draw_dot(graph, disk, &out);
        break;
    case QBLK_DRAW_CHAIN:
        for (int d = 0; d < graph->n_disks; d++) {
            if (disk >= 0 && d != disk)
                continue;
            if (disk < 0) {
                graph_add_text(&out, graph->disks[d].name);
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
