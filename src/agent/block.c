/* The public calls: one errand each, waited for. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "agent/agent.h"
#include "base/err.h"
#include <qblk/agent.h>

struct waiting {
    bool is_done;
    struct agent_found found;
    qblk_error error;
};

static void done(void *arg, const struct agent_found *found, const qblk_error *error)
{
    struct waiting *waiting = arg;

    waiting->is_done = true;
    waiting->found = *found;
    if (error != NULL)
        waiting->error = *error;
}

static int64_t now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Until the agent's descriptor is ready or its time has come. */
static int wait_turn(const struct agent *agent, const char *path, int timeout_ms, int64_t until,
                     qblk_error *error)
{
    struct pollfd pfd = { .fd = agent_fd(agent), .events = agent_events(agent) };
    int64_t now = now_ms(), left = agent_time(agent) - now;

    if (until >= 0 && now >= until)
        return err_set(error, QBLK_E_TIMEOUT, "the guest agent at %s had not answered all in %d ms: is qemu-ga "
                       "running in the guest?", path, timeout_ms);
    if (until >= 0 && left > until - now)
        left = until - now;
    if (poll(&pfd, 1, left < 0 ? 0 : left > 60000 ? 60000 : (int)left) < 0 && errno != EINTR)
        return err_sys(error, errno, "poll failed");
    return 0;
}

static int run(const char *path, const qblk_agent_options *options, enum agent_errand errand,
               struct agent_found *ret_found, qblk_error *error)
{
    qblk_agent_options o = QBLK_INIT(qblk_agent_options);
    struct waiting waiting;
    struct agent_limits limits;
    struct agent *agent;
    struct log log;
    int64_t until;
    int r = 0;

    if (options != NULL && (options->size == 0 || options->size > sizeof(o)))
        return err_set(error, QBLK_E_ARGUMENT, "the size member of the agent options is not set; "
                       "use QBLK_INIT(qblk_agent_options)");
    if (options != NULL)
        memcpy(&o, options, options->size);
    if (o.answer_ms < 0 || o.thaw_ms < 0 || o.timeout_ms < 0)
        return err_set(error, QBLK_E_ARGUMENT, "a limit of the agent options is negative");
    memset(&waiting, 0, sizeof(waiting));
    limits = (struct agent_limits){ .answer_ms = o.answer_ms, .thaw_ms = o.thaw_ms };
    log = (struct log){ o.on_log, o.arg };
    agent = agent_new(path, &limits, &log, &waiting.error);
    if (agent == NULL)
        return err_copy(error, &waiting.error);
    until = o.timeout_ms > 0 ? now_ms() + o.timeout_ms : -1;
    agent_start(agent, errand, now_ms(), done, &waiting);
    while (r == 0 && !waiting.is_done) {
        agent_turn(agent, now_ms());
        if (!waiting.is_done)
            r = wait_turn(agent, path, o.timeout_ms, until, error);
    }
    (void)agent_free(agent);
    if (r == 0 && waiting.error.code != QBLK_E_NONE)
        return err_copy(error, &waiting.error);
    *ret_found = waiting.found;
    return r;
}

int qblk_agent_ping(const char *path, const qblk_agent_options *options, qblk_error *error)
{
    struct agent_found found;

    return run(path, options, AGENT_PING, &found, error);
}

int qblk_agent_look(const char *path, const qblk_agent_options *options,
                    qblk_agent_state *ret_state, qblk_error *error)
{
    qblk_agent_state state = QBLK_INIT(qblk_agent_state);
    struct agent_found found;
    int r;

    if (ret_state->size == 0 || ret_state->size > sizeof(state))
        return err_set(error, QBLK_E_ARGUMENT, "the size member of the agent's state is not set; "
                       "use QBLK_INIT(qblk_agent_state)");
    r = run(path, options, AGENT_LOOK, &found, error);
    if (r < 0)
        return r;
    state.size = ret_state->size;
    state.is_frozen = found.is_frozen;
    state.can_freeze = found.can_freeze;
    memcpy(state.version, found.version, sizeof(state.version));
    memcpy(ret_state, &state, state.size);
    return 0;
}

int qblk_agent_thaw(const char *path, const qblk_agent_options *options, int64_t *ret_count,
                    qblk_error *error)
{
    struct agent_found found = { .count = 0 };
    int r = run(path, options, AGENT_THAW, &found, error);

    if (r == 0 && ret_count != NULL)
        *ret_count = found.count;
    return r;
}
