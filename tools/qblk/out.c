#include "out.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

/* What a pipe or a terminal takes without blocking once it says that it takes something; of terminals that is
 * a guess. */
#define A_LITTLE 256

void out_init(struct out *out, int file)
{
    memset(out, 0, sizeof(*out));
    out->file = file;
    out->fd = -1;
}

void out_close(struct out *out)
{
    out_detach(out);
    if (out->fd != out->file && out->fd >= 0)
        (void)close(out->fd);
    text_free(&out->waiting);
    out_init(out, out->file);
}

bool out_is_same(const struct out *a, const struct out *b)
{
    struct stat one, other;

    return fstat(a->file, &one) == 0 && fstat(b->file, &other) == 0 && one.st_dev == other.st_dev &&
           one.st_ino == other.st_ino;
}

/* O_NONBLOCK is of the description, which others share who do not expect it: the shell, the next in the
 * script. So it is opened anew. */
static void open_own(struct out *out)
{
    int flags = fcntl(out->file, F_GETFL);
    char path[32];
    struct stat st;

    out->fd = out->file;
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY || fstat(out->file, &st) < 0)
        return;
    out->is_socket = S_ISSOCK(st.st_mode);
    if (!S_ISFIFO(st.st_mode) && isatty(out->file) != 1)
        return;
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", out->file);
    out->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (out->fd >= 0)
        return;
    /* Another user's terminal, or no /proc. */
    out->fd = out->file;
    out->is_risky = true;
}

static ssize_t write_some(const struct out *out, const char *s, size_t n)
{
    struct pollfd pollfd = { .fd = out->fd, .events = POLLOUT };

    if (out->is_socket)
        return send(out->fd, s, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!out->is_risky)
        return write(out->fd, s, n);
    if (poll(&pollfd, 1, 0) == 0) {
        errno = EAGAIN;
        return -1;
    }
    return write(out->fd, s, n < A_LITTLE ? n : A_LITTLE);
}

static void tell_failure(struct out *out)
{
    void (*on_fail)(void *arg) = out->on_fail;

    out->on_fail = NULL;
    if (on_fail != NULL)
        on_fail(out->arg);
}

static void fail(struct out *out, int err)
{
    out->err = err;
    text_free(&out->waiting);
    out->at = 0;
    if (out->loop != NULL) {
        ev_io_stop(out->loop, &out->room);
        ev_io_stop(out->loop, &out->end);
    }
    tell_failure(out);
}

/* Bytes of s that are written. */
static size_t write_now(struct out *out, const char *s, size_t n)
{
    size_t done = 0;

    while (done < n) {
        ssize_t r = write_some(out, s + done, n - done);

        if (r > 0)
            done += (size_t)r;
        else if (r == 0 || errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return fail(out, errno), done;
    }
    return done;
}

static void flush(struct out *out)
{
    size_t left = out->waiting.len - out->at;
    size_t done = write_now(out, out->waiting.s + out->at, left);

    if (out->err != 0)
        return;
    out->at += done;
    if (done < left)
        return;
    text_free(&out->waiting);
    out->at = 0;
    if (out->loop != NULL)
        ev_io_stop(out->loop, &out->room);
}

void out_put(struct out *out, const char *s)
{
    size_t n = strlen(s), done = 0;

    if (out->err != 0 || out->is_full || n == 0)
        return;
    if (out->fd < 0)
        open_own(out);
    if (out->waiting.len - out->at > OUT_LIMIT) {
        out->is_full = true;
        tell_failure(out);
        return;
    }
    if (!out_is_waiting(out))
        done = write_now(out, s, n);
    if (out->err != 0 || done == n)
        return;
    /* What has gone is dropped now and then, not with each line. */
    if (out->at > out->waiting.len / 2) {
        out->waiting.len -= out->at;
        memmove(out->waiting.s, out->waiting.s + out->at, out->waiting.len + 1);
        out->at = 0;
    }
    text_add_n(&out->waiting, s + done, n - done);
    if (out->loop != NULL)
        ev_io_start(out->loop, &out->room);
}

bool out_is_waiting(const struct out *out)
{
    return out->waiting.len > out->at;
}

static void on_room(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    flush(io->data);
}

/* The end for writing of a pipe has nothing to read, ever: this is its error. */
static void on_end(struct ev_loop *loop, ev_io *io, int revents)
{
    (void)loop;
    (void)revents;
    fail(io->data, EPIPE);
}

void out_attach(struct out *out, struct ev_loop *loop, void (*on_fail)(void *arg), void *arg)
{
    struct stat st;

    if (out->fd < 0)
        open_own(out);
    out->loop = loop;
    out->on_fail = on_fail;
    out->arg = arg;
    ev_io_init(&out->room, on_room, out->fd, EV_WRITE);
    ev_io_init(&out->end, on_end, out->fd, EV_READ);
    out->room.data = out->end.data = out;
    if (out_is_waiting(out))
        ev_io_start(loop, &out->room);
    if (on_fail != NULL && out->err == 0 && fstat(out->fd, &st) == 0 && S_ISFIFO(st.st_mode) &&
        (fcntl(out->fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
        ev_io_start(loop, &out->end);
    if (out->err != 0 || out->is_full)
        tell_failure(out);
}

void out_detach(struct out *out)
{
    if (out->loop == NULL)
        return;
    ev_io_stop(out->loop, &out->room);
    ev_io_stop(out->loop, &out->end);
    out->loop = NULL;
    out->on_fail = NULL;
}

void out_drain(struct out *out, int ms)
{
    int64_t until = clock_ms() + ms;

    while (out->err == 0 && out_is_waiting(out)) {
        struct pollfd pollfd = { .fd = out->fd, .events = POLLOUT };
        int64_t left = until - clock_ms();
        int r = poll(&pollfd, 1, ms < 0 ? -1 : left > 0 ? (int)left : 0);

        if (r > 0)
            flush(out);
        else if (r == 0)
            fail(out, ETIMEDOUT);
        else if (errno != EINTR)
            fail(out, errno);
    }
}

int out_failure(const struct out *out)
{
    return out->err == 0 && out->is_full ? ENOBUFS : out->err;
}

void out_take_again(struct out *out)
{
    out->is_full = false;
}
