/* Lives of jobs as real QEMUs told them, replayed in good and bad order. A small model stands
 * behind: readings are answered with what was true, either when the query was written or when its
 * reply was. However the events are mangled, the outcome is the one that QEMU had. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../starve/case.h"
#include "job/set.h"

#define LIVES "tests/data/traces/lives.tsv"
#define MAX_LIVES 400
#define MAX_TOKENS 80

struct life {
    char *line;
    const char *source, *type, *error;
    bool keeps, is_ours;
    qblk_job_outcome outcome;
    const char *token[MAX_TOKENS];
    int n;
};

static struct life lives[MAX_LIVES];
static int n_lives;

static qblk_job_outcome outcome_of(const char *word)
{
    static const qblk_job_outcome all[] = { QBLK_OUTCOME_NONE, QBLK_OUTCOME_COMPLETED,
                                            QBLK_OUTCOME_FAILED, QBLK_OUTCOME_CANCELLED };

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(qblk_job_outcome_name(all[i]), word) == 0)
            return all[i];
    abort();
}

static void load(void)
{
    FILE *file = fopen(LIVES, "r");
    char line[8192];

    if (file == NULL) {
        perror(LIVES);
        exit(EXIT_FAILURE);
    }
    while (n_lives < MAX_LIVES && fgets(line, sizeof(line), file) != NULL) {
        struct life *life = &lives[n_lives++];
        char *rest, *field[6];

        line[strcspn(line, "\n")] = '\0';
        rest = life->line = strdup(line);
        for (int i = 0; i < 6; i++)
            field[i] = strsep(&rest, "\t");
        life->source = field[0];
        life->type = field[1];
        life->keeps = strcmp(field[2], "keep") == 0;
        life->is_ours = strcmp(field[3], "ours") == 0;
        life->outcome = outcome_of(field[4]);
        life->error = field[5][0] != '\0' ? field[5] : NULL;
        while (rest != NULL && life->n < MAX_TOKENS)
            life->token[life->n++] = strsep(&rest, "\t");
        if (rest != NULL)
            abort();
    }
    (void)fclose(file);
}

static bool is_status(const char *token)
{
    return token[0] >= 'a' && token[0] <= 'z';
}

static bool is_block(const char *token)
{
    return token[0] >= 'A' && token[0] <= 'Z';
}

static bool is_end(const char *token)
{
    return strncmp(token, "COMPLETED", 9) == 0 || strcmp(token, "CANCELLED") == 0;
}

/* ---- the model and the listener ------------------------------------------------------------- */

struct run {
    const struct life *life;
    struct job_set *set;
    int64_t now;
    int n; /* tokens that are true by now: life->token[0 .. n-1] have happened */
    bool is_dismissed;
    int begun_at; /* n when the reading under way began, -1 if none is */
    int ended, announced, gone, states, surprises;
    qblk_job_outcome outcome;
    char error[512];
    unsigned seed;
};

static unsigned dice(struct run *run, unsigned sides)
{
    run->seed = run->seed * 1103515245u + 12345u;
    return (run->seed >> 16) % sides;
}

static void on_job(void *arg, qblk_job *job)
{
    struct run *run = arg;

    (void)job;
    ck_assert_int_eq(run->announced, run->gone);
    run->announced++;
}

static void on_state(void *arg, qblk_job *job)
{
    struct run *run = arg;

    (void)job;
    ck_assert_int_gt(run->announced, run->gone);
    run->states++;
}

static void on_end(void *arg, qblk_job *job)
{
    struct run *run = arg;
    qblk_job_info info = { .size = sizeof(info) };

    ck_assert_ptr_nonnull(job);
    qblk_job_get_info(job, &info);
    ck_assert_int_gt(run->announced, run->gone);
    ck_assert_int_ne(info.outcome, QBLK_OUTCOME_NONE);
    run->ended++;
    run->outcome = info.outcome;
    (void)snprintf(run->error, sizeof(run->error), "%s", info.error != NULL ? info.error : "");
}

static void on_gone(void *arg, qblk_job *job)
{
    struct run *run = arg;

    (void)job;
    run->gone++;
    ck_assert_int_eq(run->gone, run->announced);
    ck_assert_int_eq(run->ended, run->announced);
}

static const struct job_set_ops ops = {
    .on_job = on_job, .on_state = on_state, .on_end = on_end, .on_gone = on_gone
};

static void open_set(struct run *run)
{
    run->set = job_set_new(NULL, &ops, run, NULL);
    ck_assert_ptr_nonnull(run->set);
    run->begun_at = -1;
    run->announced = run->ended = run->gone = 0;
    run->outcome = QBLK_OUTCOME_NONE;
    run->error[0] = '\0';
}

/* What query-jobs said after the first n tokens. */
static void answer(struct run *run, int n)
{
    const struct life *life = run->life;
    struct job_reading reading = { .id = "j", .type = life->type, .total = 100 };
    int at = -1;

    for (int i = 0; i < n; i++)
        if (is_status(life->token[i]))
            at = i;
    if (at < 0 || run->is_dismissed || strcmp(life->token[at], "null") == 0)
        return;
    reading.status = life->token[at];
    if (strcmp(reading.status, "concluded") == 0) {
        /* With auto-dismiss "null" follows at once: nobody ever sees it concluded. */
        if (!life->keeps)
            return;
        /* A job of an undone transaction likewise. */
        if (at + 1 < life->n && strcmp(life->token[at + 1], "null") == 0 && at + 2 < life->n
            && life->token[at + 2][0] == '-')
            return;
        if (life->outcome != QBLK_OUTCOME_COMPLETED)
            reading.error = life->error;
    }
    job_set_reading_job(run->set, &reading, run->now);
}

/* A reading that is under way may be answered by now, one that is wanted may begin. */
static void pump(struct run *run, bool slowly)
{
    for (int i = 0; i < 3; i++) {
        if (run->begun_at >= 0) {
            if (slowly && dice(run, 3) != 0)
                return;
            answer(run, run->begun_at + (slowly ? (int)dice(run, (unsigned)(run->n - run->begun_at
                                                                            + 1))
                                                : 0));
            job_set_reading_end(run->set, run->now);
            run->begun_at = -1;
        }
        if (job_set_wants(run->set, run->now) == JOB_WANT_NOTHING)
            return;
        if (job_set_wants(run->set, run->now) == JOB_WANT_ALL)
            run->surprises++;
        job_set_reading_begin(run->set, job_set_wants(run->set, run->now));
        run->begun_at = run->n;
    }
}

/* Time passes until nothing more is coming. */
static void rest(struct run *run)
{
    for (int i = 0; i < 40; i++) {
        int wait;

        pump(run, false);
        wait = job_set_timeout_ms(run->set, run->now);
        if (run->begun_at < 0 && wait < 0)
            return;
        run->now += wait > 0 ? wait : 0;
    }
}

static void deliver(struct run *run, const char *token)
{
    struct block_event_data event = { .id = "j", .len = 100, .offset = 100 };
    qblk_error refused = { .code = QBLK_E_QEMU };
    char word[64];

    run->now++;
    if (is_status(token)) {
        job_set_status(run->set, "j", token, run->now);
        return;
    }
    if (token[0] == '+' || token[0] == '-') {
        if (token[0] == '-')
            (void)snprintf(refused.text, sizeof(refused.text), "%s", token + 2);
        job_set_replied(run->set, "j", token[0] == '-' ? &refused : NULL, run->now);
        return;
    }
    event.type = run->life->type;
    (void)snprintf(word, sizeof(word), "%.*s", (int)strcspn(token, "="), token);
    event.kind = strcmp(word, "READY") == 0       ? BLOCK_READY
                 : strcmp(word, "PENDING") == 0   ? BLOCK_PENDING
                 : strcmp(word, "COMPLETED") == 0 ? BLOCK_COMPLETED
                 : strcmp(word, "CANCELLED") == 0 ? BLOCK_CANCELLED
                                                  : BLOCK_ERROR;
    if (event.kind == BLOCK_COMPLETED && token[strlen(word)] == '=')
        event.error = token + strlen(word) + 1;
    if (event.kind == BLOCK_ERROR) {
        event.action = strncmp(token, "ERROR=stop", 10) == 0 ? "stop" : "report";
        event.operation = "write";
    }
    job_set_block_event(run->set, &event, run->now);
}

/* ---- what is done to a life ----------------------------------------------------------------- */

struct plan {
    int order[MAX_TOKENS * 2]; /* indices of tokens as they are delivered */
    int n;
    bool slowly;
    unsigned seed;
    bool as_found; /* started by somebody else */
};

/* A job that waits to be dismissed is dismissed when its end has been told, not before. */
static int length(const struct life *life)
{
    bool waits = life->keeps && life->n > 1 && strcmp(life->token[life->n - 1], "null") == 0
                 && life->outcome != QBLK_OUTCOME_NONE;

    return waits ? life->n - 1 : life->n;
}

static bool is_found(const struct life *life, const struct plan *plan)
{
    return plan->as_found || !life->is_ours;
}

/* It ran already when tracking began. */
static void find_running(struct run *run)
{
    struct job_reading reading = { .id = "j", .type = run->life->type, .status = "running" };

    job_set_ask(run->set, JOB_WANT_ALL);
    job_set_reading_begin(run->set, JOB_WANT_ALL);
    job_set_reading_job(run->set, &reading, run->now);
    job_set_reading_end(run->set, run->now);
}

static void play(struct run *run, const struct life *life, const struct plan *plan)
{
    case_begins();
    memset(run, 0, sizeof(*run));
    run->life = life;
    run->seed = plan->seed;
    open_set(run);
    if (!is_found(life, plan))
        (void)job_set_started(run->set, "j", life->type, run->now);
    else if (strcmp(life->token[0], "created") != 0)
        find_running(run);
    for (int i = 0; i < plan->n; i++) {
        int k = plan->order[i];

        if (k + 1 > run->n)
            run->n = k + 1;
        if (is_found(life, plan) && (life->token[k][0] == '+' || life->token[k][0] == '-'))
            continue;
        deliver(run, life->token[k]);
        if (!plan->slowly || dice(run, 2) == 0)
            pump(run, plan->slowly);
    }
    run->n = length(life);
    rest(run);
}

/* Ends it: dismissed if it waits for that, lost if it is alive. */
static void finish(struct run *run)
{
    if (run->life->outcome != QBLK_OUTCOME_NONE) {
        run->is_dismissed = true;
        job_set_status(run->set, "j", "null", run->now);
        rest(run);
        ck_assert_ptr_null(job_set_find(run->set, "j"));
    }
    job_set_hangup(run->set, "the socket closed", run->now);
    ck_assert_int_eq(run->ended, run->announced);
    job_set_free(run->set);
    run->set = NULL;
    ck_assert_int_eq(run->gone, run->announced);
}

static void plain(struct plan *plan, const struct life *life)
{
    memset(plan, 0, sizeof(*plan));
    plan->n = length(life);
    for (int i = 0; i < plan->n; i++)
        plan->order[i] = i;
}

static void expect(const struct run *run, const char *how, qblk_job_outcome outcome,
                   const char *error)
{
    ck_assert_msg(run->outcome == outcome && run->ended == (outcome != QBLK_OUTCOME_NONE),
                  "%s, %s: %d x %s (%s), should be %s: %s", how, run->life->line, run->ended,
                  qblk_job_outcome_name(run->outcome), run->error, qblk_job_outcome_name(outcome),
                  error != NULL ? error : "");
    if (error != NULL && outcome != QBLK_OUTCOME_NONE)
        ck_assert_str_eq(run->error, error);
}

static void expect_truth(const struct run *run, const char *how)
{
    expect(run, how, run->life->outcome, run->life->error);
}

#define FOR_EACH_LIFE(name_) \
    START_TEST(name_) \
    { \
        for (int i = 0; i < n_lives; i++) \
            name_##_of(&lives[i]); \
    } \
    END_TEST

/* ---- the claims ----------------------------------------------------------------------------- */

static void lives_end_as_they_did_of(const struct life *life)
{
    struct plan plan;
    struct run run;

    plain(&plan, life);
    play(&run, life, &plan);
    expect_truth(&run, "as told");
    finish(&run);
}

FOR_EACH_LIFE(lives_end_as_they_did)

/* What QEMU does in its own order needs no look at everything, save to learn why it stalls. */
static void real_orders_hold_no_surprise_of(const struct life *life)
{
    bool stalls = false;
    struct plan plan;
    struct run run;

    plain(&plan, life);
    for (int i = 0; i < life->n; i++)
        stalls = stalls || strncmp(life->token[i], "ERROR=stop", 10) == 0;
    if (!life->is_ours || stalls)
        return;
    play(&run, life, &plan);
    ck_assert_msg(run.surprises == 0, "%s", life->line);
    finish(&run);
}

FOR_EACH_LIFE(real_orders_hold_no_surprise)

static void losing_every_status_change_changes_no_outcome_of(const struct life *life)
{
    struct plan plan;
    struct run run;

    plain(&plan, life);
    if (!life->is_ours)
        return; /* nobody would know of it */
    plan.n = 0;
    for (int i = 0; i < length(life); i++)
        if (!is_status(life->token[i]))
            plan.order[plan.n++] = i;
    play(&run, life, &plan);
    expect_truth(&run, "no status");
    if (life->outcome != QBLK_OUTCOME_NONE)
        (void)(job_set_find(run.set, "j") != NULL
               && (job_verb_sent(job_set_find(run.set, "j"), QBLK_VERB_DISMISS), true));
    run.is_dismissed = true;
    rest(&run);
    ck_assert(life->outcome == QBLK_OUTCOME_NONE || job_set_find(run.set, "j") == NULL);
    finish(&run);
}

FOR_EACH_LIFE(losing_every_status_change_changes_no_outcome)

/* What QEMU itself has forgotten nobody can read; 5.2 keeps an earlier error of a cancelled backup
 * where the others say that it was cancelled. */
static void expect_without_block_events(const struct run *run, const char *how)
{
    const struct life *life = run->life;
    bool is_cancelled = life->outcome == QBLK_OUTCOME_CANCELLED;
    bool was_read = life->keeps;

    if (life->token[0][0] != 'c' && !life->keeps)
        ck_assert(run->outcome == life->outcome || run->outcome == QBLK_OUTCOME_LOST);
    else if (is_cancelled && (!was_read || strcmp(life->error, "Operation canceled") != 0))
        expect(run, how, QBLK_OUTCOME_FAILED, NULL);
    else
        expect(run, how, life->outcome,
               was_read || life->token[life->n - 1][0] == '-' ? life->error : NULL);
}

/* The word of the end came after the reading that found the job ended, which no QEMU does. */
static void expect_truth_or_less(const struct run *run, const char *how)
{
    const struct life *life = run->life;

    if (life->keeps && (life->error == NULL || strcmp(life->error, "Operation canceled") == 0
                        || life->outcome != QBLK_OUTCOME_CANCELLED)) {
        expect_truth(run, how);
        return;
    }
    ck_assert_msg(run->ended == (life->outcome != QBLK_OUTCOME_NONE)
                      && (run->outcome == life->outcome || run->outcome == QBLK_OUTCOME_LOST
                          || (life->outcome == QBLK_OUTCOME_CANCELLED
                              && run->outcome == QBLK_OUTCOME_FAILED)),
                  "%s, %s: %d x %s (%s)", how, life->line, run->ended,
                  qblk_job_outcome_name(run->outcome), run->error);
}

static void losing_every_block_job_event_changes_no_outcome_of(const struct life *life)
{
    struct plan plan;
    struct run run;

    plain(&plan, life);
    plan.n = 0;
    for (int i = 0; i < length(life); i++)
        if (!is_block(life->token[i]))
            plan.order[plan.n++] = i;
    play(&run, life, &plan);
    expect_without_block_events(&run, "no block events");
    finish(&run);
}

FOR_EACH_LIFE(losing_every_block_job_event_changes_no_outcome)

static void hearing_everything_twice_changes_no_outcome_of(const struct life *life)
{
    struct plan plan;
    struct run run;

    plain(&plan, life);
    plan.n = 0;
    for (int i = 0; i < length(life); i++) {
        plan.order[plan.n++] = i;
        if (life->token[i][0] != '+' && life->token[i][0] != '-')
            plan.order[plan.n++] = i;
    }
    play(&run, life, &plan);
    expect_truth(&run, "twice");
    finish(&run);
}

FOR_EACH_LIFE(hearing_everything_twice_changes_no_outcome)

static void swapping_any_two_neighbours_changes_no_outcome_of(const struct life *life)
{
    for (int at = 0; at + 1 < length(life); at++) {
        struct plan plan;
        struct run run;

        plain(&plan, life);
        plan.order[at] = at + 1;
        plan.order[at + 1] = at;
        play(&run, life, &plan);
        if (is_end(life->token[at]))
            expect_truth_or_less(&run, "swapped");
        else
            expect_truth(&run, "swapped");
        finish(&run);
    }
}

FOR_EACH_LIFE(swapping_any_two_neighbours_changes_no_outcome)

static void losing_any_single_event_changes_no_outcome_of(const struct life *life)
{
    for (int at = 0; at < length(life); at++) {
        struct plan plan;
        struct run run;

        if (life->token[at][0] == '+' || life->token[at][0] == '-')
            continue;
        plain(&plan, life);
        memmove(plan.order + at, plan.order + at + 1,
                (size_t)(plan.n - at - 1) * sizeof(plan.order[0]));
        plan.n--;
        play(&run, life, &plan);
        if (is_end(life->token[at]))
            expect_without_block_events(&run, "one lost");
        else
            expect_truth(&run, "one lost");
        finish(&run);
    }
}

FOR_EACH_LIFE(losing_any_single_event_changes_no_outcome)

/* No token overtakes one that is window places or more before it. The model answers late, with old
 * or new truth. */
static void shuffle(struct plan *plan, struct run *run, unsigned window, int first)
{
    unsigned key[MAX_TOKENS];

    for (int i = 0; i < plan->n; i++)
        key[i] = i < first ? 0 : (unsigned)i + dice(run, window + 1);
    for (int i = 1; i < plan->n; i++) {
        int token = plan->order[i], at = i;
        unsigned k = key[i];

        for (; at > 0 && key[at - 1] > k; at--) {
            plan->order[at] = plan->order[at - 1];
            key[at] = key[at - 1];
        }
        plan->order[at] = token;
        key[at] = k;
    }
}

#define SHUFFLES 60

static void reordering_within_a_window_changes_no_outcome_of(const struct life *life)
{
    if (life->token[life->n - 1][0] == '-')
        return; /* once it is refused there are no late events */
    for (unsigned seed = 1; seed <= SHUFFLES; seed++) {
        struct plan plan;
        struct run run = { .seed = seed * 2654435761u };
        unsigned window = 1 + seed % 4;

        plain(&plan, life);
        plan.slowly = true;
        plan.seed = seed;
        /* What nobody has started nobody can know before it is first heard of. */
        shuffle(&plan, &run, window, life->is_ours ? 0 : 1);
        play(&run, life, &plan);
        expect_truth_or_less(&run, "shuffled");
        finish(&run);
    }
}

FOR_EACH_LIFE(reordering_within_a_window_changes_no_outcome)

static void delayed_readings_change_no_outcome_of(const struct life *life)
{
    for (unsigned seed = 1; seed <= SHUFFLES; seed++) {
        struct plan plan;
        struct run run;

        plain(&plan, life);
        plan.slowly = true;
        plan.seed = seed;
        plan.as_found = seed % 2 == 0 && is_status(life->token[0])
                        && strcmp(life->token[0], "created") == 0
                        && life->token[life->n - 1][0] != '-';
        play(&run, life, &plan);
        expect_truth(&run, "delayed");
        finish(&run);
    }
}

FOR_EACH_LIFE(delayed_readings_change_no_outcome)

/* The connection ends after at tokens; more of them are missed before there is a new one. */
static void reconnect(struct run *run, int at, int missed)
{
    const struct life *life = run->life;
    struct plan plan;

    plain(&plan, life);
    plan.n = at;
    play(run, life, &plan);
    run->n = at;
    job_set_hangup(run->set, "the socket closed", run->now);
    ck_assert_int_eq(run->ended, run->announced);
    job_set_free(run->set);

    open_set(run);
    run->n = at + missed;
    job_set_ask(run->set, JOB_WANT_ALL);
    pump(run, false);
    for (; run->n < length(life);) {
        const char *token = life->token[run->n++];

        if (token[0] != '+' && token[0] != '-')
            deliver(run, token);
        pump(run, false);
    }
    rest(run);
}

static void a_lost_connection_changes_no_outcome_of(const struct life *life)
{
    if (life->token[life->n - 1][0] == '-')
        return; /* refused: no reply, no knowledge */
    for (int at = 0; at <= length(life); at++) {
        for (int missed = 0; at + missed <= length(life) && missed < 4; missed++) {
            struct run run = { .life = life };

            reconnect(&run, at, missed);
            if (run.announced > 0) {
                expect_truth_or_less(&run, "reconnected");
            } else {
                ck_assert(!life->keeps || life->outcome == QBLK_OUTCOME_NONE);
            }
            finish(&run);
        }
    }
}

FOR_EACH_LIFE(a_lost_connection_changes_no_outcome)

int main(void)
{
    Suite *suite = suite_create("job_traces");
    TCase *tcase = tcase_create("lives");
    SRunner *runner = srunner_create(suite);
    int failed;

    load();
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, lives_end_as_they_did);
    tcase_add_test(tcase, real_orders_hold_no_surprise);
    tcase_add_test(tcase, losing_every_status_change_changes_no_outcome);
    tcase_add_test(tcase, losing_every_block_job_event_changes_no_outcome);
    tcase_add_test(tcase, hearing_everything_twice_changes_no_outcome);
    tcase_add_test(tcase, swapping_any_two_neighbours_changes_no_outcome);
    tcase_add_test(tcase, losing_any_single_event_changes_no_outcome);
    tcase_add_test(tcase, reordering_within_a_window_changes_no_outcome);
    tcase_add_test(tcase, delayed_readings_change_no_outcome);
    tcase_add_test(tcase, a_lost_connection_changes_no_outcome);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    for (int i = 0; i < n_lives; i++)
        free(lives[i].line);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
