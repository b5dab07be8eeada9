#include "suite.h"

#include <stdlib.h>

#define MOST_TESTS 200
#define MOST_FIXTURES 16

void __real__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end);
void __real_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown);
void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end);
void __wrap_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown);

static struct {
    TCase *tcase;
    SFun setup, teardown;
} fixtures[MOST_FIXTURES];
static size_t n_fixtures;

struct test suite_tests[MOST_TESTS];
size_t suite_n_tests;

void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end)
{
    if (suite_n_tests == MOST_TESTS)
        abort();
    suite_tests[suite_n_tests++] = (struct test){ tcase, test, begin, end };
    __real__tcase_add_test(tcase, test, sig, status, begin, end);
}

void __wrap_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown)
{
    if (n_fixtures == MOST_FIXTURES)
        abort();
    fixtures[n_fixtures].tcase = tcase;
    fixtures[n_fixtures].setup = setup;
    fixtures[n_fixtures++].teardown = teardown;
    __real_tcase_add_checked_fixture(tcase, setup, teardown);
}

void suite_set_up(const struct test *test)
{
    for (size_t i = 0; i < n_fixtures; i++) {
        if (fixtures[i].tcase == test->tcase && fixtures[i].setup != NULL)
            fixtures[i].setup();
    }
}

void suite_tear_down(const struct test *test)
{
    for (size_t i = n_fixtures; i-- > 0;) {
        if (fixtures[i].tcase == test->tcase && fixtures[i].teardown != NULL)
            fixtures[i].teardown();
    }
}
