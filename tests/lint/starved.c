/* Tests that bear a failing allocation badly, each in its own way: tests/starve must find them out. Each asks
 * for memory twice. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

#include "../unit/peer.h"
#include "base/mem.h"

/* More than the heap has at its end for a run, and more than a hole that there may be already. */
#define HOLE ((size_t)32 << 20)
#define ABOVE_HOLE ((size_t)1 << 20)

static char *p, *q, *kept;

static void forget_kept(void)
{
    kept = NULL;
}

START_TEST(bears_it)
{
    if ((p = mem_zalloc(8)) != NULL && (q = mem_zalloc(8)) != NULL)
        free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(claims_otherwise)
{
    p = mem_zalloc(8);
    ck_assert_ptr_nonnull(p);
    q = mem_zalloc(8);
    ck_assert_ptr_nonnull(q);
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(crashes)
{
    p = mem_zalloc(8);
    q = mem_zalloc(8);
    q[0] = 'x';
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(exits)
{
    p = mem_zalloc(8);
    if ((q = mem_zalloc(8)) == NULL)
        exit(0);
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(loses)
{
    p = mem_zalloc(8);
    if ((q = mem_zalloc(8)) == NULL)
        p = NULL;
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(loses_in_its_teardown)
{
    kept = mem_zalloc(8);
    if ((q = mem_zalloc(8)) == NULL)
        return;
    free(TAKE(q));
    free(TAKE(kept));
}
END_TEST

START_TEST(frees_twice)
{
    p = mem_zalloc(8);
    if ((q = mem_zalloc(8)) == NULL)
        free(p);
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

START_TEST(writes_late)
{
    char *volatile late;

    late = p = mem_zalloc(8);
    if ((q = mem_zalloc(8)) == NULL && late != NULL) {
        free(TAKE(p));
        late[7] = 'x';
    }
    free(TAKE(q));
    free(TAKE(p));
}
END_TEST

/* On the same stack of calls in each of its cases. */
START_TEST(loses_in_its_third_case)
{
    for (int i = 1; i <= 4; i++) {
        struct peer peer;
        qblk_monitor *monitor = peer_start(&peer, PEER_VERSION(7, 2, 22), NULL);

        monitor = qblk_monitor_free(monitor);
        p = mem_zalloc(8);
        q = mem_zalloc(8);
        if (q == NULL && i == 3)
            p = NULL;
        free(TAKE(q));
        free(TAKE(p));
        peer_done(&peer);
    }
}
END_TEST

/* Each run of a case must find what the cases before it have left. */
START_TEST(counts_above_a_hole_in_the_heap)
{
    static int *n_begun;

    for (int i = 1; i <= 4; i++) {
        struct peer peer;
        qblk_monitor *monitor = peer_start(&peer, PEER_VERSION(7, 2, 22), NULL);

        if (i == 1) {
            char *volatile hole = malloc(HOLE);

            n_begun = calloc(1, ABOVE_HOLE);
            if (hole == NULL || n_begun == NULL)
                abort();
            free(hole);
        }
        if (++*n_begun != i)
            abort();
        monitor = qblk_monitor_free(monitor);
        peer_done(&peer);
    }
    free(n_begun);
    n_begun = NULL;
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("starved");
    TCase *tcase = tcase_create("starved");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, NULL, forget_kept);
    tcase_add_test(tcase, bears_it);
    tcase_add_test(tcase, claims_otherwise);
    tcase_add_test(tcase, crashes);
    tcase_add_test(tcase, exits);
    tcase_add_test(tcase, loses);
    tcase_add_test(tcase, loses_in_its_teardown);
    tcase_add_test(tcase, frees_twice);
    tcase_add_test(tcase, writes_late);
    tcase_add_test(tcase, loses_in_its_third_case);
    tcase_add_test(tcase, counts_above_a_hole_in_the_heap);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
