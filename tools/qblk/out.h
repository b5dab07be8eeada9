/* What the command says, on its way to stdout and stderr. Whoever reads it may be slow, or not read at all (a
 * full pipe, a terminal that was stopped by Ctrl-S), and signals, deadlines and a frozen guest cannot wait for
 * him: nothing here does, but for out_drain(). What he has not taken yet is kept, up to OUT_LIMIT. */
#ifndef QBLK_TOOL_OUT_H
#define QBLK_TOOL_OUT_H

#include <ev.h>
#include <stdbool.h>

#include "text.h"

/* In bytes; a single text may be longer. */
#define OUT_LIMIT ((size_t)16 << 20)

struct out {
    int file;             /* STDOUT_FILENO or STDERR_FILENO */
    int fd;               /* the same file, in a description of our own where it would block; -1: not opened */
    bool is_socket;
    bool is_risky;        /* a write might block: only a little, and only after a look */
    int err;              /* errno of the failure after which nothing more is written, 0 */
    bool is_full;         /* more than OUT_LIMIT would have waited: nothing is taken any more */
    struct text waiting;  /* from at on it is still to be written */
    size_t at;
    struct ev_loop *loop; /* NULL: nothing turns */
    ev_io room, end;
    void (*on_fail)(void *arg); /* may be NULL */
    void *arg;
};

void out_init(struct out *out, int file);
/* Drops what waits. */
void out_close(struct out *out);
/* Whether both are the same pipe, terminal or file: then one of them should serve for both, or a line of the
 * one gets into a line of the other. */
bool out_is_same(const struct out *a, const struct out *b);

/* Writes what can be written now, and keeps the rest. With OUT_LIMIT waiting already it is full: s and what
 * comes after it is lost, what waits is not. */
void out_put(struct out *out, const char *s);
bool out_is_waiting(const struct out *out);

/* From now on the loop writes what waits. on_fail is called once, when no more can be written or taken,
 * which may be so by now; with a pipe as soon as its reader is gone. */
void out_attach(struct out *out, struct ev_loop *loop, void (*on_fail)(void *arg), void *arg);
void out_detach(struct out *out);

/* Waits until all is written, ms at most, or for ever if that is negative; what then still waits has failed
 * with ETIMEDOUT. */
void out_drain(struct out *out, int ms);

/* errno of what was not written, ENOBUFS for what was not even taken; 0: all is well. */
int out_failure(const struct out *out);
/* For the last word, once what waited is written. */
void out_take_again(struct out *out);

#endif
