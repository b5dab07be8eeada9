#include "links.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "places.h"
#include "text.h"

bool is_link(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 && S_ISLNK(st.st_mode);
}

char *link_target(const char *path)
{
    char text[PATH_MAX], whole[PATH_MAX];
    const char *slash = strrchr(path, '/');
    int len = slash != NULL ? (int)(slash + 1 - path) : 0;
    ssize_t n = readlink(path, text, sizeof(text) - 1);

    if (n <= 0)
        return NULL;
    text[n] = '\0';
    if (text[0] == '/')
        len = 0;
    if ((size_t)snprintf(whole, sizeof(whole), "%.*s%s", len, path, text) >= sizeof(whole))
        return NULL;
    return places_path(whole);
}

bool link_has_step(const struct link *link, const char *step)
{
    for (int i = 0; i < link->n_steps; i++)
        if (strcmp(link->steps[i], step) == 0)
            return true;
    return false;
}

void link_forget_steps(struct link *link)
{
    while (link->n_steps > 0)
        free(link->steps[--link->n_steps]);
}

struct link *links_find(const struct links *links, const char *path)
{
    for (int i = 0; i < links->n; i++)
        if (strcmp(links->v[i].path, path) == 0)
            return &links->v[i];
    return NULL;
}

void links_note(struct links *links, const char *path, bool is_named)
{
    struct link *link = links_find(links, path);

    if (link == NULL) {
        links->v = xrealloc(links->v, (size_t)links->n + 1, sizeof(*links->v));
        link = &links->v[links->n++];
        memset(link, 0, sizeof(*link));
        link->path = xstrdup(path);
    }
    link->is_named = link->is_named || is_named;
    link->is_changed = true;
}

void links_note_step(struct links *links, const char *step)
{
    for (int i = 0; i < links->n; i++)
        if (step == NULL || link_has_step(&links->v[i], step))
            links->v[i].is_changed = true;
}

void links_forget(struct links *links, struct link *link)
{
    link_forget_steps(link);
    free(link->path);
    *link = links->v[--links->n];
}

void links_done(struct links *links)
{
    while (links->n > 0)
        links_forget(links, &links->v[0]);
    free(links->v);
    links->v = NULL;
}
