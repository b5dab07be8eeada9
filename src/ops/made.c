#include "ops/made.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The bytes that QEMU locks of an image it has open, whoever started it. */
#define LOCKS_AT 100
#define LOCKS_LEN 200

int made_is_held(const char *path)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_AT, .l_len = LOCKS_LEN };
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    int r = -1;

    if (fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0)
        r = lock.l_type != F_UNLCK;
    if (fd >= 0)
        (void)close(fd);
    return r;
}

/* Of a raw file QEMU writes the beginning, with zeroes, as it makes it. */
#define BEGINNING 65536

bool made_is_bare(const char *path)
{
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    bool is_bare = fd < 0 || (lseek(fd, BEGINNING, SEEK_DATA) < 0 && errno == ENXIO);
    char piece[4096];

    for (off_t at = 0; fd >= 0 && is_bare && at < BEGINNING; at += (off_t)sizeof(piece)) {
        memset(piece, 0, sizeof(piece));
        is_bare = pread(fd, piece, sizeof(piece), at) >= 0 && piece[0] == 0 &&
                  memcmp(piece, piece + 1, sizeof(piece) - 1) == 0;
    }
    if (fd >= 0)
        (void)close(fd);
    return is_bare;
}

void made_see(struct engine *engine)
{
    struct stat st;

    for (size_t i = 0; i < engine->n; i++) {
        struct step *step = &engine->steps[i];

        if (step->unlink == NULL || !step->is_done || step->was_seen)
            continue;
        step->was_seen = true;
        if (lstat(step->unlink, &st) < 0)
            continue;
        step->dev = (uint64_t)st.st_dev;
        step->ino = (uint64_t)st.st_ino;
    }
}

int made_remove(const struct step *step)
{
    struct stat st;

    /* Of a file that was made here all nodes are gone by now: who holds it still has made it his. That of an
     * earlier client goes before its nodes do, while its job is there to prove whose it is. */
    if (step->kind == STEP_CREATE && made_is_held(step->unlink) > 0)
        return EBUSY;
    if (step->ino != 0 && lstat(step->unlink, &st) == 0 &&
        ((uint64_t)st.st_dev != step->dev || (uint64_t)st.st_ino != step->ino))
        return EEXIST;
    if (unlink(step->unlink) == 0)
        return 0;
    /* On a file system that is read-only the reason is that, also where there is nothing. */
    return errno == EROFS && lstat(step->unlink, &st) < 0 ? ENOENT : errno;
}
