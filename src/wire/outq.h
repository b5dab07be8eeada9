/* Bytes waiting to be written, with the descriptors that go with them. */
#ifndef QBLK_SRC_WIRE_OUTQ_H
#define QBLK_SRC_WIRE_OUTQ_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/list.h"
#include <qblk/base.h>

struct outq {
    struct buf bytes;
    size_t sent;       /* bytes at the front of the buffer that are written */
    size_t limit;
    struct list fds;   /* of struct outq_fd, by position */
};

void outq_init(struct outq *queue, size_t limit);
/* Closes the descriptors that did not go. */
void outq_done(struct outq *queue);

/* Queues bytes; fd (or -1) is copied and goes with the first of them. All or nothing: returns 0,
 * -EMSGSIZE (QBLK_E_LIMIT), -EBADF, -ENOMEM. */
int outq_add(struct outq *queue, const void *data, size_t len, int fd, qblk_error *error);

bool outq_is_empty(const struct outq *queue);

/* Writes what the socket takes. Returns 1 if all is written, 0 if some is left, or -errno. */
int outq_flush(struct outq *queue, int socket);

#endif
