/* The options, as data: what opts.c parses by and the help texts are made from. */
#ifndef QBLK_TOOL_OPTS_TABLE_H
#define QBLK_TOOL_OPTS_TABLE_H

#include <stddef.h>

#include "cli.h"

enum opt_kind {
    OPT_FLAG,    /* bool */
    OPT_LEVEL,   /* int, one more each time */
    OPT_TEXT,    /* const char * */
    OPT_WORDS,   /* struct words, one more each time */
    OPT_SECONDS, /* int64_t, ms */
    OPT_LIMIT,   /* the same, not 0 */
    OPT_RATE,    /* uint64_t */
    OPT_COUNT,   /* uint64_t, not 0 */
    OPT_SIZE,    /* uint64_t, bytes, not 0 */
    OPT_GIVEN,   /* struct given */
    OPT_GIVEN_RATE, /* struct given, a rate */
    OPT_CHOICE,  /* const char *, one of choices */
    OPT_ENDING   /* qblk_ending, value */
};

/* An option that has to be explained in another way for another verb has a row more, which differs
 * in verbs and help alone. */
struct opt_def {
    const char *name;
    char letter;         /* 0: none */
    enum opt_kind kind;
    size_t offset;
    const char *arg;     /* NULL: takes none */
    const char *choices; /* "a|b" */
    qblk_ending value;
    uint32_t verbs;
    const char *help;
};

extern const struct opt_def opts_table[];
extern const int n_opts;
#define OPTS_MAX 128 /* of rows */

#endif
