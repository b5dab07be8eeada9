/* Claims are known on the whole machine, and tests use the same ids side by side: in the unit tests the name
 * is that of the process group, which a test shares with the children that it forks and with nobody else. */
#include <stdio.h>
#include <unistd.h>

#include "wire/unixsock.h"

int __real_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid);
int __wrap_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid);
bool __real_unixsock_is_claimed(const char *name, long *ret_pid, unsigned *ret_uid);
bool __wrap_unixsock_is_claimed(const char *name, long *ret_pid, unsigned *ret_uid);

static const char *own_name(char text[256], const char *name)
{
    (void)snprintf(text, 256, "%s of %ld", name, (long)getpgrp());
    return text;
}

int __wrap_unixsock_claim(const char *name, long *ret_pid, unsigned *ret_uid)
{
    char text[256];

    return __real_unixsock_claim(own_name(text, name), ret_pid, ret_uid);
}

bool __wrap_unixsock_is_claimed(const char *name, long *ret_pid, unsigned *ret_uid)
{
    char text[256];

    return __real_unixsock_is_claimed(own_name(text, name), ret_pid, ret_uid);
}
