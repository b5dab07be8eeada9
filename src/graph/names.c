#include "graph/names.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>

static struct names_slot *slot_of(const struct names *names, const char *key)
{
    uint64_t h = 14695981039346656037u;
    size_t at;

    for (const char *c = key; *c != '\0'; c++)
        h = (h ^ (unsigned char)*c) * 1099511628211u;
    at = (size_t)(h ^ h >> 32) & (names->n_slots - 1);
    while (names->slots[at].key != NULL && strcmp(names->slots[at].key, key) != 0)
        at = (at + 1) & (names->n_slots - 1);
    return &names->slots[at];
}

int names_init(struct names *names, size_t n, struct pool *pool)
{
    size_t want = 16;

    while (want < n * 2)
        want *= 2;
    names->slots = pool_alloc(pool, want * sizeof(*names->slots), 8, 0);
    if (names->slots == NULL)
        return -ENOMEM;
    names->n_slots = want;
    return 0;
}

void names_add(struct names *names, const char *key, int value)
{
    struct names_slot *slot = slot_of(names, key);

    if (slot->key != NULL)
        return;
    slot->key = key;
    slot->value = value;
}

int names_find(const struct names *names, const char *key)
{
    const struct names_slot *slot;

    if (names->n_slots == 0)
        return -1;
    slot = slot_of(names, key);
    return slot->key != NULL ? slot->value : -1;
}
