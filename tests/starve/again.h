/* A place in a process that it can be taken back to, as often as wanted: what a process of its own would do
 * for each of millions of runs, ten times faster. */
#ifndef QBLK_TESTS_STARVE_AGAIN_H
#define QBLK_TESTS_STARVE_AGAIN_H

#include <stdbool.h>
#include <stddef.h>

/* Not under a sanitizer, which has memory of its own. */
#if defined(__SANITIZE_ADDRESS__)
#define AGAIN_IS_POSSIBLE 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define AGAIN_IS_POSSIBLE 0
#endif
#endif
#ifndef AGAIN_IS_POSSIBLE
#define AGAIN_IS_POSSIBLE 1
#endif

/* Memory that is not taken back, and that the processes forked later share. */
void *again_map(size_t size);

/* Before what will be taken back is allocated: it must all be in one piece. */
void again_prepare(void);

/* Returns here first, and once more for each again_go(). Every byte of memory but what again_map() gave is
 * then as it was, and descriptors opened since are closed. */
void again_here(void);
__attribute__((noreturn)) void again_go(void);

#endif
