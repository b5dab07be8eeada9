/* The texts of --help, made from the tables of verbs and options. */
#ifndef QBLK_TOOL_HELP_H
#define QBLK_TOOL_HELP_H

#include "cli.h"

/* Prints help on the verb, or on the whole command if verb is NULL. Returns the exit status. */
int help_print(struct cli *cli, const struct verb *verb);

#endif
