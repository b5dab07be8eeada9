/* "Did you mean ...?" */
#ifndef QBLK_TOOL_SUGGEST_H
#define QBLK_TOOL_SUGGEST_H

#include <stddef.h>

/* Collects the nearest of many candidates to a mistyped word. */
struct suggest {
    const char *word;
    const char *best; /* NULL if nothing is near enough */
    size_t distance;
};

void suggest_init(struct suggest *suggest, const char *word);
void suggest_try(struct suggest *suggest, const char *candidate);

#endif
