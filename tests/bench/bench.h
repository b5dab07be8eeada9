/* What the measuring programs share: clock, medians, a raw QMP connection, child processes. They
 * use the library through its public headers only, as a user does. */
#ifndef QBLK_TESTS_BENCH_H
#define QBLK_TESTS_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/resource.h>
#include <sys/types.h>

/* Ends the program with status 1: something cannot be measured. */
void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

double bench_now_us(void);               /* monotonic */
double bench_cpu_us(void);               /* user and system time of this process */

/* Numbers of which the middle is wanted. */
struct series {
    double *v;
    size_t n, room;
};
void series_add(struct series *series, double value);
double series_at(struct series *series, double part); /* 0.5: the median. Sorts. */

/* A connection that knows nothing but bytes and line ends. */
struct raw {
    int fd;
    size_t len;
    char in[65536];
};
void raw_connect(struct raw *raw, const char *path);
void raw_send(struct raw *raw, const char *bytes, size_t len);
/* Waits for the next line and forgets the one before. NUL-terminated, of the buffer. */
char *raw_line(struct raw *raw);
/* The greeting, qmp_capabilities, its reply. */
void raw_handshake(struct raw *raw);

/* Runs a program with its output thrown away, waits for it, and ends if its status is not 0. */
struct run {
    double wall_us;
    double cpu_us;
    long rss_kib;
};
void bench_run(char *const argv[], struct run *ret_run);
pid_t bench_spawn(char *const argv[]);
void bench_wait(pid_t pid, const char *name, struct rusage *ret_usage);

#endif
