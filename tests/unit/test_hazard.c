/* What is known to crash or hang certain versions of QEMU is not sent to them; and is sent to
 * others. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "monitor/hazard.h"
#include "recorder.h"
#include "wire/unixsock.h"

#define V52 PEER_VERSION(5, 2, 0)
#define V72 PEER_VERSION(7, 2, 22)
#define V100 PEER_VERSION(10, 0, 13)
#define V111 PEER_VERSION(11, 1, 3)

static struct peer peer;
static qblk_monitor *monitor;

/* Nothing that this file does may send either of these, whatever the version. */
static void never_sent(void)
{
    ck_assert_uint_eq(peer_count(&peer, "nbd-server-stop"), 0);
    ck_assert_uint_eq(peer_count(&peer, "quit"), 0);
    ck_assert(!peer.has_crashed);
}

static void begin(unsigned version)
{
    recorder_reset();
    monitor = peer_start(&peer, version, NULL);
}

static void end(void)
{
    never_sent();
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

/* The peer dies as QEMU does: what it dies of is written down there independently. */
static const struct measured {
    unsigned version;
    const char *type;
    bool is_deadly;
} measured[] = {
    { V52, "backup", true },   { V52, "stream", false },  { V52, "mirror", false },
    { V52, "commit", false },  { V52, "create", false },  { V72, "backup", false },
    { V72, "stream", true },   { V72, "mirror", false },  { V72, "commit", false },
    { V72, "create", false },  { V100, "backup", false }, { V100, "stream", false },
    { V100, "mirror", false }, { V111, "backup", false }, { V111, "stream", false },
};

#define N_MEASURED ((int)(sizeof(measured) / sizeof(measured[0])))

/* An image that is being made forbids the question until its job has concluded, on old versions. */
static bool is_deadly(const struct measured *row, const char *state)
{
    if (strcmp(row->type, "create") == 0)
        return row->version < V100 && strcmp(state, "concluded") != 0;
    return row->is_deadly;
}

static size_t node_queries(void)
{
    return peer_count(&peer, "query-named-block-nodes");
}

/* ---- the table ------------------------------------------------------------------------------- */

START_TEST(the_table_says_what_was_measured)
{
    ck_assert_int_eq(hazard_is_known(measured[_i].version, HAZARD_NODES_WHILE_CONCLUDED,
                                     measured[_i].type), measured[_i].is_deadly);
}
END_TEST

START_TEST(every_row_is_found_within_its_range_and_not_outside)
{
    enum hazard hazard;
    const char *type, *text;
    unsigned from, to;
    int n = 0, seen = 0;

    for (; hazard_row(n, &hazard, &from, &to, &type, &text); n++) {
        ck_assert_uint_le(from, to);
        ck_assert_ptr_nonnull(text);
        ck_assert_int_eq(type != NULL, hazard == HAZARD_NODES_WHILE_CONCLUDED ||
                                           hazard == HAZARD_NODES_WHILE_CREATING ||
                                           hazard == HAZARD_DRAIN_WHILE_CREATING);
        ck_assert(hazard_is_known(from, hazard, type));
        ck_assert(hazard_is_known(to, hazard, type));
        ck_assert(!hazard_is_known(from - 1, hazard, type));
        ck_assert(!hazard_is_known(to + 1, hazard, type));
        ck_assert(hazard_is_possible(from, hazard));
        ck_assert(hazard_is_possible(to, hazard));
        seen |= 1 << hazard;
    }
    /* Each hazard has a row, and what is avoided elsewhere by name is one of them. */
    ck_assert_int_eq(seen, 1 << HAZARD_NODES_WHILE_CONCLUDED | 1 << HAZARD_NODES_WHILE_CREATING |
                           1 << HAZARD_DRAIN_WHILE_CREATING |
                           1 << HAZARD_NBD_STOP_HANDSHAKE | 1 << HAZARD_QUEUED_BEHIND_QUIT |
                           1 << HAZARD_REOPEN_NOTHING);
    ck_assert(!hazard_row(-1, &hazard, &from, &to, &type, &text));
    ck_assert(!hazard_row(n, &hazard, &from, &to, &type, &text));
    ck_assert(!hazard_is_possible(V100, HAZARD_NODES_WHILE_CONCLUDED));
}
END_TEST

/* ---- reading the graph ----------------------------------------------------------------------- */

static const char *const states[] = { "running", "ready", "pending", "concluded" };

static bool is_read;

static void on_reply(qblk_monitor *m, const char *reply, const qblk_error *error, void *arg)
{
    (void)m;
    (void)reply;
    (void)error;
    (void)arg;
    is_read = true;
}

static bool is_done(void)
{
    return is_read;
}

/* A dry run reads the graph and does nothing else. */
static void read_graph(void)
{
    qblk_pull_options options = QBLK_INIT(qblk_pull_options);

    recorder_watch(&options.common);
    options.common.dry_run = true;
    ck_assert_int_eq(qblk_pull(monitor, "vd0", &options, NULL, NULL), 0);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_PLANNED);
}

START_TEST(nodes_are_asked_for_where_that_is_safe_and_only_there)
{
    /* It may conclude between the look and the question, so its state is no matter. */
    for (size_t s = 0; s < sizeof(states) / sizeof(states[0]); s++) {
        for (int ours = 0; ours < 2; ours++) {
            begin(measured[_i].version);
            (void)peer_add_job(&peer, ours ? "qblk.01234567.pull" : "theirs", measured[_i].type,
                               states[s]);
            peer.is_holding = true;
            read_graph();
            ck_assert_uint_eq(node_queries(), is_deadly(&measured[_i], states[s]) ? 0 : 1);
            ck_assert_uint_eq(peer_count(&peer, "query-block"), 1);
            ck_assert_uint_eq(peer_count(&peer, "x-debug-query-block-graph"), 1);
            end();
        }
    }
}
END_TEST

START_TEST(without_jobs_nodes_are_asked_for_on_every_version)
{
    begin(measured[_i].version);
    read_graph();
    ck_assert_uint_eq(node_queries(), 1);
    end();
}
END_TEST

START_TEST(jobs_that_cannot_be_understood_count_as_deadly)
{
    begin(V72);
    peer.refuse = "query-jobs";
    is_read = false;
    ck_assert_int_eq(qblk_monitor_send(monitor, "{\"execute\":\"query-block\"}", -1, on_reply, NULL,
                                       NULL), 0);
    ck_assert(peer_run(&peer, monitor, is_done));
    ck_assert_int_eq(errand_start(&errands[0], &peer, monitor, true, NULL, NULL), 0);
    for (int i = 0; i < 100 && !recorder_ended(); i++) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)peer_turn(&peer);
    }
    ck_assert_uint_eq(node_queries(), 0);
    end();
}
END_TEST

/* ---- operations ------------------------------------------------------------------------------ */

static const unsigned versions[] = { V52, V72, V100, V111 };

#define N_VERSIONS ((int)(sizeof(versions) / sizeof(versions[0])))

/* Somebody else's concluded job stays all the while; ours conclude as they go. */
START_TEST(no_operation_crashes_any_version)
{
    static const char *const others[] = { NULL, "backup", "stream", "mirror" };

    for (int v = 0; v < N_VERSIONS; v++) {
        for (size_t o = 0; o < sizeof(others) / sizeof(others[0]); o++) {
            begin(versions[v]);
            if (others[o] != NULL)
                (void)peer_add_job(&peer, "theirs", others[o], "concluded");
            errand_begin(&errands[_i], &peer, monitor, false);
            ck_assert(peer_run(&peer, monitor, recorder_ended));
            ck_assert_msg(!peer.has_crashed, "%s crashed %u", errands[_i].name, versions[v]);
            if (recorder.result != errands[_i].result) {
                ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
                ck_assert_int_eq(recorder.error.code, QBLK_E_HAZARD);
                ck_assert(errands[_i].reuse);
                ck_assert_uint_eq(peer_count(&peer, "blockdev-add"), 0);
            }
            end();
        }
    }
}
END_TEST

/* What cannot be asked for as a whole is put together: the plan is the same as without that job. */
START_TEST(a_deadly_job_of_others_changes_no_plan)
{
    char *planned[2];

    for (int i = 0; i < 2; i++) {
        begin(V72);
        if (i == 1)
            (void)peer_add_job(&peer, "theirs", "stream", "concluded");
        errand_begin(&errands[_i], &peer, monitor, false);
        ck_assert(peer_run(&peer, monitor, recorder_ended));
        planned[i] = peer_state(&peer);
        if (errands[_i].reuse)
            ck_assert_int_eq(recorder.error.code, i == 0 ? QBLK_E_NONE : QBLK_E_HAZARD);
        else
            ck_assert_int_eq(recorder.result, errands[_i].result);
        end();
    }
    if (!errands[_i].reuse) {
        char *theirs = strstr(planned[1], "job theirs concluded\n");

        ck_assert_ptr_nonnull(theirs);
        memmove(theirs, theirs + 21, strlen(theirs + 21) + 1);
        ck_assert_str_eq(planned[1], planned[0]);
    }
    free(planned[0]);
    free(planned[1]);
}
END_TEST

START_TEST(a_reused_target_is_refused_where_its_size_cannot_be_asked)
{
    begin(_i == 0 ? V52 : V72);
    (void)peer_add_job(&peer, "theirs", _i == 0 ? "backup" : "stream", "concluded");
    errand_begin(&errands[6], &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.error.code, QBLK_E_HAZARD);
    ck_assert_int_eq(recorder.error.kind, QBLK_KIND_REFUSED);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "theirs"));
    ck_assert_uint_eq(node_queries(), 0);
    end();
}
END_TEST

/* ---- raw commands ---------------------------------------------------------------------------- */

START_TEST(a_reopen_of_nothing_is_refused_where_it_is_known)
{
    static const struct {
        const char *command, *arguments;
        bool is_deadly;
    } cases[] = {
        { "blockdev-reopen", "{\"options\": []}", true },
        { "blockdev-reopen", "{\"options\": [ ], \"x\": 1}", true },
        { "blockdev-reopen", "{\"options\": [{\"driver\": \"raw\"}]}", false },
        { "blockdev-reopen", "{\"options\": {}}", false },
        { "blockdev-reopen", "{\"driver\": \"raw\"}", false },
        { "blockdev-reopen", "[]", false },
        { "blockdev-reopen", "{\"options\": [", false },
        { "blockdev-reopen", NULL, false },
        { "blockdev-add", "{\"options\": []}", false },
    };

    begin(versions[_i]);
    read_graph(); /* the version is known once there is a greeting */
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        bool is_refused = cases[i].is_deadly && versions[_i] != V52;
        qblk_error error = { .code = QBLK_E_NONE };

        ck_assert_int_eq(qblk_guard(monitor, cases[i].command, cases[i].arguments, 0, &error),
                         is_refused ? -EPERM : 0);
        ck_assert_int_eq(error.code, is_refused ? QBLK_E_HAZARD : QBLK_E_NONE);
    }
    end();
}
END_TEST

/* ---- taking up ------------------------------------------------------------------------------- */

static void resume(const char *id, qblk_resume_how how)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);

    monitor = qblk_monitor_free(monitor);
    monitor = peer_reconnect(&peer, NULL);
    recorder_reset();
    options.how = how;
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
}

/* Where the first command of that name is among those sent; a large number if nowhere. */
static size_t place(const char *command)
{
    char start[64];

    (void)snprintf(start, sizeof(start), "{\"execute\":\"%s\"", command);
    for (size_t i = 0; i < peer.n_sent; i++) {
        if (str_starts(peer.sent[i], start))
            return i;
    }
    return PEER_SENT;
}

static const struct {
    unsigned version;
    int errand;
} deadly[] = { { V52, 10 }, { V52, 11 }, { V52, 12 }, { V72, 0 }, { V72, 1 } };

/* Leaves the operation open with its job over. */
static void leave_concluded(int i, char id[9])
{
    begin(deadly[i].version);
    peer.is_holding = true;
    errand_begin(&errands[deadly[i].errand], &peer, monitor, false);
    while (recorder.calls[CALL_JOB] < 2) {
        (void)qblk_monitor_process(monitor, 0, NULL);
        (void)peer_turn(&peer);
        ck_assert(!recorder_ended());
    }
    memcpy(id, recorder.operation, 9);
    peer.is_holding = false;
    monitor = qblk_monitor_free(monitor);
    peer_go_on(&peer);
}

START_TEST(our_concluded_job_is_dismissed_before_the_journal_is_read)
{
    char id[9];

    leave_concluded(_i, id);
    resume(id, QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    ck_assert_uint_eq(node_queries(), 1);
    ck_assert_uint_lt(place("job-dismiss"), place("query-named-block-nodes"));
    ck_assert_uint_lt(place("block-dirty-bitmap-add"), place("job-dismiss"));
    end();
}
END_TEST

START_TEST(somebody_elses_job_in_the_way_is_named_and_nothing_changed)
{
    char id[9], *before, *after;

    leave_concluded(_i, id);
    (void)peer_add_job(&peer, "theirs", deadly[_i].version == V52 ? "backup" : "stream",
                       "concluded");
    before = peer_state(&peer);
    resume(id, QBLK_RESUME_UNDO);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_HAZARD);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "theirs"));
    ck_assert_uint_eq(node_queries(), 0);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
    end();
}
END_TEST

START_TEST(a_deadly_job_without_a_journal_is_left_alone)
{
    char *before, *after;

    begin(_i == 0 ? V52 : V72);
    (void)peer_add_job(&peer, _i == 0 ? "qblk.01234567.backup" : "qblk.01234567.pull",
                       _i == 0 ? "backup" : "stream", "concluded");
    before = peer_state(&peer);
    resume("01234567", QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.error.code, QBLK_E_UNKNOWN_JOB);
    ck_assert_uint_eq(node_queries(), 0);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
    end();
}
END_TEST

/* An image that another operation of ours makes is soon made, and waited for. Somebody else's may never
 * be. */
START_TEST(an_image_of_a_companion_is_waited_for)
{
    begin(V72);
    (void)peer_add_job(&peer, _i == 0 ? "qblk.89abcdef.create-format" : "theirs", "create", "running");
    resume("01234567", QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.error.code, _i == 0 ? QBLK_E_UNKNOWN_JOB : QBLK_E_HAZARD);
    ck_assert_uint_eq(node_queries(), _i == 0 ? 1 : 0);
    ck_assert_ptr_nonnull(peer_job(&peer, _i == 0 ? "qblk.89abcdef.create-format" : "theirs"));
    end();
}
END_TEST

/* The same of what drains all disks, which kills it too; and of a question in the middle of a plan. */
static void turn_until_quiet(void)
{
    do
        (void)qblk_monitor_process(monitor, 0, NULL);
    while (peer_turn(&peer));
}

static qblk_op *under_way;

static void remember(qblk_op *op)
{
    under_way = op;
}

static size_t drains(void)
{
    return peer_count(&peer, "transaction") + peer_count(&peer, "blockdev-backup") +
           peer_count(&peer, "drive-backup");
}

START_TEST(nothing_is_drained_while_an_image_is_made)
{
    static const unsigned all[] = { V52, V72, V100 };

    for (int way = 0; way < 6; way++) {
        bool is_cancelled = way >= 3;
        size_t sent, whole;

        begin(all[way % 3]);
        errand_begin(&errands[_i], &peer, monitor, false);
        ck_assert(peer_run(&peer, monitor, recorder_ended));
        whole = drains();
        end();
        begin(all[way % 3]);
        recorder.act_call = CALL_PLAN;
        recorder.act_at = 1;
        recorder.act = remember;
        peer.holds = "qblk.89abcdef.create-format";
        (void)peer_add_job(&peer, peer.holds, "create", "running");
        errand_begin(&errands[_i], &peer, monitor, false);
        turn_until_quiet();
        sent = drains();
        ck_assert_uint_eq(sent, peer.version == V100 ? whole : 0);
        if (is_cancelled && whole > 0 && sent == 0) {
            qblk_op_cancel(under_way);
            ck_assert(peer_run(&peer, monitor, recorder_ended));
            ck_assert_int_eq(recorder.result, QBLK_RESULT_CANCELLED);
            ck_assert_uint_eq(drains(), 0);
        }
        peer.holds = NULL;
        ck_assert(peer_run(&peer, monitor, recorder_ended));
        ck_assert(is_cancelled || recorder.result == errands[_i].result);
        end();
    }
}
END_TEST

/* Another client is about to do such a thing, or to make an image; or it seems so and never ends. */
START_TEST(another_client_has_its_turn)
{
    char name[64];
    long pid;
    unsigned uid;
    int claim;

    for (int way = 0; way < 2; way++) {
        begin(V72);
        (void)snprintf(name, sizeof(name), "qblk/turn/%ld", (long)getpid());
        claim = unixsock_claim(name, &pid, &uid);
        ck_assert_int_gt(claim, 0);
        errand_begin(&errands[_i], &peer, monitor, false);
        turn_until_quiet();
        ck_assert_uint_eq(drains() + peer_count(&peer, "blockdev-create"), 0);
        if (way == 0)
            (void)close(claim);
        ck_assert(peer_run(&peer, monitor, recorder_ended));
        ck_assert_int_eq(recorder.result, errands[_i].result);
        if (way == 1)
            (void)close(claim);
        else
            ck_assert_int_gt(claim = unixsock_claim(name, &pid, &uid), 0);
        if (way == 0)
            (void)close(claim);
        end();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hazard");
    TCase *tcase = tcase_create("hazard");
    TCase *large = tcase_create("large");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, the_table_says_what_was_measured, 0, N_MEASURED);
    tcase_add_test(tcase, every_row_is_found_within_its_range_and_not_outside);
    tcase_add_loop_test(tcase, a_reopen_of_nothing_is_refused_where_it_is_known, 0, 4);
    tcase_add_loop_test(tcase, nodes_are_asked_for_where_that_is_safe_and_only_there, 0,
                        N_MEASURED);
    tcase_add_loop_test(tcase, without_jobs_nodes_are_asked_for_on_every_version, 0, N_MEASURED);
    tcase_add_test(tcase, jobs_that_cannot_be_understood_count_as_deadly);
    tcase_add_loop_test(tcase, a_deadly_job_of_others_changes_no_plan, 0, N_ERRANDS);
    tcase_add_loop_test(tcase, a_reused_target_is_refused_where_its_size_cannot_be_asked, 0, 2);
    tcase_add_loop_test(tcase, our_concluded_job_is_dismissed_before_the_journal_is_read, 0, 5);
    tcase_add_loop_test(tcase, somebody_elses_job_in_the_way_is_named_and_nothing_changed, 0, 5);
    tcase_add_loop_test(tcase, a_deadly_job_without_a_journal_is_left_alone, 0, 2);
    tcase_add_loop_test(tcase, an_image_of_a_companion_is_waited_for, 0, 2);
    tcase_add_loop_test(tcase, nothing_is_drained_while_an_image_is_made, 0, N_ERRANDS);
    tcase_add_loop_test(tcase, another_client_has_its_turn, 10, 13);
    tcase_set_tags(large, "large");
    tcase_set_timeout(large, 60);
    tcase_add_loop_test(large, no_operation_crashes_any_version, 0, N_ERRANDS);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, large);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
