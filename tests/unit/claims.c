/* Claims are known on the whole machine, and tests use the same ids side by side: in the unit tests the name
 * is that of the process group, which a test shares with the children that it forks and with nobody else. */
#include <stdio.h>
#include <unistd.h>

#include "wire/unixsock.h"

int __real_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid);
int __wrap_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid);

int __wrap_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid)
{
    char own_name[256];

    (void)snprintf(own_name, sizeof(own_name), "%s of %ld", name, (long)getpgrp());
    return __real_unixsock_claim(own_name, ret_pid, ret_uid);
}
