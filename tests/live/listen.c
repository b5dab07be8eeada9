/* listen SOCKET COMMAND [ARG...]: listens at SOCKET, prints "ready" and closes standard output, and
 * becomes COMMAND with the listening socket as systemd hands it over (LISTEN_FDS): so that a test need
 * not wait for a server that does not say when it listens. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

static int listen_at(const char *path)
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
    if (fd != FIRST_FD && (dup2(fd, FIRST_FD) < 0 || close(fd) < 0))
        return -1;
    return FIRST_FD;
}

int main(int argc, char **argv)
{
    char pid[16];

    if (argc < 3) {
        fputs("usage: listen SOCKET COMMAND [ARG...]\n", stderr);
        return 2;
    }
    if (listen_at(argv[1]) < 0) {
        fprintf(stderr, "listen: %s: %s\n", argv[1], strerror(errno));
        return 2;
    }
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    if (setenv("LISTEN_FDS", "1", 1) < 0 || setenv("LISTEN_PID", pid, 1) < 0)
        return 2;
    puts("ready");
    if (fflush(stdout) == EOF || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return 2;
    (void)execvp(argv[2], argv + 2);
    fprintf(stderr, "listen: %s: %s\n", argv[2], strerror(errno));
    return 2;
}
