#include "suggest.h"

#include <string.h>

#define WORD_MAX 40

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn a into b. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][WORD_MAX + 1];
    size_t la = strlen(a);
    size_t lb = strlen(b);

    if (la > WORD_MAX || lb > WORD_MAX)
        return WORD_MAX;
    for (size_t j = 0; j <= lb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t *now = rows[i % 3];
        const size_t *up = rows[(i + 2) % 3];
        const size_t *up2 = rows[(i + 1) % 3];

        now[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            now[j] = min3(up[j] + 1, now[j - 1] + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                up2[j - 2] + 1 < now[j])
                now[j] = up2[j - 2] + 1;
        }
    }
    return rows[la % 3][lb];
}

void suggest_init(struct suggest *suggest, const char *word)
{
    size_t n = strlen(word);

    suggest->word = word;
    suggest->best = NULL;
    /* One more than what is let pass: a third of the word, at least one slip. */
    suggest->distance = (n < 3 ? 1 : (n + 2) / 3) + 1;
}

void suggest_try(struct suggest *suggest, const char *candidate)
{
    size_t d = edit_distance(suggest->word, candidate);
    size_t n = strlen(suggest->word);

    /* The beginning of a name counts as near. */
    if (n >= 2 && strncmp(suggest->word, candidate, n) == 0)
        d = d < 1 ? d : 1;
    if (d < suggest->distance) {
        suggest->distance = d;
        suggest->best = candidate;
    }
}
