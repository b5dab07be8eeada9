/* What is open and what is nobody's, for people and as JSON. */
#ifndef QBLK_TOOL_REMAINS_H
#define QBLK_TOOL_REMAINS_H

#include "cli.h"

/* Says all of it; with --operation that one alone. */
void remains_list(struct cli *cli, const qblk_remains *remains);

#endif
