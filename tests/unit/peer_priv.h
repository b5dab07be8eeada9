/* What the files of the peer share. */
#ifndef QBLK_TESTS_UNIT_PEER_PRIV_H
#define QBLK_TESTS_UNIT_PEER_PRIV_H

#include "peer.h"

#define PEER_DISK_SIZE 8388608u

#define PUT(to, from) peer_put((to), sizeof(to), (from))

/* peer.c: text, nodes and jobs */
void peer_append(char **text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void peer_put(char *to, size_t room, const char *from);
bool peer_is_used(const struct peer *peer, const char *name);
void peer_del_node(struct peer *peer, struct peer_node *node);
void peer_sweep(struct peer *peer);
void peer_hold(struct peer_job *job, const char *name);

/* peer_locks.c: as QEMU locks an image that it has open for writing; a descriptor, or -1 */
int peer_lock(const char *file);
void peer_unlock(int *lock);

/* peer_jobs.c: jobs live, and events tell of it. data is JSON */
void peer_event(struct peer *peer, bool is_before, const char *name, const char *data);
void peer_status(struct peer *peer, bool is_before, struct peer_job *job, const char *word);
void peer_conclude(struct peer *peer, struct peer_job *job);
void peer_abort_job(struct peer *peer, struct peer_job *job, const char *error);
void peer_forget_job(struct peer *peer, struct peer_job *job);
bool peer_progress(struct peer *peer); /* one step of one job */

/* peer_queries.c: replies */
void peer_add_jobs(const struct peer *peer, char **to, bool is_block);
void peer_add_nodes(struct peer *peer, char **to);
void peer_add_block(struct peer *peer, char **to);
void peer_add_debug(const struct peer *peer, char **to);

/* peer_commands.c: a string among the arguments, "" if there is none; what a command does, NULL or
 * the text of its refusal */
const char *peer_text_of(json_t *args, const char *key);
const char *peer_carry_out(struct peer *peer, const char *name, json_t *args, char **result);

/* peer.c: the first thing that a client hears */
void peer_greet(struct peer *peer);

/* peer_wire.c */
void peer_hang_up(struct peer *peer);
void peer_say(struct peer *peer, const char *text);
/* What peer_carry_out() says to a command that it does not have; of a device that it does not have.
 * These have a class of their own. */
extern const char peer_no_command[], peer_no_device[];

#endif
