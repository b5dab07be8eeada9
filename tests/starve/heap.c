#include "heap.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "again.h"
#include "base/mem.h"

#define HAS_ASAN (!AGAIN_IS_POSSIBLE)

#define FREED 0xa5
#define FRESH 0x5a
#define KEPT 16384 /* larger blocks are given back: some tests measure the process */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *p);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
int __wrap_vasprintf(char **ret_text, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));
int __wrap_asprintf(char **ret_text, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
json_t *__real_json_real(double number);
json_t *__wrap_json_real(double number);
size_t __real_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags);
size_t __wrap_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags);
char *__real_realpath(const char *path, char *resolved);
char *__wrap_realpath(const char *path, char *resolved);

/* In the order in which they were allocated; the table finds them by address. */
enum { LIVE, GONE, LET_GO };

struct block {
    char *p;
    size_t size;
    const void *by;
    uint32_t slot; /* of the table */
    unsigned char state;
    bool is_reached;
};

#define N_BLOCKS ((size_t)1 << 20)
#define N_TABLE (2 * N_BLOCKS)

static bool is_watching;
static const char *stack_end;
static struct block *blocks; /* mapped; pages come as they are used */
static uint32_t *table;
static size_t n_blocks;
static struct block **sorted; /* those that live */
static size_t n_sorted;
static struct block **found; /* reached, not yet searched */
static size_t n_found;

static size_t slot_of(const void *p)
{
    size_t at = (uintptr_t)p / 16 % N_TABLE; /* neighbours are on the same pages */

    while (table[at] != 0 && blocks[table[at] - 1].p != p)
        at = (at + 1) % N_TABLE;
    return at;
}

static struct block *block_of(const void *p)
{
    size_t at = is_watching && p != NULL ? slot_of(p) : 0;

    return is_watching && p != NULL && table[at] != 0 ? &blocks[table[at] - 1] : NULL;
}

static void die(const char *what, const struct block *block)
{
    fprintf(stderr, "heap: %s: %zu bytes at %p, allocated from %p\n", what, block->size,
            (void *)block->p, block->by);
    abort();
}

static void *note(void *p, size_t size, const void *by)
{
    struct block *block;
    size_t at;

    if (!is_watching || p == NULL)
        return p;
    at = slot_of(p);
    if (table[at] == 0) {
        if (n_blocks == N_BLOCKS) {
            is_watching = false; /* more than anybody could find a fault in */
            n_blocks = 0;
            return p;
        }
        table[at] = (uint32_t)++n_blocks;
    }
    block = &blocks[table[at] - 1];
    *block = (struct block){ .p = p, .size = size, .by = by, .slot = (uint32_t)at };
    return p;
}

/* Without a sanitizer a freed block is never used again, so that later uses of it are seen. */
static void let_go(void *p)
{
    struct block *block = block_of(p);

    if (block == NULL) {
        __real_free(p);
        return;
    }
    if (block->state == GONE && !HAS_ASAN && block->size <= KEPT)
        die("freed twice", block);
    block->state = GONE;
    if (HAS_ASAN || block->size > KEPT)
        __real_free(p);
    else
        memset(p, FREED, block->size);
}

/* ---- in place of libc's ---------------------------------------------------------------------- */

#define CALLER __builtin_return_address(0)

/* What was there before could be taken for a pointer, and for what the program has not written yet. */
static void *note_fresh(void *p, size_t size, const void *by)
{
    if (is_watching && p != NULL)
        memset(p, FRESH, size);
    return note(p, size, by);
}

static size_t largest;

size_t heap_largest(void)
{
    size_t was = largest;

    largest = 0;
    return was;
}

static size_t asked(size_t size)
{
    largest = size > largest ? size : largest;
    return size;
}

void *__wrap_malloc(size_t size)
{
    return note_fresh(__real_malloc(asked(size)), size, CALLER);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return note(__real_calloc(n, size), asked(n * size), CALLER);
}

void *__wrap_realloc(void *old, size_t size)
{
    const struct block *block = block_of(old);
    void *p;

    if (!is_watching || (old != NULL && block == NULL))
        return __real_realloc(old, asked(size));
    if (block != NULL && block->state == GONE)
        die("grown after it was freed", block);
    p = note_fresh(__real_malloc(asked(size)), size, CALLER);
    if (p != NULL && block != NULL) {
        memcpy(p, old, block->size < size ? block->size : size);
        let_go(old);
    }
    return p;
}

void __wrap_free(void *p)
{
    if (p != NULL)
        let_go(p);
}

static char *copy(const char *text, size_t len, const void *by)
{
    char *p = note(__real_malloc(len + 1), len + 1, by);

    if (p != NULL) {
        memcpy(p, text, len);
        p[len] = '\0';
    }
    return p;
}

char *__wrap_strdup(const char *text)
{
    return copy(text, strlen(text), CALLER);
}

char *__wrap_strndup(const char *text, size_t len)
{
    return copy(text, strnlen(text, len), CALLER);
}

char *__wrap_realpath(const char *path, char *resolved)
{
    char *p = __real_realpath(path, resolved);

    if (p == NULL || resolved != NULL)
        return p;
    return note(p, strlen(p) + 1, CALLER);
}

static int print(char **ret_text, const char *format, va_list ap, const void *by)
    __attribute__((format(printf, 2, 0)));
static int print(char **ret_text, const char *format, va_list ap, const void *by)
{
    static char likely[4096]; /* has room for it */
    va_list again;
    size_t size;
    int len;

    va_copy(again, ap);
    len = vsnprintf(likely, sizeof(likely), format, again);
    va_end(again);
    if (len < 0)
        return len;
    size = (size_t)len + 1;
    *ret_text = note(__real_malloc(size), size, by);
    if (*ret_text == NULL)
        return -1;
    if (size > sizeof(likely))
        return vsnprintf(*ret_text, size, format, ap);
    memcpy(*ret_text, likely, size);
    memset(likely, 0, size); /* what is in static objects is searched */
    return len;
}

int __wrap_vasprintf(char **ret_text, const char *format, va_list ap)
{
    return print(ret_text, format, ap, CALLER);
}

int __wrap_asprintf(char **ret_text, const char *format, ...)
{
    va_list ap;
    int len;

    va_start(ap, format);
    len = print(ret_text, format, ap, CALLER);
    va_end(ap);
    return len;
}

void heap_watch(const void *stack_base)
{
    stack_end = stack_base;
    blocks = again_map(N_BLOCKS * sizeof(*blocks));
    table = again_map(N_TABLE * sizeof(*table));
    sorted = again_map(N_BLOCKS * sizeof(*sorted));
    found = again_map(N_BLOCKS * sizeof(*found));
    is_watching = true;
}

void heap_unwatch(void)
{
    is_watching = false;
}

void heap_forget(void)
{
    while (n_blocks > 0)
        table[blocks[--n_blocks].slot] = 0;
}

/* jansson's functions that the library calls. What the tests and the fake server do with jansson is
 * not what is tried. */
static bool is_librarys;

json_t *__wrap_json_real(double number)
{
    json_t *json;

    is_librarys = true;
    json = __real_json_real(number);
    is_librarys = false;
    return json;
}

size_t __wrap_json_dumpb(const json_t *json, char *buffer, size_t size, size_t flags)
{
    size_t len;

    is_librarys = true;
    len = __real_json_dumpb(json, buffer, size, flags);
    is_librarys = false;
    return len;
}

void *heap_json_alloc(size_t size)
{
    return is_librarys ? mem_zalloc(size) : __wrap_calloc(1, size);
}

void heap_json_free(void *p)
{
    __wrap_free(p);
}

/* ---- what is lost ---------------------------------------------------------------------------- */

extern char __data_start[], _end[];

static int by_address(const void *a, const void *b)
{
    const struct block *const *x = a, *const *y = b;

    return ((*x)->p > (*y)->p) - ((*x)->p < (*y)->p);
}

static void reach(const char *p)
{
    size_t low = 0, high = n_sorted;

    if (n_sorted == 0 || p < sorted[0]->p)
        return;
    while (high - low > 1) {
        size_t mid = (low + high) / 2;

        if (sorted[mid]->p <= p)
            low = mid;
        else
            high = mid;
    }
    if ((p == sorted[low]->p || p < sorted[low]->p + sorted[low]->size) && !sorted[low]->is_reached) {
        sorted[low]->is_reached = true;
        found[n_found++] = sorted[low];
    }
}

/* Every word that may be a pointer is taken for one. */
__attribute__((no_sanitize("address", "undefined")))
static void search(const char *from, const char *to)
{
    const char *low = n_sorted > 0 ? sorted[0]->p : NULL;
    const char *high = n_sorted > 0 ? sorted[n_sorted - 1]->p + sorted[n_sorted - 1]->size : NULL;

    from += -(uintptr_t)from % sizeof(void *);
    for (; from + sizeof(void *) <= to; from += sizeof(void *)) {
        const char *p = *(const char *const *)(const void *)from;

        if (p >= low && p <= high)
            reach(p);
    }
}

static void follow(void)
{
    while (n_found > 0) {
        const struct block *block = found[--n_found];

        search(block->p, block->p + block->size);
    }
}

static void search_stack(void)
{
    jmp_buf registers;
    const char *volatile here = (const char *)&registers;

    __builtin_unwind_init();
    (void)setjmp(registers);
    search(here, stack_end);
}

size_t heap_lost(bool with_stack)
{
    bool was_watching = is_watching;
    size_t n = 0;

    is_watching = false;
    n_sorted = n_found = 0;
    for (size_t i = 0; i < n_blocks; i++) {
        blocks[i].is_reached = false;
        if (blocks[i].state != GONE)
            sorted[n_sorted++] = &blocks[i];
    }
    qsort(sorted, n_sorted, sizeof(sorted[0]), by_address);
    search(__data_start, _end);
    for (size_t i = 0; i < n_sorted; i++) {
        if (sorted[i]->state == LET_GO)
            reach(sorted[i]->p);
    }
    follow();
    if (with_stack) {
        bool *was = __real_calloc(n_sorted + 1, sizeof(*was));

        for (size_t i = 0; i < n_sorted; i++)
            was[i] = sorted[i]->is_reached;
        search_stack();
        follow();
        for (size_t i = 0; i < n_sorted; i++) {
            if (!was[i] && sorted[i]->is_reached)
                sorted[i]->state = LET_GO;
        }
        __real_free(was);
    }
    for (size_t i = 0; i < n_sorted; i++) {
        const struct block *block = sorted[i];

        if (block->is_reached || block->state == LET_GO)
            continue;
        if (n++ < 4)
            fprintf(stderr, "heap: lost: %zu bytes at %p, allocated from %p: %.*s\n", block->size,
                    (void *)block->p, block->by, block->size < 60 ? (int)block->size : 60,
                    block->p);
    }
    is_watching = was_watching;
    return n;
}

/* libc compares faster than a loop here would. */
static bool is_all_freed(const struct block *block)
{
    return block->size == 0 || ((unsigned char)block->p[0] == FREED &&
                                memcmp(block->p, block->p + 1, block->size - 1) == 0);
}

bool heap_is_damaged(void)
{
    if (HAS_ASAN)
        return false;
    for (size_t i = 0; i < n_blocks; i++) {
        const struct block *block = &blocks[i];

        if (block->state != GONE || block->size > KEPT || is_all_freed(block))
            continue;
        fprintf(stderr, "heap: written to after it was freed: %zu bytes at %p, allocated from %p\n",
                block->size, (void *)block->p, block->by);
        return true;
    }
    return false;
}
