#include "wire/outq.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/unixsock.h"

struct outq_fd {
    struct list link;
    size_t at; /* goes with this byte of the buffer */
    int fd;
};

static struct outq_fd *first_fd(const struct outq *queue)
{
    return list_is_empty(&queue->fds) ? NULL : LIST_ENTRY(queue->fds.next, struct outq_fd, link);
}

static void drop_fd(struct outq_fd *entry)
{
    list_remove(&entry->link);
    (void)close(entry->fd);
    free(entry);
}

void outq_init(struct outq *queue, size_t limit)
{
    buf_init(&queue->bytes);
    queue->sent = 0;
    queue->limit = limit;
    list_init(&queue->fds);
}

void outq_done(struct outq *queue)
{
    LIST_FOR_EACH_SAFE (link, &queue->fds)
        drop_fd(LIST_ENTRY(link, struct outq_fd, link));
    buf_done(&queue->bytes);
    queue->sent = 0;
}

/* Forgets the bytes that are written, where they are the larger part: so each byte moves at most
 * as often as it was worth. */
static void compact(struct outq *queue)
{
    if (queue->sent == 0 || queue->sent < queue->bytes.len / 2)
        return;
    buf_drop(&queue->bytes, queue->sent);
    LIST_FOR_EACH (link, &queue->fds)
        LIST_ENTRY(link, struct outq_fd, link)->at -= queue->sent;
    queue->sent = 0;
}

static int make_entry(int fd, size_t at, struct outq_fd **ret_entry, qblk_error *error)
{
    struct outq_fd *entry = mem_zalloc(sizeof(*entry));

    if (entry == NULL)
        return err_nomem(error);
    list_init(&entry->link);
    entry->at = at;
    entry->fd = unixsock_dup(fd);
    if (entry->fd < 0) {
        int err = -entry->fd;

        free(entry);
        return err_sys(error, err, "cannot pass descriptor %d", fd);
    }
    *ret_entry = entry;
    return 0;
}

int outq_add(struct outq *queue, const void *data, size_t len, int fd, qblk_error *error)
{
    size_t waiting = queue->bytes.len - queue->sent;
    struct outq_fd *entry = NULL;
    int r;

    if (len == 0)
        return fd < 0 ? 0
                      : err_set(error, QBLK_E_ARGUMENT, "a descriptor cannot go without a byte");
    if (len > queue->limit || waiting > queue->limit - len)
        return err_set(error, QBLK_E_LIMIT,
                       "%zu bytes cannot be queued: %zu wait to be read by the peer already, and "
                       "the limit is %zu",
                       len, waiting, queue->limit);
    compact(queue);
    if (fd >= 0) {
        r = make_entry(fd, queue->bytes.len, &entry, error);
        if (r < 0)
            return r;
    }
    if (buf_add(&queue->bytes, data, len) < 0) {
        queue->bytes.failed = 0;
        if (entry != NULL)
            drop_fd(entry);
        return err_nomem(error);
    }
    if (entry != NULL)
        list_append(&queue->fds, &entry->link);
    return 0;
}

bool outq_is_empty(const struct outq *queue)
{
    return queue->sent == queue->bytes.len;
}

/* One write: up to the byte with which the next descriptor goes. */
static long write_some(struct outq *queue, int socket)
{
    struct outq_fd *entry = first_fd(queue), *later = NULL;
    size_t end = queue->bytes.len;
    long n;

    if (entry != NULL && entry->at != queue->sent) {
        later = entry;
        entry = NULL;
    } else if (entry != NULL && entry->link.next != &queue->fds) {
        later = LIST_ENTRY(entry->link.next, struct outq_fd, link);
    }
    if (later != NULL)
        end = later->at;
    n = unixsock_send(socket, queue->bytes.data + queue->sent, end - queue->sent,
                      entry != NULL ? entry->fd : -1);
    if (n <= 0)
        return n;
    queue->sent += (size_t)n;
    if (entry != NULL)
        drop_fd(entry);
    return n;
}

int outq_flush(struct outq *queue, int socket)
{
    while (!outq_is_empty(queue)) {
        long n = write_some(queue, socket);

        if (n == -EAGAIN || n == 0)
            return 0;
        if (n < 0)
            return (int)n;
    }
    queue->sent = 0;
    buf_done(&queue->bytes); /* an idle connection holds nothing */
    return 1;
}
