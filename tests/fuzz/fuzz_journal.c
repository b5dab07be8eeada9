/* Fuzzes reading a journal record: the input's lines are the names of the bitmaps. */
#include <stdlib.h>
#include <string.h>

#include "ops/journal.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *names[80], *text = malloc(size + 1), *save = NULL;
    struct journal journal;
    size_t n = 0;

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    for (char *name = strtok_r(text, "\n", &save); name != NULL && n < 80;
         name = strtok_r(NULL, "\n", &save))
        names[n++] = name;
    if (journal_decode(names, n, &journal, NULL) == 0) {
        char **again;
        int parts = journal_encode(&journal, &again, NULL);

        for (int i = 0; i < parts; i++)
            free(again[i]);
        if (parts > 0)
            free(again);
        journal_done(&journal);
    }
    free(text);
    return 0;
}
