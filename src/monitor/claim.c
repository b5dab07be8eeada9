#include "monitor/claim.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "wire/unixsock.h"

/* The last component, which may be longer than a name here: then by its hash. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash;
}

int claim_file(const char *path, qblk_error *error)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash != NULL ? mem_strndup(path, (size_t)(slash - path) + 1) : NULL;
    struct stat st;
    char name[80];
    unsigned uid = 0;
    long pid = 0;
    int fd;

    if (dir == NULL || stat(dir, &st) < 0)
        return 0;
    (void)snprintf(name, sizeof(name), "qblk/%llx/%llx/%016llx", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (unsigned long long)hash_of(slash + 1));
    fd = unixsock_claim(name, &pid, &uid);
    if (fd != -EADDRINUSE || (uid != geteuid() && uid != 0))
        return fd > 0 ? fd : 0;
    return err_set(error, QBLK_E_BUSY, "the target %s is being made or written by another operation just now "
                   "(of process %ld); choose another name, or wait for its end", path, pid);
}

void claim_drop(int claim)
{
    if (claim > 0)
        (void)close(claim);
}
