#include "places.h"

#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "links.h"
#include "report.h"

#define CHANGES (IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_MOVE_SELF | IN_ONLYDIR)
#define WHEREABOUTS (IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD) /* of one on the way to such a directory */

struct pattern {
    char *text;
    bool is_glob;
};

/* A watched directory: what stands in front of a name there, "", "/" or "dir/", in as many ways as
 * patterns have of saying it. */
struct dir {
    int wd; /* inotify's number, which no other directory ever gets */
    char **fronts;
    int n_fronts;
};

struct places {
    const struct places_ops *ops;
    void *arg;
    struct ev_loop *loop;
    ev_io io;
    int fd;
    struct pattern *patterns;
    int n_patterns;
    struct dir *dirs;
    int n_dirs;
    struct links links;
};

static bool is_socket(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISSOCK(st.st_mode);
}

/* ---- directories ----------------------------------------------------------------------------- */

static const char *path_of(const char *front)
{
    return *front != '\0' ? front : ".";
}

static struct dir *find_dir(const struct places *places, int wd)
{
    for (int i = 0; i < places->n_dirs; i++)
        if (places->dirs[i].wd == wd)
            return &places->dirs[i];
    return NULL;
}

static struct dir *add_dir(struct places *places, int wd)
{
    places->dirs = xrealloc(places->dirs, (size_t)places->n_dirs + 1, sizeof(*places->dirs));
    places->dirs[places->n_dirs] = (struct dir){ wd, NULL, 0 };
    return &places->dirs[places->n_dirs++];
}

static int watch_dir(struct places *places, const char *front, uint32_t events)
{
    int wd = inotify_add_watch(places->fd, path_of(front), events);
    struct dir *dir;

    if (wd < 0)
        return -errno;
    dir = find_dir(places, wd);
    if (dir == NULL)
        dir = add_dir(places, wd);
    for (int i = 0; i < dir->n_fronts; i++)
        if (strcmp(dir->fronts[i], front) == 0)
            return 0;
    dir->fronts = xrealloc(dir->fronts, (size_t)dir->n_fronts + 1, sizeof(*dir->fronts));
    dir->fronts[dir->n_fronts++] = xstrdup(front);
    return 0;
}

/* The last one takes its place. */
static void forget_dir(struct places *places, struct dir *dir)
{
    for (int i = 0; i < dir->n_fronts; i++)
        free(dir->fronts[i]);
    free(dir->fronts);
    *dir = places->dirs[--places->n_dirs];
}

/* A directory has another name now, and so has all that is in it: those that are watched by the old
 * one are given up, which the kernel confirms with IN_IGNORED. */
static void leave_dirs(struct places *places, const struct dir *moved)
{
    for (int at = 0; at < places->n_dirs; at++) {
        const struct dir *dir = &places->dirs[at];
        bool is_inside = false;

        for (int i = 0; i < dir->n_fronts; i++)
            for (int k = 0; k < moved->n_fronts; k++)
                is_inside = is_inside || strncmp(dir->fronts[i], moved->fronts[k],
                                                 strlen(moved->fronts[k])) == 0;
        if (is_inside)
            (void)inotify_rm_watch(places->fd, dir->wd);
    }
}

static int dir_error(const char *dir, int err, qblk_error *error)
{
    return own_error(error, err == ENOSPC ? QBLK_KIND_FAILED : QBLK_KIND_USAGE,
                     err == ENOSPC ? QBLK_E_SYSTEM : QBLK_E_ARGUMENT,
                     "directory %s cannot be watched for sockets: %s", path_of(dir),
                     strerror(err));
}

/* Whether the way to the directory goes on behind its first n bytes, which are one too. */
static bool goes_on(const char *front, size_t n)
{
    char *next = xstrndup(front, n + strcspn(front + n, "/"));
    bool is_there = access(next, F_OK) == 0;

    free(next);
    return is_there;
}

/* Watches the directory, or, if it is not there, the one in which it, or one on the way to it, will
 * appear: or has appeared just before that was watched. */
static int watch_way(struct places *places, const char *front, bool is_news)
{
    char *way = xstrdup(front);
    int r = watch_dir(places, way, CHANGES);

    if (r == -ENOENT && is_news)
        places->ops->dir_missing(front, places->arg);
    while (r == -ENOENT && *way != '\0' && strcmp(way, "/") != 0) {
        size_t len = strlen(way) - 1; /* without the slash at the end */

        while (len > 0 && way[len - 1] != '/')
            len--;
        way[len] = '\0';
        r = watch_dir(places, way, CHANGES);
        if (r == 0 && goes_on(front, len)) {
            free(way);
            way = xstrdup(front);
            r = watch_dir(places, way, CHANGES);
        }
    }
    free(way);
    return r;
}

/* Watches each directory that the first n bytes of the pattern, up to a slash, stand for. */
static int watch_level(struct places *places, const struct pattern *pattern, size_t n, bool is_news,
                       qblk_error *error)
{
    char *front = xstrndup(pattern->text, n);
    glob_t found = { .gl_pathc = 0 };
    int r = 0;

    if (!pattern->is_glob || strpbrk(front, "*?[") == NULL) {
        r = watch_way(places, front, is_news);
        if (r < 0)
            r = dir_error(front, -r, error);
    } else if (glob(front, GLOB_NOSORT | GLOB_ONLYDIR, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            r = watch_dir(places, found.gl_pathv[i], CHANGES);
            if (r == -ENOSPC)
                break;
            r = 0; /* gone again, or not ours to look into */
        }
        if (r < 0)
            r = dir_error(found.gl_pathv[0], -r, error);
    }
    globfree(&found);
    free(front);
    return r;
}

/* A directory that is certain, and that others are in: whether it is moved is all that matters, and
 * no harm is done if that cannot be told. */
static void watch_whereabouts(struct places *places, const struct pattern *pattern, size_t n)
{
    char *front = xstrndup(pattern->text, n);

    if (*front != '\0')
        (void)watch_dir(places, front, WHEREABOUTS);
    free(front);
}

/* Each directory in which a name can appear that the pattern, or a part of it, matches. */
static int watch_dirs(struct places *places, const struct pattern *pattern, bool is_news,
                      qblk_error *error)
{
    const char *wild = pattern->is_glob ? strpbrk(pattern->text, "*?[") : NULL;
    const char *at = pattern->text, *end;
    int r = 0;

    do {
        end = strchr(at, '/');
        if (end == NULL || (wild != NULL && wild < end))
            r = watch_level(places, pattern, (size_t)(at - pattern->text), is_news, error);
        else
            watch_whereabouts(places, pattern, (size_t)(at - pattern->text));
        at = end != NULL ? end + 1 : NULL;
    } while (r == 0 && at != NULL);
    return r;
}

/* ---- symbolic links -------------------------------------------------------------------------- */

/* What a link points to is watched as if it had been named itself, and is so before it is looked at
 * whether it is a link. If that cannot be, it is no reason to end: the link itself is watched. */
static void follow_link(struct places *places, struct link *link)
{
    struct link old = *link;
    const char *at = link->path;
    char *to;

    link->n_steps = 0;
    while (link->n_steps < LINK_STEPS_MAX && (to = link_target(at)) != NULL) {
        const struct pattern step = { to, false };
        qblk_error error;

        link->steps[link->n_steps++] = to;
        (void)watch_dirs(places, &step, link->is_named && !link_has_step(&old, to), &error);
        at = to;
    }
    link_forget_steps(&old);
}

/* When all has been heard. One that is no link any more is seen by its own name. */
static void look_at_links(struct places *places)
{
    for (int i = 0; i < places->links.n;) {
        struct link *link = &places->links.v[i];

        if (link->is_changed) {
            link->is_changed = false;
            follow_link(places, link);
            if (link->is_named ? access(link->path, F_OK) == 0 : is_socket(link->path))
                places->ops->appeared(link->path, places->arg);
            else
                places->ops->vanished(link->path, places->arg);
        }
        if (link->n_steps == 0)
            links_forget(&places->links, link);
        else
            i++;
    }
}

/* ---- what is there --------------------------------------------------------------------------- */

static void tell_found(struct places *places, const struct pattern *pattern)
{
    glob_t found = { .gl_pathc = 0 };

    if (!pattern->is_glob) {
        if (is_link(pattern->text))
            links_note(&places->links, pattern->text, true);
        else if (access(pattern->text, F_OK) == 0)
            places->ops->appeared(pattern->text, places->arg);
        return;
    }
    if (glob(pattern->text, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            if (is_link(found.gl_pathv[i]))
                links_note(&places->links, found.gl_pathv[i], false);
            else if (is_socket(found.gl_pathv[i]))
                places->ops->appeared(found.gl_pathv[i], places->arg);
    }
    globfree(&found);
}

static void look_again(struct places *places)
{
    places->ops->look(places->arg);
    for (int i = 0; i < places->n_patterns; i++) {
        qblk_error error;

        (void)watch_dirs(places, &places->patterns[i], false, &error);
        tell_found(places, &places->patterns[i]);
    }
    links_note_step(&places->links, NULL);
}

static bool is_meant(const struct places *places, const char *path, bool *ret_is_named)
{
    *ret_is_named = false;
    for (int i = 0; i < places->n_patterns && !*ret_is_named; i++)
        *ret_is_named = !places->patterns[i].is_glob && strcmp(places->patterns[i].text, path) == 0;
    for (int i = 0; i < places->n_patterns && !*ret_is_named; i++) {
        const struct pattern *pattern = &places->patterns[i];

        if (pattern->is_glob && fnmatch(pattern->text, path, FNM_PATHNAME | FNM_PERIOD) == 0)
            return true;
    }
    return *ret_is_named;
}

static void hear_name(struct places *places, const char *front, const struct inotify_event *event)
{
    char path[PATH_MAX];
    bool is_named;

    if ((size_t)snprintf(path, sizeof(path), "%s%s", front, event->name) >= sizeof(path))
        return;
    links_note_step(&places->links, path);
    if (!is_meant(places, path, &is_named))
        return;
    if (links_find(&places->links, path) != NULL || is_link(path))
        links_note(&places->links, path, is_named);
    else if ((event->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
        places->ops->vanished(path, places->arg);
    else if (is_named || is_socket(path))
        places->ops->appeared(path, places->arg);
}

/* Whether the path is the beginning of one that the pattern matches, up to a slash. */
static bool is_on_way(const struct pattern *pattern, const char *path)
{
    const char *end = strchr(pattern->text, '/');
    char *begin;
    bool is_it;

    for (const char *at = strchr(path, '/'); at != NULL && end != NULL; at = strchr(at + 1, '/'))
        end = strchr(end + 1, '/');
    if (end == NULL)
        return false;
    begin = xstrndup(pattern->text, (size_t)(end - pattern->text));
    is_it = pattern->is_glob ? fnmatch(begin, path, FNM_PATHNAME | FNM_PERIOD) == 0
                             : strcmp(begin, path) == 0;
    free(begin);
    return is_it;
}

static bool leads_to_step(const struct links *links, const char *path)
{
    for (int i = 0; i < links->n; i++)
        for (int k = 0; k < links->v[i].n_steps; k++) {
            const struct pattern step = { links->v[i].steps[k], false };

            if (is_on_way(&step, path))
                return true;
        }
    return false;
}

static bool leads_on(const struct places *places, const struct dir *dir, const char *name)
{
    char path[PATH_MAX];

    for (int i = 0; i < dir->n_fronts; i++) {
        if ((size_t)snprintf(path, sizeof(path), "%s%s", dir->fronts[i], name) >= sizeof(path))
            continue;
        for (int k = 0; k < places->n_patterns; k++)
            if (is_on_way(&places->patterns[k], path))
                return true;
        if (leads_to_step(&places->links, path))
            return true;
    }
    return false;
}

/* Of one that was found by a wildcard nobody waits. */
static bool is_awaited(const struct places *places, const char *front)
{
    for (int i = 0; i < places->n_patterns; i++)
        if (strncmp(places->patterns[i].text, front, strlen(front)) == 0)
            return true;
    for (int i = 0; i < places->links.n; i++)
        for (int k = 0; places->links.v[i].is_named && k < places->links.v[i].n_steps; k++)
            if (strncmp(places->links.v[i].steps[k], front, strlen(front)) == 0)
                return true;
    return false;
}

static void tell_missing(struct places *places, const struct dir *dir)
{
    for (int i = 0; i < dir->n_fronts; i++)
        if (is_awaited(places, dir->fronts[i]) && access(path_of(dir->fronts[i]), F_OK) < 0)
            places->ops->dir_missing(dir->fronts[i], places->arg);
}

/* What became of which directory is not known: each is watched anew, by the name that it has now. */
static void forget_all(struct places *places)
{
    while (places->n_dirs > 0) {
        (void)inotify_rm_watch(places->fd, places->dirs[0].wd);
        forget_dir(places, &places->dirs[0]);
    }
}

/* Returns whether all has to be looked at again. */
static bool hear(struct places *places, const struct inotify_event *event)
{
    struct dir *dir;

    if ((event->mask & IN_Q_OVERFLOW) != 0) {
        forget_all(places);
        return true;
    }
    dir = find_dir(places, event->wd);
    if (dir == NULL)
        return false;
    if ((event->mask & IN_IGNORED) != 0) {
        tell_missing(places, dir);
        forget_dir(places, dir);
        return true; /* its own directory is watched from now on */
    }
    if ((event->mask & IN_MOVE_SELF) != 0) {
        leave_dirs(places, dir);
        return true;
    }
    if ((event->mask & IN_ISDIR) != 0)
        return (event->mask & (IN_CREATE | IN_MOVED_TO)) != 0 && leads_on(places, dir, event->name);
    for (int i = 0; i < dir->n_fronts && event->len > 0; i++)
        hear_name(places, dir->fronts[i], event);
    return false;
}

static void on_change(struct ev_loop *loop, ev_io *watcher, int revents)
{
    _Alignas(struct inotify_event) char data[65536];
    struct places *places = watcher->data;
    bool is_unclear = false;
    ssize_t n = read(places->fd, data, sizeof(data));

    (void)loop;
    (void)revents;
    for (ssize_t at = 0; at < n;) {
        struct inotify_event event;
        const void *from = data + at;

        memcpy(&event, from, sizeof(event));
        is_unclear = hear(places, from) || is_unclear;
        at += (ssize_t)(sizeof(event) + event.len);
    }
    if (is_unclear)
        look_again(places);
    look_at_links(places);
}

/* ---- public ---------------------------------------------------------------------------------- */

int places_open(struct places **ret_places, struct ev_loop *loop, const struct places_ops *ops,
                void *arg, qblk_error *error)
{
    struct places *places = xrealloc(NULL, 1, sizeof(*places));

    memset(places, 0, sizeof(*places));
    places->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (places->fd < 0) {
        int r = own_error(error, QBLK_KIND_FAILED, QBLK_E_SYSTEM, "no inotify: %s", strerror(errno));

        free(places);
        return r;
    }
    places->ops = ops;
    places->arg = arg;
    places->loop = loop;
    ev_io_init(&places->io, on_change, places->fd, EV_READ);
    places->io.data = places;
    ev_io_start(loop, &places->io);
    *ret_places = places;
    return 0;
}

char *places_path(const char *text)
{
    char *copy = xstrdup(text), *to = copy;

    for (const char *from = text; *from != '\0'; from++)
        if (from[0] != '/' || from[1] != '/')
            *to++ = *from;
    *to = '\0';
    return copy;
}

int places_add(struct places *places, const char *pattern, bool is_glob, qblk_error *error)
{
    struct pattern *added;
    int r;

    places->patterns = xrealloc(places->patterns, (size_t)places->n_patterns + 1, sizeof(*added));
    added = &places->patterns[places->n_patterns++];
    *added = (struct pattern){ places_path(pattern), is_glob };
    r = watch_dirs(places, added, true, error);
    if (r == 0)
        tell_found(places, added);
    look_at_links(places);
    return r;
}

void places_close(struct places *places)
{
    if (places == NULL)
        return;
    ev_io_stop(places->loop, &places->io);
    forget_all(places);
    (void)close(places->fd);
    free(places->dirs);
    links_done(&places->links);
    for (int i = 0; i < places->n_patterns; i++)
        free(places->patterns[i].text);
    free(places->patterns);
    free(places);
}
