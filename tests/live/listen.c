/* listen SOCKET... -- COMMAND [ARG...]: listens at each SOCKET, prints "ready" and closes standard output,
 * and becomes COMMAND with the listening sockets as systemd hands them over (LISTEN_FDS), from file
 * descriptor 3 on: so that a test need not wait for a server that does not say when it listens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

static int listen_at(const char *path, int as)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
        listen(fd, 1) < 0)
        return -1;
    return fd == as || (dup2(fd, as) == as && close(fd) == 0) ? 0 : -1;
}

int main(int argc, char **argv)
{
    char pid[16], count[16];
    int n = 0;

    while (n + 1 < argc && strcmp(argv[n + 1], "--") != 0)
        n++;
    if (n == 0 || n + 2 >= argc) {
        fputs("usage: listen SOCKET... -- COMMAND [ARG...]\n", stderr);
        return 2;
    }
    /* Whatever else is inherited there has no business in COMMAND, and would be in the way. */
    for (int i = 0; i < n; i++)
        (void)close(FIRST_FD + i);
    for (int i = 0; i < n; i++) {
        if (listen_at(argv[i + 1], FIRST_FD + i) < 0) {
            fprintf(stderr, "listen: %s: %s\n", argv[i + 1], strerror(errno));
            return 2;
        }
    }
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    (void)snprintf(count, sizeof(count), "%d", n);
    if (setenv("LISTEN_FDS", count, 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0)
        return 2;
    puts("ready");
    if (fflush(stdout) == EOF || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 2;
    (void)execvp(argv[n + 2], argv + n + 2);
    fprintf(stderr, "listen: %s: %s\n", argv[n + 2], strerror(errno));
    return 2;
}
