/* The journal's record: what is written comes back, and nothing else is believed. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../starve/case.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/journal.h"

static void fill(struct journal *journal, const char *file, size_t n_old)
{
    memset(journal, 0, sizeof(*journal));
    journal->op = mem_strdup("copy");
    journal->disk = mem_strdup("drive 0 \xc3\xa9 100%");
    journal->intent = mem_strdup("pivot");
    journal->file = mem_strdup(file);
    journal->agent = mem_strdup("?/run/vm 1/agent=0");
    for (size_t i = 0; i < n_old; i++) {
        char name[48];

        (void)snprintf(name, sizeof(name), "node-with-a-long-name-%zu", i);
        ck_assert_int_eq(journal_add(&journal->old_nodes, name), 0);
    }
}

static void free_names(char **names, int n)
{
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
}

static void check_round_trip(size_t n_old, int parts)
{
    struct journal in, out;
    char **names;
    qblk_error error;
    int n;

    fill(&in, "/a b/%41\n\x01.qcow2", n_old);
    in.bitmaps = strdup(JOURNAL_BITMAPS_MOVE);
    n = journal_encode(&in, &names, &error);
    ck_assert_int_eq(n, parts);
    for (int i = 0; i < n; i++) {
        ck_assert_uint_le(strlen(names[i]), JOURNAL_NAME_MAX);
        for (const char *p = names[i]; *p != '\0'; p++)
            ck_assert(*p >= ' ' && *p < 0x7f);
    }
    for (int i = 0; i < n / 2; i++) { /* QEMU lists them in any order */
        char *swap = names[i];

        names[i] = names[n - 1 - i];
        names[n - 1 - i] = swap;
    }
    ck_assert_int_eq(journal_decode(names, (size_t)n, &out, &error), 0);
    ck_assert_str_eq(out.op, in.op);
    ck_assert_str_eq(out.disk, in.disk);
    ck_assert_str_eq(out.intent, in.intent);
    ck_assert_str_eq(out.file, in.file);
    ck_assert_str_eq(out.agent, in.agent);
    ck_assert_str_eq(out.bitmaps, in.bitmaps);
    ck_assert(!out.has_ended);
    ck_assert_uint_eq(out.old_nodes.n, n_old);
    for (size_t i = 0; i < n_old; i++)
        ck_assert_str_eq(out.old_nodes.v[i], in.old_nodes.v[i]);
    free_names(names, n);
    journal_done(&in);
    journal_done(&out);
}

START_TEST(a_record_comes_back_as_it_was_written)
{
    check_round_trip(2, 1);
}
END_TEST

START_TEST(a_long_record_is_cut_into_names_that_qemu_takes)
{
    check_round_trip(200, 6);
}
END_TEST

START_TEST(a_record_beyond_the_limit_is_refused)
{
    struct journal journal;
    qblk_error error;
    char **names;

    fill(&journal, "/f", 4000);
    ck_assert_int_eq(journal_encode(&journal, &names, &error), -EMSGSIZE);
    ck_assert_int_eq(error.code, QBLK_E_LIMIT);
    journal_done(&journal);
}
END_TEST

START_TEST(the_mark_of_the_end_is_read_beside_the_record)
{
    char *names[] = { (char *)(uintptr_t)"qblk1 ended",
                      (char *)(uintptr_t)"qblk1 1/1 op=pull disk=d intent=finish new-key=1" };
    struct journal journal;

    ck_assert_int_eq(journal_decode(names, 2, &journal, NULL), 0);
    ck_assert(journal.has_ended);
    ck_assert_str_eq(journal.op, "pull");
    ck_assert_ptr_null(journal.file);
    journal_done(&journal);
}
END_TEST

START_TEST(the_marks_of_added_bitmaps_are_read_beside_the_record)
{
    char *names[] = { NULL, (char *)(uintptr_t)"qblk1 1/1 op=copy disk=d intent=pivot",
                      (char *)(uintptr_t)"qblk1 added b" };
    char longest[JOURNAL_NAME_MAX - sizeof(JOURNAL_ADDED) + 3], *none;
    struct journal journal;

    ck_assert_int_eq(journal_encode_added("b 1%\xc3\xa9", &names[0]), 0);
    ck_assert_str_eq(names[0], "qblk1 added b%201%25%C3%A9");
    ck_assert_int_eq(journal_decode(names, 3, &journal, NULL), 0);
    ck_assert_uint_eq(journal.added.n, 2);
    ck_assert(journal_has_node(&journal.added, "b 1%\xc3\xa9"));
    ck_assert(journal_has_node(&journal.added, "b"));
    ck_assert(!journal.has_ended);
    journal_done(&journal);
    free(names[0]);

    memset(longest, 'x', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    ck_assert_int_eq(journal_encode_added(longest, &none), 0);
    ck_assert_ptr_null(none);
    longest[sizeof(longest) - 2] = '\0';
    ck_assert_int_eq(journal_encode_added(longest, &names[0]), 0);
    ck_assert_uint_eq(strlen(names[0]), JOURNAL_NAME_MAX);
    free(names[0]);
}
END_TEST

START_TEST(the_disks_after_the_first_come_back_in_order)
{
    struct journal in, out;
    char **names;
    int n;

    fill(&in, "/first", 0);
    for (size_t i = 1; i < JOURNAL_DISKS_MAX; i++) {
        struct journal_disk *more = journal_more(&in, i);

        ck_assert_ptr_nonnull(more);
        more->disk = mem_printf("disk %zu", i);
        more->file = i % 3 == 0 ? NULL : mem_printf("/f %zu", i);
    }
    n = journal_encode(&in, &names, NULL);
    ck_assert_int_gt(n, 1);
    ck_assert_int_eq(journal_decode(names, (size_t)n, &out, NULL), 0);
    ck_assert_uint_eq(out.n_more, JOURNAL_DISKS_MAX - 1);
    for (size_t i = 1; i < JOURNAL_DISKS_MAX; i++) {
        ck_assert_str_eq(out.more[i - 1].disk, in.more[i - 1].disk);
        ck_assert(str_equal(journal_file(&out, i), in.more[i - 1].file));
    }
    ck_assert_str_eq(journal_file(&out, 0), "/first");
    ck_assert_ptr_null(journal_file(&out, JOURNAL_DISKS_MAX));
    free_names(names, n);
    journal_done(&in);
    journal_done(&out);
}
END_TEST

static const char *const bad[] = {
    "", "qblk1", "qblk1 ", "qblk2 1/1 op=pull disk=d intent=finish job=j", "qblk1 0/1 op=pull",
    "qblk1 2/1 op=pull", "qblk1 1/2 op=pull disk=d intent=finish job=j", "qblk1 1/99 x=y",
    "qblk1 1/1 op=pull disk=d", "qblk1 1/1 op=pull op=copy disk=d intent=f job=j",
    "qblk1 1/1 op=pull disk=%0 intent=finish job=j", "qblk1 1/1 op=pull disk=%00 intent=f job=j",
    "qblk1 1/1 op=pull disk=%gg intent=finish job=j", "qblk1 1/1 =x", "qblk1 1/1 op",
    "qblk1 1/1 op=p disk=d intent=f job=j old=a-name-of-more-than-thirty-one-characters",
    "qblk1 1/1op=pull disk=d intent=finish job=j",
    "qblk1 1/1 op=s disk=d intent=f disk.2=e", "qblk1 1/1 op=s disk=d intent=f file.1=/f",
    "qblk1 1/1 op=s disk=d intent=f disk.1=e disk.1=e", "qblk1 1/1 op=s disk=d intent=f disk.01=e",
    "qblk1 1/1 op=s disk=d intent=f disk.=e", "qblk1 1/1 op=s disk=d intent=f disk.1x=e",
    "qblk1 1/1 op=s disk=d intent=f disk.1=e file.1=/f file.1=/f",
    "qblk1 1/1 op=s disk=d intent=f disk.1000=e",
    "qblk1 added", "qblk1 added ", "qblk1 added a b", "qblk1 added %", "qblk1 added a%0", "qblk1 added \xc3",
    "qblk1 added b", "qblk1 ended", "qblk1 ended ", "qblk1  1/1 op=pull disk=d intent=finish",
    "qblk1 -1/1 op=pull disk=d intent=finish", "qblk1 1/-1 op=pull disk=d intent=finish",
    "qblk1 +1/1 op=pull disk=d intent=finish", "qblk1 1/ 1 op=pull disk=d intent=finish",
    "qblk1 01/01 op=pull disk=d intent=finish", "qblk1 1/1 op=pull disk=d intent=finish old=",
    "qblk1 1/1 op=pull disk=d intent=finish old=a,,b", "qblk1 1/1 op=pull disk=d intent=finish with=,",
    "qblk1 1/1 op=pull disk=d intent=finish with=0123456", "qblk1 1/1 op=pull disk=d intent=finish with=0123456x",
    "qblk1 1/1 op=pull disk=d intent=finish =", "qblk1 1/1 op= disk= intent=",
    "QBLK1 1/1 op=pull disk=d intent=finish", "qblk1 1/1\top=pull disk=d intent=finish",
    "qblk1 1/1 op=pull disk=d intent=finish file=/a%2", "qblk1 1/1 op=pull disk=d intent=%66inish%",
};

START_TEST(a_malformed_record_is_refused)
{
    char *name = mem_strdup(bad[_i]);
    struct journal journal;
    qblk_error error;

    ck_assert_ptr_nonnull(name);
    ck_assert_int_eq(journal_decode(&name, 1, &journal, &error), -EPERM);
    ck_assert_int_eq(error.code, QBLK_E_JOURNAL);
    ck_assert_ptr_null(journal.op);
    free(name);
}
END_TEST

/* Whichever name of the record is cut off, wherever: it is not taken for a whole one. */
static void check_cuts(size_t n_old)
{
    struct journal in, out;
    qblk_error error;
    char **names, *cut[16];
    int n;

    fill(&in, "/f", n_old);
    ck_assert_int_eq(journal_add(&in.with, "01234567"), 0);
    ck_assert_int_eq(journal_opt(&in, "resize=4096"), 0);
    n = journal_encode(&in, &names, NULL);
    ck_assert(n > 0 && n <= 16);
    memcpy(cut, names, (size_t)n * sizeof(cut[0]));
    for (int i = 0; i < n; i++) {
        const char *whole = names[i];

        for (size_t len = 0; len < strlen(whole); len++) {
            case_begins();
            cut[i] = mem_strndup(whole, len);
            ck_assert_ptr_nonnull(cut[i]);
            if (journal_decode(cut, (size_t)n, &out, &error) == 0) {
                /* The last words of the intent's own value; which are known is seen to by others. */
                ck_assert_int_eq(i, n - 1);
                ck_assert_uint_gt(len + strlen("pivot") + 1, strlen(whole));
                ck_assert_str_ne(out.intent, in.intent);
                ck_assert(strcmp(out.intent, "keep") != 0 && strcmp(out.intent, "finish") != 0 &&
                          strcmp(out.intent, "merge") != 0);
                journal_done(&out);
            } else {
                ck_assert_int_eq(error.code, QBLK_E_JOURNAL);
            }
            free(cut[i]);
        }
        cut[i] = names[i];
    }
    free_names(names, n);
    journal_done(&in);
}

START_TEST(a_record_that_is_cut_off_is_not_taken_for_a_whole_one)
{
    check_cuts(0);
    check_cuts(40);
    check_cuts(150);
}
END_TEST

START_TEST(parts_that_contradict_each_other_are_refused)
{
    char *twice[] = { (char *)(uintptr_t)"qblk1 1/2 op=pull", (char *)(uintptr_t)"qblk1 1/2 disk=d" };
    char *mixed[] = { (char *)(uintptr_t)"qblk1 1/2 op=pull", (char *)(uintptr_t)"qblk1 2/3 disk=d" };
    struct journal journal;

    ck_assert_int_eq(journal_decode(twice, 2, &journal, NULL), -EPERM);
    ck_assert_int_eq(journal_decode(mixed, 2, &journal, NULL), -EPERM);
}
END_TEST

START_TEST(no_record_at_all_is_refused)
{
    struct journal journal;

    ck_assert_int_eq(journal_decode(NULL, 0, &journal, NULL), -EPERM);
}
END_TEST

START_TEST(running_out_of_memory_leaves_nothing_behind)
{
    int r = -ENOMEM;

    for (unsigned long n = 1; r == -ENOMEM; n++) {
        char *name = mem_strdup("qblk1 1/1 op=pull disk=d intent=finish old=a,b file=/f "
                               "disk.1=e file.1=/g");
        struct journal journal;

        ck_assert_ptr_nonnull(name);
        mem_fail_after(n);
        r = journal_decode(&name, 1, &journal, NULL);
        mem_fail_after(0);
        if (r == 0)
            journal_done(&journal);
        free(name);
        ck_assert_uint_lt(n, 100);
    }
    ck_assert_int_eq(r, 0);
}
END_TEST

START_TEST(companions_and_options_come_back)
{
    struct journal in, out;
    char **names;
    int n;

    fill(&in, NULL, 0);
    ck_assert_int_eq(journal_add(&in.with, "01234567"), 0);
    ck_assert_int_eq(journal_add(&in.with, "89abcdef"), 0);
    ck_assert_int_eq(journal_opt(&in, "active-late"), 0);
    ck_assert_int_eq(journal_opt(&in, "resize=4096"), 0);
    n = journal_encode(&in, &names, NULL);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(journal_decode(names, (size_t)n, &out, NULL), 0);
    ck_assert_uint_eq(out.with.n, 2);
    ck_assert_str_eq(out.with.v[1], "89abcdef");
    ck_assert(journal_has_opt(&out, "active-late"));
    ck_assert(!journal_has_opt(&out, "active"));
    ck_assert(!journal_has_opt(&out, "late"));
    ck_assert_uint_eq(journal_opt_number(&out, "resize="), 4096);
    ck_assert_uint_eq(journal_opt_number(&out, "size="), 0);
    free_names(names, n);
    journal_done(&in);
    journal_done(&out);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("journal");
    TCase *tcase = tcase_create("journal");
    SRunner *runner;
    int failed;

    tcase_add_test(tcase, a_record_comes_back_as_it_was_written);
    tcase_add_test(tcase, a_long_record_is_cut_into_names_that_qemu_takes);
    tcase_add_test(tcase, a_record_beyond_the_limit_is_refused);
    tcase_add_test(tcase, the_disks_after_the_first_come_back_in_order);
    tcase_add_test(tcase, the_mark_of_the_end_is_read_beside_the_record);
    tcase_add_test(tcase, the_marks_of_added_bitmaps_are_read_beside_the_record);
    tcase_add_loop_test(tcase, a_malformed_record_is_refused, 0,
                        (int)(sizeof(bad) / sizeof(bad[0])));
    tcase_add_test(tcase, a_record_that_is_cut_off_is_not_taken_for_a_whole_one);
    tcase_add_test(tcase, parts_that_contradict_each_other_are_refused);
    tcase_add_test(tcase, no_record_at_all_is_refused);
    tcase_add_test(tcase, running_out_of_memory_leaves_nothing_behind);
    tcase_add_test(tcase, companions_and_options_come_back);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
