#include "peer_priv.h"

#include <check.h>
#include <fcntl.h>
#include <unistd.h>

int peer_lock(const char *file)
{
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 4 };
    int fd = open(file, O_RDWR | O_CLOEXEC);

    if (fd >= 0)
        ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
    return fd;
}

void peer_unlock(int *lock)
{
    if (*lock >= 0)
        (void)close(*lock);
    *lock = -1;
}
