/* A peer for tests that plays one side of a QMP conversation from a script.
 *
 * A script is lines; blank lines and lines that begin with # are skipped.
 *
 *   > TEXT         Sends TEXT and CR LF. $id stands for the id of the last message that was
 *                  expected, $idNAME for the one remembered as NAME, both as JSON.
 *   >> TEXT        Sends TEXT as it is, without a line end. C escapes \n \r \t \0 \\ \" \xNN are
 *                  replaced (after $id, so that \x24 is a plain dollar).
 *   < PATTERN      The next message of the client must match PATTERN, a JSON value: an object
 *                  matches if it has all members of the pattern and they match; an array if it is
 *                  as long and its elements match; the string "$any" matches whatever is there;
 *                  anything else must be equal. The message's id becomes $id.
 *   <NAME PATTERN  The same, and the id also becomes $idNAME (NAME: letters and digits).
 *   ! negotiate    The same as: < {"execute": "qmp_capabilities"}   > {"return": {}, "id": $id}
 *   ! fds N        With the messages expected since the connection began, or since the last such
 *                  line, N descriptors must have come.
 *   ! quiet        The client must have sent no whole message that was not expected yet, as far as
 *                  has arrived.
 *   ! eof          The client must leave now, without having sent anything more.
 *   ! hup          Closes the connection.
 *   ! rst          Waits until the client has sent something and closes without reading it: the
 *                  client gets ECONNRESET.
 *   ! stall        Stops reading, and waits for the client to leave.
 *   ! fill N       Sends the letter x N times.
 *   ! pour TEXT    Sends TEXT and CR LF again and again until the client leaves.
 *   ! split N      From here on writes pieces of N bytes; 0: whole again.
 *   ! nogreet      As the first line of a connection: no greeting is sent.
 *   ! listen-again Accepts the next client (only at a listening socket). Closes the one before.
 *
 * A connection begins with a greeting, QEMU 7.2.22 offering oob, unless its first line says nogreet;
 * a greeting of another kind is sent by hand after that. At the end of the script the connection is
 * closed.
 *
 * On a mismatch, on a mistake in the script, or when nothing comes for 30 seconds, the line, what
 * was expected and what came are printed to stderr, and the result is 1; at the end of the script
 * it is 0. The client's messages need no line ends. */
#ifndef QBLK_TESTS_FAKE_QMP_SERVER_H
#define QBLK_TESTS_FAKE_QMP_SERVER_H

#include <sys/types.h>

/* Plays a script in this process. connection is a connected socket, or -1: then the first client
 * is accepted at listener. Both stay the caller's, but connection is closed. Returns 0 or 1. */
int qmp_server_play(int listener, int connection, const char *script);

/* Listens at path; -errno if that fails. */
int qmp_server_bind(const char *path);

/* Plays a script in a child process. Returns the client's end of the connection, non-blocking; the
 * child holds no other descriptor but stderr. Ends the test program if the system does not let it. */
int qmp_server_pair(const char *script, pid_t *ret_pid);

/* The same at a socket that exists when the call returns. */
void qmp_server_listen(const char *path, const char *script, pid_t *ret_pid);

/* Waits for the child's end: 0 if the script came to its end, 1 on a mismatch, 128 plus the number
 * of the signal that killed it. */
int qmp_server_wait(pid_t pid);

#endif
