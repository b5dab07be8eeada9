/* KEY=VALUE words into the JSON text of a command's arguments. */
#ifndef QBLK_TOOL_QMP_ARGS_H
#define QBLK_TOOL_QMP_ARGS_H

#include <qblk/base.h>

/* *ret_json is an object as text, the caller's; NULL if there are no words. */
int qmp_args(char *const *words, int n_words, char **ret_json, qblk_error *error);

#endif
