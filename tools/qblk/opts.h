/* The options: one table from which parsing and the help texts are made. */
#ifndef QBLK_TOOL_OPTS_H
#define QBLK_TOOL_OPTS_H

#include "cli.h"
#include "text.h"

/* Reads the command line into cli->opt, cli->verb and cli->args. Options may stand anywhere before
 * "--". cli->verb stays NULL if only --help or --version was asked for. Returns 0 or -EINVAL. */
int opts_parse(struct cli *cli, int argc, char **argv, qblk_error *error);

/* Adds the options that belong to the verb of this bit but not to every verb; or, for 0, those
 * that belong to every verb. */
void opts_describe(struct text *to, uint32_t verb_bit);

/* Whether the verb has options of its own. */
bool opts_any(uint32_t verb_bit);

/* Whether verbs of two words begin with it. */
bool verb_is_group(const char *word);

/* Finds the verb named by the first one or two of words. *ret_used is how many of them it took. */
const struct verb *verb_find(char *const *words, int n_words, int *ret_used, qblk_error *error);

#endif
