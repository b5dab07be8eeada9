/* Any six lines as the replies of which a graph is made: query-jobs, query-block,
 * query-named-block-nodes, x-debug-query-block-graph, query-block-exports, query-block-jobs. Whatever is built is walked in every way. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "graph/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_nodes(const qblk_graph *graph)
{
    int count = qblk_graph_node_count(graph), list[64], n = 0;

    for (int i = 0; i < count; i++) {
        const qblk_node *node = qblk_graph_node(graph, i);
        const char *held = NULL;
        struct buf words = BUF_INIT;
        qblk_bitmap bitmap;
        qblk_child child;
        qblk_user user;

        if (qblk_graph_find_node(graph, node->name) != i || node->backing >= count
            || node->file >= count || graph_disk_of(graph, i) >= qblk_graph_disk_count(graph))
            abort();
        for (int k = 0; qblk_graph_user(graph, i, k, &user); k++)
            if (user.kind == NULL || user.name == NULL || user.role == NULL)
                abort();
        for (int k = 0; qblk_graph_child(graph, i, k, &child); k++)
            if (child.node < 0 || child.node >= count || child.role == NULL)
                abort();
        for (int k = 0; qblk_graph_bitmap(graph, i, k, &bitmap); k++)
            if (bitmap.name == NULL)
                abort();
        (void)graph_tell_users(graph, i, &words);
        buf_done(&words);
        (void)graph_backing_image(graph, i);
        (void)graph_job_on(graph, i, i / 2, &held);
        (void)graph_deletable(graph, i, list, 64, &n);
        if (n > 64)
            abort();
    }
}

static void walk_disks(const qblk_graph *graph)
{
    for (int d = 0; d < qblk_graph_disk_count(graph); d++) {
        const qblk_disk *disk = qblk_graph_disk(graph, d);
        qblk_error error;

        if (disk->root >= qblk_graph_node_count(graph) || disk->top >= qblk_graph_node_count(graph))
            abort();
        (void)qblk_graph_find_disk(graph, disk->name, &error);
        (void)qblk_graph_find_in_chain(graph, d, "@1", &error);
        (void)qblk_graph_find_in_chain(graph, d, disk->drive, &error);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1), *rest = text, *line[6] = { NULL };
    struct graph_replies replies;
    qblk_graph *graph = NULL;
    qblk_error error;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (int i = 0; i < 6 && rest != NULL; i++) {
        line[i] = strsep(&rest, "\n");
        if (line[i][0] == '\0')
            line[i] = NULL;
    }
    replies = (struct graph_replies){ line[0], line[1], line[2], line[3], line[4], line[5] };
    if (graph_build(&replies, &graph, &error) == 0) {
        walk_nodes(graph);
        walk_disks(graph);
        for (int how = QBLK_DRAW_TREE; how <= QBLK_DRAW_CHAIN; how++) {
            char *drawn = NULL;

            if (qblk_graph_print(graph, -1, (qblk_draw)how, &drawn, &error) == 0)
                free(drawn);
        }
    }
    (void)qblk_graph_free(graph);
    free(text);
    return 0;
}
