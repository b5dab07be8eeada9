/* Every unit test program can run its tests starved: STARVE=WORK build/.../test_x runs each test
 * again and again, each time in a process of its own with the n-th allocation of the library
 * failing, that one alone or with all after it, jansson's included.
 *
 * A test is not expected to pass then: one of its claims may fail, which ends it there. But it must
 * end, by itself, without a signal, and with nothing lost: at the failing claim every block must be
 * reachable from the test's objects; after the teardown, from static objects.
 *
 * WORK bounds the time: for each test so many n's are taken, evenly spread, that all its runs
 * together ask for about so many allocations; a test that is short enough has every n. Nothing is
 * left to chance. What a test makes fail by itself is not touched.
 *
 * The functions of check are replaced by the linker (--wrap), so the tests know nothing of this. */
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "heap.h"

/* Where the library tries again until there is memory, there is some after a while, and what has to
 * end must end then. */
#define HUNGRY_SECONDS 2
#define FED_SECONDS 20

enum { PASSED = 0, CLAIM_FAILED = 40, LOST = 41, DAMAGED = 42 };

void __real_srunner_run_all(SRunner *runner, enum print_output mode);
int __real_srunner_ntests_failed(SRunner *runner);
void __real__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end);
void __real_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown);
void __real_mem_fail_after(unsigned long n);
pid_t __real_fork(void);
struct mallinfo2 __real_mallinfo2(void);
void __wrap_srunner_run_all(SRunner *runner, enum print_output mode);
int __wrap_srunner_ntests_failed(SRunner *runner);
void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end);
void __wrap_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown);
void __wrap_mem_fail_after(unsigned long n);
void __real__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);
void __wrap__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
pid_t __wrap_fork(void);
struct mallinfo2 __wrap_mallinfo2(void);

static bool is_wanted(void)
{
    static int wanted = -1;

    if (wanted < 0)
        wanted = getenv("STARVE") != NULL;
    return wanted != 0;
}

/* ---- what the program would run -------------------------------------------------------------- */

static struct {
    TCase *tcase;
    SFun setup, teardown;
} fixtures[16];
static size_t n_fixtures;

static struct test {
    TCase *tcase;
    const TTest *test;
    int begin, end;
} tests[200];
static size_t n_tests;

void __wrap__tcase_add_test(TCase *tcase, const TTest *test, int sig, int status, int begin,
                            int end)
{
    if (n_tests == sizeof(tests) / sizeof(tests[0]))
        abort();
    tests[n_tests++] = (struct test){ tcase, test, begin, end };
    __real__tcase_add_test(tcase, test, sig, status, begin, end);
}

void __wrap_tcase_add_checked_fixture(TCase *tcase, SFun setup, SFun teardown)
{
    if (n_fixtures == sizeof(fixtures) / sizeof(fixtures[0]))
        abort();
    fixtures[n_fixtures].tcase = tcase;
    fixtures[n_fixtures].setup = setup;
    fixtures[n_fixtures++].teardown = teardown;
    __real_tcase_add_checked_fixture(tcase, setup, teardown);
}

/* ---- a run, in a process of its own ---------------------------------------------------------- */

static bool is_starving; /* this process runs a test */
static bool is_over;     /* the test has ended, or a claim failed */
static jmp_buf after_claim;

/* What the parent wants to know. */
static struct told {
    unsigned long asked; /* allocations until the test's end, or until it made some fail itself */
    bool is_own;
    const char *file; /* of the claim that failed */
    int line;
} told;

static void count(void)
{
    if (!told.is_own)
        told.asked = mem_asked();
}

void __wrap_mem_fail_after(unsigned long n)
{
    if (is_starving && !is_over) {
        count();
        told.is_own = true;
    }
    __real_mem_fail_after(n);
}

/* What a test starts on the side is not starved, and not followed. */
pid_t __wrap_fork(void)
{
    pid_t pid = __real_fork();

    if (pid == 0 && is_starving) {
        is_starving = false;
        __real_mem_fail_after(0);
    }
    return pid;
}

/* Nobody can tell what is held where nothing is given back. */
struct mallinfo2 __wrap_mallinfo2(void)
{
    return is_starving ? (struct mallinfo2){ .arena = 0 } : __real_mallinfo2();
}

static void leave(int status)
{
    if (heap_is_damaged())
        status = DAMAGED;
    (void)fflush(NULL);
    _exit(status);
}

/* check writes these into a pipe that only its own runner opens. */
void __wrap__mark_point(const char *file, int line)
{
    if (!is_wanted())
        __real__mark_point(file, line);
}

void __wrap__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
    static char text[8192]; /* on the stack, what is left of others' frames would be searched */
    va_list ap;

    va_start(ap, msg);
    if (msg != NULL)
        (void)vsnprintf(text, sizeof(text), msg, ap);
    va_end(ap);
    if (!is_wanted())
        __real__ck_assert_failed(file, line, expr, msg != NULL ? "%s" : NULL, text);
    if (getenv("STARVE_N") != NULL)
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, expr, msg != NULL ? text : "");
    if (!is_starving)
        _exit(1);
    if (is_over) /* in the teardown */
        leave(CLAIM_FAILED);
    is_over = true;
    count();
    told.file = file;
    told.line = line;
    __real_mem_fail_after(0);
    if (heap_lost(true) > 0)
        leave(LOST);
    longjmp(after_claim, 1);
}

struct starved {
    const struct test *test;
    int i;
    bool with_setup; /* allocations of the setup fail as well */
    bool is_once;
    unsigned long n; /* 0: none fails */
};

static void fail_at(const struct starved *starved)
{
    if (starved->is_once)
        mem_fail_once(starved->n);
    else
        __real_mem_fail_after(starved->n);
}

static void set_up(const struct starved *starved)
{
    for (size_t i = 0; i < n_fixtures; i++) {
        if (fixtures[i].tcase == starved->test->tcase && fixtures[i].setup != NULL)
            fixtures[i].setup();
    }
}

static void tear_down(const struct starved *starved)
{
    for (size_t i = n_fixtures; i-- > 0;) {
        if (fixtures[i].tcase == starved->test->tcase && fixtures[i].teardown != NULL)
            fixtures[i].teardown();
    }
}

__attribute__((noinline))
static void run(const struct starved *starved, volatile bool *ret_was_set_up)
{
    fail_at(starved);
    set_up(starved);
    *ret_was_set_up = true;
    if (!starved->with_setup)
        fail_at(starved);
    starved->test->test->fn(starved->i);
    count();
    is_over = true;
    __real_mem_fail_after(0);
}

static void feed(int sig)
{
    __real_mem_fail_after(0);
    (void)signal(sig, SIG_DFL);
    (void)alarm(FED_SECONDS);
}

static void run_alone(const struct starved *starved, int pipe_fd)
{
    volatile bool was_set_up = false;
    volatile bool has_failed = false;

    (void)setpgid(0, 0);
    (void)signal(SIGALRM, feed);
    (void)alarm(HUNGRY_SECONDS);
    is_starving = true;
    heap_watch(__builtin_frame_address(0));
    json_set_alloc_funcs(heap_json_alloc, heap_json_free);
    if (setjmp(after_claim) == 0)
        run(starved, &was_set_up);
    else
        has_failed = true;
    (void)!write(pipe_fd, &told, sizeof(told));
    if (was_set_up)
        tear_down(starved);
    leave(heap_lost(false) > 0 ? LOST : has_failed ? CLAIM_FAILED : PASSED);
}

/* ---- all of them ----------------------------------------------------------------------------- */

static unsigned long work, n_places, n_runs, n_claims, n_bad;
static const char *suite_file = "?";

static void blame(const struct starved *starved, int status)
{
    char why[64];

    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        (void)snprintf(why, sizeof(why), "it hangs");
    else if (WIFSIGNALED(status))
        (void)snprintf(why, sizeof(why), "killed by %s", strsignal(WTERMSIG(status)));
    else
        (void)snprintf(why, sizeof(why), "%s", WEXITSTATUS(status) == LOST ? "memory is lost"
                       : WEXITSTATUS(status) == DAMAGED ? "memory is damaged" : "it exits");
    n_bad++;
    printf("not ok %s %d, allocation %lu failing%s: %s\n"
           "       again by: STARVE_TEST=%s STARVE_I=%d STARVE_N=%lu%s STARVE=1 %s\n",
           starved->test->test->name, starved->i, starved->n,
           starved->is_once ? " alone" : ", and all after it", why, starved->test->test->name,
           starved->i, starved->n, starved->is_once ? " STARVE_ONCE=1" : "", suite_file);
}

static void starve(const struct starved *starved, struct told *ret)
{
    int fds[2], status;
    pid_t pid;
    ssize_t n;

    (void)fflush(NULL);
    if (pipe(fds) < 0 || (pid = __real_fork()) < 0)
        abort();
    if (pid == 0) {
        close(fds[0]);
        run_alone(starved, fds[1]);
    }
    close(fds[1]);
    n_runs++;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    (void)kill(-pid, SIGKILL);
    n = read(fds[0], ret, sizeof(*ret));
    close(fds[0]);
    if (n != (ssize_t)sizeof(*ret))
        *ret = (struct told){ .asked = 0 };
    n_claims += WIFEXITED(status) && WEXITSTATUS(status) == CLAIM_FAILED;
    if (!WIFEXITED(status) || (WEXITSTATUS(status) != PASSED &&
                               WEXITSTATUS(status) != CLAIM_FAILED))
        blame(starved, status);
    else if (starved->n == 0 && WEXITSTATUS(status) != PASSED) {
        printf("not ok %s %d does not pass with all its memory: %s:%d\n",
               starved->test->test->name, starved->i, ret->file, ret->line);
        n_bad++;
    }
}

static void starve_test(struct starved *starved)
{
    unsigned long total, samples, step;
    struct told all, one;

    starved->n = 0;
    starved->is_once = false;
    starve(starved, &all);
    total = all.asked;
    if (total == 0)
        return;
    n_places += 2 * total;
    samples = work / total / 2;
    if (samples < 2)
        samples = 2;
    step = total <= samples ? 1 : (total + samples - 1) / samples;
    for (int once = 0; once < 2; once++) {
        starved->is_once = once != 0;
        /* Where not all are taken, the two ways take different ones. */
        for (starved->n = 1 + (once != 0 ? step / 2 : 0); starved->n <= total; starved->n += step)
            starve(starved, &one);
    }
}

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? atoi(text) : otherwise;
}

void __wrap_srunner_run_all(SRunner *runner, enum print_output mode)
{
    const char *wish = getenv("STARVE"), *only = getenv("STARVE_TEST");
    TCase *last = NULL;
    struct told one;

    if (wish == NULL) {
        __real_srunner_run_all(runner, mode);
        return;
    }
    work = strtoul(wish, NULL, 10);
    suite_file = program_invocation_name;
    for (size_t t = 0; t < n_tests; t++) {
        struct starved starved = { .test = &tests[t] };

        starved.with_setup = last != tests[t].tcase;
        last = tests[t].tcase;
        if (only != NULL && strcmp(only, tests[t].test->name) != 0)
            continue;
        for (int i = tests[t].begin; i < tests[t].end; i++) {
            if (number("STARVE_I", i) != i)
                continue;
            starved.i = i;
            if (getenv("STARVE_N") != NULL) {
                starved.n = (unsigned long)number("STARVE_N", 0);
                starved.is_once = getenv("STARVE_ONCE") != NULL;
                starve(&starved, &one);
            } else {
                starve_test(&starved);
            }
        }
    }
    printf("%lu runs for %lu failures that there can be; %lu ended by a claim of the test's\n",
           n_runs, n_places, n_claims);
    printf("%lu passed, %lu failed\n", n_runs - n_bad, n_bad);
}

int __wrap_srunner_ntests_failed(SRunner *runner)
{
    return is_wanted() ? (int)n_bad : __real_srunner_ntests_failed(runner);
}
