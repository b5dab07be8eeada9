#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"

/* The sanitizer sees what goes beyond the end of a block: there each piece has one. */
#if defined(__SANITIZE_ADDRESS__)
#define SHARES_BLOCKS 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SHARES_BLOCKS 0
#endif
#endif
#ifndef SHARES_BLOCKS
#define SHARES_BLOCKS 1
#endif

#define LEAST_ROOM 64
#define MOST_GROWTH 65536 /* blocks double up to this */

struct pool_block {
    struct pool_block *next;
    _Alignas(8) char bytes[];
};

static bool add_block(struct pool *pool, size_t room)
{
    struct pool_block *block = room < SIZE_MAX - sizeof(*block) ? mem_zalloc(sizeof(*block) + room) : NULL;

    if (block == NULL)
        return false;
    *(pool->last != NULL ? &pool->last->next : &pool->first) = block;
    pool->last = block;
    pool->room = room;
    pool->used = 0;
    return true;
}

void *pool_alloc(struct pool *pool, size_t size, size_t align, size_t guess)
{
    size_t at = (pool->used + align - 1) & ~(align - 1);

    if (!SHARES_BLOCKS || pool->last == NULL || at > pool->room || size > pool->room - at) {
        size_t room = pool->last == NULL ? guess : pool->room * 2;

        room = room < LEAST_ROOM ? LEAST_ROOM : room > MOST_GROWTH ? MOST_GROWTH : room;
        if (!add_block(pool, !SHARES_BLOCKS || size > room ? size : room))
            return NULL;
        at = 0;
    }
    pool->used = at + size;
    return pool->last->bytes + at;
}

void pool_free(void *first)
{
    struct pool_block *block = first == NULL ? NULL
        : (struct pool_block *)(void *)((char *)first - offsetof(struct pool_block, bytes));

    while (block != NULL) {
        struct pool_block *next = block->next;

        free(block);
        block = next;
    }
}

void pool_done(struct pool *pool)
{
    pool_free(pool->first != NULL ? pool->first->bytes : NULL);
    *pool = (struct pool)POOL_INIT;
}
