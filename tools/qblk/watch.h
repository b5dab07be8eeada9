/* One socket of the verb watch: its monitor, from before it is there until after it is gone, and
 * what is said of it and of its jobs. */
#ifndef QBLK_TOOL_WATCH_H
#define QBLK_TOOL_WATCH_H

#include <ev.h>
#include <sys/types.h>

#include "session.h"

struct places;

struct watch {
    struct cli *cli;
    struct session session;
    struct places *places;
    void *spots;       /* tree of struct spot by path */
    bool is_over;
    struct spot **missing; /* while they are looked for */
    int n_missing;
};

struct spot {
    struct watch *watch;
    char *path;
    bool is_named;     /* by its path: kept when it vanishes */
    qblk_monitor *monitor;
    void *jobs;        /* tree of what was told, by job */
    const char *said;  /* the last word about the monitor */
    bool is_synced, is_lost;
    bool is_new;       /* made anew while there was a monitor still */
    bool may_be_old;   /* the connection: to one whose name another has by now */
    bool is_starting;
    bool is_starved;   /* no descriptor was left for it */
    dev_t dev;         /* of the socket that is tried, or was last: */
    ino_t ino;         /* 0: none was seen */
    bool was_ready;    /* a monitor got ready there */
    int again_ms;
    ev_timer patience, again;
};

/* The spot at the path, or NULL; made if there is none. */
struct spot *spot_at(struct watch *watch, const char *path);
struct spot *spot_add(struct watch *watch, const char *path);

/* The socket is there, perhaps made anew; it is not there any more, which may be the end of
 * spot. */
void spot_appeared(struct spot *spot);
void spot_vanished(struct spot *spot);

/* The same for each whose socket is not there. */
void spots_look(struct watch *watch);

/* A word about the monitor, once until there is another; why may be NULL. */
void spot_say(struct spot *spot, const char *word, const char *why);

/* Frees the first that there is, with its monitor. */
void spot_end_one(struct watch *watch);

#endif
