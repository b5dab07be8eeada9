#include "monitor_aid.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../fake/qmp_server.h"

#define GREETING \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
    "\"package\": \"local\"}, \"capabilities\": [\"oob\"]}}\r\n"

void local_start(struct local *local, const qblk_monitor_options *options)
{
    qblk_error error = { .code = QBLK_E_NONE };
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    local->peer = fds[1];
    ck_assert_msg(qblk_monitor_adopt(&local->monitor, fds[0], options, &error) == 0, "%s",
                  error.text);
}

void local_greet(struct local *local)
{
    local_say(local, GREETING);
    ck_assert_int_eq(local_turn(local), 0);
}

void local_negotiate(struct local *local)
{
    const char *heard = local_heard(local);

    ck_assert_ptr_nonnull(strstr(heard, "\"qmp_capabilities\""));
    local_say(local, local_reply(heard, "{}"));
    ck_assert_int_eq(local_turn(local), 0);
}

void local_ready(struct local *local, const qblk_monitor_options *options)
{
    local_start(local, options);
    local_greet(local);
    local_negotiate(local);
    ck_assert_int_eq(qblk_monitor_get_state(local->monitor), QBLK_MONITOR_READY);
}

void local_say(struct local *local, const char *text)
{
    size_t len = strlen(text);

    ck_assert_int_eq(send(local->peer, text, len, MSG_NOSIGNAL), (ssize_t)len);
}

const char *local_heard(struct local *local)
{
    static char *heard; /* mapped: static objects are searched for pointers (tests/starve) */
    const size_t room = 1 << 20;
    size_t len = 0;
    ssize_t n;

    if (heard == NULL) {
        heard = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(heard, MAP_FAILED);
    }
    while (len < room - 1 &&
           (n = recv(local->peer, heard + len, room - 1 - len, MSG_DONTWAIT)) > 0)
        len += (size_t)n;
    heard[len] = '\0';
    return heard;
}

const char *local_reply(const char *heard, const char *result)
{
    static char reply[512];
    const char *command = NULL, *at = heard, *id;

    while ((at = strstr(at, "{\"execute\"")) != NULL)
        command = at++;
    ck_assert_msg(command != NULL, "no command in: %s", heard);
    id = strstr(command, "\"id\":");
    if (id == NULL)
        (void)snprintf(reply, sizeof(reply), "{\"return\": %s}\r\n", result);
    else
        (void)snprintf(reply, sizeof(reply), "{\"return\": %s, \"id\": %.*s}\r\n", result,
                       (int)strcspn(id + 5, "}"), id + 5);
    return reply;
}

int local_turn(struct local *local)
{
    return qblk_monitor_process(local->monitor, POLLIN | POLLOUT, NULL);
}

void local_hang_up(struct local *local)
{
    if (local->peer >= 0)
        close(local->peer);
    local->peer = -1;
}

void local_end(struct local *local)
{
    local->monitor = qblk_monitor_free(local->monitor);
    ck_assert_ptr_null(local->monitor);
    local_hang_up(local);
}

qblk_monitor *scripted(const char *script, const qblk_monitor_options *options, pid_t *ret_pid)
{
    int fd = qmp_server_pair(script, ret_pid);
    qblk_error error = { .code = QBLK_E_NONE };
    qblk_monitor *monitor = NULL;

    ck_assert_msg(qblk_monitor_adopt(&monitor, fd, options, &error) == 0, "%s", error.text);
    ck_assert_msg(qblk_monitor_wait_ready(monitor, 10000, &error) == 0, "%s", error.text);
    return monitor;
}

void script_ended(pid_t pid)
{
    ck_assert_int_eq(qmp_server_wait(pid), 0);
}

static void note(struct seen *seen, char what)
{
    size_t len = strlen(seen->order);

    if (len + 1 < sizeof(seen->order))
        seen->order[len] = what;
}

static void frees(struct seen *seen, char what, qblk_monitor *monitor)
{
    if (seen->free_in == what)
        ck_assert_ptr_null(qblk_monitor_free(monitor));
}

static void on_ready(qblk_monitor *monitor, void *arg)
{
    struct seen *seen = arg;

    seen->ready++;
    note(seen, 'R');
    frees(seen, 'R', monitor);
}

static void on_event(qblk_monitor *monitor, const char *name, const char *json, void *arg)
{
    struct seen *seen = arg;

    ck_assert_ptr_nonnull(strstr(json, name));
    (void)snprintf(seen->last_event, sizeof(seen->last_event), "%s", name);
    seen->events++;
    note(seen, 'E');
    frees(seen, 'E', monitor);
}

static void on_end(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    struct seen *seen = arg;

    seen->ends++;
    seen->end = *error;
    note(seen, 'X');
    frees(seen, 'X', monitor);
}

static void on_release(void *arg)
{
    struct seen *seen = arg;

    seen->releases++;
    note(seen, 'r');
}

qblk_monitor_options seen_options(struct seen *seen)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);

    memset(seen, 0, sizeof(*seen));
    options.ops.size = sizeof(options.ops);
    options.ops.on_ready = on_ready;
    options.ops.on_event = on_event;
    options.ops.on_end = on_end;
    options.ops.release = on_release;
    options.arg = seen;
    return options;
}

void told_reply(qblk_monitor *monitor, const char *reply, const qblk_error *error, void *arg)
{
    struct told *told = arg;

    told->n++;
    ck_assert((reply == NULL) != (error == NULL));
    if (reply != NULL)
        (void)snprintf(told->reply, sizeof(told->reply), "%s", reply);
    else
        told->error = *error;
    if (told->frees)
        ck_assert_ptr_null(qblk_monitor_free(monitor));
}

int count_fds(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(fds);
    while (readdir(fds) != NULL)
        n++;
    closedir(fds);
    return n;
}
