/* Several disks in one operation (qblk_group), and what one of them means for the others. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../starve/case.h"
#include "look_aid.h"

static struct peer peer;
static qblk_monitor *monitor;

/* What the two operations came to, in the order of their disks. */
static struct end {
    qblk_op *op;
    bool is_over, is_kept;
    char id[9];
    qblk_result result;
    qblk_error error;
} ends[2];

static void on_end(qblk_op *op, const qblk_op_report *report, const qblk_error *error, void *arg)
{
    struct end *end = arg;

    end->is_over = true;
    end->result = report->result;
    (void)snprintf(end->id, sizeof(end->id), "%s", qblk_op_id(op));
    if (error != NULL)
        end->error = *error;
    if (!end->is_kept)
        (void)qblk_op_free(op); /* as most callers do */
}

static bool is_over(void)
{
    return ends[0].is_over && ends[1].is_over;
}

static bool are_mirrored(void)
{
    size_t n = 0;

    for (size_t i = 0; i < peer.n_jobs; i++)
        n += strcmp(peer.jobs[i].type, "mirror") == 0;
    return n == 2;
}

static void setup(void)
{
    memset(ends, 0, sizeof(ends));
    monitor = peer_start(&peer, PEER_VERSION(7, 2, 22), NULL);
    peer_add_disk(&peer);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
}

static void begin(const char *first, const char *second)
{
    const char *const disks[] = { first, second };
    qblk_copy_options options = QBLK_INIT(qblk_copy_options);
    qblk_group *group;

    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    options.ending = QBLK_END_PIVOT;
    options.no_bitmaps = true;
    options.group = group;
    options.common.ops.on_end = on_end;
    for (int i = 0; i < 2; i++) {
        char target[128];

        (void)snprintf(target, sizeof(target), "%s/target%d", peer.dir, i);
        options.common.arg = &ends[i];
        ck_assert_int_eq(qblk_copy(monitor, disks[i], target, &options, &ends[i].op, NULL), 0);
    }
    ck_assert_int_eq(qblk_group_start(group, NULL), 0);
    qblk_group_free(group);
    ck_assert(peer_run(&peer, monitor, peer.is_holding ? are_mirrored : is_over));
}

START_TEST(two_disks_move_together)
{
    begin("vd0", "vd1");
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_PIVOTED);
    ck_assert_int_eq(ends[1].result, QBLK_RESULT_PIVOTED);
}
END_TEST

/* Also if the one that is refused is freed as soon as it says so. */
START_TEST(a_disk_that_is_refused_takes_the_other_along)
{
    char *before = peer_state(&peer), *after;
    int bad = _i;

    begin(bad == 0 ? "nowhere" : "vd0", bad == 0 ? "vd0" : "nowhere");
    ck_assert_int_eq(ends[bad].result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(ends[1 - bad].result, QBLK_RESULT_CANCELLED);
    ck_assert_msg(strstr(ends[1 - bad].error.text, "given up together with disk nowhere") != NULL,
                  "%s", ends[1 - bad].error.text);
    ck_assert_uint_eq(peer.n_started, 0);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* One fails, and the job of the other completes although it is cancelled: nobody has to be waited for any
 * more, and it has moved no disk. */
START_TEST(one_that_completes_all_the_same_waits_for_nobody)
{
    char *before = peer_state(&peer), *after;
    char id[40];

    peer.is_holding = true;
    peer.cancels_softly = true;
    begin("vd0", "vd1");
    (void)snprintf(id, sizeof(id), "qblk.%s.copy", qblk_op_id(ends[1].op));
    peer_cancel_job(&peer, id);
    ck_assert(peer_run(&peer, monitor, is_over));
    ck_assert_int_eq(ends[1].result, QBLK_RESULT_CANCELLED);
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_CANCELLED);
    ck_assert_msg(strstr(ends[0].error.text, "given up together") != NULL, "%s", ends[0].error.text);
    ck_assert_str_eq(peer.root, "top");
    ck_assert_uint_eq(peer.n_jobs, 0);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* keeps: the operations are not freed as they end. */
static void take_up(const char *const *ids, int n, qblk_group *group, qblk_resume_how how, bool keeps)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);

    memset(ends, 0, sizeof(ends));
    options.group = group;
    options.how = how;
    options.common.ops.on_end = on_end;
    for (int i = 0; i < n; i++) {
        ends[i].is_kept = keeps;
        options.common.arg = &ends[i];
        ck_assert_int_eq(qblk_resume(monitor, ids[i], &options, &ends[i].op, NULL), 0);
    }
    for (int i = n; i < 2; i++)
        ends[i].is_over = true;
    if (group != NULL)
        ck_assert_int_eq(qblk_group_start(group, NULL), 0);
    ck_assert(peer_run(&peer, monitor, is_over));
}

/* What they were left at they are taken up at together, or not at all. */
START_TEST(one_is_not_taken_up_without_the_other)
{
    char id[2][9], *before, *after;
    const char *const ids[] = { id[0], id[1] };
    qblk_group *group;

    peer.is_holding = true;
    begin("vd0", "vd1");
    for (int i = 0; i < 2; i++)
        (void)snprintf(id[i], sizeof(id[i]), "%s", qblk_op_id(ends[i].op));
    qblk_op_leave(ends[0].op);
    ck_assert(peer_run(&peer, monitor, is_over));
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_LEFT);
    ck_assert_int_eq(ends[1].result, QBLK_RESULT_LEFT);
    before = peer_state(&peer);
    for (int i = 0; i < 2; i++) {
        char says[80];

        (void)snprintf(says, sizeof(says), "operation %s was started together with %s ", id[i], id[1 - i]);
        take_up(&ids[i], 1, NULL, QBLK_RESUME_INTENT, false);
        ck_assert_int_eq(ends[0].result, QBLK_RESULT_FAILED);
        ck_assert_msg(ends[0].error.code == QBLK_E_BUSY && ends[0].error.kind == QBLK_KIND_REFUSED &&
                      strstr(ends[0].error.text, says) != NULL, "%s", ends[0].error.text);
    }
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
    peer.is_holding = false;
    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    take_up(ids, 2, group, QBLK_RESUME_INTENT, false);
    qblk_group_free(group);
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_PIVOTED);
    ck_assert_int_eq(ends[1].result, QBLK_RESULT_PIVOTED);
    ck_assert_uint_eq(peer.n_jobs, 0);
}
END_TEST

/* Nor with the other, if of that nothing is known but that it is there. */
START_TEST(one_is_not_taken_up_with_one_that_is_not_understood)
{
    char id[2][9], name[40], says[120], *before, *after;
    const char *const ids[] = { id[0], id[1] };
    struct peer_node *journal;
    qblk_remains *remains;
    const qblk_open_op *op;
    qblk_group *group;

    peer.is_holding = true;
    begin("vd0", "vd1");
    for (int i = 0; i < 2; i++)
        (void)snprintf(id[i], sizeof(id[i]), "%s", qblk_op_id(ends[i].op));
    qblk_op_leave(ends[0].op);
    ck_assert(peer_run(&peer, monitor, is_over));
    (void)snprintf(name, sizeof(name), "qblk.%s.journal", id[1]);
    journal = peer_node(&peer, name);
    ck_assert_ptr_nonnull(journal);
    journal->bitmaps[0][strlen("qblk")] = '2'; /* the version */
    before = peer_state(&peer);
    (void)snprintf(says, sizeof(says), "operation %s belongs together with %s, which cannot be taken up: ", id[0],
                   id[1]);

    remains = look(&peer, monitor);
    op = look_find(remains, id[0]);
    ck_assert_ptr_nonnull(op);
    ck_assert_uint_eq(op->n_with, 1);
    ck_assert_int_eq(op->fate, QBLK_FATE_LEAVE);
    ck_assert_int_eq(op->why.code, QBLK_E_BUSY);
    ck_assert_msg(strncmp(op->why.text, says, strlen(says)) == 0, "%s", op->why.text);
    (void)qblk_remains_free(remains);

    ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
    take_up(ids, 2, group, QBLK_RESUME_INTENT, _i == 0);
    qblk_group_free(group);
    for (int i = 0; i < 2 && ends[i].is_kept; i++)
        (void)qblk_op_free(ends[i].op);
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(ends[0].error.code, QBLK_E_BUSY);
    ck_assert_msg(strncmp(ends[0].error.text, says, strlen(says)) == 0, "%s", ends[0].error.text);
    ck_assert_int_eq(ends[1].result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(ends[1].error.code, QBLK_E_JOURNAL);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* ---- after a client that died ---------------------------------------------------------------- */

static char *clean, *done;
static size_t n_commands;

static void again(void)
{
    teardown();
    setup();
}

static void measure(void)
{
    clean = peer_state(&peer);
    begin("vd0", "vd1");
    ck_assert_int_eq(ends[0].result, QBLK_RESULT_PIVOTED);
    done = peer_state(&peer);
    n_commands = peer.n_sent;
    again();
}

static void forget(void)
{
    free(clean);
    free(done);
    clean = done = NULL;
}

/* Which of the two are open: their ids, and what is foretold. Returns how many. */
static int find_open(char (*ret_ids)[9], qblk_fate *ret_fates)
{
    char ids[2][9];
    qblk_remains *remains;
    int n = 0;

    for (int i = 0; i < 2; i++)
        memcpy(ids[i], ends[i].id, sizeof(ids[i]));
    monitor = qblk_monitor_free(monitor);
    monitor = peer_reconnect(&peer, NULL);
    remains = look(&peer, monitor);
    for (int i = 0; i < 2; i++) {
        const qblk_open_op *op = ids[i][0] != '\0' ? look_find(remains, ids[i]) : NULL;

        if (op == NULL)
            continue;
        ret_fates[n] = op->fate;
        memcpy(ret_ids[n++], ids[i], sizeof(ids[i]));
    }
    ck_assert_ptr_null(qblk_remains_op(remains, n));
    (void)qblk_remains_free(remains);
    return n;
}

static void die_at(size_t n, bool after, bool goes_on, qblk_resume_how how)
{
    char id[2][9], *state, *sent;
    const char *const ids[] = { id[0], id[1] };
    qblk_fate fates[2];
    qblk_group *group;
    int open;

    peer.hang_up_at = n;
    peer.hang_up_after = after;
    begin("vd0", "vd1");
    peer.hang_up_at = 0;
    if (goes_on)
        peer_go_on(&peer);
    open = find_open(id, fates);
    if (open > 0) {
        bool is_done;

        ck_assert_int_eq(qblk_group_new(monitor, &group, NULL), 0);
        take_up(ids, open, group, how, false);
        qblk_group_free(group);
        state = peer_state(&peer);
        is_done = strcmp(state, done) == 0;
        for (int i = 0; i < open; i++) {
            bool is_undone = ends[i].result == QBLK_RESULT_UNDONE;

            sent = peer_sent(&peer, false);
            ck_assert_msg(is_undone ? !is_done : is_done && ends[i].result == QBLK_RESULT_PIVOTED,
                          "died at %zu: %s: %s\n%.900s\nsent\n%.1800s", n, qblk_result_name(ends[i].result),
                          ends[i].error.text, state, sent);
            if (how == QBLK_RESUME_INTENT && fates[i] != QBLK_FATE_LATER)
                ck_assert_msg(is_undone == (fates[i] == QBLK_FATE_CLOSE || fates[i] == QBLK_FATE_UNDO),
                              "died at %zu: %s, foretold %d", n, qblk_result_name(ends[i].result),
                              (int)fates[i]);
            free(sent);
        }
        free(state);
    }
    state = peer_state(&peer);
    ck_assert_msg(strcmp(state, clean) == 0 || strcmp(state, done) == 0, "died at %zu\n%.1800s", n, state);
    free(state);
    ck_assert_int_eq(find_open(id, fates), 0);
}

/* Both end alike, as was foretold. */
START_TEST(a_client_that_dies_anywhere_is_followed_by_one_that_ends_both_alike)
{
    measure();
    for (size_t n = 1; n <= n_commands; n += (size_t)case_many(1, 7)) {
        for (int way = 0; way < 4; way++) {
            die_at(n, (way & 1) != 0, (way & 2) != 0, _i == 0 ? QBLK_RESUME_INTENT : QBLK_RESUME_UNDO);
            again();
        }
    }
    forget();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("group");
    TCase *tc = tcase_create("group");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, two_disks_move_together);
    tcase_add_loop_test(tc, a_disk_that_is_refused_takes_the_other_along, 0, 2);
    tcase_add_test(tc, one_that_completes_all_the_same_waits_for_nobody);
    tcase_add_test(tc, one_is_not_taken_up_without_the_other);
    tcase_add_loop_test(tc, one_is_not_taken_up_with_one_that_is_not_understood, 0, 2);
    tcase_add_loop_test(tc, a_client_that_dies_anywhere_is_followed_by_one_that_ends_both_alike, 0, 2);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
