/* Every block that a test's own objects and the library's allocate, as long as the heap is watched:
 * which of them nothing leads to any more, and which were written to after they were freed.
 *
 * The linker gives the test programs these functions in place of libc's (--wrap). What is allocated
 * inside of libc, libev or check is not seen. */
#ifndef QBLK_TESTS_STARVE_HEAP_H
#define QBLK_TESTS_STARVE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/* From here on; what there is already belongs to nobody. stack_base is the end of the stack that is
 * searched. */
void heap_watch(const void *stack_base);

/* In a process forked by the test, which would write to the same notes. */
void heap_unwatch(void);

/* As if nothing had been allocated since: before a process is taken back to where nothing was. */
void heap_forget(void);

/* The most bytes that were asked for at once since the last call, watched or not. */
size_t heap_largest(void);

/* For jansson. */
void *heap_json_alloc(size_t size);
void heap_json_free(void *p);

/* How many blocks nothing leads to: no static object, no local one up to stack_base if with_stack,
 * and no other block. A local object's blocks are let go after that: a test that has stopped in
 * the middle cannot free them. Tells of the first on stderr. */
size_t heap_lost(bool with_stack);

/* Whether a block was written to after it was freed; tells of it on stderr. */
bool heap_is_damaged(void);

#endif
