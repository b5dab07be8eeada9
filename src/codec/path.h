/* Where in a message the codec is just now, for its error texts: a list through the C stack. */
#ifndef QBLK_SRC_CODEC_PATH_H
#define QBLK_SRC_CODEC_PATH_H

#include <stdio.h>
#include <string.h>

#define PATH_MAX_TEXT 256

struct path {
    const struct path *up; /* NULL: the outermost */
    const char *name;      /* a member; NULL: element index of a list */
    size_t index;
};

/* As "inserted.children[2].node-name". Of a path too long for the text its end is kept. */
static inline const char *path_text(const struct path *path, char text[PATH_MAX_TEXT])
{
    char *at = text + PATH_MAX_TEXT - 1;

    *at = '\0';
    for (; path != NULL; path = path->up) {
        char part[128];
        int len = path->name != NULL ? snprintf(part, sizeof(part), "%s%s",
                                                path->up != NULL ? "." : "", path->name)
                                     : snprintf(part, sizeof(part), "[%zu]", path->index);

        if (len < 0 || (size_t)len >= sizeof(part) || at - text < len + 3) {
            at -= 3;
            memcpy(at, "...", 3);
            break;
        }
        at -= len;
        memcpy(at, part, (size_t)len);
    }
    return at;
}

#endif
