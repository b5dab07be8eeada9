#include "run.h"

#include <check.h>
#include <ftw.h>
#include <jansson.h>
#include <malloc.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit/peer.h"
#include "again.h"
#include "base/mem.h"
#include "case.h"
#include "heap.h"

/* Where the library tries again until there is memory, there is some after a while, and what has to
 * end must end then: in so many times of what it takes with all its memory, and some. */
#define HUNGRY_SECONDS 2
#define FED_SECONDS 20
#define FED_TIMES 10

void __real_mem_fail_after(unsigned long n);
pid_t __real_fork(void);
struct mallinfo2 __real_mallinfo2(void);
void __wrap_mem_fail_after(unsigned long n);
void __real__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void __real__mark_point(const char *file, int line);
void __wrap__mark_point(const char *file, int line);
void __wrap__ck_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
pid_t __wrap_fork(void);
int __real_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
int __real_clock_gettime(clockid_t clock, struct timespec *ret);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret);
char *__real_mkdtemp(char *name);
char *__wrap_mkdtemp(char *name);
struct mallinfo2 __wrap_mallinfo2(void);
qblk_monitor *__real_peer_start(struct peer *peer, unsigned version,
                                const qblk_monitor_options *options);
qblk_monitor *__wrap_peer_start(struct peer *peer, unsigned version,
                                const qblk_monitor_options *options);
qblk_monitor *__real_peer_start_listening(struct peer *peer, unsigned version,
                                          const qblk_monitor_options *options);
qblk_monitor *__wrap_peer_start_listening(struct peer *peer, unsigned version,
                                          const qblk_monitor_options *options);
void __real_peer_done(struct peer *peer);
void __wrap_peer_done(struct peer *peer);

static bool is_starving; /* this process runs a test, or a case of it, that has not all its memory */
static bool is_over;     /* that has ended, or a claim failed */
static jmp_buf after_claim;
static struct starved current;
static int own_number, tell_fd; /* as the parent said */
static const void *stack_base;
static bool (*case_hook)(unsigned long nth, struct totals *totals);
static struct told told;
static unsigned n_peers; /* fake servers in this process */
static struct batch *batches; /* by the numbers of the runs */
static struct batch *batch; /* whose runs this process does one after the other, or NULL */

bool run_is_wanted(void)
{
    static int wanted = -1;

    if (wanted < 0)
        wanted = getenv("STARVE") != NULL;
    return wanted != 0;
}

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

static bool has_children; /* which are not taken back with it */

/* What a test starts on the side is not starved, and not followed. */
pid_t __wrap_fork(void)
{
    pid_t pid = __real_fork();

    has_children = true;
    if (pid == 0 && is_starving) {
        heap_unwatch();
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

/* ---- what is left behind --------------------------------------------------------------------- */

/* A test that is cut short leaves its directory, which is removed for it. Told to the parent: of each
 * run the names made last. */
#define DIRS_KEPT 8
typedef char dir_name[64];
static dir_name (*dirs)[DIRS_KEPT];
static unsigned n_dirs;

char *__wrap_mkdtemp(char *name)
{
    char *made = __real_mkdtemp(name);

    if (made != NULL && is_starving)
        (void)snprintf(dirs[own_number][n_dirs++ % DIRS_KEPT], sizeof(dir_name), "%s", made);
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

void run_clean(int number)
{
    for (int i = 0; i < DIRS_KEPT; i++) {
        if (dirs[number][i][0] == '/')
            (void)nftw(dirs[number][i], remove_one, 8, FTW_DEPTH | FTW_PHYS);
        dirs[number][i][0] = '\0';
    }
}

/* ---- the ways on which memory is asked for --------------------------------------------------- */

#define MOST_WAYS (1UL << 22)
#define WAY_DEPTH 16

static uint64_t *ways;

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

uint64_t run_way(unsigned long n)
{
    return n <= MOST_WAYS ? ways[n - 1] : 0;
}

void run_prepare(void)
{
    ways = again_map(MOST_WAYS * sizeof(*ways));
    dirs = again_map(RUN_MOST * sizeof(*dirs));
    batches = again_map(RUN_MOST * sizeof(*batches));
}

/* ---- a run ----------------------------------------------------------------------------------- */

struct batch *run_batch(int number)
{
    return &batches[number];
}

bool run_advance(struct batch *of)
{
    if (!of->now.is_once) {
        of->now.is_once = true;
        return true;
    }
    of->now.is_once = of->is_alone;
    return ++of->now.n <= of->last;
}

static void tell(void)
{
    if (batch == NULL)
        (void)!write(tell_fd, &told, sizeof(told));
}

__attribute__((noreturn)) static void leave(int status)
{
    if (heap_is_damaged())
        status = RUN_DAMAGED;
    if (batch != NULL && (status == RUN_PASSED || status == RUN_CLAIM_FAILED)) {
        (void)alarm(0);
        batch->runs++;
        batch->claims += status == RUN_CLAIM_FAILED;
        if (run_advance(batch) && AGAIN_IS_POSSIBLE && !has_children) {
            run_clean(own_number);
            heap_forget();
            again_go();
        }
        status = RUN_PASSED;
    }
    (void)fflush(NULL);
    _exit(status);
}

/* The last one that check has heard of is where it says that a test has crashed. It moves all of them once for
 * each of them, which takes minutes where there are 100,000: then it hears of some. They go to a pipe that only
 * its own runner opens. */
void __wrap__mark_point(const char *file, int line)
{
    static unsigned n;

    if (!run_is_wanted() && (n++ < 1000 || n % 64 == 0))
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
    if (!run_is_wanted())
        __real__ck_assert_failed(file, line, expr, msg != NULL ? "%s" : NULL, text);
    if (getenv("STARVE_N") != NULL)
        fprintf(stderr, "%s:%d: %s: %s\n", file, line, expr, msg != NULL ? text : "");
    if (!is_starving)
        _exit(1);
    if (is_over) /* in the teardown */
        leave(RUN_CLAIM_FAILED);
    is_over = true;
    count();
    told.file = file;
    told.line = line;
    __real_mem_fail_after(0);
    if (heap_lost(true) > 0)
        leave(RUN_LOST);
    longjmp(after_claim, 1);
}

/* What is allocated is counted anew then. */
static void end_famine(void)
{
    if (current.n != 0 && !is_over)
        __real_mem_fail_after(0);
}

static void feed(int sig)
{
    end_famine();
    (void)signal(sig, SIG_DFL);
    (void)alarm(FED_SECONDS + FED_TIMES * current.seconds);
}

/* What one case waits for is in its own process, or is time: which then passes at once, so that thousands of
 * cases do not wait for it one after the other. */
static int64_t skipped_ms;

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    bool is_skipped = timeout_ms > 0 && (current.nth_case != 0 || (case_hook != NULL && n_peers > 0));
    int r = __real_poll(fds, n, is_skipped ? 0 : timeout_ms);

    if (r == 0 && is_skipped) {
        skipped_ms += timeout_ms;
        if (is_starving && skipped_ms > HUNGRY_SECONDS * 1000)
            end_famine();
    }
    return r;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret)
{
    int r = __real_clock_gettime(clock, ret);

    if (r == 0 && clock == CLOCK_MONOTONIC) {
        ret->tv_nsec += skipped_ms % 1000 * 1000000;
        ret->tv_sec += skipped_ms / 1000 + ret->tv_nsec / 1000000000;
        ret->tv_nsec %= 1000000000;
    }
    return r;
}

static void starve(const struct starved *starved, int number, int pipe_fd)
{
    current = *starved;
    own_number = number;
    tell_fd = pipe_fd;
    (void)setpgid(0, 0);
    heap_watch(stack_base);
    is_starving = true;
}

static void time_out(void)
{
    (void)signal(SIGALRM, feed);
    (void)alarm(HUNGRY_SECONDS);
}

static void fail_now(void)
{
    if (current.is_once)
        mem_fail_once(current.n);
    else
        __real_mem_fail_after(current.n);
}

__attribute__((noinline))
static void run(volatile bool *ret_was_set_up)
{
    if (is_starving)
        fail_now();
    suite_set_up(current.test);
    *ret_was_set_up = true;
    if (is_starving && current.nth_case == 0 && !current.with_setup)
        fail_now();
    current.test->test->fn(current.i);
    if (is_starving)
        count();
    is_over = true;
    __real_mem_fail_after(0);
}

__attribute__((noreturn))
static void run_to_end(void)
{
    volatile bool was_set_up = false;
    volatile bool has_failed = false;

    json_set_alloc_funcs(heap_json_alloc, heap_json_free);
    if (setjmp(after_claim) == 0)
        run(&was_set_up);
    else
        has_failed = true;
    tell();
    if (was_set_up)
        suite_tear_down(current.test);
    leave(is_starving && heap_lost(false) > 0 ? RUN_LOST : has_failed ? RUN_CLAIM_FAILED : RUN_PASSED);
}

void run_test(const struct starved *starved, int number, int pipe_fd)
{
    stack_base = __builtin_frame_address(0);
    starve(starved, number, pipe_fd);
    time_out();
    if (starved->n == 0)
        mem_on_ask(note_way);
    run_to_end();
}

/* ---- a case of a test ------------------------------------------------------------------------ */

static unsigned long n_cases;

void run_cases(const struct starved *starved, int pipe_fd,
               bool (*at_case)(unsigned long nth, struct totals *totals))
{
    stack_base = __builtin_frame_address(0);
    current = *starved;
    tell_fd = pipe_fd;
    (void)setpgid(0, 0);
    case_hook = at_case;
    run_to_end();
}

void run_case(const struct starved *starved, int number, int pipe_fd, bool is_batch)
{
    case_hook = NULL;
    batch = is_batch ? &batches[number] : NULL;
    starve(starved, number, pipe_fd);
}

/* Between two cases nothing is open that the processes could share. Returns whether a case of this process
 * begins. */
static bool pass_case(void)
{
    if (is_starving && current.nth_case != 0) {
        count();
        is_over = true;
        __real_mem_fail_after(0);
        tell();
        leave(heap_lost(true) > 0 ? RUN_LOST : RUN_PASSED);
    }
    if (case_hook == NULL)
        return false;
    if (AGAIN_IS_POSSIBLE && n_cases == 0)
        again_prepare();
    if (!case_hook(++n_cases, &told.of_cases))
        return false;
    if (batch != NULL && AGAIN_IS_POSSIBLE)
        again_here();
    if (batch != NULL)
        current = batch->now;
    time_out();
    fail_now();
    return true;
}

void case_begins(void)
{
    (void)pass_case();
}

int case_many(int many, int few)
{
    return run_is_wanted() ? few : many;
}

typedef qblk_monitor *start_fn(struct peer *peer, unsigned version, const qblk_monitor_options *options);

static qblk_monitor *begin_case(start_fn *start, struct peer *peer, unsigned version,
                                const qblk_monitor_options *options)
{
    if (n_peers == 0)
        (void)pass_case();
    n_peers++;
    return start(peer, version, options);
}

qblk_monitor *__wrap_peer_start(struct peer *peer, unsigned version,
                                const qblk_monitor_options *options)
{
    return begin_case(__real_peer_start, peer, version, options);
}

qblk_monitor *__wrap_peer_start_listening(struct peer *peer, unsigned version,
                                          const qblk_monitor_options *options)
{
    return begin_case(__real_peer_start_listening, peer, version, options);
}

void __wrap_peer_done(struct peer *peer)
{
    __real_peer_done(peer);
    n_peers--;
}
