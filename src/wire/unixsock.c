#include "wire/unixsock.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"

#define SOCKET_TYPE (SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC)
#define CLAIM_CALLERS 1024 /* they are told whose a claim is; later ones only that it is somebody's */
#define CLAIM_TRIES 100

_Static_assert(UNIXSOCK_PATH_MAX < sizeof(((struct sockaddr_un *)NULL)->sun_path),
               "the longest path and its NUL must fit");

int unixsock_check_path(const char *path, qblk_error *error)
{
    size_t len = strlen(path);

    if (len == 0)
        return err_set(error, QBLK_E_ARGUMENT, "the path of the socket is empty");
    if (len > UNIXSOCK_PATH_MAX) {
        (void)err_set(error, QBLK_E_ARGUMENT,
                      "the path of a UNIX socket may have %d bytes, this one has %zu (use a "
                      "shorter or relative path, or a symbolic link to its directory): %s",
                      UNIXSOCK_PATH_MAX, len, path);
        if (error != NULL)
            error->err = ENAMETOOLONG;
        return -ENAMETOOLONG;
    }
    return 0;
}

static void make_address(struct sockaddr_un *address, const char *path)
{
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, strlen(path));
}

/* Nobody can be reached at path: says why in the user's words, keeping the errno. */
static int unreachable(const char *path, int err, qblk_error *error)
{
    struct stat st;
    bool is_there = stat(path, &st) == 0;

    if (is_there && !S_ISSOCK(st.st_mode))
        err = ENOTSOCK;
    switch (err) {
    case ENOENT:
        (void)err_set(error, QBLK_E_NO_MONITOR, "%s does not exist; is QEMU running, with -qmp "
                      "unix:%s,server=on,wait=off?", path, path);
        break;
    case ENOTSOCK:
        (void)err_set(error, QBLK_E_NO_MONITOR, "%s is not a socket", path);
        break;
    case ECONNREFUSED:
        (void)err_set(error, QBLK_E_NO_MONITOR,
                      "nobody listens at %s (left over from a QEMU that has ended?)", path);
        break;
    case EPROTOTYPE:
        (void)err_set(error, QBLK_E_NO_MONITOR, "%s is not a stream socket, so not a QMP monitor",
                      path);
        break;
    case EACCES:
    case EPERM:
        (void)err_set(error, QBLK_E_NO_MONITOR,
                      "permission denied for %s (connecting needs write permission on the socket "
                      "and search permission on its directories)", path);
        break;
    default:
        (void)err_set(error, QBLK_E_NO_MONITOR, "cannot connect to %s: %s", path, strerror(err));
        break;
    }
    if (error != NULL)
        error->err = err;
    return -err;
}

static int connect_failed(const char *path, int err, qblk_error *error)
{
    switch (err) {
    case EAGAIN:
        (void)err_set(error, QBLK_E_MONITOR_BUSY,
                      "the monitor at %s is busy: QEMU serves one client at a time, and others "
                      "wait in line already", path);
        if (error != NULL)
            error->err = err;
        return -err;
    case ENOMEM:
    case ENOBUFS:
    case EMFILE:
    case ENFILE:
        return err_sys(error, err, "cannot connect to %s", path);
    default:
        return unreachable(path, err, error);
    }
}

/* A socket, and the address for it to be bound or connected to. */
static int path_socket(const char *path, struct sockaddr_un *address, qblk_error *error)
{
    int fd, r = unixsock_check_path(path, error);

    if (r < 0)
        return r;
    make_address(address, path);
    fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    return fd >= 0 ? fd : err_sys(error, errno, "cannot make a socket");
}

int unixsock_connect(const char *path, qblk_error *error)
{
    struct sockaddr_un address;
    int r, fd = path_socket(path, &address, error);

    if (fd < 0)
        return fd;
    do {
        r = connect(fd, (const struct sockaddr *)&address, sizeof(address));
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        r = connect_failed(path, errno, error);
        (void)close(fd);
        return r;
    }
    return fd;
}

int unixsock_listen(const char *path, qblk_error *error)
{
    struct sockaddr_un address;
    int r, fd = path_socket(path, &address, error);

    if (fd < 0)
        return fd;
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        r = err_sys(error, errno, errno == EADDRINUSE
                                      ? "cannot listen at %s, which exists (remove it, or use "
                                        "another path)"
                                      : "cannot listen at %s",
                    path);
        (void)close(fd);
        return r;
    }
    if (listen(fd, 1) < 0) {
        r = err_sys(error, errno, "cannot listen at %s", path);
        (void)unlink(path);
        (void)close(fd);
        return r;
    }
    return fd;
}

static int see_peer(int fd, struct ucred *ret_peer)
{
    socklen_t size = sizeof(*ret_peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ret_peer, &size) < 0 ? -errno : 0;
}

int unixsock_peer_uid(int fd, unsigned *ret_uid)
{
    struct ucred peer;
    int r = see_peer(fd, &peer);

    if (r == 0)
        *ret_uid = peer.uid;
    return r;
}

int unixsock_peer_pid(int fd, long *ret_pid)
{
    struct ucred peer;
    int r = see_peer(fd, &peer);

    if (r == 0)
        *ret_pid = (long)peer.pid;
    return r;
}

static int name_address(struct sockaddr_un *address, socklen_t *ret_size, const char *name)
{
    size_t len = strlen(name);

    if (len > UNIXSOCK_PATH_MAX - 1)
        return -ENAMETOOLONG;
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path + 1, name, len);
    *ret_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len);
    return 0;
}

/* Who listens, if somebody does: the kernel tells those whom he lets connect. False: nobody, or nothing can be
 * said. */
static bool see_owner(const struct sockaddr_un *address, socklen_t size, long *ret_pid, unsigned *ret_uid)
{
    int fd = socket(AF_UNIX, SOCKET_TYPE, 0);
    struct ucred owner = { .pid = 0, .uid = geteuid() };
    bool is_there = fd >= 0;

    if (is_there && connect(fd, (const struct sockaddr *)address, size) == 0)
        (void)see_peer(fd, &owner);
    else
        is_there = is_there && errno == EAGAIN; /* his line is full */
    if (fd >= 0)
        (void)close(fd);
    *ret_pid = is_there ? owner.pid : 0;
    *ret_uid = is_there ? owner.uid : (unsigned)-1;
    return is_there;
}

/* A claim, or the errno. Nobody is ever accepted: that he can call is enough. */
static int try_claim(const struct sockaddr_un *address, socklen_t size)
{
    int fd = socket(AF_UNIX, SOCKET_TYPE, 0), r;

    if (fd < 0)
        return -errno;
    if (bind(fd, (const struct sockaddr *)address, size) < 0 || listen(fd, CLAIM_CALLERS) < 0)
        r = -errno;
    else
        r = fd > 2 ? fd : unixsock_dup(fd);
    if (r != fd)
        (void)close(fd);
    return r;
}

int unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid)
{
    struct sockaddr_un address;
    socklen_t size;
    int r = name_address(&address, &size, name);

    if (r < 0)
        return r;
    r = try_claim(&address, size);
    /* One who has the name and does not listen is about to, or has it for another reason. */
    for (int i = 0; r == -EADDRINUSE && !see_owner(&address, size, ret_pid, ret_uid) && i < CLAIM_TRIES; i++) {
        (void)sched_yield();
        r = try_claim(&address, size);
    }
    return r;
}

bool unixsock_is_claimed(const char *name, long *ret_pid, unsigned *ret_uid)
{
    struct sockaddr_un address;
    socklen_t size;

    return name_address(&address, &size, name) == 0 && see_owner(&address, size, ret_pid, ret_uid);
}

int unixsock_accept(int listener, qblk_error *error)
{
    int fd;

    do {
        fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    if (fd >= 0)
        return fd;
    /* A caller that left again while it waited is as good as none. */
    return err_sys(error, errno == ECONNABORTED ? EAGAIN : errno, "nobody to accept");
}

int unixsock_adopt(int fd, qblk_error *error)
{
    int value = 0, flags;
    socklen_t len = sizeof(value);

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len) < 0)
        return err_sys(error, errno, "descriptor %d cannot be a monitor's connection", fd);
    if (value != SOCK_STREAM)
        return err_set(error, QBLK_E_ARGUMENT,
                       "descriptor %d cannot be a monitor's connection: not a stream socket", fd);
    len = sizeof(value);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0 && value != 0)
        return err_set(error, QBLK_E_ARGUMENT,
                       "descriptor %d cannot be a monitor's connection: it listens; accept first",
                       fd);
    flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
        return err_sys(error, errno, "cannot set the flags of descriptor %d", fd);
    return 0;
}

long unixsock_recv(int fd, void *data, size_t len)
{
    ssize_t n;

    /* Without room for control data the kernel closes descriptors that come along itself, before
     * they would ever be in this process. */
    do {
        n = recv(fd, data, len, 0);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (long)n;
}

static ssize_t send_with_fd(int fd, const void *data, size_t len, int pass)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec piece = { .iov_len = len };
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control.space),
    };
    struct cmsghdr *header;

    /* iov_base is not const only because recvmsg() has the same struct. */
    memcpy(&piece.iov_base, &data, sizeof(data));
    memset(&control, 0, sizeof(control));
    header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &pass, sizeof(pass));
    return sendmsg(fd, &message, MSG_NOSIGNAL);
}

long unixsock_send(int fd, const void *data, size_t len, int pass)
{
    ssize_t n;

    do {
        n = pass < 0 ? send(fd, data, len, MSG_NOSIGNAL) : send_with_fd(fd, data, len, pass);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (long)n;
}

int unixsock_dup(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);

    return copy < 0 ? -errno : copy;
}

int unixsock_pair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCKET_TYPE, 0, ret_fds) < 0 ? -errno : 0;
}
