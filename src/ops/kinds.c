/* The kinds of operations that can be taken up again. Each is described by its own file. */
#include <string.h>

#include "ops/op.h"

const struct op_kind *const op_kinds[] = { &op_pull, &op_copy, &op_swap, &op_backup, &op_commit,
                                         &op_snapshot, &op_detach, NULL };

const struct op_kind *op_kind_find(const char *name)
{
    for (int i = 0; op_kinds[i] != NULL; i++) {
        if (strcmp(op_kinds[i]->name, name) == 0)
            return op_kinds[i];
    }
    return NULL;
}
