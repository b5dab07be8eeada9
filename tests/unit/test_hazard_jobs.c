/* The table of what crashes certain QEMUs: which job keeps the nodes from being asked for, and when. */
#include <check.h>
#include <stdlib.h>

#include "monitor/hazard.h"

#define V52 5002000u
#define V72 7002022u
#define V100 10000013u

START_TEST(a_stream_forbids_the_node_query_from_its_start_to_its_dismissal)
{
    ck_assert(hazard_forbids_nodes(V72, "stream", false));
    ck_assert(hazard_forbids_nodes(V72, "stream", true));
    ck_assert(!hazard_forbids_nodes(V72, "backup", true));
    ck_assert(hazard_forbids_nodes(V52, "backup", true));
    ck_assert(!hazard_forbids_nodes(V100, "stream", true));
}
END_TEST

START_TEST(a_creation_forbids_the_node_query_until_it_is_concluded)
{
    ck_assert(hazard_forbids_nodes(V72, "create", false));
    ck_assert(!hazard_forbids_nodes(V72, "create", true));
    ck_assert(!hazard_forbids_nodes(V72, "mirror", false));
    ck_assert(hazard_is_possible(V72, HAZARD_NODES_WHILE_CREATING));
}
END_TEST

START_TEST(every_row_says_what_happens)
{
    enum hazard hazard;
    unsigned from, to;
    const char *type, *text;
    int n = 0;

    for (; hazard_row(n, &hazard, &from, &to, &type, &text); n++) {
        ck_assert_uint_lt(from, to);
        ck_assert_ptr_nonnull(text);
        ck_assert(hazard_is_known(from, hazard, type) && hazard_is_known(to, hazard, type));
    }
    ck_assert_int_gt(n, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hazard_jobs");
    TCase *tcase = tcase_create("table");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_stream_forbids_the_node_query_from_its_start_to_its_dismissal);
    tcase_add_test(tcase, a_creation_forbids_the_node_query_until_it_is_concluded);
    tcase_add_test(tcase, every_row_says_what_happens);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
