/* Intrusive heaps with the least key at the top: to push costs the same however many there are, to
 * take out grows with their logarithm, and nothing is allocated (a pairing heap). */
#ifndef QBLK_SRC_HEAP_H
#define QBLK_SRC_HEAP_H

#include <stddef.h>
#include <stdint.h>

struct heap_node {
    struct heap_node *child;
    struct heap_node *next; /* sibling */
    struct heap_node *prev; /* sibling, or the parent of a first child */
    int64_t key;            /* not to be changed while it is in a heap */
};

struct heap {
    struct heap_node *top; /* NULL: empty */
};

#define HEAP_ENTRY(node, type, member) \
    ((type *)(void *)((char *)(node) - offsetof(type, member)))

void heap_push(struct heap *heap, struct heap_node *node, int64_t key);
/* The node must be in that heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

#endif
