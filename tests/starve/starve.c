/* Every unit test program can run its tests starved: STARVE=MOST build/.../test_x runs each test
 * again and again, each time in a process of its own with the n-th allocation of the library
 * failing, that one alone or with all after it, those that jansson makes for it included.
 *
 * A test is not expected to pass then: one of its claims may fail, which ends it there. But it must
 * end, by itself, without a signal, and with nothing lost: at the failing claim every block must be
 * reachable from the test's objects; after the teardown, from static objects.
 *
 * Of a test that asks for memory up to MOST times every n is taken. Of others, those n at which the library
 * asks on a way (a stack of calls) on which it has not asked before in this program; STARVE_SHARE=N takes
 * every N-th of the ways.
 *
 * A test that does many alike things has cases: what it does with one fake QEMU before it starts the next, or
 * after it says case_begins(). STARVE_CASES=N takes every n of every N-th case, from the STARVE_FIRST-th on, of
 * each test that has several and asks for memory often: all of them with N of 1, which is ten times faster than
 * the whole test would be. Otherwise N is best a prime, so that loops within loops do not show the same of them
 * each time. With STARVE_ALONE set, it is each n alone, but for the ways.
 *
 * Nothing is left to chance. What a test makes fail by itself is not touched, nor what it does with jansson
 * itself. The functions of check are replaced by the linker (--wrap), so that tests need not know of this. */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "again.h"
#include "run.h"
#include "suite.h"

void __real_srunner_run_all(SRunner *runner, enum print_output mode);
int __real_srunner_ntests_failed(SRunner *runner);
pid_t __real_fork(void);
void __wrap_srunner_run_all(SRunner *runner, enum print_output mode);
int __wrap_srunner_ntests_failed(SRunner *runner);

/* ---- the runs -------------------------------------------------------------------------------- */

static struct totals totals;
static int n_at_once = 8;

static void blame(const struct starved *starved, int status)
{
    char why[64], nth_case[40] = "";

    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        (void)snprintf(why, sizeof(why), "it hangs");
    else if (WIFSIGNALED(status))
        (void)snprintf(why, sizeof(why), "killed by %s", strsignal(WTERMSIG(status)));
    else
        (void)snprintf(why, sizeof(why), "%s", WEXITSTATUS(status) == RUN_LOST ? "memory is lost"
                       : WEXITSTATUS(status) == RUN_DAMAGED ? "memory is damaged" : "it exits");
    if (starved->nth_case != 0)
        (void)snprintf(nth_case, sizeof(nth_case), " STARVE_CASE=%lu", starved->nth_case);
    totals.bad++;
    printf("not ok %s %d, allocation %lu failing%s: %s\n"
           "       again by: STARVE_TEST=%s STARVE_I=%d%s STARVE_N=%lu%s STARVE=1 %s\n",
           starved->test->test->name, starved->i, starved->n,
           starved->is_once ? " alone" : ", and all after it", why, starved->test->test->name,
           starved->i, nth_case, starved->n, starved->is_once ? " STARVE_ONCE=1" : "",
           program_invocation_name);
}

/* Many of them wait rather than work, so some run side by side. */
static struct child {
    pid_t pid;
    int number; /* from 0, no other child's */
    int fd; /* to hear what it has told */
    struct starved starved;
    bool is_batch;
} children[RUN_MOST];
static int n_children;
static bool is_taken[RUN_MOST]; /* the numbers */

/* Of batches whose process came to an end too early. At most one a child. */
static struct batch unfinished[RUN_MOST];
static int n_unfinished;

static void child_ended(const struct child *child, int status, struct told *ret)
{
    struct batch *batch = child->is_batch ? run_batch(child->number) : NULL;
    const struct starved *starved = batch != NULL ? &batch->now : &child->starved;
    ssize_t n = read(child->fd, ret, sizeof(*ret));

    (void)kill(-child->pid, SIGKILL);
    close(child->fd);
    run_clean(child->number);
    if (n != (ssize_t)sizeof(*ret))
        *ret = (struct told){ .asked = 0 };
    totals.claims += batch == NULL && WIFEXITED(status) && WEXITSTATUS(status) == RUN_CLAIM_FAILED;
    if (batch != NULL) {
        totals.runs += batch->runs;
        totals.claims += batch->claims;
    }
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != RUN_PASSED &&
                               WEXITSTATUS(status) != RUN_CLAIM_FAILED)) {
        blame(starved, status);
        if (batch != NULL) {
            totals.runs++;
            (void)run_advance(batch);
        }
    }
    if (batch != NULL && batch->now.n <= batch->last)
        unfinished[n_unfinished++] = *batch;
    if (starved->n == 0 && WIFEXITED(status) && WEXITSTATUS(status) == RUN_CLAIM_FAILED) {
        printf("not ok %s %d does not pass with all its memory: %s:%d\n",
               starved->test->test->name, starved->i, ret->file, ret->line);
        totals.bad++;
    }
}

/* Waits until no more than so many run; *ret is what the last of them to end has told. */
static void wait_children(int most, struct told *ret)
{
    while (n_children > most) {
        int status, i = 0;
        pid_t pid = waitpid(-1, &status, 0);

        if (pid < 0 && errno != EINTR)
            abort();
        while (i < n_children && children[i].pid != pid)
            i++;
        if (pid < 0 || i == n_children)
            continue;
        child_ended(&children[i], status, ret);
        is_taken[children[i].number] = false;
        children[i] = children[--n_children];
    }
}

/* Which function the process that is started gets into. */
enum kind { TEST, CASE, ALL_CASES };

static bool starve_case(unsigned long nth, struct totals *ret_totals);

/* True in the process that is started for a case, which has to return to the test. With a batch, it does all
 * the runs of that one after the other. */
static bool start(enum kind kind, const struct starved *starved, const struct batch *batch)
{
    struct child *child = &children[n_children];
    int fds[2];

    child->number = 0;
    while (is_taken[child->number])
        child->number++;
    is_taken[child->number] = true;
    child->is_batch = batch != NULL;
    if (batch != NULL)
        *run_batch(child->number) = *batch;
    (void)fflush(NULL);
    if (pipe(fds) < 0 || (child->pid = __real_fork()) < 0)
        abort();
    if (child->pid == 0) {
        close(fds[0]);
        for (int i = 0; i < n_children; i++)
            close(children[i].fd);
        if (kind == TEST)
            run_test(starved, child->number, fds[1]);
        if (kind == CASE) {
            run_case(starved, child->number, fds[1], child->is_batch);
            return true;
        }
        memset(is_taken, 0, sizeof(is_taken));
        n_children = 0;
        totals = (struct totals){ .places = 0 };
        run_cases(starved, fds[1], starve_case);
    }
    close(fds[1]);
    child->fd = fds[0];
    child->starved = *starved;
    n_children++;
    totals.runs += batch == NULL;
    return false;
}

/* The ways that were taken. Mapped, as is what the ways are told in: static objects are searched. */
#define MOST_KNOWN 65536
static uint64_t *known;
static size_t n_known;

static bool is_new(uint64_t way)
{
    size_t at = (size_t)(way % MOST_KNOWN);

    while (known[at] != 0 && known[at] != way)
        at = (at + 1) % MOST_KNOWN;
    if (known[at] != 0)
        return false;
    if (n_known > MOST_KNOWN / 2)
        abort(); /* rather than leave out ways in silence */
    known[at] = way;
    n_known++;
    return true;
}

/* ---- which of them --------------------------------------------------------------------------- */

static unsigned long share, whole, nth_cases, first_case, n_ways, n_whole, n_with_cases, n_tests;
#define UNKNOWN_SECONDS 10
#define FEW 500 /* n's that are sooner tried than it is found which cases there are */
#define LEAST_BATCH 100
static bool is_alone; /* each n fails alone, and not with all after it */
static const struct starved *walked; /* the test whose cases are taken */
static unsigned long cases_before;    /* of the tests before it */

static unsigned long number(const char *name, unsigned long otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? strtoul(text, NULL, 10) : otherwise;
}

/* Of a run that was told of before, to see what it does. */
static bool is_told(struct starved *starved)
{
    starved->n = number("STARVE_N", 0);
    starved->is_once = getenv("STARVE_ONCE") != NULL;
    return getenv("STARVE_N") != NULL;
}

static bool starve_case(unsigned long nth, struct totals *ret_totals)
{
    struct starved starved = *walked;
    struct told one;
    unsigned long total, part;

    starved.nth_case = nth;
    totals.cases = nth;
    if (is_told(&starved)) {
        if (nth == number("STARVE_CASE", 0) && start(CASE, &starved, NULL))
            return true;
        wait_children(0, &one);
        *ret_totals = totals;
        return false;
    }
    *ret_totals = totals;
    if ((cases_before + nth) % nth_cases != first_case % nth_cases)
        return false;
    if (start(CASE, &starved, NULL))
        return true;
    wait_children(0, &one);
    total = one.asked;
    part = total / (unsigned long)n_at_once + 1;
    part = part < LEAST_BATCH ? LEAST_BATCH : part;
    n_unfinished = 0;
    for (unsigned long n = 1; n <= total || n_children > 0 || n_unfinished > 0;) {
        struct batch batch = { .now = starved, .is_alone = is_alone };

        wait_children(n <= total || n_unfinished > 0 ? n_at_once - 1 : n_children - 1, &one);
        if (n_unfinished > 0) {
            batch = unfinished[--n_unfinished];
            batch.runs = batch.claims = 0;
        } else if (n <= total) {
            batch.now.n = n;
            batch.now.is_once = is_alone;
            batch.last = n + part - 1 < total ? n + part - 1 : total;
            n += part;
        } else {
            continue;
        }
        if (start(CASE, &batch.now, &batch))
            return true;
    }
    totals.cases_begun++;
    *ret_totals = totals;
    return false;
}

/* Returns how many cases the test has. */
static unsigned long starve_cases(const struct starved *starved)
{
    struct told all;

    walked = starved;
    cases_before = totals.cases;
    (void)start(ALL_CASES, starved, NULL);
    wait_children(0, &all);
    totals.runs += all.of_cases.runs;
    totals.claims += all.of_cases.claims;
    totals.bad += all.of_cases.bad;
    totals.cases += all.of_cases.cases;
    totals.cases_begun += all.of_cases.cases_begun;
    return all.of_cases.cases;
}

static void starve_test(struct starved *starved)
{
    bool is_whole, has_cases = false;
    struct told all, one;
    unsigned long total;
    time_t begun;

    starved->n = 0;
    starved->is_once = false;
    starved->seconds = UNKNOWN_SECONDS;
    begun = time(NULL);
    (void)start(TEST, starved, NULL);
    wait_children(0, &all);
    starved->seconds = (unsigned)(time(NULL) - begun);
    total = all.asked;
    n_tests++;
    if (nth_cases > 0 && (total > whole || total > FEW))
        has_cases = starve_cases(starved) > 1;
    is_whole = total <= whole && !has_cases;
    n_whole += is_whole;
    n_with_cases += has_cases;
    totals.places += 2 * total;
    for (unsigned long n = 1; n <= total; n++) {
        bool is_way = run_way(n) != 0 && is_new(run_way(n)) && n_ways++ % share == 0;

        starved->n = n;
        for (int once = 0; once < 2; once++) {
            starved->is_once = once != 0;
            if (is_way || (is_whole && (once != 0 || !is_alone))) {
                wait_children(n_at_once - 1, &one);
                (void)start(TEST, starved, NULL);
            }
        }
    }
    wait_children(0, &one);
}

static void starve_one(struct starved *starved)
{
    struct told one;

    starved->seconds = UNKNOWN_SECONDS;
    if (!is_told(starved)) {
        starve_test(starved);
    } else if (getenv("STARVE_CASE") != NULL) {
        (void)starve_cases(starved);
    } else {
        (void)start(TEST, starved, NULL);
        wait_children(0, &one);
    }
}

void __wrap_srunner_run_all(SRunner *runner, enum print_output mode)
{
    const char *only = getenv("STARVE_TEST");
    TCase *last = NULL;

    if (!run_is_wanted()) {
        __real_srunner_run_all(runner, mode);
        return;
    }
    whole = number("STARVE", 0);
    share = number("STARVE_SHARE", 1);
    nth_cases = number("STARVE_CASES", 0);
    first_case = number("STARVE_FIRST", 0);
    is_alone = getenv("STARVE_ALONE") != NULL;
    n_at_once = (int)number("STARVE_JOBS", (unsigned long)n_at_once);
    if (n_at_once < 1 || n_at_once > RUN_MOST || share == 0)
        abort();
    run_prepare();
    known = again_map(MOST_KNOWN * sizeof(*known));
    for (size_t t = 0; t < suite_n_tests; t++) {
        const struct test *test = &suite_tests[t];
        struct starved starved = { .test = test, .with_setup = last != test->tcase };

        last = test->tcase;
        if (only != NULL && strcmp(only, test->test->name) != 0)
            continue;
        for (int i = test->begin; i < test->end; i++) {
            starved.i = i;
            if (number("STARVE_I", (unsigned long)i) == (unsigned long)i)
                starve_one(&starved);
        }
    }
    if (nth_cases > 0 && n_whole + n_with_cases < n_tests)
        printf("of %lu tests not every n: they ask for memory more often, and have no cases\n",
               n_tests - n_whole - n_with_cases);
    printf("every n of %lu of %lu tests, and of %lu of %lu cases of %lu others; %lu ways\n", n_whole, n_tests,
           totals.cases_begun, totals.cases, n_with_cases, n_ways);
    printf("%lu runs for %lu failures that there can be; %lu ended by a claim of the test's\n", totals.runs,
           totals.places, totals.claims);
    printf("%lu passed, %lu failed\n", totals.runs - totals.bad, totals.bad);
}

int __wrap_srunner_ntests_failed(SRunner *runner)
{
    return run_is_wanted() ? (int)totals.bad : __real_srunner_ntests_failed(runner);
}
