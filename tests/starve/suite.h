/* What a test program told check to run. */
#ifndef QBLK_TESTS_STARVE_SUITE_H
#define QBLK_TESTS_STARVE_SUITE_H

#include <check.h>
#include <stddef.h>

struct test {
    TCase *tcase;
    const TTest *test;
    int begin, end;
};

extern struct test suite_tests[];
extern size_t suite_n_tests;

/* The fixtures of a test. */
void suite_set_up(const struct test *test);
void suite_tear_down(const struct test *test);

#endif
