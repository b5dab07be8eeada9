/* Sockets that appear and vanish: the directories that paths and patterns lie in, watched by
 * inotify on a libev loop. */
#ifndef QBLK_TOOL_PLACES_H
#define QBLK_TOOL_PLACES_H

#include <ev.h>
#include <stdbool.h>

#include <qblk/base.h>

/* path is borrowed for the call. */
struct places_ops {
    /* It is there: found at first, made anew (also in the place of an old one), or seen again after
     * the kernel had more to tell than it could keep. */
    void (*appeared)(const char *path, void *arg);
    void (*vanished)(const char *path, void *arg);
    /* Something may have vanished without a word, such as with a directory that was renamed:
     * whatever is not at its path now has. */
    void (*look)(void *arg);
    /* A directory is not there, or not any more: it is waited for. */
    void (*dir_missing)(const char *dir, void *arg);
};

struct places;

/* ops and loop are borrowed. Returns 0 or negative. */
int places_open(struct places **ret_places, struct ev_loop *loop, const struct places_ops *ops,
                void *arg, qblk_error *error);
/* One path, or (is_glob) every socket that the pattern matches; what is there is told at once. One that is
 * a symbolic link comes and goes with what it leads to.
 * Returns 0 or negative: a directory that cannot be watched. */
int places_add(struct places *places, const char *pattern, bool is_glob, qblk_error *error);
/* The path as it is told of: as glob(3) gives paths back, no slash twice. To be freed. */
char *places_path(const char *text);
void places_close(struct places *places);

#endif
