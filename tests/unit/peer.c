#include "peer_priv.h"

#include <check.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire/unixsock.h"

void peer_append(char **text, const char *format, ...)
{
    size_t len = *text != NULL ? strlen(*text) : 0;
    char *more, *joined;
    va_list ap;

    va_start(ap, format);
    ck_assert_int_ge(vasprintf(&more, format, ap), 0);
    va_end(ap);
    joined = realloc(*text, len + strlen(more) + 1);
    ck_assert_ptr_nonnull(joined);
    memcpy(joined + len, more, strlen(more) + 1);
    free(more);
    *text = joined;
}

void peer_put(char *to, size_t room, const char *from)
{
    (void)snprintf(to, room, "%s", from != NULL ? from : "");
}

/* ---- what there is --------------------------------------------------------------------------- */

struct peer_node *peer_node(struct peer *peer, const char *name)
{
    for (size_t i = 0; i < peer->n_nodes; i++) {
        if (strcmp(peer->nodes[i].name, name) == 0)
            return &peer->nodes[i];
    }
    return NULL;
}

struct peer_node *peer_add_node(struct peer *peer, const char *name, const char *driver,
                                const char *file, const char *child, const char *backing)
{
    struct peer_node *node = &peer->nodes[peer->n_nodes++];

    ck_assert_uint_le(peer->n_nodes, PEER_NODES);
    memset(node, 0, sizeof(*node));
    PUT(node->name, name);
    PUT(node->driver, driver);
    PUT(node->file, file);
    PUT(node->child, child);
    PUT(node->backing, backing);
    node->size = PEER_DISK_SIZE;
    node->lock = -1;
    return node;
}

void peer_del_node(struct peer *peer, struct peer_node *node)
{
    for (size_t i = 0; i < node->n_bitmaps; i++)
        free(node->bitmaps[i]);
    peer_unlock(&node->lock);
    *node = peer->nodes[--peer->n_nodes];
}

struct peer_job *peer_job(struct peer *peer, const char *id)
{
    for (size_t i = 0; i < peer->n_jobs; i++) {
        if (strcmp(peer->jobs[i].id, id) == 0)
            return &peer->jobs[i];
    }
    return NULL;
}

struct peer_job *peer_add_job(struct peer *peer, const char *id, const char *type,
                              const char *status)
{
    struct peer_job *job = &peer->jobs[peer->n_jobs++];

    ck_assert_uint_le(peer->n_jobs, PEER_JOBS);
    memset(job, 0, sizeof(*job));
    job->lock = -1;
    PUT(job->id, id);
    PUT(job->type, type);
    PUT(job->status, status);
    return job;
}

static bool holds(const struct peer_job *job, const char *name)
{
    for (size_t i = 0; i < job->n_holds; i++) {
        if (strcmp(job->holds[i], name) == 0)
            return true;
    }
    return false;
}

void peer_hold(struct peer_job *job, const char *name)
{
    if (name != NULL && name[0] != '\0')
        peer_put(job->holds[job->n_holds++], sizeof(job->holds[0]), name);
}

bool peer_is_used(const struct peer *peer, const char *name)
{
    for (size_t i = 0; i < peer->n_nodes; i++) {
        if (strcmp(peer->nodes[i].backing, name) == 0 || strcmp(peer->nodes[i].child, name) == 0)
            return true;
    }
    for (size_t i = 0; i < peer->n_jobs; i++) {
        if (holds(&peer->jobs[i], name))
            return true;
    }
    return strcmp(peer->root, name) == 0 || strcmp(peer->second, name) == 0 ||
           strcmp(peer->exported, name) == 0;
}

/* What nobody has named goes with its last user. */
void peer_sweep(struct peer *peer)
{
    for (size_t i = 0; i < peer->n_nodes;) {
        if (peer->nodes[i].is_implicit && !peer_is_used(peer, peer->nodes[i].name)) {
            peer_del_node(peer, &peer->nodes[i]);
            i = 0;
        } else {
            i++;
        }
    }
}

/* ---- beginning and end ----------------------------------------------------------------------- */

static const char *path(const struct peer *peer, const char *name)
{
    static char text[400];

    (void)snprintf(text, sizeof(text), "%s/%s", peer->dir, name);
    return text;
}

void peer_greet(struct peer *peer)
{
    char greeting[256];

    (void)snprintf(greeting, sizeof(greeting), "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": %u, "
                   "\"minor\": %u, \"major\": %u}, \"package\": \"\"}, "
                   "\"capabilities\": [\"oob\"]}}\r\n", peer->version % 1000,
                   peer->version / 1000 % 1000, peer->version / 1000000);
    peer_say(peer, greeting);
}

qblk_monitor *peer_reconnect(struct peer *peer, const qblk_monitor_options *options)
{
    qblk_monitor *monitor;
    int fds[2];

    peer_hang_up(peer);
    for (size_t i = 0; i < peer->n_sent; i++)
        free(peer->sent[i]);
    peer->n_sent = peer->in_len = 0;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    peer->fd = fds[0];
    peer_greet(peer);
    ck_assert_int_eq(qblk_monitor_adopt(&monitor, fds[1], options, NULL), 0);
    return monitor;
}

/* Some tests start thousands of these. Where directories are made in memory that takes half as long. */
static const char *scratch(void)
{
    return access("/dev/shm", W_OK | X_OK) == 0 ? "/dev/shm" : "/tmp";
}

qblk_monitor *peer_start(struct peer *peer, unsigned version, const qblk_monitor_options *options)
{
    memset(peer, 0, sizeof(*peer));
    peer->fd = peer->listener = -1;
    peer->version = version;
    (void)snprintf(peer->dir, sizeof(peer->dir), "%s/qblk-ops.XXXXXX", scratch());
    ck_assert_ptr_nonnull(mkdtemp(peer->dir));
    (void)peer_add_node(peer, "base-file", "file", path(peer, "base.qcow2"), "", "");
    (void)peer_add_node(peer, "base", "qcow2", path(peer, "base.qcow2"), "base-file", "");
    (void)peer_add_node(peer, "mid-file", "file", path(peer, "mid.qcow2"), "", "");
    (void)peer_add_node(peer, "mid", "qcow2", path(peer, "mid.qcow2"), "mid-file", "base");
    (void)peer_add_node(peer, "top-file", "file", path(peer, "top.qcow2"), "", "");
    (void)peer_add_node(peer, "top", "qcow2", path(peer, "top.qcow2"), "top-file", "mid");
    PUT(peer->root, "top");
    return peer_reconnect(peer, options);
}

/* The socket's name begins with a dot: it is no file of the peer's state. */
qblk_monitor *peer_start_listening(struct peer *peer, unsigned version,
                                   const qblk_monitor_options *options)
{
    qblk_monitor *monitor = peer_start(peer, version, NULL);

    monitor = qblk_monitor_free(monitor);
    peer_hang_up(peer);
    peer->listener = unixsock_listen(path(peer, ".qmp"), NULL);
    ck_assert_int_ge(peer->listener, 0);
    ck_assert_int_eq(qblk_monitor_connect(&monitor, path(peer, ".qmp"), options, NULL), 0);
    return monitor;
}

void peer_add_disk(struct peer *peer)
{
    struct peer_node *node = peer_node(peer, "top");

    ck_assert_ptr_nonnull(node);
    (void)peer_add_node(peer, "other-file", "file", path(peer, "other.qcow2"), "", "");
    (void)peer_add_node(peer, "other", "qcow2", path(peer, "other.qcow2"), "other-file", "");
    PUT(peer->second, "other");
    node->bitmaps[node->n_bitmaps++] = strdup("daily");
}

static void each_file(const struct peer *peer, void (*fn)(const char *name, void *arg), void *arg)
{
    DIR *dir = opendir(peer->dir);
    struct dirent *entry;

    ck_assert_ptr_nonnull(dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '.')
            fn(entry->d_name, arg);
    }
    (void)closedir(dir);
}

static void remove_file(const char *name, void *arg)
{
    (void)unlink(path(arg, name));
}

void peer_done(struct peer *peer)
{
    peer_hang_up(peer);
    for (size_t i = 0; i < peer->n_sent; i++)
        free(peer->sent[i]);
    while (peer->n_jobs > 0)
        peer_forget_job(peer, &peer->jobs[0]);
    while (peer->n_nodes > 0)
        peer_del_node(peer, &peer->nodes[0]);
    each_file(peer, remove_file, peer);
    if (peer->listener >= 0)
        (void)close(peer->listener);
    (void)unlink(path(peer, ".qmp"));
    (void)rmdir(peer->dir);
    free(peer->in);
    free(peer->before);
    free(peer->after);
    memset(peer, 0, sizeof(*peer));
    peer->fd = peer->listener = -1;
}

/* ---- what is seen ---------------------------------------------------------------------------- */

size_t peer_count(const struct peer *peer, const char *command)
{
    size_t n = 0;
    char start[64];

    (void)snprintf(start, sizeof(start), "{\"execute\":\"%s\"", command);
    for (size_t i = 0; i < peer->n_sent; i++)
        n += strncmp(peer->sent[i], start, strlen(start)) == 0;
    return n;
}

static void replace(char *text, const char *from, size_t from_len, const char *to)
{
    char *at;

    while ((at = strstr(text, from)) != NULL) {
        memmove(at + strlen(to), at + from_len, strlen(at + from_len) + 1);
        memcpy(at, to, strlen(to));
    }
}

/* Every id of an operation becomes "ID". */
static void mask(const struct peer *peer, char *text)
{
    for (char *at = text; (at = strstr(at, "qblk.")) != NULL; at += 5) {
        if (strspn(at + 5, "0123456789abcdef") == 8) {
            memmove(at + 7, at + 13, strlen(at + 13) + 1);
            memcpy(at + 5, "ID", 2);
        }
    }
    replace(text, peer->dir, strlen(peer->dir), "DIR");
}

char *peer_sent(const struct peer *peer, bool with_job_queries)
{
    char *text = strdup("");

    for (size_t i = 0; i < peer->n_sent; i++) {
        if (with_job_queries || (strstr(peer->sent[i], "\"query-jobs\"") == NULL &&
                                 strstr(peer->sent[i], "\"query-block-jobs\"") == NULL))
            peer_append(&text, "%s\n", peer->sent[i]);
    }
    mask(peer, text);
    return text;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

struct lines {
    char *v[200];
    size_t n;
};

static void add_file(const char *name, void *arg)
{
    struct lines *lines = arg;

    ck_assert_int_ge(asprintf(&lines->v[lines->n++], "file %s", name), 0);
}

char *peer_state(const struct peer *peer)
{
    struct lines lines = { .n = 0 };
    char *text = NULL;

    for (size_t i = 0; i < peer->n_nodes; i++) {
        const struct peer_node *node = &peer->nodes[i];

        ck_assert_int_ge(asprintf(&lines.v[lines.n++], "node %s %s %s file=%s backing=%s",
                                  node->name, node->driver, node->file, node->child,
                                  node->backing), 0);
        /* Those of a journal are the operation's business. */
        for (size_t k = 0; k < node->n_bitmaps && strstr(node->name, ".journal") == NULL; k++)
            ck_assert_int_ge(asprintf(&lines.v[lines.n++], "bitmap %s %s", node->name,
                                      node->bitmaps[k]), 0);
    }
    for (size_t i = 0; i < peer->n_jobs; i++)
        ck_assert_int_ge(asprintf(&lines.v[lines.n++], "job %s %s", peer->jobs[i].id,
                                  peer->jobs[i].status), 0);
    each_file(peer, add_file, &lines);
    for (size_t i = 0; i < lines.n; i++)
        mask(peer, lines.v[i]); /* before they are sorted: ids are drawn by lot */
    qsort(lines.v, lines.n, sizeof(lines.v[0]), by_text);
    peer_append(&text, "root %s\n", peer->root);
    if (peer->second[0] != '\0')
        peer_append(&text, "second %s\n", peer->second);
    for (size_t i = 0; i < lines.n; i++) {
        peer_append(&text, "%s\n", lines.v[i]);
        free(lines.v[i]);
    }
    mask(peer, text);
    return text;
}
