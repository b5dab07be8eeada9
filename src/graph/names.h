/* Names to numbers, once filled: nothing is ever removed. Keys are borrowed. */
#ifndef QBLK_SRC_GRAPH_NAMES_H
#define QBLK_SRC_GRAPH_NAMES_H

#include <stddef.h>

#include "base/pool.h"

struct names_slot {
    const char *key;
    int value;
};

struct names {
    struct names_slot *slots;
    size_t n_slots; /* a power of two, at least twice as many as keys */
};

/* Room for n keys, from the pool. Returns 0 or -ENOMEM. */
int names_init(struct names *names, size_t n, struct pool *pool);
/* The first value given to a key stays. */
void names_add(struct names *names, const char *key, int value);
/* -1 if there is none. */
int names_find(const struct names *names, const char *key);

#endif
