/* A file of its own, as gcc drops all this where it optimizes for size. */
#include "base/fetch.h"

#define LINE 64

void fetch_lines(const void *data, size_t size)
{
    const char *end = (const char *)data + size;

    for (const char *at = data; at < end; at += LINE)
        __builtin_prefetch(at);
    __builtin_prefetch(end - 1); /* not every one begins with a line */
}
