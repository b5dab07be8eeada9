#include "target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "report.h"

/* QEMU takes whatever stands before a colon that comes before any slash for a protocol. */
static bool has_protocol(const char *target)
{
    size_t n = strcspn(target, "/:");

    return target[n] == ':';
}

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

int target_path(const char *target, char **ret_path, qblk_error *error)
{
    const char *slash = strrchr(target, '/');
    const char *name = slash != NULL ? slash + 1 : target;
    struct text path = { NULL, 0, 0 };
    char *parent;
    char *dir;

    if (*target == '\0')
        return usage_error(error, "the target is an empty name: give the file to be written");
    if (strncmp(target, "nbd", 3) == 0 && (strstr(target, "://") != NULL || target[3] == ':')) {
        *ret_path = xstrdup(target); /* the library takes it apart */
        return 0;
    }
    if (has_protocol(target))
        return usage_error(error, "the target '%.200s' names a protocol, and only files and nbd "
                           "are supported; for a file of that name write './%.200s'", target, target);
    if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || is_directory(target))
        return usage_error(error, "the target '%.400s' is a directory: give the file to be "
                           "written", target);
    parent = slash == NULL ? xstrdup(".")
                           : xstrndup(target, slash == target ? 1 : (size_t)(slash - target));
    dir = realpath(parent, NULL);
    if (dir != NULL && !is_directory(dir)) {
        free(dir);
        dir = NULL;
        errno = ENOTDIR;
    }
    if (dir == NULL) {
        (void)own_error(error, QBLK_KIND_REFUSED, QBLK_E_TARGET_INVALID,
                        "cannot write the target '%.400s': its directory '%.400s': %s; make it "
                        "first", target, parent, strerror(errno));
        free(parent);
        return -EPERM;
    }
    text_addf(&path, "%s/%s", strcmp(dir, "/") == 0 ? "" : dir, name);
    free(dir);
    free(parent);
    *ret_path = path.s;
    return 0;
}

int target_agent(const char *path, char **ret_path, qblk_error *error)
{
    struct text text = { NULL, 0, 0 };
    char *here = NULL;

    if (*path != '/' && (here = realpath(".", NULL)) == NULL)
        return usage_error(error, "--quiesce %.200s: the directory that this is relative to: %s", path,
                           strerror(errno));
    text_addf(&text, "%s%s%s", here != NULL ? here : "", here != NULL ? "/" : "", path);
    free(here);
    *ret_path = text.s;
    return 0;
}
