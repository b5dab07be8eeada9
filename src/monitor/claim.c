#include "monitor/claim.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "monitor/monitor.h"
#include "wire/unixsock.h"

/* The last component may be longer than such a name. */
static uint64_t hash_of(const char *name)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);

    for (; *name != '\0'; name++)
        hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
    return hash;
}

/* Who has it, where that can still be asked: nobody is accepted there, and the line grows full. */
static const char *who(long pid, char text[32])
{
    if (pid == 0)
        return "another process";
    (void)snprintf(text, 32, "process %ld", pid);
    return text;
}

/* Anybody can hold any name. Whose QEMU it is could keep it from every operation in other ways. */
static bool is_believed(const qblk_monitor *monitor, unsigned uid)
{
    unsigned peer;

    return uid == geteuid() || uid == 0 || (unixsock_peer_uid(monitor->fd, &peer) == 0 && uid == peer);
}

/* Descriptor, 0 or -EBUSY with *ret_pid. */
static int take(const qblk_monitor *monitor, const char *name, long *ret_pid)
{
    unsigned uid = 0;
    int fd = unixsock_claim(name, ret_pid, &uid);

    if (fd == -EADDRINUSE && is_believed(monitor, uid))
        return -EBUSY;
    return fd > 0 ? fd : 0;
}

static void name_operation(char name[32], const char *id)
{
    (void)snprintf(name, 32, "qblk/op/%.8s", id);
}

bool claim_is_operation_held(const qblk_monitor *monitor, const char *id, long *ret_pid)
{
    char name[32];
    unsigned uid = 0;
    bool is_held;

    name_operation(name, id);
    is_held = unixsock_is_claimed(name, ret_pid, &uid) && is_believed(monitor, uid);
    if (!is_held)
        *ret_pid = 0;
    return is_held;
}

int claim_operation(const qblk_monitor *monitor, const char *id, qblk_error *error)
{
    char name[32], owner[32];
    long pid = 0;
    int r;

    name_operation(name, id);
    r = take(monitor, name, &pid);
    return r != -EBUSY ? r : err_set(error, QBLK_E_BUSY, "%s is at work on operation %s; wait for its end, or "
                                     "end it", who(pid, owner), id);
}

int claim_file(const qblk_monitor *monitor, const char *path, qblk_error *error)
{
    const char *slash = strrchr(path, '/');
    AUTO_FREE char *dir = slash != NULL ? mem_strndup(path, (size_t)(slash - path) + 1) : NULL;
    struct stat st;
    char name[80], owner[32];
    long pid = 0;
    int r;

    if (dir == NULL || stat(dir, &st) < 0)
        return 0;
    (void)snprintf(name, sizeof(name), "qblk/%llx/%llx/%016llx", (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino, (unsigned long long)hash_of(slash + 1));
    r = take(monitor, name, &pid);
    return r != -EBUSY ? r : err_set(error, QBLK_E_BUSY, "the target %s is being made or written by another "
                                     "operation just now (of %s); choose another name, or wait for its end",
                                     path, who(pid, owner));
}

bool claim_turn(qblk_monitor *monitor)
{
    char name[48];
    long pid = 0, owner;
    int r = 0;

    if (monitor->n_turns == 0 && unixsock_peer_pid(monitor->fd, &pid) == 0 && pid > 0) {
        (void)snprintf(name, sizeof(name), "qblk/turn/%ld", pid);
        r = take(monitor, name, &owner);
    }
    if (r < 0)
        return false;
    if (monitor->n_turns++ == 0)
        monitor->turn_claim = r;
    return true;
}

void claim_turn_done(qblk_monitor *monitor)
{
    if (--monitor->n_turns > 0)
        return;
    claim_drop(monitor->turn_claim);
    monitor->turn_claim = 0;
}

void claim_drop(int claim)
{
    if (claim > 0)
        (void)close(claim);
}
