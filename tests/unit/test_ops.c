/* Whole operations: the exact commands, in order, and no others; the outcome does not depend on
 * which events are heard, how often, and when. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

#define V72 PEER_VERSION(7, 2, 22)

static struct peer peer;
static qblk_monitor *monitor;

static void setup(void)
{
    recorder_reset();
    monitor = peer_start(&peer, V72, NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;

    if (file == NULL)
        return strdup("(no such file)");
    if (getdelim(&text, &room, '\0', file) < 0)
        text = strdup("");
    (void)fclose(file);
    return text;
}

static const char *line_start(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n')
        at--;
    return text + at;
}

/* Lines of one text that are not in the other would be hard to find in check's own message. */
static void same_text(const char *what, const char *text, const char *want)
{
    size_t line = 1, i = 0;

    for (; text[i] != '\0' && text[i] == want[i]; i++)
        line += text[i] == '\n';
    if (text[i] != want[i])
        ck_abort_msg("%s: line %zu differs\nhave:\n%.1500s\nwant:\n%.1500s", what, line,
                     line_start(text, i), line_start(want, i));
}

static void run(const struct errand *errand)
{
    errand_begin(errand, &peer, monitor, false);
    ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s is stuck", errand->name);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert_int_eq(recorder.late, 0);
}

static void well(const struct errand *errand)
{
    ck_assert_msg(recorder.result == errand->result, "%s: %s, not %s: %s", errand->name,
                  qblk_result_name(recorder.result), qblk_result_name(errand->result),
                  recorder.error.text);
}

/* ---- what is sent ---------------------------------------------------------------------------- */

START_TEST(these_commands_are_sent_and_no_others)
{
    const struct errand *errand = &errands[_i];
    char path[128], *want, *sent, *state, *have = NULL;
    FILE *file;

    (void)snprintf(path, sizeof(path), "tests/data/ops/%s", errand->name);
    run(errand);
    well(errand);
    sent = peer_sent(&peer, true);
    state = peer_state(&peer);
    ck_assert_int_ge(asprintf(&have, "%s\n%s", sent, state), 0);
    if (getenv("BLESS") != NULL && (file = fopen(path, "w")) != NULL) {
        (void)fputs(have, file);
        (void)fclose(file);
    }
    want = read_file(path);
    same_text(path, have, want);
    free(want);
    free(have);
    free(sent);
    free(state);
}
END_TEST

static bool is_query(const char *line)
{
    return strncmp(line, "{\"execute\":\"query-", 18) == 0 ||
           strncmp(line, "{\"execute\":\"x-debug-query-", 26) == 0 ||
           strncmp(line, "{\"execute\":\"job-dismiss\"", 24) == 0;
}

/* The lines that are no queries and no dismissals: those are sent unasked. */
static char *changes(const char *text)
{
    char *out = calloc(1, strlen(text) + 1);

    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        size_t len = (size_t)(strchr(line, '\n') - line) + 1;

        if (!is_query(line))
            strncat(out, line, len);
    }
    return out;
}

static void mask_plan(char *text)
{
    for (char *at = text; (at = strstr(at, "qblk.")) != NULL; at += 5) {
        if (strspn(at + 5, "0123456789abcdef") == 8) {
            memmove(at + 7, at + 13, strlen(at + 13) + 1);
            memcpy(at + 5, "ID", 2);
        }
    }
    for (char *at; (at = strstr(text, peer.dir)) != NULL;) {
        memmove(at + 3, at + strlen(peer.dir), strlen(at + strlen(peer.dir)) + 1);
        memcpy(at, "DIR", 3);
    }
}

START_TEST(a_dry_run_only_asks_and_tells_what_a_real_run_sends)
{
    const struct errand *errand = &errands[_i];
    char *before, *after, *planned, *sent, *told, *did;

    if (errand->reuse || errand->is_of_two) /* what is there for it belongs to the state before */
        errand_begin(errand, &peer, monitor, true);
    before = peer_state(&peer);
    if (!errand->reuse && !errand->is_of_two)
        errand_begin(errand, &peer, monitor, true);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_PLANNED);
    ck_assert_int_eq(recorder.calls[CALL_STEP], 0);
    for (size_t i = 0; i < peer.n_sent; i++)
        ck_assert_msg(is_query(peer.sent[i]) && strstr(peer.sent[i], "dismiss") == NULL,
                      "a dry run sent %s", peer.sent[i]);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    ck_assert_ptr_nonnull(recorder.planned);
    planned = strdup(recorder.planned);
    mask_plan(planned);

    monitor = qblk_monitor_free(monitor);
    recorder_reset();
    monitor = peer_reconnect(&peer, NULL);
    run(errand);
    well(errand);
    sent = peer_sent(&peer, false);
    told = changes(planned);
    did = changes(sent);
    same_text(errand->name, did, told);
    free(before);
    free(after);
    free(planned);
    free(sent);
    free(told);
    free(did);
}
END_TEST

/* ---- what is heard --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum peer_order order;
    bool twice;
    const char *drop;
} ways[] = {
    { "as measured", PEER_MEASURED, false, NULL },
    { "events first", PEER_EVENTS_FIRST, false, NULL },
    { "replies first", PEER_REPLIES_FIRST, false, NULL },
    { "twice", PEER_MEASURED, true, NULL },
    { "twice, events first", PEER_EVENTS_FIRST, true, NULL },
    { "twice, replies first", PEER_REPLIES_FIRST, true, NULL },
    { "no BLOCK_JOB_*", PEER_MEASURED, false, "BLOCK_JOB_" },
    { "no JOB_STATUS_CHANGE", PEER_MEASURED, false, "JOB_STATUS_CHANGE" },
    { "no BLOCK_JOB_*, events first", PEER_EVENTS_FIRST, false, "BLOCK_JOB_" },
    { "no JOB_STATUS_CHANGE, events first", PEER_EVENTS_FIRST, false, "JOB_STATUS_CHANGE" },
    { "no BLOCK_JOB_*, replies first", PEER_REPLIES_FIRST, false, "BLOCK_JOB_" },
    { "no JOB_STATUS_CHANGE, replies first", PEER_REPLIES_FIRST, false, "JOB_STATUS_CHANGE" },
};

#define N_WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

static void set_way(int way)
{
    peer.order = ways[way].order;
    peer.twice = ways[way].twice;
    peer.drop = ways[way].drop;
}

static const char *job_type(const struct errand *errand)
{
    return strcmp(errand->kind, "pull") == 0     ? "stream"
           : strcmp(errand->kind, "backup") == 0 ? "backup"
                                                 : "mirror";
}

/* Runs errand as measured and in that way: the same end, the same changes, the same state. */
static void same_outcome(const struct errand *errand, int way, const char *fail_job)
{
    char *sent[2], *state[2], *did[2];
    qblk_result result[2];
    qblk_error_code code[2];

    for (int i = 0; i < 2; i++) {
        set_way(i == 0 ? 0 : way);
        peer.fail_job = fail_job;
        run(errand);
        result[i] = recorder.result;
        code[i] = recorder.has_error ? recorder.error.code : QBLK_E_NONE;
        sent[i] = peer_sent(&peer, false);
        did[i] = changes(sent[i]);
        state[i] = peer_state(&peer);
        if (i == 0) {
            teardown();
            setup();
        }
    }
    ck_assert_msg(result[1] == result[0] && code[1] == code[0], "%s, %s: %s (%s), not %s (%s)",
                  errand->name, ways[way].name, qblk_result_name(result[1]),
                  qblk_error_code_name(code[1]), qblk_result_name(result[0]),
                  qblk_error_code_name(code[0]));
    same_text(ways[way].name, did[1], did[0]);
    same_text(ways[way].name, state[1], state[0]);
    for (int i = 0; i < 2; i++) {
        free(sent[i]);
        free(did[i]);
        free(state[i]);
    }
}

START_TEST(events_lost_doubled_or_moved_change_no_good_end)
{
    for (int way = 1; way < N_WAYS; way++) {
        same_outcome(&errands[_i], way, NULL);
        teardown();
        setup();
    }
}
END_TEST

START_TEST(events_lost_doubled_or_moved_change_no_bad_end)
{
    const struct errand *errand = &errands[_i];

    for (int way = 1; way < N_WAYS; way++) {
        same_outcome(errand, way, job_type(errand));
        teardown();
        setup();
        if (errand->reuse || errand->legacy || strcmp(errand->kind, "pull") == 0)
            continue;
        same_outcome(errand, way, "create");
        teardown();
        setup();
    }
}
END_TEST

/* ---- how the job ends ------------------------------------------------------------------------ */

static bool has_job(void)
{
    for (size_t i = 0; i < peer.n_jobs; i++) {
        if (strcmp(peer.jobs[i].type, "create") != 0)
            return recorder.calls[CALL_JOB] > 1 || recorder_ended();
    }
    return recorder_ended();
}

/* Runs until its job is at work and does not get on. */
static char *to_job(const struct errand *errand)
{
    peer.is_holding = true;
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, has_job));
    ck_assert(!recorder_ended());
    for (size_t i = 0; i < peer.n_jobs; i++) {
        if (strcmp(peer.jobs[i].type, "create") != 0)
            return peer.jobs[i].id;
    }
    ck_abort_msg("there is no job");
    return NULL;
}

static char *clean_state(const struct errand *errand)
{
    struct peer other;
    qblk_monitor *none = peer_start(&other, V72, NULL);
    char *state, target[128];
    FILE *file;

    (void)snprintf(target, sizeof(target), "%s/target", other.dir);
    if (errand->reuse && (file = fopen(target, "w")) != NULL)
        (void)fclose(file);
    state = peer_state(&other);
    (void)qblk_monitor_free(none);
    peer_done(&other);
    return state;
}

static void all_undone(const struct errand *errand, const char *when)
{
    char *want = clean_state(errand), *have = peer_state(&peer);

    same_text(when, have, want);
    free(want);
    free(have);
}

START_TEST(a_job_that_somebody_else_cancels_is_undone)
{
    const struct errand *errand = &errands[_i];

    for (int way = 0; way < N_WAYS; way++) {
        char id[64];

        set_way(way);
        (void)snprintf(id, sizeof(id), "%s", to_job(errand));
        peer_cancel_job(&peer, id);
        ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s is stuck", ways[way].name);
        ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
        ck_assert_int_eq(recorder.error.kind, QBLK_KIND_CANCELLED);
        ck_assert_str_eq(recorder.error.job, id);
        all_undone(errand, ways[way].name);
        teardown();
        setup();
    }
}
END_TEST

/* QEMU 5.2 lets a mirror complete that is cancelled just as it gets in sync, and no disk moves. */
START_TEST(a_cancel_that_the_job_takes_for_its_end_is_undone)
{
    const struct errand *errand = &errands[_i];

    peer.cancels_softly = true;
    recorder.act_call = CALL_JOB;
    recorder.act_at = 1;
    recorder.act = qblk_op_cancel;
    peer.is_holding = true;
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    if (errand->result == QBLK_RESULT_PIVOTED) {
        ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
        all_undone(errand, "after the job had completed instead of being cancelled");
    } else { /* it is what was asked for, or what cannot be told from it */
        ck_assert_int_ne(recorder.result, QBLK_RESULT_CANCELLED);
    }
    ck_assert_str_eq(peer.root, "top");
}
END_TEST

START_TEST(a_job_that_vanishes_is_lost_and_undone)
{
    const struct errand *errand = &errands[_i];

    /* Without a word, so it is found out by the reading that a surprise asks for. */
    (void)to_job(errand);
    peer.is_holding = false;
    peer.vanish = true;
    while (peer_turn(&peer))
        ;
    ck_assert_uint_eq(peer.n_jobs, 0);
    ck_assert_int_eq(qblk_jobs_track(monitor, NULL, NULL, NULL), 0);
    qblk_jobs_progress(monitor, 5);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_LOST);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOB_LOST);
    all_undone(errand, "after the job had vanished");
}
END_TEST

START_TEST(qemus_words_for_a_failed_job_are_reported)
{
    const struct errand *errand = &errands[_i];

    peer.fail_job = job_type(errand);
    run(errand);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOB_FAILED);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "No space left on device"));
    ck_assert_str_eq(recorder.error.job, recorder.job);
    all_undone(errand, "after the job had failed");
}
END_TEST

static bool makes_target(const struct errand *errand)
{
    return !errand->reuse && (strcmp(errand->kind, "copy") == 0 || strcmp(errand->kind, "backup") == 0 ||
                              strcmp(errand->kind, "snapshot") == 0);
}

/* It may live where there are other mounts. */
START_TEST(a_target_that_is_there_for_qemu_alone_is_refused)
{
    const struct errand *errand = &errands[_i];
    char *state;

    peer.sees_more = true;
    run(errand);
    if (!makes_target(errand)) {
        well(errand);
        return;
    }
    ck_assert_msg(recorder.error.code == QBLK_E_TARGET_EXISTS && recorder.error.kind == QBLK_KIND_REFUSED,
                  "%s: %s", errand->name, recorder.error.text);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, " exists for QEMU, though not for this process"));
    ck_assert_uint_eq(peer_count(&peer, "blockdev-add"), 1);
    state = peer_state(&peer);
    ck_assert_ptr_null(strstr(state, "qblk."));
    free(state);
}
END_TEST

static void grow(qblk_op *op)
{
    (void)op;
    peer_node(&peer, "top")->size *= 2;
}

/* QEMU puts an overlay that is shorter in its place without a word, and what is behind its end is gone. */
START_TEST(a_disk_that_is_resized_before_its_snapshot_is_not_given_its_old_size)
{
    const struct errand *errand = &errands[N_WITH_JOB + _i];
    int n = 0, whole;

    run(errand);
    well(errand);
    whole = recorder.calls[CALL_STEP];
    for (int at = 1; at <= whole; at++) {
        char *state;

        teardown();
        setup();
        recorder.act_call = CALL_STEP;
        recorder.act_at = at;
        recorder.act = grow;
        run(errand);
        if (peer.n_started > 0)
            continue; /* it was snapshot by then */
        n++;
        ck_assert_msg(recorder.error.code == QBLK_E_SIZE_MISMATCH, "%s: %s", errand->name, recorder.error.text);
        state = peer_state(&peer);
        ck_assert_ptr_null(strstr(state, "qblk."));
        free(state);
    }
    /* All but the transaction, the look at it, and what closes it. */
    ck_assert_int_ge(n, whole - 4);
}
END_TEST

START_TEST(an_encrypted_disk_gets_no_new_image_in_clear)
{
    const struct errand *errand = &errands[_i];

    peer_node(&peer, "top")->is_encrypted = true;
    run(errand);
    if (makes_target(errand)) {
        ck_assert_msg(recorder.error.code == QBLK_E_TARGET_INVALID, "%s: %s", errand->name, recorder.error.text);
        ck_assert_ptr_nonnull(strstr(recorder.error.text, "disk vd0 is encrypted"));
        ck_assert_uint_eq(peer_count(&peer, "blockdev-add") + peer_count(&peer, "drive-mirror") +
                              peer_count(&peer, "drive-backup"), 0);
    } else {
        well(errand);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ops");
    TCase *tcase = tcase_create("ops");
    TCase *large = tcase_create("large");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, these_commands_are_sent_and_no_others, 0, N_ERRANDS);
    tcase_add_loop_test(tcase, a_dry_run_only_asks_and_tells_what_a_real_run_sends, 0, N_ERRANDS);
    tcase_add_loop_test(tcase, a_cancel_that_the_job_takes_for_its_end_is_undone, 0, N_WITH_JOB);
    tcase_add_loop_test(tcase, a_job_that_vanishes_is_lost_and_undone, 0, N_WITH_JOB);
    tcase_add_loop_test(tcase, qemus_words_for_a_failed_job_are_reported, 0, N_WITH_JOB);
    tcase_add_loop_test(tcase, a_target_that_is_there_for_qemu_alone_is_refused, 0, N_ERRANDS);
    tcase_add_loop_test(tcase, a_disk_that_is_resized_before_its_snapshot_is_not_given_its_old_size, 0,
                        N_ERRANDS - N_WITH_JOB);
    tcase_add_loop_test(tcase, an_encrypted_disk_gets_no_new_image_in_clear, 0, N_ERRANDS);
    tcase_set_tags(large, "large");
    tcase_add_checked_fixture(large, setup, teardown);
    tcase_set_timeout(large, 60);
    tcase_add_loop_test(large, events_lost_doubled_or_moved_change_no_good_end, 0, N_ERRANDS);
    tcase_add_loop_test(large, events_lost_doubled_or_moved_change_no_bad_end, 0, N_ERRANDS);
    tcase_add_loop_test(large, a_job_that_somebody_else_cancels_is_undone, 0, N_WITH_JOB);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, large);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
