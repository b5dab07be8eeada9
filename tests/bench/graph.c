/* graph RUNS SHAPE DISKS SOCKET COMMAND: what reading and drawing a big block graph costs the
 * client. A child process plays a QEMU at SOCKET whose replies were made beforehand: DISKS virtio
 * disks, each a qcow2 node on a file node, in the shape of SHAPE: 7.2 (the edges in the debug graph
 * alone) or 11.1 (each node names its children too). Measured are qblk_graph_read() and
 * qblk_graph_print(), connection and all, in this process, and `COMMAND tree` as a whole process.
 *
 * Prints: LIBRARY_CPU_US PRINT_CPU_US COMMAND_CPU_US COMMAND_WALL_US RSS_KIB REPLIES_KIB
 * DRAWING_KIB; medians, of the resident set the largest. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <qblk/qblk.h>

#include "bench.h"

struct text {
    char *v;
    size_t len, room;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void add(struct text *text, const char *format, ...)
{
    char more[2048];
    va_list ap;
    int n;

    va_start(ap, format);
    n = vsnprintf(more, sizeof(more), format, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof(more))
        bench_die("a line of a reply is too long");
    while (text->len + (size_t)n + 1 > text->room) {
        text->room = text->room == 0 ? 65536 : text->room * 2;
        text->v = realloc(text->v, text->room);
        if (text->v == NULL)
            bench_die("out of memory");
    }
    memcpy(text->v + text->len, more, (size_t)n + 1);
    text->len += (size_t)n;
}

/* ---- the replies, each without its end, where the id goes ---------------------------------------- */

struct qemu {
    bool is_new; /* 11.1 */
    int n_disks;
    struct text greeting, nothing, jobs, block, nodes, edges;
};

static void add_image(struct text *text, int disk, bool is_file)
{
    add(text,
        "\"image\": {\"virtual-size\": %s, \"filename\": \"/var/lib/images/guest%04d.qcow2\"%s, "
        "\"format\": \"%s\", \"actual-size\": 8409088%s, \"dirty-flag\": false}",
        is_file ? "8716288" : "10737418240", disk, is_file ? "" : ", \"cluster-size\": 65536",
        is_file ? "file" : "qcow2",
        is_file ? ""
                : ", \"format-specific\": {\"type\": \"qcow2\", \"data\": {\"compat\": \"1.1\", "
                  "\"compression-type\": \"zlib\", \"lazy-refcounts\": false, \"refcount-bits\": 16, "
                  "\"corrupt\": false, \"extended-l2\": false}}");
}

static void add_node(struct text *text, const struct qemu *qemu, int disk, bool is_file)
{
    add(text,
        "{\"iops_rd\": 0, \"detect_zeroes\": \"off\", ");
    add_image(text, disk, is_file);
    add(text,
        ", \"iops_wr\": 0, \"ro\": false, \"node-name\": \"node%04d%s\", \"backing_file_depth\": 0, "
        "\"drv\": \"%s\", \"iops\": 0, \"bps_wr\": 0, \"write_threshold\": 0, \"encrypted\": false, "
        "\"bps\": 0, \"bps_rd\": 0, \"cache\": {\"no-flush\": false, \"direct\": false, "
        "\"writeback\": true}, \"file\": \"/var/lib/images/guest%04d.qcow2\"",
        disk, is_file ? "-file" : "", is_file ? "file" : "qcow2", disk);
    if (qemu->is_new && is_file)
        add(text, ", \"active\": true, \"children\": []");
    else if (qemu->is_new)
        add(text, ", \"active\": true, \"children\": [{\"node-name\": \"node%04d-file\", "
                  "\"child\": \"file\"}]", disk);
    add(text, "}");
}

static void add_edge(struct text *text, const char *name, int parent, int child, const char *perm)
{
    add(text,
        "%s{\"name\": \"%s\", \"parent\": %d, \"shared-perm\": [\"graph-mod\", \"write-unchanged\", "
        "\"consistent-read\"], \"perm\": [%s], \"child\": %d}",
        text->v[text->len - 1] == '[' ? "" : ", ", name, parent, perm, child);
}

static void make_replies(struct qemu *qemu)
{
    add(&qemu->greeting,
        "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": %d, \"major\": %d}, "
        "\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n",
        qemu->is_new ? 1 : 2, qemu->is_new ? 11 : 7);
    add(&qemu->nothing, "{\"return\": {}");
    add(&qemu->jobs, "{\"return\": []");
    add(&qemu->block, "{\"return\": [");
    add(&qemu->nodes, "{\"return\": [");
    add(&qemu->edges, "{\"return\": {\"edges\": [");
    for (int i = 0; i < qemu->n_disks; i++) {
        add(&qemu->block, "%s{\"io-status\": \"ok\", \"device\": \"\", \"locked\": false, "
                          "\"removable\": false, \"inserted\": ", i > 0 ? ", " : "");
        add_node(&qemu->block, qemu, i, false);
        add(&qemu->block, ", \"qdev\": \"/machine/peripheral/disk%04d/virtio-backend\", "
                          "\"type\": \"unknown\"}", i);
        add(&qemu->nodes, i > 0 ? ", " : "");
        add_node(&qemu->nodes, qemu, i, false);
        add(&qemu->nodes, ", ");
        add_node(&qemu->nodes, qemu, i, true);
        add_edge(&qemu->edges, "file", i * 3 + 1, i * 3 + 2,
                 "\"resize\", \"write\", \"consistent-read\"");
        add_edge(&qemu->edges, "root", i * 3 + 3, i * 3 + 1, "\"write\", \"consistent-read\"");
    }
    add(&qemu->edges, "], \"nodes\": [");
    for (int i = 0; i < qemu->n_disks; i++)
        add(&qemu->edges,
            "%s{\"name\": \"node%04d\", \"type\": \"block-driver\", \"id\": %d}, "
            "{\"name\": \"node%04d-file\", \"type\": \"block-driver\", \"id\": %d}, "
            "{\"name\": \"/machine/peripheral/disk%04d/virtio-backend\", "
            "\"type\": \"block-backend\", \"id\": %d}",
            i > 0 ? ", " : "", i, i * 3 + 1, i, i * 3 + 2, i, i * 3 + 3);
    add(&qemu->block, "]");
    add(&qemu->nodes, "]");
    add(&qemu->edges, "]}");
}

/* ---- the peer ------------------------------------------------------------------------------------ */

static bool put(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n <= 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static bool answer(const struct qemu *qemu, int fd, const char *line)
{
    const struct text *reply = &qemu->nothing;
    const char *id = strstr(line, "\"id\"");
    char end[64];

    if (strstr(line, "\"query-jobs\"") != NULL)
        reply = &qemu->jobs;
    else if (strstr(line, "\"query-block\"") != NULL)
        reply = &qemu->block;
    else if (strstr(line, "\"query-named-block-nodes\"") != NULL)
        reply = &qemu->nodes;
    else if (strstr(line, "\"x-debug-query-block-graph\"") != NULL)
        reply = &qemu->edges;
    else if (strstr(line, "\"qmp_capabilities\"") == NULL)
        bench_die("not foreseen: %s", line);
    if (id != NULL)
        (void)snprintf(end, sizeof(end), ", \"id\": %.*s}\r\n",
                       (int)strcspn(id + 5, ",}"), id + 5);
    else
        (void)snprintf(end, sizeof(end), "}\r\n");
    return put(fd, reply->v, reply->len) && put(fd, end, strlen(end));
}

/* The length of the command at the beginning of the text, 0 if it is not whole. Commands have no line
 * ends, and no brackets in their strings. */
static size_t whole(const char *text, size_t len)
{
    int depth = 0;

    for (size_t i = 0; i < len; i++) {
        depth += (text[i] == '{') - (text[i] == '}');
        if (text[i] == '}' && depth == 0)
            return i + 1;
    }
    return 0;
}

static void serve_one(const struct qemu *qemu, int fd)
{
    static char in[65536];
    size_t len = 0, used;
    ssize_t n;

    if (!put(fd, qemu->greeting.v, qemu->greeting.len))
        return;
    while ((n = recv(fd, in + len, sizeof(in) - 1 - len, 0)) > 0) {
        len += (size_t)n;
        while ((used = whole(in, len)) > 0) {
            char rest = in[used];

            in[used] = '\0';
            if (!answer(qemu, fd, in))
                return;
            in[used] = rest;
            len -= used;
            memmove(in, in + used, len);
        }
    }
}

/* Until it is killed, or its parent ends. */
static void serve(const struct qemu *qemu, int listener)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) {
        int fd = accept(listener, NULL, NULL);

        if (fd < 0)
            bench_die("accept failed");
        serve_one(qemu, fd);
        (void)close(fd);
    }
}

static pid_t start_peer(const struct qemu *qemu, const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(listener, 1) < 0)
        bench_die("cannot listen at %s", path);
    pid = fork();
    if (pid < 0)
        bench_die("cannot fork");
    if (pid == 0) {
        serve(qemu, listener);
        _exit(0);
    }
    (void)close(listener);
    return pid;
}

/* ---- the client ---------------------------------------------------------------------------------- */

static size_t draw(const char *path, const struct qemu *qemu, struct series *all,
                   struct series *drawing)
{
    double begin = bench_cpu_us(), drawn;
    qblk_monitor *monitor = NULL;
    qblk_graph *graph = NULL;
    qblk_error error;
    char *text = NULL;
    size_t len;

    if (qblk_monitor_open(&monitor, path, 10000, NULL, &error) < 0 ||
        qblk_graph_read(monitor, 10000, &graph, &error) < 0)
        bench_die("%s", error.text);
    drawn = bench_cpu_us();
    if (qblk_graph_print(graph, -1, QBLK_DRAW_TREE, &text, &error) < 0)
        bench_die("%s", error.text);
    drawn = bench_cpu_us() - drawn;
    if (qblk_graph_node_count(graph) != qemu->n_disks * 2 ||
        qblk_graph_disk_count(graph) != qemu->n_disks)
        bench_die("%d nodes and %d disks were read", qblk_graph_node_count(graph),
                  qblk_graph_disk_count(graph));
    len = strlen(text);
    free(text);
    (void)qblk_graph_free(graph);
    (void)qblk_monitor_free(monitor);
    series_add(all, bench_cpu_us() - begin);
    series_add(drawing, drawn);
    return len;
}

int main(int argc, char **argv)
{
    struct series all = { 0 }, drawing = { 0 }, command = { 0 }, wall = { 0 };
    struct qemu qemu = { 0 };
    char *tree[5];
    size_t drawn = 0;
    long rss_kib = 0;
    pid_t peer;
    int runs;

    if (argc != 6)
        bench_die("usage: graph RUNS 7.2|11.1 DISKS SOCKET COMMAND");
    runs = atoi(argv[1]);
    qemu.is_new = strcmp(argv[2], "11.1") == 0;
    qemu.n_disks = atoi(argv[3]);
    make_replies(&qemu);
    tree[0] = argv[5];
    tree[1] = (char[]){ "-s" };
    tree[2] = argv[4];
    tree[3] = (char[]){ "tree" };
    tree[4] = NULL;
    peer = start_peer(&qemu, argv[4]);
    for (int i = 0; i < runs; i++) {
        struct run run;

        drawn = draw(argv[4], &qemu, &all, &drawing);
        bench_run(tree, &run);
        series_add(&command, run.cpu_us);
        series_add(&wall, run.wall_us);
        if (run.rss_kib > rss_kib)
            rss_kib = run.rss_kib;
    }
    (void)kill(peer, SIGTERM);
    (void)waitpid(peer, NULL, 0);
    (void)unlink(argv[4]);
    printf("%.0f %.0f %.0f %.0f %ld %zu %zu\n", series_at(&all, 0.5), series_at(&drawing, 0.5),
           series_at(&command, 0.5), series_at(&wall, 0.5), rss_kib,
           (qemu.jobs.len + qemu.block.len + qemu.nodes.len + qemu.edges.len) / 1024,
           drawn / 1024);
    return 0;
}
