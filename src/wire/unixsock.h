/* UNIX stream sockets. The only file that knows of <sys/socket.h>. Every descriptor is
 * close-on-exec and non-blocking; nothing raises SIGPIPE; EINTR is handled here. */
#ifndef QBLK_SRC_WIRE_UNIXSOCK_H
#define QBLK_SRC_WIRE_UNIXSOCK_H

#include <stdbool.h>
#include <stddef.h>

#include <qblk/base.h>

#define UNIXSOCK_PATH_MAX 107

/* Checks that path fits: -ENAMETOOLONG (QBLK_E_ARGUMENT) naming its length and the limit. */
int unixsock_check_path(const char *path, qblk_error *error);

/* One attempt. Returns the descriptor; -ENOENT, -ECONNREFUSED, -ENOTSOCK, -EPROTOTYPE, -EACCES and
 * the like (QBLK_E_NO_MONITOR, the text tells them apart), -EAGAIN (the listener's queue is full:
 * QBLK_E_MONITOR_BUSY), or the errno of a shortage of ours (QBLK_E_SYSTEM, QBLK_E_MEMORY). */
int unixsock_connect(const char *path, qblk_error *error);

/* Returns the listening descriptor; -EADDRINUSE if the path exists. */
int unixsock_listen(const char *path, qblk_error *error);
/* Returns the connection, or -EAGAIN if nobody called yet. */
int unixsock_accept(int listener, qblk_error *error);

/* Makes a descriptor from outside ours: checks that it is a stream socket, sets its flags. */
int unixsock_adopt(int fd, qblk_error *error);

/* Up to len bytes. Returns how many, 0 at the end of the stream, -EAGAIN, or another errno.
 * Descriptors that the peer passes are closed. */
long unixsock_recv(int fd, void *data, size_t len);

/* Returns how many bytes went, -EAGAIN, or another errno. pass (or -1) goes with the first byte. */
long unixsock_send(int fd, const void *data, size_t len, int pass);

/* Takes a name that no two processes have at once, of the abstract namespace: it leaves no file, and goes
 * with the descriptor that is returned. -EADDRINUSE: somebody has it, *ret_pid and *ret_uid are his; 0 and
 * ours if too many have asked already who it is, 0 and -1 if he does not listen, as who claims it does.
 * -ENAMETOOLONG, or the errno of a shortage. */
int unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid);
/* Whether somebody has it, with the same of him. */
bool unixsock_is_claimed(const char *name, long *ret_pid, unsigned *ret_uid);

/* Who was at the other end when the connection was made. 0, or a negative errno. */
int unixsock_peer_uid(int fd, unsigned *ret_uid);
/* The same of its process: that which listens there. 0: it is not seen from here. */
int unixsock_peer_pid(int fd, long *ret_pid);

/* A close-on-exec copy, or a negative errno. */
int unixsock_dup(int fd);
/* Both ends of a connected pair, for tests and adoption. */
int unixsock_pair(int ret_fds[2]);

#endif
