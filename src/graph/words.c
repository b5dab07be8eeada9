/* What is told of a graph, in words: sizes, jobs, bitmaps, users. */
#include <inttypes.h>
#include <string.h>

#include "base/str.h"
#include "graph/graph_priv.h"

void graph_add_text(struct buf *out, const char *text)
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

void graph_add_size(struct buf *out, uint64_t bytes)
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

bool graph_knows_size(const qblk_graph *graph, int node)
{
    return graph->has_named || graph->nodes[node].virtual_size > 0;
}

void graph_add_job_state(struct buf *out, const struct graph_job *job)
{
    const struct qapi_job_info *info = job->info;

    if (info == NULL)
        return;
    graph_add_text(out, info->type);
    buf_addc(out, ' ');
    graph_add_text(out, info->status);
    if (info->total_progress > 0 && info->current_progress >= 0) {
        int64_t whole = info->current_progress < info->total_progress ? info->current_progress
                                                                       : info->total_progress;

        buf_addf(out, " %d %%", (int)((double)whole * 100.0 / (double)info->total_progress));
    }
    if (job->block != NULL && strcmp(job->block->io_status, "ok") != 0
        && (str_equal(info->status, "paused") || str_equal(info->status, "standby"))) {
        buf_adds(out, ", stalled (");
        graph_add_text(out, job->block->io_status);
        buf_addc(out, ')');
    }
}

void graph_add_bitmap_state(struct buf *out, const qblk_bitmap *bitmap)
{
    if (bitmap->is_inconsistent) {
        buf_adds(out, "inconsistent");
    } else {
        graph_add_size(out, bitmap->count);
        buf_adds(out, " dirty, granularity ");
        graph_add_size(out, bitmap->granularity);
        buf_adds(out, bitmap->is_recording ? ", recording" : ", disabled");
    }
    if (bitmap->is_persistent)
        buf_adds(out, ", persistent");
    if (bitmap->is_busy)
        buf_adds(out, ", busy");
}

const char *graph_file_name(const qblk_graph *graph, int node)
{
    const char *name = graph->nodes[node].filename;
    int file = graph->nodes[node].file;

    if ((name[0] == '\0' || str_starts(name, "json:")) && file >= 0) {
        file = graph->image[file];
        if (graph->nodes[file].filename[0] != '\0')
            return graph->nodes[file].filename;
    }
    return name;
}

const char *graph_root_role(const qblk_graph *graph, int node, bool is_disk)
{
    const char *own = str_our_name(graph->nodes[node].name, NULL);
    int first = graph->first_use[node];
    bool is_used = first < graph->first_use[node + 1];

    if (own != NULL && strcmp(own, "journal") == 0)
        return "journal";
    if (is_disk)
        return "active";
    if (!is_used)
        return "unused";
    return strcmp(graph->uses[first].user.role, "target") == 0 ? "target" : "other";
}

bool graph_is_same_job(const struct graph_use *a, const struct graph_use *b)
{
    return a->kind == USE_JOB && b->kind == USE_JOB && a->from == b->from;
}

/* ---- telling -------------------------------------------------------------------------------- */

#define TOLD_OF_A_KIND 3

static void tell_user(const qblk_graph *graph, const struct graph_use *use, struct buf *out)
{
    const qblk_user *user = &use->user;

    if (use->kind == USE_BACKEND) {
        buf_adds(out, "another user without a name");
        return;
    }
    buf_addf(out, "%s '%s'", user->kind, user->name);
    if (use->kind == USE_JOB && graph->held_by[use->from].info != NULL) {
        buf_adds(out, " (");
        graph_add_job_state(out, &graph->held_by[use->from]);
        buf_addc(out, ')');
    } else if (use->kind == USE_EXPORT) {
        buf_addf(out, " (%s)", user->role);
    } else if (use->kind == USE_NODE) {
        const struct graph_use *above =
            use->from >= 0 && graph->nodes[use->from].is_filter
                    && graph->first_use[use->from] < graph->first_use[use->from + 1]
                ? &graph->uses[graph->first_use[use->from]]
                : NULL;

        /* Nobody knows the filter that a job made by its name. */
        if (above != NULL && above->kind == USE_JOB)
            buf_addf(out, " (filter of job '%s')", above->user.name);
        else
            buf_addf(out, " (%s)", user->role);
    }
}

int graph_tell_users(const qblk_graph *graph, int node, struct buf *out)
{
    int begin, end, n = 0, of_kind = 0;

    if (node < 0 || node >= graph->n_nodes)
        return 0;
    begin = graph->first_use[node];
    end = graph->first_use[node + 1];
    for (int u = begin; u < end; u++) {
        const struct graph_use *use = &graph->uses[u];
        bool is_last_of_kind = u + 1 == end || use[1].kind != use->kind;

        if (u > begin && use[-1].kind != use->kind)
            of_kind = 0;
        if (u == begin || !graph_is_same_job(&use[-1], use)) {
            n++;
            if (++of_kind <= TOLD_OF_A_KIND) {
                buf_adds(out, n == 1 ? "" : u + 1 == end ? " and " : ", ");
                tell_user(graph, use, out);
            }
        }
        if (is_last_of_kind && of_kind > TOLD_OF_A_KIND)
            buf_addf(out, " and %d more %ss", of_kind - TOLD_OF_A_KIND, use->user.kind);
    }
    return n;
}
