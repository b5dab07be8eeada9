/* unread [others-]pipe|nonblocking|[others-]terminal|socket PIDFILE COMMAND...: runs the command with its
 * stdout and stderr where nobody reads and there is no room for a byte more; "nonblocking" is a pipe with
 * O_NONBLOCK, a terminal is stopped as by Ctrl-S, what is another's the command may not open anew. When our
 * standard input ends, what it has written is read and printed. Ends as the command does, with 128 and the
 * signal if by one. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static void must(int ok, const char *what)
{
    if (ok)
        return;
    perror(what);
    exit(126);
}

/* ends[0] is where one would read. */
static void make(const char *kind, int ends[2])
{
    struct termios termios;

    if (strcmp(kind, "pipe") == 0 || strcmp(kind, "nonblocking") == 0) {
        must(pipe(ends) == 0, "pipe");
    } else if (strcmp(kind, "socket") == 0) {
        must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0, "socketpair");
    } else {
        ends[0] = posix_openpt(O_RDWR | O_NOCTTY);
        must(ends[0] >= 0 && grantpt(ends[0]) == 0 && unlockpt(ends[0]) == 0, "posix_openpt");
        ends[1] = open(ptsname(ends[0]), O_RDWR | O_NOCTTY);
        must(ends[1] >= 0 && tcgetattr(ends[1], &termios) == 0, "tcgetattr");
        cfmakeraw(&termios);
        must(tcsetattr(ends[1], TCSANOW, &termios) == 0 && tcflow(ends[1], TCOOFF) == 0, "tcsetattr");
    }
}

/* Not even by root, who may do without this from here on. Whoever is not root cannot anyway. */
static void forbid_open(int fd)
{
    must(fchmod(fd, 0) == 0, "fchmod");
    must(prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0 || errno == EPERM, "prctl");
}

/* Returns the bytes that fill it. */
static size_t fill(int fd)
{
    static const size_t sizes[] = { 4096, 1 };
    static const char filler[4096];
    int flags = fcntl(fd, F_GETFL);
    size_t n = 0;

    must(fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0, "fcntl");
    for (size_t i = 0; i < 2; i++) {
        for (ssize_t r; (r = write(fd, filler, sizes[i])) > 0;)
            n += (size_t)r;
        must(errno == EAGAIN, "write");
    }
    must(fcntl(fd, F_SETFL, flags) == 0, "fcntl");
    return n;
}

static pid_t run(const char *pid_file, char **command, int fd, int other)
{
    pid_t pid = fork();

    must(pid >= 0, "fork");
    if (pid == 0) {
        FILE *file = fopen(pid_file, "w");
        sigset_t none;

        must(file != NULL && fprintf(file, "%ld\n", (long)getpid()) > 0 && fclose(file) == 0, pid_file);
        must(dup2(fd, STDOUT_FILENO) >= 0 && dup2(fd, STDERR_FILENO) >= 0, "dup2");
        (void)close(fd);
        (void)close(other);
        (void)signal(SIGHUP, SIG_DFL); /* as if nohup had not been before all */
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)execvp(command[0], command);
        _exit(127);
    }
    return pid;
}

/* Whether standard input has ended, not the command. */
static int is_to_read(int child_fd)
{
    struct pollfd fds[2] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .fd = child_fd, .events = POLLIN } };
    char byte;

    for (;;) {
        must(poll(fds, 2, -1) > 0, "poll");
        if (fds[1].revents != 0)
            return 0;
        if (read(STDIN_FILENO, &byte, 1) <= 0)
            return 1;
    }
}

static void print(int fd, size_t skip)
{
    char data[4096];

    /* A terminal that nobody has open any more is an error to read. */
    for (ssize_t n; (n = read(fd, data, sizeof(data))) > 0;) {
        size_t from = skip < (size_t)n ? skip : (size_t)n;

        skip -= from;
        (void)fwrite(data + from, 1, (size_t)n - from, stdout);
    }
}

int main(int argc, char **argv)
{
    static const char others[] = "others-";
    const char *kind = argv[1];
    int ends[2], child_fd, status, is_terminal, is_others;
    sigset_t set;
    size_t n;
    pid_t pid;

    if (argc < 4)
        return 2;
    is_others = strncmp(kind, others, strlen(others)) == 0;
    kind += is_others ? strlen(others) : 0;
    make(kind, ends);
    is_terminal = isatty(ends[1]);
    n = is_terminal ? 0 : fill(ends[1]);
    if (is_others)
        forbid_open(ends[1]);
    if (strcmp(kind, "nonblocking") == 0)
        must(fcntl(ends[1], F_SETFL, fcntl(ends[1], F_GETFL) | O_NONBLOCK) == 0, "fcntl");
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    child_fd = signalfd(-1, &set, SFD_CLOEXEC);
    must(child_fd >= 0, "signalfd");
    pid = run(argv[2], argv + 3, ends[1], ends[0]);
    if (is_to_read(child_fd)) {
        if (is_terminal)
            must(tcflow(ends[1], TCOON) == 0, "tcflow");
        (void)close(ends[1]);
        print(ends[0], n);
    }
    must(waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
