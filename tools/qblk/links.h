/* Paths of sockets that are symbolic links: what they point to, step by step. */
#ifndef QBLK_TOOL_LINKS_H
#define QBLK_TOOL_LINKS_H

#include <stdbool.h>

#define LINK_STEPS_MAX 8

struct link {
    char *path;
    bool is_named;   /* not found by a wildcard */
    bool is_changed; /* and to be looked at */
    char *steps[LINK_STEPS_MAX]; /* what it points to, what that does, and so on */
    int n_steps;
};

struct links {
    struct link *v;
    int n;
};

bool is_link(const char *path);
/* What the link points to, as seen from where path is seen from; NULL if it is none. To be freed. */
char *link_target(const char *path);
bool link_has_step(const struct link *link, const char *step);
void link_forget_steps(struct link *link);

struct link *links_find(const struct links *links, const char *path);
/* A path that is a link, or was one until now, has to be looked at. */
void links_note(struct links *links, const char *path, bool is_named);
/* Each link that leads over the path has to be; or (NULL) each. */
void links_note_step(struct links *links, const char *step);
/* The last one takes its place. */
void links_forget(struct links *links, struct link *link);
void links_done(struct links *links);

#endif
