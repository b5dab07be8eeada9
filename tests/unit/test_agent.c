/* The guest agent's channel against a model of qemu-ga, with a clock of its own: every way to fail,
 * and a guest that is thawed after each. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent_aid.h"
#include "base/mem.h"
#include "monitor_aid.h"

#define SYNC "sync-delimited"
#define STATUS "fsfreeze-status"
#define FREEZE "fsfreeze-freeze"
#define THAW "fsfreeze-thaw"
#define FREEZING SYNC " " STATUS " " FREEZE
#define THAWING SYNC " " THAW " " STATUS

static struct agent_host host;
static struct agent *agent;
static int64_t now;
static int fds_before;

/* What the errand came to. */
static struct {
    int n;
    struct agent_found found;
    qblk_error error;
} came;
static bool frees;

static void done(void *arg, const struct agent_found *found, const qblk_error *error)
{
    ck_assert_ptr_eq(arg, &came);
    came.n++;
    came.found = *found;
    memset(&came.error, 0, sizeof(came.error));
    if (error != NULL)
        came.error = *error;
    if (frees)
        agent = agent_free(agent);
}

static void setup(void)
{
    qblk_error error;

    fds_before = count_fds();
    memset(&came, 0, sizeof(came));
    frees = false;
    now = 1000000;
    agent_host_start(&host);
    agent = agent_new(host.path, NULL, NULL, &error);
    ck_assert_ptr_nonnull(agent);
}

static void teardown(void)
{
    agent = agent_free(agent);
    agent_host_end(&host);
    ck_assert_int_eq(count_fds(), fds_before);
}

/* Until neither side has anything to do at this time. */
static void settle(void)
{
    for (int idle = 0; idle < 3; idle++) {
        if (agent != NULL && (agent_fd(agent) >= 0 || agent_time(agent) >= 0))
            agent_turn(agent, now);
        while (agent_host_turn(&host))
            idle = 0;
    }
}

/* Goes from one due time to the next, for ms or until the errand is over. */
static void pass(int64_t ms)
{
    int64_t until = now + ms;

    settle();
    while (agent != NULL && agent_is_busy(agent)) {
        int64_t at = agent_time(agent);

        ck_assert_int_ge(at, 0); /* or it would wait for ever */
        if (at > until)
            break;
        if (at > now)
            now = at;
        settle();
    }
    if (now < until && agent != NULL && agent_is_busy(agent))
        now = until;
}

static void start(enum agent_errand errand)
{
    agent_start(agent, errand, now, done, &came);
}

static void run(enum agent_errand errand)
{
    int n = came.n;

    start(errand);
    pass(1000000);
    ck_assert_int_eq(came.n, n + 1);
}

static void ended_well(void)
{
    ck_assert_msg(came.error.code == QBLK_E_NONE, "%s", came.error.text);
}

static void failed_with(qblk_error_code code, const char *text)
{
    ck_assert_msg(came.error.code == code, "code %d: %s", (int)came.error.code, came.error.text);
    ck_assert_msg(strstr(came.error.text, text) != NULL, "no \"%s\" in: %s", text,
                  came.error.text);
    ck_assert_ptr_nonnull(strstr(came.error.text, host.path));
}

static void is_thawed(void)
{
    ck_assert(!host.model.is_frozen);
    ck_assert(!came.found.is_frozen);
    ck_assert(agent == NULL || !agent_is_frozen(agent));
}

static void rule(const char *text)
{
    ck_assert(agent_model_is_rule(text));
    agent_model_rule(&host.model, text);
}

static void asked(const char *commands)
{
    ck_assert_str_eq(agent_host_asked(&host), commands);
}

/* ---- when all goes well ----------------------------------------------------------------------- */

START_TEST(a_ping_is_answered)
{
    run(AGENT_PING);
    ended_well();
    asked(SYNC " ping");
    ck_assert_int_eq(agent_fd(agent), -1);
}
END_TEST

START_TEST(the_agent_and_the_guest_are_looked_at)
{
    run(AGENT_LOOK);
    ended_well();
    asked(SYNC " info " STATUS);
    ck_assert_str_eq(came.found.version, "7.2.22");
    ck_assert(came.found.can_freeze);
    ck_assert(!came.found.is_frozen);
    host.model.is_frozen = true;
    rule("guest-info=disabled");
    run(AGENT_LOOK);
    ended_well();
    ck_assert_str_eq(came.found.version, "");
    ck_assert(came.found.is_frozen);
    ck_assert(!agent_is_frozen(agent)); /* not by us */
}
END_TEST

START_TEST(who_would_freeze_is_hailed_and_nothing_is_frozen)
{
    run(AGENT_HAIL);
    ended_well();
    asked(SYNC " info " STATUS);
    ck_assert_int_eq(agent_fd(agent), -1);
    rule("guest-info=disabled"); /* that it does not tell does not mean that it may not */
    run(AGENT_HAIL);
    ended_well();
    is_thawed();
}
END_TEST

START_TEST(who_would_not_freeze_says_so_when_hailed)
{
    if (_i == 0)
        rule("*guest-fsfreeze-freeze=disabled");
    else if (_i == 1)
        host.model.is_frozen = true;
    else
        rule("guest-fsfreeze-status=error:no such thing here");
    run(AGENT_HAIL);
    if (_i == 1)
        failed_with(QBLK_E_BUSY, "frozen already");
    else
        failed_with(QBLK_E_AGENT, _i == 0 ? "may not freeze" : "no such thing here");
    ck_assert_ptr_null(strstr(agent_host_asked(&host), "thaw"));
    ck_assert(!agent_is_frozen(agent));
}
END_TEST

START_TEST(a_freeze_and_its_thaw)
{
    run(AGENT_FREEZE);
    ended_well();
    asked(FREEZING);
    ck_assert(host.model.is_frozen);
    ck_assert(came.found.is_frozen);
    ck_assert_int_eq(came.found.count, 2);
    ck_assert_int_ge(agent_fd(agent), 0); /* the channel stays ours */
    ck_assert_int_eq(agent_time(agent), -1);
    run(AGENT_THAW);
    ended_well();
    asked(THAWING);
    is_thawed();
    ck_assert_int_eq(came.found.count, 2);
    ck_assert_int_eq(agent_fd(agent), -1);
    ck_assert_int_eq(host.clients, 1);
}
END_TEST

START_TEST(a_guest_left_frozen_is_mended_and_another_left_alone)
{
    run(AGENT_MEND);
    ended_well();
    asked(SYNC " " STATUS);
    ck_assert(!came.found.was_frozen);
    host.model.is_frozen = true;
    run(AGENT_MEND);
    ended_well();
    asked(SYNC " " STATUS " " THAWING);
    ck_assert(came.found.was_frozen);
    is_thawed();
}
END_TEST

START_TEST(a_mend_that_cannot_ask_thaws)
{
    host.model.is_frozen = true;
    rule("guest-fsfreeze-status=disabled");
    run(AGENT_MEND);
    ended_well();
    is_thawed();
}
END_TEST

/* ---- what earlier clients left ---------------------------------------------------------------- */

START_TEST(replies_to_earlier_clients_are_dropped)
{
    static const char stale[] = "{\"return\": 1}\n\xff{\"return\": 99}\n{\"return\": \"frozen\"}\n"
                                "\xff{\"return\": \"no number\"}\n{\"ret\xff\xff{}\n[\n";

    (void)buf_add(&host.model.late, stale, sizeof(stale) - 1);
    run(AGENT_LOOK);
    ended_well();
    ck_assert(!came.found.is_frozen);
}
END_TEST

START_TEST(half_a_command_of_an_earlier_client_is_flushed)
{
    agent_model_feed(&host.model, "{\"execute\": \"guest-shu", 22);
    run(AGENT_PING);
    ended_well();
    asked(SYNC " ping");
}
END_TEST

START_TEST(every_cut_of_the_stream_gives_the_same)
{
    host.max_write = (size_t)_i + 1;
    start(AGENT_LOOK);
    for (int i = 0; i < 10000 && came.n == 0; i++) {
        agent_turn(agent, now);
        (void)agent_host_turn(&host);
    }
    ck_assert_int_eq(came.n, 1);
    ended_well();
    ck_assert_str_eq(came.found.version, "7.2.22");
}
END_TEST

/* ---- nobody there ----------------------------------------------------------------------------- */

START_TEST(a_socket_that_is_not_there_is_told_at_once)
{
    agent_host_vanish(&host);
    for (int errand = AGENT_PING; errand <= AGENT_MEND; errand++) {
        int64_t before = now;

        run((enum agent_errand)errand);
        failed_with(QBLK_E_NO_AGENT, "does not exist");
        ck_assert_int_eq(came.error.err, ENOENT);
        ck_assert_int_eq(now, before);
        is_thawed();
    }
}
END_TEST

START_TEST(a_dead_socket_is_told_at_once)
{
    close(host.listener);
    host.listener = -1;
    run(AGENT_FREEZE);
    failed_with(QBLK_E_NO_AGENT, "nobody listens");
}
END_TEST

START_TEST(an_agent_that_does_not_answer_is_given_up_in_time)
{
    rule("*guest-sync-delimited=ignore");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_NO_AGENT, "is qemu-ga running in the guest");
    ck_assert_int_eq(now, 1005000);
    asked(SYNC);
    is_thawed();
    ck_assert_int_eq(agent_fd(agent), -1);
}
END_TEST

START_TEST(a_channel_with_others_in_line_is_busy)
{
    qblk_error error;
    struct agent *first = agent_new(host.path, NULL, NULL, &error);
    struct agent *second = agent_new(host.path, NULL, NULL, &error);

    ck_assert(first != NULL && second != NULL);
    host.is_deaf = true;
    agent_start(first, AGENT_PING, now, done, &came);
    agent_turn(first, now);
    agent_start(second, AGENT_PING, now, done, &came);
    agent_turn(second, now);
    run(AGENT_PING);
    failed_with(QBLK_E_NO_AGENT, "others wait in line");
    ck_assert_int_eq(now, 1005000);
    (void)agent_free(first);
    (void)agent_free(second);
}
END_TEST

START_TEST(a_monitor_of_qemus_is_no_agent)
{
    (void)buf_adds(&host.model.out, "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_NO_AGENT, "is a QMP monitor");
    is_thawed();
}
END_TEST

START_TEST(a_path_that_is_too_long_is_refused)
{
    char path[200];
    qblk_error error;

    memset(path, 'p', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    ck_assert_ptr_null(agent_new(path, NULL, NULL, &error));
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
}
END_TEST

START_TEST(a_peer_that_babbles_is_given_up_in_time)
{
    rule("*guest-sync-delimited=ignore");
    start(AGENT_PING);
    for (int i = 0; i < 5001 && came.n == 0; i++, now++) {
        settle();
        if (host.peer >= 0)
            (void)send(host.peer, "babble \xff{\"return\": 5}", 20, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    ck_assert_int_eq(came.n, 1);
    ck_assert_int_eq(came.error.code, QBLK_E_NO_AGENT);
}
END_TEST

/* ---- a freeze that fails ---------------------------------------------------------------------- */

START_TEST(a_guest_frozen_by_somebody_else_is_not_touched)
{
    host.model.is_frozen = true;
    run(AGENT_FREEZE);
    failed_with(QBLK_E_BUSY, "frozen already");
    ck_assert_ptr_nonnull(strstr(came.error.text, "qblk agent thaw"));
    asked(SYNC " " STATUS);
    ck_assert(host.model.is_frozen);
    ck_assert(!agent_is_frozen(agent));
}
END_TEST

START_TEST(a_refused_freeze_is_told_in_the_agents_words)
{
    rule("guest-fsfreeze-freeze=error:failed to open /mnt: No such device");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_AGENT, "failed to open /mnt: No such device");
    ck_assert_str_eq(came.error.qmp_class, "GenericError");
    asked(FREEZING " " STATUS);
    is_thawed();
}
END_TEST

START_TEST(a_disabled_freeze_is_told_as_such)
{
    rule("guest-fsfreeze-freeze=disabled");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_AGENT, "has been disabled");
    ck_assert_ptr_nonnull(strstr(came.error.text, "configuration of qemu-ga"));
    is_thawed();
}
END_TEST

START_TEST(a_refused_freeze_that_froze_all_the_same_is_thawed)
{
    rule("guest-fsfreeze-freeze=mute");
    rule("guest-fsfreeze-thaw=error:busy");
    start(AGENT_FREEZE);
    settle();
    ck_assert(host.model.is_frozen);
    (void)buf_adds(&host.model.out, "{\"error\": {\"class\": \"GenericError\", \"desc\": \"x\"}}\n");
    pass(1000000);
    failed_with(QBLK_E_AGENT, "refused guest-fsfreeze-freeze: x");
    asked(FREEZING " " STATUS " " THAWING " " THAWING);
    is_thawed();
}
END_TEST

START_TEST(a_freeze_that_takes_too_long_is_thawed)
{
    rule("guest-fsfreeze-freeze=late");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_TIMEOUT, "180000 ms");
    ck_assert_int_eq(now, 1180000);
    asked(FREEZING " " THAWING);
    is_thawed();
    ck_assert_int_eq(host.clients, 1);
}
END_TEST

START_TEST(a_freeze_that_takes_minutes_is_waited_for)
{
    rule("guest-fsfreeze-freeze=mute");
    start(AGENT_FREEZE);
    pass(170000);
    ck_assert_int_eq(came.n, 0);
    (void)buf_adds(&host.model.out, "{\"return\": 1}\n");
    settle();
    ck_assert_int_eq(came.n, 1);
    ended_well();
    run(AGENT_THAW);
    is_thawed();
}
END_TEST

/* Every way in which a freeze can go wrong on the wire, and in all of them the thaw arrives, if need be
 * by another connection. */
static const char *const freeze_breaks[] = {
    "guest-fsfreeze-freeze=close",  "guest-fsfreeze-freeze=half", "guest-fsfreeze-freeze=garbage",
    "guest-fsfreeze-freeze=huge",   "guest-fsfreeze-freeze=mute", "guest-fsfreeze-freeze=ignore",
    "guest-fsfreeze-freeze=late",
};
static const char *const thaw_breaks[] = {
    "guest-fsfreeze-thaw=close",    "guest-fsfreeze-thaw=half",       "guest-fsfreeze-thaw=garbage",
    "guest-fsfreeze-thaw=huge",     "guest-fsfreeze-thaw=mute",       "guest-fsfreeze-thaw=ignore",
    "guest-fsfreeze-thaw=stays",    "guest-fsfreeze-thaw=error:busy", "guest-fsfreeze-thaw=late",
    "guest-sync-delimited=ignore",  "guest-fsfreeze-status=ignore",   "guest-fsfreeze-status=garbage",
    "guest-fsfreeze-status=number", "guest-sync-delimited=close",     "guest-sync-delimited=number",
    "guest-fsfreeze-status=error:x",
};
#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

START_TEST(however_a_freeze_breaks_the_guest_is_thawed)
{
    rule(freeze_breaks[_i / N_OF(thaw_breaks)]);
    start(AGENT_FREEZE);
    for (int i = 0; i < 100 && strstr(agent_host_asked(&host), FREEZE) == NULL; i++) {
        agent_turn(agent, now);
        (void)agent_host_turn(&host);
    }
    rule(thaw_breaks[_i % N_OF(thaw_breaks)]);
    pass(1000000);
    ck_assert_int_eq(came.n, 1);
    ck_assert_int_ne(came.error.code, QBLK_E_NONE);
    ck_assert_int_ne(came.error.code, QBLK_E_FROZEN);
    is_thawed();
}
END_TEST

START_TEST(however_a_thaw_breaks_the_guest_is_thawed)
{
    run(AGENT_FREEZE);
    rule(thaw_breaks[_i]);
    run(AGENT_THAW);
    ended_well();
    is_thawed();
}
END_TEST

START_TEST(a_connection_closed_while_frozen_is_made_anew)
{
    run(AGENT_FREEZE);
    agent_host_hang_up(&host);
    settle();
    ck_assert_int_eq(agent_fd(agent), -1);
    ck_assert(agent_is_frozen(agent));
    run(AGENT_THAW);
    ended_well();
    is_thawed();
    ck_assert_int_eq(host.clients, 2);
}
END_TEST

/* ---- a thaw that fails ------------------------------------------------------------------------ */

START_TEST(a_thaw_that_cannot_be_brought_about_is_told_loudly)
{
    run(AGENT_FREEZE);
    rule("*guest-fsfreeze-thaw=ignore");
    run(AGENT_THAW);
    failed_with(QBLK_E_FROZEN, "THE GUEST MAY STILL BE FROZEN");
    ck_assert_ptr_nonnull(strstr(came.error.text, "qblk agent thaw"));
    ck_assert_int_eq(now, 1060000);
    ck_assert(came.found.is_frozen);
    ck_assert(agent_is_frozen(agent));
    host.model.n_rules = 0;
    run(AGENT_THAW); /* it may be tried again */
    ended_well();
    is_thawed();
}
END_TEST

START_TEST(a_thaw_that_is_disabled_is_not_tried_for_ever)
{
    run(AGENT_FREEZE);
    rule("*guest-fsfreeze-thaw=disabled");
    run(AGENT_THAW);
    failed_with(QBLK_E_FROZEN, "has been disabled");
    ck_assert_int_eq(now, 1000000);
    host.model.n_rules = 0;
}
END_TEST

START_TEST(a_failed_freeze_and_a_failed_thaw_are_both_told)
{
    rule("guest-fsfreeze-freeze=mute");
    rule("*guest-fsfreeze-thaw=stays");
    run(AGENT_FREEZE);
    failed_with(QBLK_E_FROZEN, "did not freeze the guest in 180000 ms");
    ck_assert_ptr_nonnull(strstr(came.error.text, "STILL BE FROZEN"));
    ck_assert_ptr_nonnull(strstr(came.error.text, "says that the guest is frozen"));
    host.model.n_rules = 0;
}
END_TEST

START_TEST(a_guest_that_is_gone_is_not_waited_for_long)
{
    run(AGENT_FREEZE);
    agent_host_vanish(&host);
    run(AGENT_THAW);
    failed_with(QBLK_E_FROZEN, "does not exist");
    ck_assert_int_le(now, 1002000);
}
END_TEST

/* ---- freeing and giving up --------------------------------------------------------------------- */

START_TEST(an_agent_freed_while_the_guest_is_frozen_sends_the_thaw)
{
    run(AGENT_FREEZE);
    if (_i == 1)
        agent_host_hang_up(&host);
    if (_i == 2) {
        rule("guest-fsfreeze-thaw=ignore");
        start(AGENT_THAW);
        agent_turn(agent, now);
    }
    agent = agent_free(agent);
    settle();
    ck_assert(!host.model.is_frozen);
}
END_TEST

START_TEST(an_agent_freed_during_a_freeze_sends_the_thaw)
{
    rule("guest-fsfreeze-freeze=mute");
    start(AGENT_FREEZE);
    settle();
    ck_assert(host.model.is_frozen);
    agent = agent_free(agent);
    settle();
    ck_assert(!host.model.is_frozen);
    ck_assert_int_eq(came.n, 0);
}
END_TEST

START_TEST(it_may_be_freed_at_every_moment)
{
    static const enum agent_errand errands[] = { AGENT_PING, AGENT_LOOK, AGENT_HAIL, AGENT_FREEZE,
                                                 AGENT_THAW, AGENT_MEND };

    start(errands[_i % 6]);
    for (int i = 0; i < _i / 6; i++) {
        agent_turn(agent, now);
        (void)agent_host_turn(&host);
    }
    agent = agent_free(agent);
    settle();
    ck_assert(!host.model.is_frozen);
    ck_assert_int_le(came.n, 1);
}
END_TEST

START_TEST(it_may_be_freed_in_its_callback)
{
    frees = true;
    run(_i == 0 ? AGENT_PING : AGENT_FREEZE);
    ck_assert_ptr_null(agent);
    settle();
    ck_assert(!host.model.is_frozen);
}
END_TEST

START_TEST(a_freeze_can_be_given_up)
{
    if (_i == 0)
        rule("guest-sync-delimited=ignore");
    else
        rule("guest-fsfreeze-freeze=mute");
    start(AGENT_FREEZE);
    settle();
    ck_assert_int_eq(came.n, 0);
    agent_give_up(agent, now);
    pass(1000);
    ck_assert_int_eq(came.n, 1);
    ck_assert_int_eq(came.error.code, QBLK_E_CANCELLED);
    is_thawed();
}
END_TEST

START_TEST(giving_up_what_is_no_freeze_does_nothing)
{
    agent_give_up(agent, now);
    start(AGENT_THAW);
    agent_give_up(agent, now);
    pass(1000);
    ended_well();
}
END_TEST

static int closings;

static void closing(void *arg)
{
    ck_assert_ptr_eq(arg, &closings);
    ck_assert_int_ge(agent_fd(agent), 0);
    closings++;
}

START_TEST(the_owner_hears_before_a_descriptor_is_closed)
{
    closings = 0;
    agent_on_close(agent, closing, &closings);
    run(AGENT_PING);
    ck_assert_int_eq(closings, 1);
    run(AGENT_FREEZE);
    ck_assert_int_eq(closings, 1);
    agent_host_hang_up(&host);
    settle();
    ck_assert_int_eq(closings, 2);
}
END_TEST

START_TEST(without_memory_it_fails_in_time_and_thaws)
{
    run(AGENT_FREEZE);
    agent_start(agent, AGENT_THAW, now, done, &came);
    mem_fail_after((unsigned long)_i + 1);
    for (int i = 0; i < 10; i++) {
        agent_turn(agent, now);
        (void)agent_host_turn(&host);
    }
    mem_fail_after(0);
    buf_reset(&host.model.in);
    host.model.in.failed = host.model.out.failed = 0;
    pass(1000000);
    ck_assert_int_eq(came.n, 2);
    is_thawed();
}
END_TEST

static void add_failures(TCase *tc)
{
    tcase_add_test(tc, a_socket_that_is_not_there_is_told_at_once);
    tcase_add_test(tc, a_dead_socket_is_told_at_once);
    tcase_add_test(tc, an_agent_that_does_not_answer_is_given_up_in_time);
    tcase_add_test(tc, a_channel_with_others_in_line_is_busy);
    tcase_add_test(tc, a_monitor_of_qemus_is_no_agent);
    tcase_add_test(tc, a_path_that_is_too_long_is_refused);
    tcase_add_test(tc, a_peer_that_babbles_is_given_up_in_time);
    tcase_add_test(tc, a_guest_frozen_by_somebody_else_is_not_touched);
    tcase_add_test(tc, a_refused_freeze_is_told_in_the_agents_words);
    tcase_add_test(tc, a_disabled_freeze_is_told_as_such);
    tcase_add_test(tc, a_refused_freeze_that_froze_all_the_same_is_thawed);
    tcase_add_test(tc, a_freeze_that_takes_too_long_is_thawed);
    tcase_add_test(tc, a_freeze_that_takes_minutes_is_waited_for);
    tcase_add_loop_test(tc, however_a_freeze_breaks_the_guest_is_thawed, 0,
                        N_OF(freeze_breaks) * N_OF(thaw_breaks));
    tcase_add_loop_test(tc, however_a_thaw_breaks_the_guest_is_thawed, 0, N_OF(thaw_breaks));
    tcase_add_test(tc, a_connection_closed_while_frozen_is_made_anew);
    tcase_add_test(tc, a_thaw_that_cannot_be_brought_about_is_told_loudly);
    tcase_add_test(tc, a_thaw_that_is_disabled_is_not_tried_for_ever);
    tcase_add_test(tc, a_failed_freeze_and_a_failed_thaw_are_both_told);
    tcase_add_test(tc, a_guest_that_is_gone_is_not_waited_for_long);
}

int main(void)
{
    Suite *suite = suite_create("agent");
    TCase *tc = tcase_create("agent");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, a_ping_is_answered);
    tcase_add_test(tc, the_agent_and_the_guest_are_looked_at);
    tcase_add_test(tc, who_would_freeze_is_hailed_and_nothing_is_frozen);
    tcase_add_loop_test(tc, who_would_not_freeze_says_so_when_hailed, 0, 3);
    tcase_add_test(tc, a_freeze_and_its_thaw);
    tcase_add_test(tc, a_guest_left_frozen_is_mended_and_another_left_alone);
    tcase_add_test(tc, a_mend_that_cannot_ask_thaws);
    tcase_add_test(tc, replies_to_earlier_clients_are_dropped);
    tcase_add_test(tc, half_a_command_of_an_earlier_client_is_flushed);
    tcase_add_loop_test(tc, every_cut_of_the_stream_gives_the_same, 0, 12);
    add_failures(tc);
    tcase_add_loop_test(tc, an_agent_freed_while_the_guest_is_frozen_sends_the_thaw, 0, 3);
    tcase_add_test(tc, an_agent_freed_during_a_freeze_sends_the_thaw);
    tcase_add_loop_test(tc, it_may_be_freed_at_every_moment, 0, 90);
    tcase_add_loop_test(tc, it_may_be_freed_in_its_callback, 0, 2);
    tcase_add_loop_test(tc, a_freeze_can_be_given_up, 0, 2);
    tcase_add_test(tc, giving_up_what_is_no_freeze_does_nothing);
    tcase_add_test(tc, the_owner_hears_before_a_descriptor_is_closed);
    tcase_add_loop_test(tc, without_memory_it_fails_in_time_and_thaws, 0, 12);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
