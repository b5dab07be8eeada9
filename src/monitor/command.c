/* Commands: raw ones of the user's, typed ones of the layers above. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "monitor/monitor.h"
#include "qmp/scan.h"

static int submit(qblk_monitor *monitor, const char *body, size_t len, struct msg_span id,
                  bool is_oob, int fd, client_reply_fn *fn, void *arg, uint32_t *ret_token,
                  qblk_error *error)
{
    uint32_t token = 0;
    int r;

    if (monitor->state == QBLK_MONITOR_DEAD || monitor->free_asked)
        return monitor_dead(monitor, error);
    if (monitor->client.held_bytes + len > monitor->options.max_output)
        return err_set(error, QBLK_E_LIMIT, "the command is not queued: more than %zu bytes would "
                       "wait to be written to %s", monitor->options.max_output, monitor->path);
    r = client_submit(&monitor->client, body, len, id, is_oob, fd, fn, arg, &token, error);
    if (r == 0 && ret_token != NULL)
        *ret_token = token;
    return r;
}

int monitor_call_text(qblk_monitor *monitor, const char *json, client_reply_fn *fn, void *arg,
                      uint32_t *ret_token, qblk_error *error)
{
    struct msg_span none = { NULL, 0 };

    return submit(monitor, json, strlen(json) - 1, none, false, -1, fn, arg, ret_token, error);
}

int monitor_call(qblk_monitor *monitor, const struct codec_command *command, const void *args,
                 client_reply_fn *fn, void *arg, uint32_t *ret_token, qblk_error *error)
{
    char room[BUF_MESSAGE];
    struct buf text = BUF_ON(room);
    int r = codec_command(command, args, &text, error);

    if (r == 0)
        r = monitor_call_text(monitor, text.data, fn, arg, ret_token, error);
    buf_done(&text);
    return r;
}

void monitor_abandon(qblk_monitor *monitor, uint32_t token)
{
    client_abandon(&monitor->client, token);
}

/* ---- raw, with a callback ------------------------------------------------------------------- */

struct raw_waiter {
    qblk_monitor *monitor;
    qblk_reply_fn *fn;
    void *arg;
};

static void raw_reply(void *arg, const char *reply, const qblk_error *error)
{
    struct raw_waiter waiter = *(struct raw_waiter *)arg;

    free(arg);
    if (waiter.fn != NULL)
        waiter.fn(waiter.monitor, reply, error, waiter.arg);
}

static int submit_raw(qblk_monitor *monitor, const char *json, int fd, client_reply_fn *fn,
                      void *arg, uint32_t *ret_token, qblk_error *error)
{
    char room[BUF_MESSAGE];
    struct buf body = BUF_ON(room);
    struct msg_span id;
    bool is_oob;
    int r = msg_check_command(json, &body, &id, &is_oob, error);

    if (r == 0)
        r = submit(monitor, body.data, body.len, id, is_oob, fd, fn, arg, ret_token, error);
    buf_done(&body);
    return r;
}

int qblk_monitor_send(qblk_monitor *monitor, const char *json, int fd, qblk_reply_fn *on_reply,
                      void *arg, qblk_error *error)
{
    struct raw_waiter *waiter = mem_zalloc(sizeof(*waiter));
    int r;

    if (waiter == NULL)
        return err_nomem(error);
    waiter->monitor = monitor;
    waiter->fn = on_reply;
    waiter->arg = arg;
    r = submit_raw(monitor, json, fd, raw_reply, waiter, NULL, error);
    if (r < 0)
        free(waiter);
    return r;
}

int qblk_monitor_send_fd(qblk_monitor *monitor, int fd, qblk_error *error)
{
    int r;

    if (monitor->state == QBLK_MONITOR_DEAD || monitor->free_asked)
        return monitor_dead(monitor, error);
    if (monitor->is_away)
        return err_set(error, QBLK_E_LOST, "descriptor %d is not passed: the connection to %s was lost "
                       "and is being made again", fd, monitor->path);
    if (fd < 0)
        return err_sys(error, EBADF, "cannot pass descriptor %d", fd);
    if (monitor->client.state != CLIENT_READY || !list_is_empty(&monitor->client.held))
        return err_set(error, QBLK_E_BUSY, "descriptor %d is not passed: it would overtake commands that "
                       "wait for %s to take them; give it to qblk_monitor_send() with its command", fd,
                       monitor->path);
    /* A descriptor travels with a byte; a blank between commands means nothing to QEMU. */
    r = outq_add(&monitor->out, " ", 1, fd, error);
    if (r == 0)
        monitor_flush(monitor);
    return r;
}

/* ---- raw, waiting --------------------------------------------------------------------------- */

struct answer {
    bool has_come;
    char *reply;
    qblk_error error;
};

static void take_answer(void *arg, const char *reply, const qblk_error *error)
{
    struct answer *answer = arg;

    answer->has_come = true;
    if (reply == NULL)
        answer->error = *error;
    else if ((answer->reply = mem_strdup(reply)) == NULL)
        (void)err_nomem(&answer->error);
}

static bool has_come(void *arg)
{
    const struct answer *answer = arg;

    return answer->has_come;
}

static int await_answer(qblk_monitor *monitor, struct answer *answer, uint32_t token,
                        int timeout_ms, char **ret_reply, qblk_error *error)
{
    int r = monitor_block(monitor, has_come, answer, monitor_deadline(timeout_ms), error);

    if (r < 0) {
        if (!answer->has_come)
            monitor_abandon(monitor, token);
        free(answer->reply);
        return r;
    }
    if (answer->reply == NULL)
        return err_copy(error, &answer->error);
    *ret_reply = answer->reply;
    return 0;
}

int qblk_monitor_command(qblk_monitor *monitor, const char *json, int fd, int timeout_ms,
                         char **ret_reply, qblk_error *error)
{
    struct answer answer;
    uint32_t token = 0;
    int r = monitor_may_block(monitor, error);

    memset(&answer, 0, sizeof(answer));
    if (r == 0)
        r = submit_raw(monitor, json, fd, take_answer, &answer, &token, error);
    return r < 0 ? r : await_answer(monitor, &answer, token, timeout_ms, ret_reply, error);
}

/* Appends text as a JSON string: what is not plain ASCII is taken as it is, QEMU checks UTF-8. */
static void add_string(struct buf *out, const char *text)
{
    (void)buf_addc(out, '"');
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '"' || *p == '\\')
            (void)buf_addf(out, "\\%c", *p);
        else if ((unsigned char)*p < 0x20)
            (void)buf_addf(out, "\\u%04x", (unsigned)*p);
        else
            (void)buf_addc(out, *p);
    }
    (void)buf_addc(out, '"');
}

/* One object and nothing behind it: other text would bring in members that the caller did not mean.
 * The rest of JSON is checked with the whole command. */
static bool is_one_object(const char *text)
{
    struct scan_token token;
    struct scan scan;

    scan_init(&scan, text, strlen(text));
    if (!scan_next(&scan, &token) || token.kind != '{')
        return false;
    while (scan.depth > 0) {
        if (!scan_next(&scan, &token))
            return false;
    }
    return !scan_next(&scan, &token);
}

/* A command without arguments, whose name needs no escaping: nothing of it needs to be checked. */
static int execute_plain(qblk_monitor *monitor, const char *command, int timeout_ms,
                         char **ret_reply, qblk_error *error)
{
    struct msg_span none = { NULL, 0 };
    struct answer answer;
    uint32_t token = 0;
    char body[128];
    int r = monitor_may_block(monitor, error);

    memset(&answer, 0, sizeof(answer));
    (void)snprintf(body, sizeof(body), "{\"execute\":\"%s\"", command);
    if (r == 0)
        r = submit(monitor, body, strlen(body), none, false, -1, take_answer, &answer, &token,
                   error);
    return r < 0 ? r : await_answer(monitor, &answer, token, timeout_ms, ret_reply, error);
}

int qblk_monitor_execute(qblk_monitor *monitor, const char *command, const char *arguments,
                         int timeout_ms, char **ret_reply, qblk_error *error)
{
    struct buf json = BUF_INIT;
    int r;

    if (arguments == NULL && strlen(command) < 100 && str_is_id(command))
        return execute_plain(monitor, command, timeout_ms, ret_reply, error);
    if (arguments != NULL && !is_one_object(arguments))
        return err_set(error, QBLK_E_ARGUMENT, "the arguments of %s are not one JSON object",
                       command);
    (void)buf_adds(&json, "{\"execute\":");
    add_string(&json, command);
    if (arguments != NULL)
        (void)buf_addf(&json, ",\"arguments\":%s", arguments);
    (void)buf_addc(&json, '}');
    r = buf_ok(&json) < 0 ? err_nomem(error)
                          : qblk_monitor_command(monitor, json.data, -1, timeout_ms, ret_reply,
                                                 error);
    buf_done(&json);
    return r;
}
