#include "base/pool.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

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

struct pool_block {
    struct pool_block *next, *before;
    _Alignas(8) char bytes[];
};

static bool add_block(struct pool *pool, size_t room)
{
    struct pool_block *block = room < SIZE_MAX - sizeof(*block) ? mem_zalloc(sizeof(*block) + room) : NULL;

    if (block == NULL)
        return false;
    block->before = pool->last;
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

        room = room < LEAST_ROOM ? LEAST_ROOM : room > POOL_SHARED ? POOL_SHARED : room;
        if (!add_block(pool, !SHARES_BLOCKS || size > room ? size : room))
            return NULL;
        at = 0;
    }
    pool->used = at + size;
    return pool->last->bytes + at;
}

static struct pool_block *block_at(void *piece)
{
    return (struct pool_block *)(void *)((char *)piece - offsetof(struct pool_block, bytes));
}

/* Its block is full before and after, whatever the pool says of it if it is the last one. */
void *pool_grow(struct pool *pool, void *piece, size_t was, size_t size)
{
    struct pool_block *block = block_at(piece);

    block = size < SIZE_MAX - sizeof(*block) ? mem_realloc(block, sizeof(*block) + size) : NULL;
    if (block == NULL)
        return NULL;
    memset(block->bytes + was, 0, size - was);
    *(block->before != NULL ? &block->before->next : &pool->first) = block;
    *(block->next != NULL ? &block->next->before : &pool->last) = block;
    return block->bytes;
}

void pool_free(void *first)
{
    struct pool_block *block = first == NULL ? NULL : block_at(first);

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
