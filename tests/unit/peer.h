/* A QEMU in small, in the test's own process: enough of its block layer that a whole operation of
 * the public API can run against it, deterministically, with everything it is told written down.
 *
 * Nodes know their children and who uses them, jobs hold nodes, the order of events and replies is
 * the one measured on 7.2 (traces mirror-full-pivot, mirror-full-softcancel, stream, backup-full,
 * blockdev-create, cancel-mirror-running-jobcancel, enospc-backup-report), and where 5.2 and 7.2
 * crash, so does this. What a test wants otherwise it says by the members below "wishes". */
#ifndef QBLK_TESTS_UNIT_PEER_H
#define QBLK_TESTS_UNIT_PEER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <qblk/qblk.h>

#define PEER_NODES 40
#define PEER_JOBS 8
#define PEER_SENT 400
#define PEER_VERSION(major, minor, micro) ((major) * 1000000u + (minor) * 1000u + (micro))

struct peer_node {
    char name[40], driver[24], file[256];
    char recorded[256]; /* of a qcow2 image: the backing file in its header, or "" */
    char backing[40], child[40]; /* node names, or "" */
    uint64_t size;
    bool is_implicit; /* goes with its last user */
    bool is_encrypted;
    char *bitmaps[70];
    size_t n_bitmaps;
    const char *more_bitmaps; /* told too: elements of a JSON list */
    int lock; /* descriptor by which its file is locked; -1: it is not */
};

struct peer_job {
    char id[64], type[16], status[16], error[128];
    char holds[6][40];
    size_t n_holds;
    char device[40], target[40], filter[40], base[40];
    bool is_ready, is_pivot, drops_target, is_stalled;
    int lock; /* the same of its target, while it writes to that */
};

enum peer_order {
    PEER_MEASURED,      /* as QEMU has it */
    PEER_EVENTS_FIRST,  /* all that a command causes is told before it is answered */
    PEER_REPLIES_FIRST  /* a command is answered before anything is told */
};

struct peer {
    int fd; /* its end of the connection; -1: gone */
    int listener; /* where a lost connection can be made again; -1: nowhere */
    char dir[64];
    struct peer_node nodes[PEER_NODES];
    size_t n_nodes;
    struct peer_job jobs[PEER_JOBS];
    size_t n_jobs;
    char root[40]; /* the node that device vd0 uses */
    char second[40]; /* the node that device vd1 uses, or "": there is none */
    char exported[40]; /* the node that an export shows, or "": there is none */
    bool has_crashed;
    size_t n_started; /* main jobs, and transactions carried out */
    char *sent[PEER_SENT]; /* every command, as it came but without its id */
    size_t n_sent;
    char *in;
    size_t in_len;
    char *before, *after; /* of the reply to the command at hand */

    /* wishes */
    unsigned version;
    enum peer_order order;
    bool twice;                 /* every event doubled */
    const char *drop;           /* events whose name begins like this are lost */
    size_t refuse_at;           /* the n-th command is refused (1 is the first) */
    const char *refuse;         /* commands of that name are */
    size_t hang_up_at;          /* the n-th command ends the connection: */
    bool hang_up_after;         /* ...after it was carried out, else before; */
    bool hang_up_late;          /* ...and answered */
    bool is_holding;            /* jobs other than "create" make no progress */
    const char *holds;          /* the job of that id makes none, whatever it is */
    const char *schema;         /* the reply to query-qmp-schema: a JSON list; NULL: refused */
    const char *fail_job;       /* jobs of that type fail */
    bool sees_more;             /* files that are not there for us are for it */
    bool keeps_size;            /* block_resize succeeds and does nothing */
    bool guest_refuses;         /* to unplug */
    int unplug_after;           /* the n-th request of it */
    bool is_unplugging;         /* the guest was asked already */
    bool loses_unplug;          /* the event that tells of the device itself is lost */
    bool cancels_softly;        /* job-cancel meets a mirror just as that gets in sync: it completes (5.2) */
    bool vanish;                /* the main job goes without a word instead of ending */
};

/* A fresh one with the chain top -> mid -> base under the device vd0, files in a directory of its
 * own; returns a monitor connected to it. */
qblk_monitor *peer_start(struct peer *peer, unsigned version, const qblk_monitor_options *options);
/* The same, with a connection that is made again when it is lost: what is sent is counted on. */
qblk_monitor *peer_start_listening(struct peer *peer, unsigned version,
                                   const qblk_monitor_options *options);
/* Ends the connection and forgets everything, the directory too. */
void peer_done(struct peer *peer);
/* A new client for the same peer: what is sent is counted anew. */
qblk_monitor *peer_reconnect(struct peer *peer, const qblk_monitor_options *options);

/* Turns both sides until done() says so; false if nothing can happen any more before that. */
bool peer_run(struct peer *peer, qblk_monitor *monitor, bool (*done)(void));
/* Answers what has been sent; then, if that was nothing, lets a job make progress. False if there
 * was nothing to do at all. */
bool peer_turn(struct peer *peer);

/* A second disk, vd1, on a node "other" of its own; and vd0 gets a bitmap "daily", which records and
 * is persistent, as no other bitmap here is. */
void peer_add_disk(struct peer *peer);

struct peer_node *peer_node(struct peer *peer, const char *name);
struct peer_node *peer_add_node(struct peer *peer, const char *name, const char *driver,
                                const char *file, const char *child, const char *backing);
struct peer_job *peer_job(struct peer *peer, const char *id);
/* A job of somebody else's, in that status. */
struct peer_job *peer_add_job(struct peer *peer, const char *id, const char *type,
                              const char *status);
/* Somebody else ends the job: by job-cancel. */
void peer_cancel_job(struct peer *peer, const char *id);
void peer_flush(struct peer *peer);
/* What goes on while nobody listens. */
void peer_go_on(struct peer *peer);

/* How often a command of that name was sent. */
size_t peer_count(const struct peer *peer, const char *command);
/* Everything sent, a line each, with the operation's id as "ID" and the directory as "DIR"; queries
 * for jobs left out if asked. To be freed. */
char *peer_sent(const struct peer *peer, bool with_job_queries);
/* Nodes, jobs, bitmaps and files in one text that is equal for equal states. To be freed. */
char *peer_state(const struct peer *peer);

#endif
