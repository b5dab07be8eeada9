/* The connection to a guest agent: opened when an errand needs it, kept while the guest is frozen,
 * closed otherwise, since QEMU serves one client of a channel at a time. */
#include "agent/agent_priv.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "qapi_types.h"
#include "wire/unixsock.h"

#define ANSWER_MS 5000
#define FREEZE_MS 180000
#define THAW_MS 60000
#define RETRY_MS 100
/* How long nobody may listen before a thaw is given up: the guest is gone with its QEMU. */
#define REFUSED_MS 1000
#define OUTPUT_MAX 65536
#define READS_PER_TURN 16

struct agent *agent_new(const char *path, const struct agent_limits *limits, const struct log *log,
                        qblk_error *error)
{
    struct agent *agent;

    if (unixsock_check_path(path, error) < 0)
        return NULL;
    agent = mem_zalloc(sizeof(*agent));
    if (agent == NULL || (agent->path = mem_strdup(path)) == NULL) {
        free(agent);
        (void)err_nomem(error);
        return NULL;
    }
    if (limits != NULL)
        agent->limits = *limits;
    if (agent->limits.answer_ms == 0)
        agent->limits.answer_ms = ANSWER_MS;
    if (agent->limits.freeze_ms == 0)
        agent->limits.freeze_ms = FREEZE_MS;
    if (agent->limits.thaw_ms == 0)
        agent->limits.thaw_ms = THAW_MS;
    if (log != NULL)
        agent->log = *log;
    agent->fd = -1;
    agent->retry_at = agent->refused_at = agent->limit_at = -1;
    talk_init(&agent->talk);
    outq_init(&agent->out, OUTPUT_MAX);
    return agent;
}

/* qemu-ga does nothing more while nobody takes an answer of its own, and what resynchronizes it is
 * answered: so the thaw comes first, and once more behind it, should half a command stand before
 * it. */
static bool write_thaw(struct agent *agent)
{
    struct buf text = BUF_INIT;
    bool ok = agent->fd >= 0 &&
              talk_command(&qapi_cmd_guest_fsfreeze_thaw, NULL, &text, NULL) == 0 &&
              agent_thaw_text(agent, &text) == 0;

    ok = ok && agent_send(agent, &text);
    buf_done(&text);
    return ok && outq_is_empty(&agent->out);
}

/* The last resort: nobody waits for the answer, but a thaw that stands in the channel is carried
 * out as soon as the agent comes to it. */
static void thaw_blindly(struct agent *agent)
{
    if (write_thaw(agent))
        return;
    agent_hang_up(agent);
    agent->fd = unixsock_connect(agent->path, NULL);
    (void)write_thaw(agent);
}

struct agent *agent_free(struct agent *agent)
{
    if (agent == NULL)
        return NULL;
    if (agent->is_frozen)
        thaw_blindly(agent);
    agent_hang_up(agent);
    talk_done(&agent->talk);
    outq_done(&agent->out);
    free(agent->path);
    free(agent);
    return NULL;
}

void agent_on_close(struct agent *agent, void (*fn)(void *arg), void *arg)
{
    agent->closing = fn;
    agent->closing_arg = arg;
}

bool agent_is_busy(const struct agent *agent)
{
    return agent->is_busy;
}

bool agent_is_frozen(const struct agent *agent)
{
    return agent->is_frozen;
}

int agent_fd(const struct agent *agent)
{
    return agent->fd;
}

short agent_events(const struct agent *agent)
{
    return outq_is_empty(&agent->out) ? POLLIN : POLLIN | POLLOUT;
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

int64_t agent_time(const struct agent *agent)
{
    int64_t at = sooner(agent->limit_at, agent->retry_at);

    if (agent->is_over)
        return 0;
    return agent->is_thawing ? sooner(at, agent->thaw_until) : at;
}

/* ---- the connection -------------------------------------------------------------------------- */

void agent_hang_up(struct agent *agent)
{
    if (agent->fd < 0)
        return;
    if (agent->closing != NULL)
        agent->closing(agent->closing_arg);
    (void)close(agent->fd);
    agent->fd = -1;
    talk_reset(&agent->talk);
    outq_done(&agent->out);
    outq_init(&agent->out, OUTPUT_MAX);
}

static void broken(struct agent *agent, const qblk_error *error, int64_t now)
{
    agent_hang_up(agent);
    if (agent->is_busy && !agent->is_over)
        agent_broken(agent, error, now);
}

static void lost(struct agent *agent, const char *how, int64_t now)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_NO_AGENT, "the connection to the guest agent at %s ended (%s)",
                  agent->path, how);
    broken(agent, &error, now);
}

static void flush(struct agent *agent)
{
    /* That it fails is found where the end of the stream is read. */
    if (agent->fd >= 0)
        (void)outq_flush(&agent->out, agent->fd);
}

/* Line by line, without the byte that flushes the agent's parser. */
static void log_sent(const struct agent *agent, const struct buf *text)
{
    const char *at = text->data, *end = text->data + text->len;

    while (LOG_ON(&agent->log) && at < end) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));

        stop = stop != NULL ? stop : end;
        at += *at != '{' && at < stop;
        log_message(&agent->log, '>', at, (size_t)(stop - at));
        at = stop + 1;
    }
}

bool agent_send(struct agent *agent, const struct buf *text)
{
    if (outq_add(&agent->out, text->data, text->len, -1, NULL) < 0)
        return false;
    log_sent(agent, text);
    flush(agent);
    return true;
}

void agent_finish(struct agent *agent, const qblk_error *error)
{
    agent->is_over = true;
    agent->is_thawing = false;
    agent->asked = ASK_NOTHING;
    agent->limit_at = agent->retry_at = agent->refused_at = -1;
    agent->found.is_frozen = agent->is_frozen;
    memset(&agent->error, 0, sizeof(agent->error));
    if (error != NULL)
        agent->error = *error;
}

/* Whether a failed attempt to connect is to be repeated. */
static bool is_passing(struct agent *agent, int r, qblk_error_code code, int64_t now)
{
    if (r == -EAGAIN) /* others wait in line */
        return true;
    if (!agent->is_thawing || !agent->has_connected)
        return false;
    if (code == QBLK_E_SYSTEM || code == QBLK_E_MEMORY) /* a shortage of ours */
        return true;
    if (agent->refused_at < 0)
        agent->refused_at = now;
    return now - agent->refused_at < REFUSED_MS;
}

static void explain_refusal(const struct agent *agent, int err, qblk_error *error)
{
    switch (err) {
    case ENOENT:
        (void)err_set(error, QBLK_E_NO_AGENT, "%s does not exist; a guest agent's channel is made "
                      "by -chardev socket,path=%s,server=on,wait=off,id=ID and a virtserialport "
                      "named org.qemu.guest_agent.0", agent->path, agent->path);
        break;
    case ECONNREFUSED:
        (void)err_set(error, QBLK_E_NO_AGENT, "nobody listens at %s (left over from a QEMU that "
                      "has ended?)", agent->path);
        break;
    case EAGAIN:
        (void)err_set(error, QBLK_E_NO_AGENT, "the guest agent's channel %s is busy: QEMU serves "
                      "one client of it at a time, and others wait in line already", agent->path);
        break;
    case EPROTOTYPE:
        (void)err_set(error, QBLK_E_NO_AGENT, "%s is not a stream socket, so not a guest agent's "
                      "channel", agent->path);
        break;
    default:
        error->code = QBLK_E_NO_AGENT;
        break;
    }
    error->err = err;
}

static void connect_turn(struct agent *agent, int64_t now)
{
    qblk_error error;
    int fd;

    if (agent->retry_at < 0 || now < agent->retry_at)
        return;
    fd = unixsock_connect(agent->path, &error);
    if (fd >= 0) {
        agent->fd = fd;
        agent->retry_at = agent->refused_at = -1;
        agent->has_connected = true;
        talk_reset(&agent->talk);
        agent_connected(agent, now);
        return;
    }
    if (is_passing(agent, fd, error.code, now)) {
        agent->retry_at = now + RETRY_MS;
        return;
    }
    agent->retry_at = -1;
    if (error.code != QBLK_E_SYSTEM && error.code != QBLK_E_MEMORY)
        explain_refusal(agent, -fd, &error);
    /* Nobody is there any more to be thawed, as far as can be seen from here. */
    if (agent->is_thawing)
        agent->thaw_until = now;
    agent_broken(agent, &error, now);
}

/* ---- reading --------------------------------------------------------------------------------- */

static void not_an_agent(struct agent *agent, int64_t now)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_NO_AGENT, "%s is a QMP monitor of QEMU's, not a guest agent's "
                  "channel", agent->path);
    if (!agent->has_synced) /* so there has never been a guest to be thawed */
        agent->is_frozen = agent->is_thawing = false;
    broken(agent, &error, now);
}

static void deliver(struct agent *agent, int64_t now)
{
    const char *reply;
    qblk_error error;
    bool was_synced;
    int r;

    while (agent->fd >= 0 && agent->is_busy && !agent->is_over) {
        was_synced = agent->talk.is_synced;
        r = talk_next(&agent->talk, &reply, &error);
        if (r < 0) {
            err_prefix(&error, "the guest agent at %s", agent->path);
            broken(agent, &error, now);
            return;
        }
        if (!was_synced && agent->talk.is_synced) {
            agent->has_synced = true;
            agent_synced(agent, now);
        }
        if (r == 0)
            return;
        log_message(&agent->log, '<', reply, strlen(reply));
        agent_reply(agent, reply, now);
    }
}

static void read_turn(struct agent *agent, int64_t now)
{
    char bytes[4096];

    for (int i = 0; i < READS_PER_TURN && agent->fd >= 0; i++) {
        long n = unixsock_recv(agent->fd, bytes, sizeof(bytes));

        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            lost(agent, n == 0 ? "it was closed" : strerror((int)-n), now);
            return;
        }
        if (!agent->is_busy || agent->is_over)
            continue; /* nobody has asked */
        if (talk_feed(&agent->talk, bytes, (size_t)n) < 0)
            lost(agent, "out of memory", now);
        else if (!agent->talk.is_synced && talk_is_monitor(&agent->talk))
            not_an_agent(agent, now);
        else
            deliver(agent, now);
    }
}

/* ---- turning --------------------------------------------------------------------------------- */

void agent_start(struct agent *agent, enum agent_errand errand, int64_t now, agent_done_fn *fn,
                 void *arg)
{
    agent->is_busy = true;
    agent->is_over = false;
    agent->errand = errand;
    agent->fn = fn;
    agent->arg = arg;
    memset(&agent->found, 0, sizeof(agent->found));
    memset(&agent->cause, 0, sizeof(agent->cause));
    memset(&agent->thaw_error, 0, sizeof(agent->thaw_error));
    agent->found.count = -1;
    agent->refused_at = -1;
    agent_begin(agent, now);
    if (agent->fd >= 0)
        agent_connected(agent, now);
    else
        agent->retry_at = now;
}

void agent_give_up(struct agent *agent, int64_t now)
{
    qblk_error error;

    if (!agent->is_busy || agent->is_over || agent->is_thawing ||
        (agent->errand != AGENT_FREEZE && agent->errand != AGENT_HAIL))
        return;
    (void)err_set(&error, QBLK_E_CANCELLED, agent->errand == AGENT_HAIL
                  ? "the guest agent was not waited for" : "the freeze was given up");
    if (agent->is_frozen)
        agent_thaw(agent, &error, now);
    else
        agent_finish(agent, &error);
}

/* Tells the end; the agent may be gone after it. */
static void tell(struct agent *agent)
{
    struct agent_found found = agent->found;
    qblk_error error = agent->error;
    agent_done_fn *fn = agent->fn;
    void *arg = agent->arg;

    agent->is_busy = agent->is_over = false;
    /* Nobody else can use what we hold. But while the guest may be frozen the connection is kept: a
     * thaw that stands in the channel might go with it. */
    if (!agent->is_frozen)
        agent_hang_up(agent);
    fn(arg, &found, error.code != QBLK_E_NONE ? &error : NULL);
}

void agent_turn(struct agent *agent, int64_t now)
{
    if (agent->fd < 0 && agent->is_busy && !agent->is_over)
        connect_turn(agent, now);
    if (agent->fd >= 0) {
        flush(agent);
        read_turn(agent, now);
    }
    if (agent->is_busy && !agent->is_over && agent->is_unsent)
        lost(agent, "out of memory", now);
    agent->is_unsent = false;
    if (agent->is_busy && !agent->is_over &&
        ((agent->limit_at >= 0 && now >= agent->limit_at) ||
         (agent->is_thawing && now >= agent->thaw_until)))
        agent_late(agent, now);
    if (agent->is_over)
        tell(agent);
}
