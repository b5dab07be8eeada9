/* A command that was accepted, until its reply. */
#ifndef QBLK_SRC_QMP_WAITER_H
#define QBLK_SRC_QMP_WAITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "qmp/client.h"

struct waiter {
    struct list link;
    uint32_t id;
    bool is_oob;         /* outside the window */
    int fd;              /* of a held command: our copy, to go with it; or -1 */
    client_reply_fn *fn; /* NULL: abandoned */
    void *arg;
    size_t user_id_len;
    size_t body_len;     /* of a held command */
    char text[];         /* the user's id, then the body */
};

/* With a copy of the user's id and room for a body. NULL: out of memory. */
struct waiter *waiter_new(const char *user_id, size_t user_id_len, size_t body_room);
/* Out of its list, if it is in one. Closes its descriptor. */
void waiter_free(struct waiter *waiter);
void waiter_free_all(struct list *list);

struct waiter *waiter_of(struct list *link);
/* NULL: the list is empty. */
struct waiter *waiter_first(struct list *list);
struct waiter *waiter_find(struct list *list, uint32_t id);

/* Frees the waiter, then tells whom it stood for; so that the callback finds it gone. */
void waiter_tell(struct waiter *waiter, const char *reply, const qblk_error *error);

#endif
