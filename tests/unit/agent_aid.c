#include "agent_aid.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/mem.h"

void agent_host_start(struct agent_host *host)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    memset(host, 0, sizeof(*host));
    agent_model_init(&host->model);
    (void)snprintf(host->dir, sizeof(host->dir), "/tmp/qblk-agent-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(host->dir));
    (void)snprintf(host->path, sizeof(host->path), "%s/agent", host->dir);
    memcpy(address.sun_path, host->path, strlen(host->path));
    host->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    host->peer = -1;
    ck_assert_int_eq(bind(host->listener, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(listen(host->listener, 0), 0);
}

void agent_host_hang_up(struct agent_host *host)
{
    if (host->peer >= 0)
        close(host->peer);
    host->peer = -1;
    agent_model_left(&host->model);
}

void agent_host_vanish(struct agent_host *host)
{
    agent_host_hang_up(host);
    if (host->listener >= 0)
        close(host->listener);
    host->listener = -1;
    (void)unlink(host->path);
}

void agent_host_end(struct agent_host *host)
{
    agent_host_vanish(host);
    ck_assert_int_eq(rmdir(host->dir), 0);
    agent_model_done(&host->model);
}

static bool write_out(struct agent_host *host)
{
    struct buf *out = &host->model.out;
    size_t len = host->max_write > 0 && out->len > host->max_write ? host->max_write : out->len;
    ssize_t n;

    if (out->len == 0)
        return false;
    n = send(host->peer, out->data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return false;
    buf_drop(out, n < 0 ? out->len : (size_t)n);
    return true;
}

bool agent_host_turn(struct agent_host *host)
{
    char bytes[4096];
    ssize_t n;

    if (host->is_deaf || host->listener < 0)
        return false;
    if (host->peer < 0) {
        host->peer = accept4(host->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        host->clients += host->peer >= 0;
        return host->peer >= 0;
    }
    if (write_out(host))
        return true;
    if (host->model.closes && host->model.out.len == 0) {
        agent_host_hang_up(host);
        return true;
    }
    n = recv(host->peer, bytes, sizeof(bytes), 0);
    if (n == 0) {
        agent_host_hang_up(host);
        return true;
    }
    /* The guest has its own memory, whatever a test makes of the library's. */
    mem_fail_pause(true);
    if (n > 0)
        agent_model_feed(&host->model, bytes, (size_t)n);
    mem_fail_pause(false);
    return n > 0;
}

const char *agent_host_asked(struct agent_host *host)
{
    static char text[1024];

    (void)snprintf(text, sizeof(text), "%s",
                   host->model.asked.data != NULL ? host->model.asked.data : "");
    buf_reset(&host->model.asked);
    return text;
}
