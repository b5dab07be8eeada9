/* Starting the scripted peer in a child process. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "qmp_server.h"

static void die(const char *what)
{
    fprintf(stderr, "qmp_server: %s: %s\n", what, strerror(errno));
    exit(1);
}

int qmp_server_bind(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd, err;

    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path));
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0) {
        err = errno;
        close(fd);
        return -err;
    }
    return fd;
}

/* In the child: plays, and ends without what atexit() would do to the parent's affairs. The ends
 * of other connections that the parent holds must not stay open here, or nobody would see them
 * close. */
static void play_in_child(int listener, int connection, const char *script)
{
    for (int fd = 3; fd < 1024; fd++) {
        if (fd != listener && fd != connection)
            close(fd);
    }
    _exit(qmp_server_play(listener, connection, script));
}

int qmp_server_pair(const char *script, pid_t *ret_pid)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
        die("socketpair");
    *ret_pid = fork();
    if (*ret_pid < 0)
        die("fork");
    if (*ret_pid == 0)
        play_in_child(-1, fds[1], script);
    close(fds[1]);
    return fds[0];
}

void qmp_server_listen(const char *path, const char *script, pid_t *ret_pid)
{
    int listener = qmp_server_bind(path);

    if (listener < 0) {
        errno = -listener;
        die(path);
    }
    *ret_pid = fork();
    if (*ret_pid < 0)
        die("fork");
    if (*ret_pid == 0)
        play_in_child(listener, -1, script);
    close(listener);
}

int qmp_server_wait(pid_t pid)
{
    int status;
    pid_t r;

    do {
        r = waitpid(pid, &status, 0);
    } while (r < 0 && errno == EINTR);
    if (r < 0)
        die("waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
