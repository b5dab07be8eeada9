/* Every unit test program can run its tests starved: STARVE=MOST build/.../test_x runs each test
 * again and again, each time in a process of its own with the n-th allocation of the library
 * failing, that one alone or with all after it, those that jansson makes for it included.
 *
 * A test is not expected to pass then: one of its claims may fail, which ends it there. But it must
 * end, by itself, without a signal, and with nothing lost: at the failing claim every block must be
 * reachable from the test's objects; after the teardown, from static objects.
 *
 * Of a test that asks for memory up to MOST times every n is taken. Of others, those n at which the library
 * asks on a way (a stack of calls) on which it has not asked before in this program; with STARVE_EACH set, in
 * this test. STARVE_WORK adds some: so many, evenly spread, that all runs of a test together ask for about so
 * many allocations. STARVE_SHARE=N takes every N-th of the ways. Nothing is left to chance. What a test makes
 * fail by itself is not touched, nor what it does with jansson itself.
 *
 * The functions of check are replaced by the linker (--wrap), so the tests know nothing of this. */
#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <limits.h>
#include <malloc.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
char *__real_mkdtemp(char *name);
char *__wrap_mkdtemp(char *name);
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

/* A test that is cut short leaves its directory, which is removed for it. Told to the parent: of each child
 * the names made last. */
#define MOST_CHILDREN 16
#define DIRS_KEPT 8
typedef char dir_name[64];
static dir_name (*dirs)[DIRS_KEPT];
static int child_number;
static unsigned n_dirs;

char *__wrap_mkdtemp(char *name)
{
    char *made = __real_mkdtemp(name);

    if (made != NULL && is_starving)
        (void)snprintf(dirs[child_number][n_dirs++ % DIRS_KEPT], sizeof(dir_name), "%s", made);
    return made;
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *where)
{
    (void)status;
    (void)type;
    (void)where;
    (void)remove(path);
    return 0;
}

static void remove_dirs(int number)
{
    for (int i = 0; i < DIRS_KEPT; i++) {
        if (dirs[number][i][0] == '/')
            (void)nftw(dirs[number][i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
        dirs[number][i][0] = '\0';
    }
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

/* The last one that check has heard of is where it says that a test has crashed. It moves all of them once for
 * each of them, which takes minutes where there are 100,000: then it hears of some. They go to a pipe that only
 * its own runner opens. */
void __wrap__mark_point(const char *file, int line)
{
    static unsigned n;

    if (!is_wanted() && (n++ < 1000 || n % 64 == 0))
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

/* ---- the ways on which memory is asked for --------------------------------------------------- */

#define MOST_WAYS (1UL << 22)
#define WAY_DEPTH 16

static uint64_t *ways; /* of the allocations of the run that counts them; shared with the parent */

extern const char __executable_start[], etext[];

/* The calls that led here, up to the first that is not of this program; libev's for example. Only that
 * has a frame pointer. */
__attribute__((noinline, no_sanitize("address", "undefined")))
static void note_way(void)
{
    const void *const *frame = __builtin_frame_address(0);
    uint64_t way = UINT64_C(0xcbf29ce484222325);

    if (told.is_own || mem_asked() > MOST_WAYS)
        return;
    for (int depth = 0; depth < WAY_DEPTH; depth++) {
        const void *const *above = frame[0];
        const char *from = frame[1];

        if (from < __executable_start || from >= etext)
            break;
        way = (way ^ (uintptr_t)from) * UINT64_C(0x100000001b3);
        way ^= way >> 29;
        if (above <= frame || (const char *)above - (const char *)frame > 1 << 20)
            break;
        frame = above;
    }
    ways[mem_asked() - 1] = way | 1;
}

/* ---- a run ----------------------------------------------------------------------------------- */

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
    if (starved->n == 0)
        mem_on_ask(note_way);
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

static unsigned long work, n_places, n_runs, n_claims, n_bad, n_ways;
static unsigned long share, whole;
static int n_at_once = 8;
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

/* Many of them wait rather than work, so some run side by side. */
static struct child {
    pid_t pid;
    int number; /* from 0, no other child's */
    int fd; /* to hear what it has told */
    struct starved starved;
} children[MOST_CHILDREN];
static int n_children;
static bool is_taken[MOST_CHILDREN]; /* the numbers */

static void child_ended(const struct child *child, int status, struct told *ret)
{
    const struct starved *starved = &child->starved;
    ssize_t n = read(child->fd, ret, sizeof(*ret));

    (void)kill(-child->pid, SIGKILL);
    close(child->fd);
    remove_dirs(child->number);
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

static void starve(const struct starved *starved)
{
    struct child *child = &children[n_children];
    int fds[2];

    child->number = 0;
    while (is_taken[child->number])
        child->number++;
    is_taken[child->number] = true;
    (void)fflush(NULL);
    if (pipe(fds) < 0 || (child->pid = __real_fork()) < 0)
        abort();
    if (child->pid == 0) {
        close(fds[0]);
        for (int i = 0; i < n_children; i++)
            close(children[i].fd);
        child_number = child->number;
        run_alone(starved, fds[1]);
    }
    close(fds[1]);
    child->fd = fds[0];
    child->starved = *starved;
    n_children++;
    n_runs++;
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

static void forget_ways(void)
{
    memset(known, 0, MOST_KNOWN * sizeof(*known));
    n_known = 0;
}

static void starve_test(struct starved *starved)
{
    unsigned long total, samples, step;
    struct told all, one;

    starved->n = 0;
    starved->is_once = false;
    starve(starved);
    wait_children(0, &all);
    total = all.asked;
    if (total == 0)
        return;
    n_places += 2 * total;
    samples = work / total / 2;
    step = total <= whole || total <= samples ? 1
           : samples == 0                     ? ULONG_MAX
                                              : (total + samples - 1) / samples;
    if (getenv("STARVE_EACH") != NULL)
        forget_ways();
    for (unsigned long n = 1; n <= total; n++) {
        bool is_way = n <= MOST_WAYS && is_new(ways[n - 1]) && n_ways++ % share == 0;

        starved->n = n;
        for (int once = 0; once < 2; once++) {
            starved->is_once = once != 0;
            /* Where not all are taken, the two ways to fail take different ones. */
            if (is_way || (n - 1) % step == (once != 0 ? step / 2 : 0)) {
                wait_children(n_at_once - 1, &one);
                starve(starved);
            }
        }
    }
    wait_children(0, &one);
}

static int number(const char *name, int otherwise)
{
    const char *text = getenv(name);

    return text != NULL ? atoi(text) : otherwise;
}

static void *map(size_t size, int how)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
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
    whole = strtoul(wish, NULL, 10);
    work = (unsigned long)number("STARVE_WORK", 0);
    share = (unsigned long)number("STARVE_SHARE", 1);
    ways = map(MOST_WAYS * sizeof(*ways), MAP_SHARED);
    known = map(MOST_KNOWN * sizeof(*known), MAP_PRIVATE);
    dirs = map(MOST_CHILDREN * sizeof(*dirs), MAP_SHARED);
    n_at_once = number("STARVE_JOBS", n_at_once);
    if (n_at_once < 1 || n_at_once > MOST_CHILDREN || share == 0)
        abort();
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
                starve(&starved);
                wait_children(0, &one);
            } else {
                starve_test(&starved);
            }
        }
    }
    printf("%lu runs for %lu failures that there can be, on %lu ways; %lu ended by a claim of the test's\n",
           n_runs, n_places, n_ways, n_claims);
    printf("%lu passed, %lu failed\n", n_runs - n_bad, n_bad);
}

int __wrap_srunner_ntests_failed(SRunner *runner)
{
    return is_wanted() ? (int)n_bad : __real_srunner_ntests_failed(runner);
}
