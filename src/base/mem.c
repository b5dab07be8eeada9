#include "base/mem.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef QBLK_TEST_MEM
static unsigned long asked, fail_from, fail_to;
static bool is_paused;
static void (*on_ask)(void);

static void fail(unsigned long from, unsigned long to)
{
    asked = 0;
    fail_from = from;
    fail_to = to;
}

void mem_fail_after(unsigned long n)
{
    fail(n, n != 0 ? ULONG_MAX : 0);
}

void mem_fail_once(unsigned long n)
{
    fail(n, n);
}

void mem_fail_pause(bool pause)
{
    is_paused = pause;
}

unsigned long mem_asked(void)
{
    return asked;
}

void mem_on_ask(void (*fn)(void))
{
    on_ask = fn;
}

static int must_fail(void)
{
    if (is_paused)
        return 0;
    asked++;
    if (on_ask != NULL)
        on_ask();
    return asked >= fail_from && asked <= fail_to;
}
#else
/* The shipped library has no global state; only test builds can count allocations. */
void mem_fail_after(unsigned long n)
{
    (void)n;
}

void mem_fail_once(unsigned long n)
{
    (void)n;
}

void mem_fail_pause(bool pause)
{
    (void)pause;
}

unsigned long mem_asked(void)
{
    return 0;
}

void mem_on_ask(void (*fn)(void))
{
    (void)fn;
}

static int must_fail(void)
{
    return 0;
}
#endif

void *mem_zalloc(size_t size)
{
    return must_fail() ? NULL : calloc(1, size != 0 ? size : 1);
}

void *mem_realloc(void *old, size_t size)
{
    return must_fail() ? NULL : realloc(old, size != 0 ? size : 1);
}

char *mem_strndup(const char *text, size_t len)
{
    char *copy;

    if (text == NULL)
        return NULL;
    copy = mem_zalloc(len + 1);
    if (copy != NULL)
        memcpy(copy, text, len);
    return copy;
}

char *mem_strdup(const char *text)
{
    return text == NULL ? NULL : mem_strndup(text, strlen(text));
}

char *mem_vprintf(const char *format, va_list ap)
{
    char *text = NULL;

    if (must_fail() || vasprintf(&text, format, ap) < 0)
        return NULL;
    return text;
}

char *mem_printf(const char *format, ...)
{
    va_list ap;
    char *text;

    va_start(ap, format);
    text = mem_vprintf(format, ap);
    va_end(ap);
    return text;
}

int mem_grow(void *ret_array, size_t *room, size_t n, size_t size)
{
    size_t want;
    void *old, *grown;

    if (n < *room)
        return 0;
    want = *room < 8 ? 8 : *room * 2;
    if (want > SIZE_MAX / size)
        return -ENOMEM;
    memcpy(&old, ret_array, sizeof(old));
    grown = mem_realloc(old, want * size);
    if (grown == NULL)
        return -ENOMEM;
    memcpy(ret_array, &grown, sizeof(grown));
    *room = want;
    return 0;
}

void mem_free_ptr(void *pointer_to_pointer)
{
    void *p;

    memcpy(&p, pointer_to_pointer, sizeof(p));
    free(p);
}

void *mem_take(void *pointer_to_pointer)
{
    void *p, *none = NULL;

    memcpy(&p, pointer_to_pointer, sizeof(p));
    memcpy(pointer_to_pointer, &none, sizeof(none));
    return p;
}
