#include "look_aid.h"

#include <check.h>
#include <string.h>

#include "monitor/monitor.h"
#include "ops/open.h"

static qblk_graph *seen;
static bool is_seen;

static void take_graph(void *arg, qblk_graph *graph, const qblk_error *error)
{
    (void)arg;
    (void)error;
    seen = graph;
    is_seen = true;
}

static bool graph_seen(void)
{
    return is_seen;
}

qblk_remains *look(struct peer *peer, qblk_monitor *monitor)
{
    qblk_remains *remains = NULL;

    is_seen = false;
    ck_assert_int_eq(qblk_jobs_track(monitor, NULL, NULL, NULL), 0);
    ck_assert_int_eq(graph_read_start(monitor, take_graph, NULL, NULL, NULL), 0);
    ck_assert(peer_run(peer, monitor, graph_seen));
    ck_assert_ptr_nonnull(seen);
    ck_assert_int_eq(open_list(monitor, seen, &remains, NULL), 0);
    seen = qblk_graph_free(seen);
    return remains;
}

const qblk_open_op *look_find(const qblk_remains *remains, const char *id)
{
    const qblk_open_op *op;

    for (int i = 0; (op = qblk_remains_op(remains, i)) != NULL; i++) {
        if (strcmp(op->operation, id) == 0)
            return op;
    }
    return NULL;
}
