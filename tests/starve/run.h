/* A starved run of a test, in a process of its own. */
#ifndef QBLK_TESTS_STARVE_RUN_H
#define QBLK_TESTS_STARVE_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "suite.h"

/* None is 0: a test that exits by itself has not passed. */
enum run_end { RUN_PASSED = 39, RUN_CLAIM_FAILED = 40, RUN_LOST = 41, RUN_DAMAGED = 42 };

struct starved {
    const struct test *test;
    int i;
    bool with_setup;  /* allocations of the setup fail as well */
    bool is_once;
    unsigned long n;  /* 0: none fails */
    unsigned long nth_case; /* 0: of the whole test */
    unsigned seconds; /* it takes with all its memory */
};

/* Which of the runs of a case one process has to do, and how far it has got. Shared by all processes. */
struct batch {
    struct starved now;
    unsigned long last; /* n; each first with all after it failing, unless is_alone, then alone */
    bool is_alone;
    unsigned long runs, claims; /* that it is through with */
};

/* What the parent wants to know. */
struct told {
    unsigned long asked; /* allocations until the end, or until the test made some fail itself */
    bool is_own;
    const char *file; /* of the claim that failed */
    int line;
    struct totals {
        unsigned long places, runs, claims, bad, cases, cases_begun;
    } of_cases; /* by run_cases() */
};

/* No more runs than this at once. */
#define RUN_MOST 64

/* Once, in the process that all runs come from. */
void run_prepare(void);

/* That of the run of this number. */
struct batch *run_batch(int number);
/* To the next run. Returns whether there is one. */
bool run_advance(struct batch *batch);

/* The directories that the run of this number (from 0, no other's at that time) left. */
void run_clean(int number);

/* Whether the tests are to be run like this at all. */
bool run_is_wanted(void);

/* In a process of its own: the test from its setup on. */
__attribute__((noreturn)) void run_test(const struct starved *starved, int number, int pipe_fd);

/* In a process of its own: the test with all its memory. at_case is called before each of its cases: what
 * it does with one fake server, as long as it has no other. Where that returns true it is in another
 * process, which runs this one case as run_case() was told and ends with it. */
__attribute__((noreturn)) void run_cases(const struct starved *starved, int pipe_fd,
                                         bool (*at_case)(unsigned long nth, struct totals *totals));
/* In that process, before at_case returns: the one run, or all those of its batch. */
void run_case(const struct starved *starved, int number, int pipe_fd, bool is_batch);

/* On which way (stack of calls) the last run with n of 0 asked for memory the n-th time; 0 beyond the most
 * that are noted. */
uint64_t run_way(unsigned long n);

#endif
