/* The client's side of QMP without I/O: greeting, negotiation, ids and waiters, events.
 *
 * Messages come in by client_message(), bytes to write go out through ops.write; time is not known
 * here. Ids: the one of qmp_capabilities is drawn at random by the caller, because until its reply
 * has come a reply to an earlier client may arrive in this stream, even before the greeting; after
 * it ids are integers, of one digit where one is free, since every byte costs QEMU a system call. A
 * reply with an unknown id is logged and dropped, and no id is used twice after that. A reply
 * without id that is an error (QEMU could not parse something) ends the oldest command in flight,
 * once until the next proper reply; one without id that is a return is dropped. A second greeting
 * is an error: the peer has begun anew and will not answer what it was asked before. Every message
 * in either direction is logged here.
 */
#ifndef QBLK_SRC_QMP_CLIENT_H
#define QBLK_SRC_QMP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/log.h"
#include "qmp/msg.h"

enum client_state { CLIENT_GREETING, CLIENT_NEGOTIATING, CLIENT_READY, CLIENT_DEAD };

/* With OOB on, QEMU stops reading when more in-band commands than this wait. */
#define CLIENT_OOB_WINDOW 8

struct client_ops {
    /* Queue bytes for the peer; fd (or -1) is copied and goes with the first. 0 or -errno. Only
     * queues: must not call back into the client. */
    int (*write)(void *arg, const char *data, size_t len, int fd, qblk_error *error);
    void (*ready)(void *arg);
    /* Of every event once ready. text is the whole message, NUL-terminated, borrowed. */
    void (*event)(void *arg, const char *name, const char *text, size_t len);
};

/* Exactly once for every accepted command: reply is the whole message without id (NUL-terminated,
 * borrowed), or NULL and error. */
typedef void client_reply_fn(void *arg, const char *reply, const qblk_error *error);

struct client {
    enum client_state state;
    const struct client_ops *ops;
    void *arg;
    const struct log *log;
    bool want_oob;
    bool has_oob;
    bool has_heard;        /* something came before the greeting */
    unsigned version;
    uint32_t next_id;
    uint32_t short_id;     /* the last of one digit */
    bool has_wrapped;      /* next_id began anew: ids may be in use */
    char caps_id[24];
    struct list waiters;   /* in flight, oldest first */
    struct list held;      /* not written yet: before ready, or beyond the window */
    size_t held_bytes;     /* that those will take */
    unsigned in_flight;    /* in-band commands written and not answered */
    bool blamed;           /* an error without id has ended a command since the last proper reply */
    bool ids_once;         /* no id is used twice, since a reply to an earlier one may still come */
};

/* caps_id: what nobody else has used, such as "qblk-5f2a90c1". ops and log are borrowed. */
void client_init(struct client *client, const struct client_ops *ops, void *arg,
                 const struct log *log, const char *caps_id, bool want_oob);
/* Frees everything without calling anybody; call client_hangup() first. */
void client_done(struct client *client);

/* Queues a command given as msg_check_command() or codec_command() made it: body is an object's
 * text without its closing brace. user_id, if its len is not 0, is put back into the reply. fd (or
 * -1) is copied. Returns 0 and a token for client_abandon() (never 0), or -errno; -ECONNRESET
 * (QBLK_E_LOST) once the client is dead. fn is never called from inside. */
int client_submit(struct client *client, const char *body, size_t len, struct msg_span user_id,
                  bool is_oob, int fd, client_reply_fn *fn, void *arg, uint32_t *ret_token,
                  qblk_error *error);

/* Nobody waits for that reply any more; it will be dropped. fn is not called. A token is good until
 * its command has ended or is abandoned; then another command may get it. A command that was
 * not written yet never will be. */
void client_abandon(struct client *client, uint32_t token);

/* What an error of the framing means now: before the greeting it becomes QBLK_E_NOT_QMP. Returns
 * the negative errno of *error. */
int client_bad_bytes(const struct client *client, qblk_error *error);

/* One message from the peer. Runs callbacks. Returns 0, or the negative errno of QBLK_E_NOT_QMP,
 * QBLK_E_PROTOCOL or QBLK_E_MEMORY; the caller then hangs up. The client may be hung up by a
 * callback, not freed. */
int client_message(struct client *client, const char *text, size_t len, qblk_error *error);

/* The connection is lost and may come back: whoever waits hears why, once. What is submitted from
 * now on is held until the client is ready again. */
void client_lost(struct client *client, const qblk_error *why);
/* A new connection begins, with its greeting. No id of an earlier one is used again. */
void client_restart(struct client *client, const char *caps_id);

/* The connection is over: every waiter hears why, once, and the state is CLIENT_DEAD. */
void client_hangup(struct client *client, const qblk_error *why);

#endif
