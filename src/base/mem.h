/* Memory: cleanup attributes, TAKE, and the one door through which the library allocates, so that
 * a test can make the n-th allocation fail. */
#ifndef QBLK_SRC_MEM_H
#define QBLK_SRC_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* Runs fn(&variable) when the variable goes out of scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))
#define AUTO_FREE CLEANUP(mem_free_ptr)

/* Gives the pointer away: its value, leaving NULL behind. */
#define TAKE(p) mem_take((void *)&(p))

/* Zeroed. NULL when memory is gone. To be freed by free(). */
void *mem_zalloc(size_t size);
void *mem_realloc(void *old, size_t size);
/* NULL for NULL. */
char *mem_strdup(const char *text);
char *mem_strndup(const char *text, size_t len);
char *mem_printf(const char *format, ...) __attribute__((format(printf, 1, 2)));
char *mem_vprintf(const char *format, va_list ap) __attribute__((format(printf, 1, 0)));

/* Makes room in an array for one more element: *ret_array holds n elements of the given size with
 * room for *room. Returns 0 or -ENOMEM. */
int mem_grow(void *ret_array, size_t *room, size_t n, size_t size);

void mem_free_ptr(void *pointer_to_pointer);
void *mem_take(void *pointer_to_pointer);

/* Tests only: the n-th allocation from now on (1 is the next) and all after it fail; 0 ends
 * that. */
void mem_fail_after(unsigned long n);
/* The same for the n-th alone. */
void mem_fail_once(unsigned long n);
/* While it is paused, nothing fails and nothing is counted. */
void mem_fail_pause(bool pause);
/* Allocations since the last mem_fail_after() or mem_fail_once(). */
unsigned long mem_asked(void);
/* To be called at each that counts, which it is one of already. NULL ends that. */
void mem_on_ask(void (*fn)(void));

#endif
