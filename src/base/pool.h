/* Memory of many small pieces that is given back all at once. It comes in few blocks, which double up to
 * POOL_SHARED: what is decoded has hundreds of strings, and a list of their owners would be as long. */
#ifndef QBLK_SRC_POOL_H
#define QBLK_SRC_POOL_H

#include <stddef.h>

/* Blocks of several pieces have no more bytes than this: a larger piece has one of its own. */
#define POOL_SHARED 65536

struct pool_block;

struct pool {
    struct pool_block *first, *last;
    size_t used, room; /* of the last one */
};

#define POOL_INIT { NULL, NULL, 0, 0 }

/* Zeroed, and aligned to align: 1 or 8. The first block has room for about so many bytes; only the first
 * call's guess counts. NULL when memory is gone. */
void *pool_alloc(struct pool *pool, size_t size, size_t align, size_t guess);

/* A piece of more than POOL_SHARED bytes, made larger, what is new of it zeroed. It may move; it stays the first
 * one if it was. NULL when memory is gone, and the piece as it was. */
void *pool_grow(struct pool *pool, void *piece, size_t was, size_t size);

/* All of a pool, by what its first pool_alloc() returned: the pool itself need not be kept. NULL is
 * nothing. */
void pool_free(void *first);

/* All of it. */
void pool_done(struct pool *pool);

#endif
