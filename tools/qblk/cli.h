/* What one run of the command knows. The command is built on include/qblk alone. */
#ifndef QBLK_TOOL_CLI_H
#define QBLK_TOOL_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include <qblk/qblk.h>

#include "out.h"
#include "progress.h"

/* A number where none and 0 are two things. */
struct given {
    bool is_given;
    uint64_t value;
};

/* Of an option that may be given more than once. The words are the command line's. */
struct words {
    const char **v;
    int n;
};

/* The values of the options; opts_table.c says which option fills which. */
struct options {
    const char *socket;
    bool json;
    bool help;
    bool version;
    bool quiet;
    int verbose;
    int64_t timeout_ms; /* 0: none */
    int64_t wait_ms;
    bool dry_run;
    bool async;
    bool cancel_on_timeout;
    const char *base;
    const char *top;
    const char *backing_file;
    uint64_t speed;
    const char *on_error;
    qblk_ending ending;
    const char *into;
    const char *bottom;
    bool no_bitmaps;
    bool relative;
    bool shallow;
    bool reuse;
    bool legacy;
    bool compress;
    const char *format;
    const char *sync;
    bool dot;
    bool any;
    bool ready;
    bool follow;
    uint64_t count; /* 0: no end */
    bool list;
    bool all;
    const char *operation;
    bool undo;
    uint64_t granularity;
    uint64_t buf_size;
    bool active;
    bool active_late;
    const char *on_source_error;
    const char *on_target_error;
    const char *blockdev;
    uint64_t resize;
    const char *quiesce;
    bool quiesce_optional;
    bool force;
    bool shrink;
    bool off;
    struct given limits[QBLK_LIMITS];
    const char *group;
    bool keep_nodes;
    uint64_t tries; /* 0: as many as usual */
    int64_t interval_ms;
    struct words globs;
    int64_t reconnect_ms; /* 0: not at all, or the verb's own */
};

struct verb;

struct cli {
    struct options opt;
    const struct verb *verb;
    char **args;         /* what follows the verb and is no option */
    int n_args;
    int64_t deadline_ms; /* on the monotonic clock; -1: none */
    struct out streams[2];
    struct out *out, *err; /* of these, one if stdout and stderr are the same */
    struct progress progress;
};

/* Exit statuses; those of failures come from qblk_error_kind in report.c. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_CONNECTION = 3, EXIT_TIMEOUT = 4,
       EXIT_CANCELLED = 5, EXIT_REFUSED = 6 };

/* Milliseconds on the monotonic clock. */
int64_t clock_ms(void);

/* What is left of --timeout in ms, 0 if it has passed, -1 if there is no limit: the form in which
 * the library's blocking calls want it. */
int cli_left_ms(const struct cli *cli);

#endif
