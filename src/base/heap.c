#include "base/heap.h"

/* Both without siblings; returns the one that is on top. */
static struct heap_node *meld(struct heap_node *a, struct heap_node *b)
{
    if (b->key < a->key) {
        struct heap_node *other = a;

        a = b;
        b = other;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next != NULL)
        b->next->prev = b;
    a->child = b;
    return a;
}

/* Makes one of siblings: in pairs from the first to the last, then all pairs from the last to the
 * first. */
static struct heap_node *meld_all(struct heap_node *first)
{
    struct heap_node *pairs = NULL, *top = NULL;

    while (first != NULL) {
        struct heap_node *a = first, *b = a->next;

        first = b != NULL ? b->next : NULL;
        a->next = a->prev = NULL;
        if (b != NULL) {
            b->next = b->prev = NULL;
            a = meld(a, b);
        }
        a->next = pairs;
        pairs = a;
    }
    while (pairs != NULL) {
        struct heap_node *a = pairs;

        pairs = a->next;
        a->next = NULL;
        top = top != NULL ? meld(top, a) : a;
    }
    return top;
}

void heap_push(struct heap *heap, struct heap_node *node, int64_t key)
{
    node->child = node->next = node->prev = NULL;
    node->key = key;
    heap->top = heap->top != NULL ? meld(heap->top, node) : node;
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    struct heap_node *below = meld_all(node->child);

    if (node == heap->top) {
        heap->top = below;
    } else {
        if (node->prev->child == node)
            node->prev->child = node->next;
        else
            node->prev->next = node->next;
        if (node->next != NULL)
            node->next->prev = node->prev;
        if (below != NULL)
            heap->top = meld(heap->top, below);
    }
    node->child = node->next = node->prev = NULL;
}
