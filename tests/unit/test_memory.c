/* Buffers and pools: what they hold, and whose it is. */
#include <check.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/pool.h"

/* ---- buffers --------------------------------------------------------------------------------- */

START_TEST(a_buffer_in_an_array_needs_no_memory_until_that_is_full)
{
    char room[8];
    struct buf buf = BUF_ON(room);
    struct buf_mark mark;

    mem_fail_after(1);
    ck_assert_int_eq(buf_adds(&buf, "1234567"), 0);
    ck_assert_ptr_eq(buf.data, room);
    mark = buf_mark(&buf);
    ck_assert_int_lt(buf_addc(&buf, '8'), 0);
    mem_fail_after(0);
    ck_assert_int_lt(buf_ok(&buf), 0);
    buf_cut(&buf, mark);
    ck_assert_int_eq(buf_ok(&buf), 0);
    ck_assert_str_eq(buf.data, "1234567");
    ck_assert_int_eq(buf_addf(&buf, "%d", 89), 0);
    ck_assert_ptr_ne(buf.data, room);
    ck_assert_str_eq(buf.data, "123456789");
    buf_done(&buf);
}
END_TEST

START_TEST(a_buffer_that_has_failed_stays_so_when_it_is_cut)
{
    char room[8];
    struct buf buf = BUF_ON(room);
    struct buf_mark mark;

    ck_assert_int_eq(buf_adds(&buf, "1234"), 0);
    mem_fail_after(1);
    ck_assert_int_lt(buf_adds(&buf, "56789"), 0);
    mem_fail_after(0);
    mark = buf_mark(&buf);
    ck_assert_int_eq(buf_adds(&buf, "5"), 0);
    buf_cut(&buf, mark);
    ck_assert_str_eq(buf.data, "1234");
    ck_assert_int_lt(buf_ok(&buf), 0);
    ck_assert_ptr_null(buf_take(&buf));
}
END_TEST

START_TEST(what_is_taken_from_a_buffer_is_the_takers)
{
    char room[8];
    struct buf buf = BUF_ON(room);
    char *text;

    ck_assert_int_eq(buf_adds(&buf, _i == 0 ? "short" : "too long for the array"), 0);
    text = buf_take(&buf);
    ck_assert_ptr_nonnull(text);
    ck_assert_ptr_ne(text, room);
    ck_assert_str_eq(text, _i == 0 ? "short" : "too long for the array");
    ck_assert_ptr_null(buf.data);
    free(text);
    ck_assert_int_eq(buf_adds(&buf, "again"), 0);
    ck_assert_str_eq(buf.data, "again");
    buf_done(&buf);
}
END_TEST

/* Of each length around that of the room there is. */
START_TEST(formatted_text_is_whole_whether_it_fits_or_not)
{
    for (int len = 0; len < 40; len++) {
        char room[20];
        struct buf buf = BUF_ON(room);

        ck_assert_int_eq(buf_adds(&buf, "<"), 0);
        ck_assert_int_eq(buf_addf(&buf, "%0*d>", len, 7), 0);
        ck_assert_uint_eq(buf.len, (size_t)(len < 1 ? 3 : len + 2));
        ck_assert_uint_eq(strlen(buf.data), buf.len);
        ck_assert_str_eq(buf.data + buf.len - 2, "7>");
        buf_done(&buf);
    }
}
END_TEST

START_TEST(formatted_text_that_finds_no_memory_leaves_what_was_there)
{
    char room[8];
    struct buf buf = BUF_ON(room);

    ck_assert_int_eq(buf_adds(&buf, "1234"), 0);
    mem_fail_after(1);
    ck_assert_int_lt(buf_addf(&buf, "%s", "56789"), 0);
    mem_fail_after(0);
    ck_assert_str_eq(buf.data, "1234");
    buf_done(&buf);
}
END_TEST

/* ---- pools ----------------------------------------------------------------------------------- */

START_TEST(pieces_of_a_pool_are_zeroed_aligned_and_apart)
{
    static const size_t sizes[] = { 1, 7, 8, 0, 3, 200, 1, 70000, 5, 64 };
    struct pool pool = POOL_INIT;
    char *pieces[200];

    for (int i = 0; i < 200; i++) {
        size_t size = sizes[i % 10];

        pieces[i] = pool_alloc(&pool, size, i % 3 == 0 ? 1 : 8, 100);
        ck_assert_ptr_nonnull(pieces[i]);
        ck_assert(i % 3 == 0 || (uintptr_t)pieces[i] % 8 == 0);
        for (size_t k = 0; k < size; k++)
            ck_assert_int_eq(pieces[i][k], 0);
        memset(pieces[i], i + 1, size);
    }
    for (int i = 0; i < 200; i++) {
        for (size_t k = 0; k < sizes[i % 10]; k++)
            ck_assert_int_eq((unsigned char)pieces[i][k], (unsigned char)(i + 1));
    }
    if (_i == 0)
        pool_done(&pool);
    else
        pool_free(pieces[0]);
}
END_TEST

static bool is_all(const char *bytes, size_t n, char c)
{
    return n == 0 || (bytes[0] == c && memcmp(bytes, bytes + 1, n - 1) == 0);
}

/* The first piece, one between others, or the last one. */
START_TEST(a_large_piece_of_a_pool_grows)
{
    static const size_t sizes[] = { 10, POOL_SHARED + 1, 10, POOL_SHARED + 1, POOL_SHARED + 1 };
    struct pool pool = POOL_INIT;
    char *pieces[5];
    size_t was = POOL_SHARED + 1;

    for (int i = 0; i < 5; i++) {
        pieces[i] = pool_alloc(&pool, i == 0 && _i == 0 ? was : sizes[i], 8, 100);
        ck_assert_ptr_nonnull(pieces[i]);
        memset(pieces[i], i + 1, sizes[i]);
    }
    for (size_t size = 2 * was; size < 5000000; size *= 2) {
        int grown = _i == 0 ? 0 : _i == 1 ? 1 : 4;

        pieces[grown] = pool_grow(&pool, pieces[grown], was, size);
        ck_assert_ptr_nonnull(pieces[grown]);
        ck_assert(is_all(pieces[grown] + was, size - was, 0));
        memset(pieces[grown], grown + 1, size);
        was = size;
    }
    ck_assert_ptr_nonnull(pool_alloc(&pool, 100, 1, 0));
    for (int i = 0; i < 5; i++)
        ck_assert(is_all(pieces[i], sizes[i], (char)(i + 1)));
    pool_free(pieces[0]);
}
END_TEST

START_TEST(a_large_piece_that_finds_no_memory_stays_as_it_was)
{
    struct pool pool = POOL_INIT;
    char *piece = pool_alloc(&pool, POOL_SHARED + 1, 8, 0);

    ck_assert_ptr_nonnull(piece);
    strcpy(piece, "something");
    mem_fail_after(1);
    ck_assert_ptr_null(pool_grow(&pool, piece, POOL_SHARED + 1, POOL_SHARED * 2));
    mem_fail_after(0);
    ck_assert_ptr_null(pool_grow(&pool, piece, POOL_SHARED + 1, SIZE_MAX - 4));
    ck_assert_str_eq(piece, "something");
    pool_done(&pool);
}
END_TEST

START_TEST(a_pool_without_memory_keeps_what_it_has)
{
    struct pool pool = POOL_INIT;
    char *first = pool_alloc(&pool, 10, 1, 0);

    ck_assert_ptr_nonnull(first);
    memcpy(first, "something", 10);
    mem_fail_after(1);
    ck_assert_ptr_null(pool_alloc(&pool, 1000, 8, 0));
    mem_fail_after(0);
    ck_assert_ptr_null(pool_alloc(&pool, SIZE_MAX - 4, 8, 0));
    ck_assert_str_eq(first, "something");
    ck_assert_ptr_nonnull(pool_alloc(&pool, 1000, 8, 0));
    pool_done(&pool);
    ck_assert_ptr_null(pool.first);
    pool_done(&pool);
    pool_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("memory");
    TCase *tcase = tcase_create("memory");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, formatted_text_is_whole_whether_it_fits_or_not);
    tcase_add_loop_test(tcase, what_is_taken_from_a_buffer_is_the_takers, 0, 2);
    tcase_add_loop_test(tcase, pieces_of_a_pool_are_zeroed_aligned_and_apart, 0, 2);
    tcase_add_loop_test(tcase, a_large_piece_of_a_pool_grows, 0, 3);
#ifdef QBLK_TEST_MEM
    tcase_add_test(tcase, a_large_piece_that_finds_no_memory_stays_as_it_was);
    tcase_add_test(tcase, a_buffer_in_an_array_needs_no_memory_until_that_is_full);
    tcase_add_test(tcase, a_buffer_that_has_failed_stays_so_when_it_is_cut);
    tcase_add_test(tcase, formatted_text_that_finds_no_memory_leaves_what_was_there);
    tcase_add_test(tcase, a_pool_without_memory_keeps_what_it_has);
#endif
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
