/* The graph drawn as input for Graphviz. */
#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "graph/graph_priv.h"

/* Into a string in quotes. A backslash is doubled and the & of an entity is made one itself, so
 * that none of the sender's means anything. */
static void add_quoted(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool is_c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;

        if (c == '&') {
            buf_adds(out, "&amp;");
        } else if (c < 0x20 || c == 0x7f || is_c1) {
            buf_addc(out, ' ');
            text += is_c1;
        } else {
            if (c == '"' || c == '\\')
                buf_addc(out, '\\');
            buf_addc(out, *text);
        }
    }
}

static void add_label(struct buf *out, const char *first, const char *second)
{
    buf_adds(out, "label=\"");
    add_quoted(out, first);
    if (second[0] != '\0')
        buf_adds(out, "\\n");
    add_quoted(out, second);
}

static void add_images(struct buf *out, const qblk_graph *graph, int index)
{
    const qblk_node *node = &graph->nodes[index];
    const char *file = graph_file_name(graph, index);

    if (file[0] != '\0') {
        buf_adds(out, "\\n");
        add_quoted(out, file);
    }
    if (graph_knows_size(graph, index)) {
        buf_adds(out, "\\n");
        graph_add_size(out, node->virtual_size);
    }
    if (node->actual_size > 0) {
        buf_adds(out, " (");
        graph_add_size(out, node->actual_size);
        buf_adds(out, " allocated)");
    }
    for (int b = 0; b < node->bitmaps; b++) {
        const qblk_bitmap *bitmap = &graph->bitmaps[graph->first_bitmap[index] + b];

        buf_adds(out, "\\nbitmap ");
        add_quoted(out, bitmap->name);
        buf_adds(out, ": ");
        graph_add_bitmap_state(out, bitmap);
    }
}

static void draw_node(struct buf *out, const qblk_graph *graph, int index)
{
    const qblk_node *node = &graph->nodes[index];

    buf_addf(out, "  n%d [", index);
    add_label(out, node->name, node->driver);
    if (!node->is_filter)
        add_images(out, graph, index);
    if (node->is_read_only)
        buf_adds(out, "\\nread-only");
    buf_addf(out, "\"%s%s];\n", node->is_filter ? ", style=dashed" : "",
             node->is_read_only ? ", color=gray" : "");
    for (int e = graph->first_edge[index]; e < graph->first_edge[index + 1]; e++) {
        buf_addf(out, "  n%d -> n%d [", index, graph->edges[e].child);
        add_label(out, graph->edges[e].role, "");
        buf_adds(out, "\"];\n");
    }
}

static void draw_job(struct buf *out, const qblk_graph *graph, int job)
{
    CLEANUP(buf_done) struct buf state = BUF_INIT;

    graph_add_job_state(&state, &graph->held_by[job]);
    if (buf_adds(&state, "") < 0)
        out->failed = 1;
    buf_addf(out, "  j%d [shape=hexagon, ", job);
    add_label(out, graph->held_by[job].id, state.data != NULL ? state.data : "");
    buf_adds(out, "\"];\n");
}

/* Those who use the nodes that are shown and are neither nodes nor disks. */
static void draw_users(struct buf *out, const qblk_graph *graph, const char *shown,
                       const char *is_root, char *drawn_job)
{
    for (int u = 0; u < graph->n_uses; u++) {
        const struct graph_use *use = &graph->uses[u];

        if (!shown[use->node] || use->kind == USE_NODE
            || (use->kind == USE_DEVICE && is_root[use->node]))
            continue;
        if (use->kind == USE_JOB) {
            if (!drawn_job[use->from])
                draw_job(out, graph, use->from);
            drawn_job[use->from] = 1;
            buf_addf(out, "  j%d -> n%d [style=dotted, ", use->from, use->node);
        } else {
            buf_addf(out, "  u%d [shape=%s, ", u, use->kind == USE_EXPORT ? "house" : "ellipse");
            add_label(out, use->kind == USE_BACKEND ? "another backend" : use->user.name,
                      use->kind == USE_BACKEND ? "" : use->user.kind);
            buf_addf(out, "\"];\n  u%d -> n%d [", u, use->node);
        }
        add_label(out, use->user.role, "");
        buf_adds(out, "\"];\n");
    }
}

static void draw_disks(struct buf *out, const qblk_graph *graph, int disk, char *is_root)
{
    for (int d = 0; d < graph->n_disks; d++) {
        int root = graph->disks[d].root;

        if (disk >= 0 && d != disk)
            continue;
        buf_addf(out, "  d%d [shape=cylinder, ", d);
        add_label(out, graph->disks[d].name, "");
        buf_adds(out, "\"];\n");
        if (root < 0)
            continue;
        is_root[root] = 1;
        buf_addf(out, "  d%d -> n%d;\n", d, root);
    }
}

/* Marks the nodes below the disk, or all; stack has room for each node and each edge. */
static void mark_shown(const qblk_graph *graph, int disk, char *shown, int *stack)
{
    int n = 0;

    if (disk < 0)
        memset(shown, 1, (size_t)graph->n_nodes);
    else if (graph->disks[disk].root >= 0)
        stack[n++] = graph->disks[disk].root;
    while (n > 0) {
        int node = stack[--n];

        if (shown[node])
            continue;
        shown[node] = 1;
        for (int e = graph->first_edge[node]; e < graph->first_edge[node + 1]; e++)
            stack[n++] = graph->edges[e].child;
    }
}

int graph_draw_dot(const qblk_graph *graph, int disk, struct buf *out)
{
    size_t n = (size_t)graph->n_nodes + 1;
    AUTO_FREE char *shown = mem_zalloc(n), *is_root = mem_zalloc(n);
    AUTO_FREE char *drawn_job = mem_zalloc((size_t)graph->n_jobs + 1);
    AUTO_FREE int *stack = mem_zalloc((n + (size_t)graph->n_edges) * sizeof(int));

    if (shown == NULL || is_root == NULL || drawn_job == NULL || stack == NULL)
        return -ENOMEM;
    mark_shown(graph, disk, shown, stack);
    buf_adds(out, "digraph block {\n  rankdir=LR;\n  node [shape=box, fontname=\"monospace\"];\n");
    draw_disks(out, graph, disk, is_root);
    for (int i = 0; i < graph->n_nodes; i++)
        if (shown[i])
            draw_node(out, graph, i);
    draw_users(out, graph, shown, is_root, drawn_job);
    for (int j = 0; disk < 0 && j < graph->n_jobs; j++)
        if (!drawn_job[j])
            draw_job(out, graph, j);
    buf_adds(out, "}\n");
    return 0;
}
