/* Heaps against the plain search. */
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/heap.h"

#define N 300

struct item {
    struct heap_node node;
    bool is_in;
};

static struct item items[N];
static struct heap heap;

static void check_top(void)
{
    const struct item *least = NULL;

    for (int i = 0; i < N; i++)
        if (items[i].is_in && (least == NULL || items[i].node.key < least->node.key))
            least = &items[i];
    ck_assert_int_eq(heap.top == NULL, least == NULL);
    if (least != NULL)
        ck_assert_int_eq(heap.top->key, least->node.key);
}

START_TEST(the_top_is_the_least_whatever_comes_and_goes)
{
    unsigned state = (unsigned)_i + 1;

    memset(&heap, 0, sizeof(heap));
    memset(items, 0, sizeof(items));

    for (int i = 0; i < 20000; i++) {
        struct item *item;

        state = state * 1103515245u + 12345u;
        item = &items[(state >> 16) % N];
        if (item->is_in)
            heap_remove(&heap, &item->node);
        else
            heap_push(&heap, &item->node, (int64_t)(state >> 20 & 63) - 32);
        item->is_in = !item->is_in;
        check_top();
    }
}
END_TEST

START_TEST(what_is_taken_from_the_top_comes_in_order)
{
    int64_t last = INT64_MIN;
    int n = 0;

    memset(&heap, 0, sizeof(heap));
    memset(items, 0, sizeof(items));
    for (int i = 0; i < N; i++)
        heap_push(&heap, &items[i].node, (i * 7919) % N);
    while (heap.top != NULL) {
        ck_assert_int_le(last, heap.top->key);
        last = heap.top->key;
        heap_remove(&heap, heap.top);
        n++;
    }
    ck_assert_int_eq(n, N);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("heap");
    TCase *tc = tcase_create("heap");
    SRunner *runner;
    int failed;

    tcase_add_loop_test(tc, the_top_is_the_least_whatever_comes_and_goes, 0, 5);
    tcase_add_test(tc, what_is_taken_from_the_top_comes_in_order);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
