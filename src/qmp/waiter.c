#include "qmp/waiter.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct waiter *waiter_new(const char *user_id, size_t user_id_len, size_t body_room)
{
    struct waiter *waiter = mem_zalloc(sizeof(*waiter) + user_id_len + body_room);

    if (waiter == NULL)
        return NULL;
    list_init(&waiter->link);
    waiter->fd = -1;
    waiter->user_id_len = user_id_len;
    if (user_id_len != 0)
        memcpy(waiter->text, user_id, user_id_len);
    return waiter;
}

void waiter_free(struct waiter *waiter)
{
    list_remove(&waiter->link);
    if (waiter->fd >= 0)
        (void)close(waiter->fd);
    free(waiter);
}

void waiter_free_all(struct list *list)
{
    LIST_FOR_EACH_SAFE (link, list)
        waiter_free(waiter_of(link));
}

struct waiter *waiter_of(struct list *link)
{
    return LIST_ENTRY(link, struct waiter, link);
}

struct waiter *waiter_first(struct list *list)
{
    return list_is_empty(list) ? NULL : waiter_of(list->next);
}

struct waiter *waiter_find(struct list *list, uint32_t id)
{
    LIST_FOR_EACH (link, list) {
        if (waiter_of(link)->id == id)
            return waiter_of(link);
    }
    return NULL;
}

void waiter_tell(struct waiter *waiter, const char *reply, const qblk_error *error)
{
    client_reply_fn *fn = waiter->fn;
    void *arg = waiter->arg;

    waiter_free(waiter);
    if (fn != NULL)
        fn(arg, reply, error);
}
