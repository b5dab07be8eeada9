/* What an errand asks, in which order, and what the answers mean. No I/O but through agent.c.
 *
 *   every one    sync
 *   PING         guest-ping
 *   LOOK, HAIL   guest-info, guest-fsfreeze-status
 *   FREEZE       status (frozen: refused), freeze; refused: status, and a thaw unless it says thawed;
 *                not answered: a thaw
 *   MEND         status; a thaw unless it says thawed
 *   a thaw       thaw and status, written at once with the sync: if nobody lives to read the answer,
 *                it has been sent all the same. Repeated until status says thawed
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/agent_priv.h"
#include "base/err.h"
#include "base/str.h"
#include "qapi_types.h"

/* Until a guest that said that it is still frozen is told again. */
#define AGAIN_MS 1000
#define RECONNECT_MS 100

static void draw_id(struct agent *agent, int64_t now)
{
    uint32_t random = 0;

    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = (uint32_t)now ^ (uint32_t)getpid() << 16;
    agent->talk.id = (int64_t)(random & 0x7fffffff) + 1;
}

static void begin_thaw(struct agent *agent, int64_t now)
{
    agent->is_thawing = agent->is_frozen = true;
    agent->thaw_until = now + agent->limits.thaw_ms;
    agent->refused_at = -1;
    draw_id(agent, now);
}

void agent_begin(struct agent *agent, int64_t now)
{
    agent->asked = ASK_NOTHING;
    agent->limit_at = now + agent->limits.answer_ms;
    if (agent->errand == AGENT_THAW)
        begin_thaw(agent, now);
    else
        draw_id(agent, now);
}

/* ---- asking ---------------------------------------------------------------------------------- */

int agent_thaw_text(struct agent *agent, struct buf *out)
{
    int r = talk_sync(&agent->talk, agent->talk.id, out, NULL);

    if (r == 0)
        r = talk_command(&qapi_cmd_guest_fsfreeze_thaw, NULL, out, NULL);
    return r < 0 ? r : talk_command(&qapi_cmd_guest_fsfreeze_status, NULL, out, NULL);
}

static void wait_for(struct agent *agent, enum agent_question question, int64_t now)
{
    agent->asked = question;
    agent->limit_at = now + (question == ASK_FREEZE ? agent->limits.freeze_ms
                                                    : agent->limits.answer_ms);
}

/* No answer will come: not waited for, and dealt with in the next turn. */
static void see_sent(struct agent *agent, bool is_sent, int64_t now)
{
    if (is_sent)
        return;
    agent->is_unsent = true;
    agent->limit_at = now;
}

static void ask(struct agent *agent, enum agent_question question,
                const struct codec_command *command, int64_t now)
{
    struct buf text = BUF_INIT;
    bool ok = talk_command(command, NULL, &text, NULL) == 0 && agent_send(agent, &text);

    buf_done(&text);
    wait_for(agent, question, now);
    see_sent(agent, ok, now);
}

void agent_connected(struct agent *agent, int64_t now)
{
    struct buf text = BUF_INIT;
    int r = agent->is_thawing ? agent_thaw_text(agent, &text)
                              : talk_sync(&agent->talk, agent->talk.id, &text, NULL);
    bool ok = r == 0 && agent_send(agent, &text);

    buf_done(&text);
    wait_for(agent, ASK_SYNC, now);
    see_sent(agent, ok, now);
}

void agent_synced(struct agent *agent, int64_t now)
{
    if (agent->is_thawing)
        wait_for(agent, ASK_THAW, now);
    else if (agent->errand == AGENT_PING)
        ask(agent, ASK_PING, &qapi_cmd_guest_ping, now);
    else if (agent->errand == AGENT_LOOK || agent->errand == AGENT_HAIL)
        ask(agent, ASK_INFO, &qapi_cmd_guest_info, now);
    else
        ask(agent, ASK_STATUS, &qapi_cmd_guest_fsfreeze_status, now);
}

void agent_thaw(struct agent *agent, const qblk_error *cause, int64_t now)
{
    if (cause != NULL)
        agent->cause = *cause;
    begin_thaw(agent, now);
    if (agent->fd >= 0) {
        agent_connected(agent, now);
    } else {
        agent->limit_at = -1;
        agent->retry_at = now;
    }
}

/* ---- ends ------------------------------------------------------------------------------------ */

/* What the agent said no with, in words. */
static void refused(const struct agent *agent, const struct codec_command *command,
                    qblk_error *error)
{
    qblk_error agents = *error;
    bool is_blocked = strcmp(agents.qmp_class, "CommandNotFound") == 0 &&
                      strstr(agents.text, "disabled") != NULL;

    (void)err_set(error, QBLK_E_AGENT, "the guest agent at %s refused %s: %s%s", agent->path,
                  command->name, agents.text,
                  is_blocked ? " (by the configuration of qemu-ga in the guest, or because the guest "
                               "is frozen)" : "");
    (void)snprintf(error->qmp_class, sizeof(error->qmp_class), "%s", agents.qmp_class);
}

static void no_answer(const struct agent *agent, qblk_error *error)
{
    if (agent->fd < 0)
        (void)err_set(error, QBLK_E_NO_AGENT, "the guest agent's channel %s is busy: QEMU serves "
                      "one client of it at a time, and others wait in line already", agent->path);
    else
        (void)err_set(error, QBLK_E_NO_AGENT, "the guest agent at %s did not answer in %d ms: is "
                      "qemu-ga running in the guest, and is no other client connected to its "
                      "channel?", agent->path, agent->limits.answer_ms);
}

/* The thaw has come to its end: the guest is thawed, or that cannot be brought about. */
static void end_thaw(struct agent *agent, bool is_thawed)
{
    const qblk_error *why = &agent->thaw_error;
    bool has_cause = agent->cause.code != QBLK_E_NONE;
    qblk_error error;

    if (is_thawed) {
        agent->is_frozen = false;
        agent_finish(agent, has_cause ? &agent->cause : NULL);
        return;
    }
    if (!agent->has_connected) { /* nothing was frozen from here, nor anything found out */
        agent->is_frozen = false;
        agent_finish(agent, why);
        return;
    }
    (void)err_set(&error, QBLK_E_FROZEN, "%s%sTHE GUEST MAY STILL BE FROZEN, since it could not be "
                  "thawed (%s); thaw it with \"qblk agent thaw %s\", or in the guest with "
                  "\"fsfreeze --unfreeze\"", has_cause ? agent->cause.text : "",
                  has_cause ? "; " : "",
                  why->code != QBLK_E_NONE ? why->text : "there was no time for it", agent->path);
    agent_finish(agent, &error);
}

void agent_broken(struct agent *agent, const qblk_error *error, int64_t now)
{
    if (agent->is_thawing) {
        agent->thaw_error = *error;
        agent->asked = ASK_NOTHING;
        agent->limit_at = -1;
        agent->retry_at = now + RECONNECT_MS;
        if (now >= agent->thaw_until)
            end_thaw(agent, false);
    } else if (agent->is_frozen) {
        agent_thaw(agent, agent->cause.code != QBLK_E_NONE ? NULL : error, now);
    } else {
        agent_finish(agent, error);
    }
}

void agent_late(struct agent *agent, int64_t now)
{
    qblk_error error;

    if (agent->is_thawing) {
        if (agent->asked != ASK_NOTHING)
            no_answer(agent, &agent->thaw_error);
        if (now >= agent->thaw_until)
            end_thaw(agent, false);
        else if (agent->fd >= 0)
            agent_connected(agent, now); /* the agent may have begun anew meanwhile */
        else
            agent->limit_at = -1;
        return;
    }
    if (agent->asked == ASK_FREEZE)
        (void)err_set(&error, QBLK_E_TIMEOUT, "the guest agent at %s did not freeze the guest in "
                      "%d ms", agent->path, agent->limits.freeze_ms);
    else
        no_answer(agent, &error);
    if (agent->is_frozen) {
        agent_thaw(agent, agent->cause.code != QBLK_E_NONE ? NULL : &error, now);
    } else {
        agent_hang_up(agent);
        agent_finish(agent, &error);
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

/* An answer that makes no sense: what comes after it cannot be trusted either. */
static void nonsense(struct agent *agent, qblk_error *error, int64_t now)
{
    err_prefix(error, "the guest agent at %s", agent->path);
    agent_hang_up(agent);
    agent_broken(agent, error, now);
}

static void info_came(struct agent *agent, const char *reply, int64_t now)
{
    struct qapi_guest_agent_info info;
    qblk_error error;
    int r = codec_reply(&qapi_cmd_guest_info, reply, &info, &error);

    if (r == 0) {
        (void)snprintf(agent->found.version, sizeof(agent->found.version), "%s", info.version);
        for (size_t i = 0; i < info.supported_commands.n; i++) {
            if (str_equal(info.supported_commands.v[i].name, qapi_cmd_guest_fsfreeze_freeze.name))
                agent->found.can_freeze = info.supported_commands.v[i].enabled;
        }
        codec_reply_clear(&qapi_cmd_guest_info, &info);
    } else if (error.code != QBLK_E_QEMU) { /* that an agent does not tell is no mistake */
        nonsense(agent, &error, now);
        return;
    } else {
        agent->found.can_freeze = agent->errand == AGENT_HAIL;
    }
    ask(agent, ASK_STATUS, &qapi_cmd_guest_fsfreeze_status, now);
}

static void freeze_came(struct agent *agent, const char *reply, int64_t now)
{
    qblk_error error;
    int r = codec_reply_int(&qapi_cmd_guest_fsfreeze_freeze, reply, &agent->found.count, &error);

    if (r == 0) {
        agent_finish(agent, NULL);
    } else if (error.code == QBLK_E_QEMU) {
        refused(agent, &qapi_cmd_guest_fsfreeze_freeze, &error);
        agent->cause = error;
        /* It thaws by itself then; but that is seen to. */
        ask(agent, ASK_STATUS, &qapi_cmd_guest_fsfreeze_status, now);
    } else {
        nonsense(agent, &error, now);
    }
}

static void thaw_came(struct agent *agent, const char *reply, int64_t now)
{
    int64_t count;
    int r = codec_reply_int(&qapi_cmd_guest_fsfreeze_thaw, reply, &count, &agent->thaw_error);

    if (r == 0) {
        /* Told twice, it has nothing more to thaw the second time. */
        if (count > 0 || agent->found.count < 0)
            agent->found.count = count;
        agent->thaw_error.code = QBLK_E_NONE;
    } else if (agent->thaw_error.code == QBLK_E_QEMU) {
        refused(agent, &qapi_cmd_guest_fsfreeze_thaw, &agent->thaw_error);
    } else {
        qblk_error error = agent->thaw_error;

        nonsense(agent, &error, now);
        return;
    }
    wait_for(agent, ASK_STATUS, now);
}

/* The status after a thaw. */
static void state_came(struct agent *agent, bool is_known, bool is_frozen, int64_t now)
{
    bool is_refused = agent->thaw_error.code != QBLK_E_NONE;

    if (is_known ? !is_frozen : !is_refused) {
        end_thaw(agent, true);
    } else if (is_refused && strcmp(agent->thaw_error.qmp_class, "CommandNotFound") == 0) {
        end_thaw(agent, false); /* asking again would not change that */
    } else {
        if (!is_refused)
            (void)err_set(&agent->thaw_error, QBLK_E_AGENT, "the guest agent at %s thawed, and "
                          "says that the guest is frozen", agent->path);
        agent->asked = ASK_NOTHING;
        agent->limit_at = now + AGAIN_MS;
    }
}

static void already_frozen(struct agent *agent)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_BUSY, "the guest is frozen already, by somebody else or by a "
                  "client that has died; if nobody is at work there, thaw it with \"qblk agent "
                  "thaw %s\"", agent->path);
    agent_finish(agent, &error);
}

static void may_not_freeze(struct agent *agent)
{
    qblk_error error;

    (void)err_set(&error, QBLK_E_AGENT, "the guest agent at %s may not freeze: %s is not allowed by the "
                  "configuration of qemu-ga in the guest", agent->path,
                  qapi_cmd_guest_fsfreeze_freeze.name);
    agent_finish(agent, &error);
}

static void status_came(struct agent *agent, const char *reply, int64_t now)
{
    char word[16] = "";
    qblk_error error;
    int r = codec_reply_word(&qapi_cmd_guest_fsfreeze_status, reply, word, sizeof(word), &error);
    bool is_known = strcmp(word, "thawed") == 0 || strcmp(word, "frozen") == 0;
    bool is_frozen = strcmp(word, "frozen") == 0;

    if (r < 0 && error.code != QBLK_E_QEMU) {
        nonsense(agent, &error, now);
    } else if (agent->is_thawing) {
        state_came(agent, is_known, is_frozen, now);
    } else if (agent->cause.code != QBLK_E_NONE) { /* the freeze was refused */
        if (is_known && !is_frozen)
            end_thaw(agent, true);
        else
            agent_thaw(agent, NULL, now);
    } else if (agent->errand == AGENT_MEND && !(is_known && !is_frozen)) {
        agent->found.was_frozen = true;
        agent_thaw(agent, NULL, now);
    } else if (r < 0 && agent->errand != AGENT_MEND) {
        refused(agent, &qapi_cmd_guest_fsfreeze_status, &error);
        agent_finish(agent, &error);
    } else if (is_frozen && (agent->errand == AGENT_FREEZE || agent->errand == AGENT_HAIL)) {
        already_frozen(agent);
    } else if (agent->errand == AGENT_HAIL && !agent->found.can_freeze) {
        may_not_freeze(agent);
    } else if (agent->errand != AGENT_FREEZE) {
        agent_finish(agent, NULL);
        agent->found.is_frozen = is_frozen;
    } else {
        agent->is_frozen = true; /* from here on that cannot be known */
        ask(agent, ASK_FREEZE, &qapi_cmd_guest_fsfreeze_freeze, now);
    }
}

void agent_reply(struct agent *agent, const char *reply, int64_t now)
{
    qblk_error error;

    switch (agent->asked) {
    case ASK_PING:
        if (codec_reply(&qapi_cmd_guest_ping, reply, NULL, &error) == 0) {
            agent_finish(agent, NULL);
        } else {
            refused(agent, &qapi_cmd_guest_ping, &error);
            agent_finish(agent, &error);
        }
        break;
    case ASK_INFO:
        info_came(agent, reply, now);
        break;
    case ASK_STATUS:
        status_came(agent, reply, now);
        break;
    case ASK_FREEZE:
        freeze_came(agent, reply, now);
        break;
    case ASK_THAW:
        thaw_came(agent, reply, now);
        break;
    case ASK_NOTHING:
    case ASK_SYNC:
    default:
        break; /* nobody asked */
    }
}
