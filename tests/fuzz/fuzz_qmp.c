/* A whole conversation with a peer that says anything: every command must end exactly once, and
 * what is written must be what QEMU's parser takes. The first byte says whether OOB is asked for,
 * how large the pieces are, and how many commands wait; the bytes 1 to 4, which no peer sends, are
 * the user's turns: to submit, to abandon, to hang up. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "qmp/client.h"
#include "wire/frames.h"

#define MAX_COMMANDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct command {
    uint32_t token;
    unsigned ends;
    bool is_abandoned;
};

static struct client client;
static struct command commands[MAX_COMMANDS];
static unsigned n_commands;

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void submit(const char *json, size_t len);

static void submit_text(const char *json)
{
    submit(json, strlen(json));
}

static int write_out(void *arg, const char *data, size_t len, int fd, qblk_error *error)
{
    (void)arg;
    (void)fd;
    (void)error;
    require(len > 2 && data[0] == '{' && data[len - 1] == '}' && data[len] == '\0');
    return 0;
}

static void on_ready(void *arg)
{
    (void)arg;
    require(client.state == CLIENT_READY);
    submit_text("{\"execute\":\"from-ready\"}");
}

static void on_event(void *arg, const char *name, const char *text, size_t len)
{
    (void)arg;
    require(name[0] != '\0' && strlen(name) < 64 && text[len] == '\0');
    if (name[0] == 'S')
        submit_text("{\"execute\":\"from-event\",\"id\":[1]}");
}

static void on_reply(void *arg, const char *reply, const qblk_error *error)
{
    struct command *command = arg;

    require(!command->is_abandoned && command->ends == 0);
    command->ends++;
    require((reply != NULL) != (error != NULL));
    require(reply == NULL || (reply[0] == '{' && reply[strlen(reply) - 1] == '}'));
    /* Callbacks call back: every other one abandons a command, every fourth asks again. */
    if (command->token % 2 == 0 && n_commands > 0) {
        struct command *other = &commands[command->token % n_commands];

        if (other->ends == 0 && !other->is_abandoned) {
            other->is_abandoned = true;
            client_abandon(&client, other->token);
        }
    }
    if (command->token % 4 == 1)
        submit_text("{\"execute\":\"again\"}");
}

static void submit(const char *json, size_t len)
{
    struct command *command;
    struct buf body = BUF_INIT;
    struct msg_span id;
    char *text;
    bool is_oob;

    if (n_commands == MAX_COMMANDS)
        return;
    text = malloc(len + 1);
    require(text != NULL);
    memcpy(text, json, len);
    text[len] = '\0';
    command = &commands[n_commands];
    memset(command, 0, sizeof(*command));
    if (msg_check_command(text, &body, &id, &is_oob, NULL) == 0) {
        n_commands++;
        if (client_submit(&client, body.data, body.len, id, is_oob, -1, on_reply, command,
                          &command->token, NULL) < 0)
            n_commands--;
    }
    buf_done(&body);
    free(text);
}

static void hang_up(void)
{
    qblk_error why;

    (void)err_set(&why, QBLK_E_LOST, "gone");
    client_hangup(&client, &why);
}

/* What the user does; returns how many bytes that took. */
static size_t act(const uint8_t *data, size_t size)
{
    size_t len = 0;

    switch (data[0]) {
    case 1: /* the rest of the line is a command */
        while (1 + len < size && data[1 + len] != '\n')
            len++;
        submit((const char *)data + 1, len);
        return 1 + len;
    case 2:
        if (n_commands > 0 && commands[n_commands / 2].ends == 0 &&
            !commands[n_commands / 2].is_abandoned) {
            commands[n_commands / 2].is_abandoned = true;
            client_abandon(&client, commands[n_commands / 2].token);
        }
        return 1;
    case 3:
        hang_up();
        return 1;
    default:
        submit_text("{\"execute\":\"x\",\"id\":\"mine\"}");
        return 1;
    }
}

/* Bytes of the peer up to the next act of the user. Returns false if the stream is at its end. */
static bool hear(struct frames *frames, const uint8_t *data, size_t size)
{
    const char *text;
    size_t len;
    int r;

    require(frames_feed(frames, data, size) == 0);
    while ((r = frames_next(frames, &text, &len, NULL)) > 0) {
        if (client_message(&client, text, len, NULL) < 0)
            return false;
        require(!client.has_oob || client.in_flight <= CLIENT_OOB_WINDOW);
    }
    return r == 0;
}

static void talk(struct frames *frames, const uint8_t *data, size_t size, size_t piece)
{
    while (size > 0) {
        size_t n = 0;

        if (data[0] >= 1 && data[0] <= 4) {
            n = act(data, size);
        } else {
            while (n < size && n < piece && (data[n] == 0 || data[n] > 4))
                n++;
            if (!hear(frames, data, n))
                return;
        }
        data += n;
        size -= n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct client_ops ops = { write_out, on_ready, on_event };
    struct frames frames;

    if (size < 1)
        return 0;
    n_commands = 0;
    frames_init(&frames, 65536);
    client_init(&client, &ops, NULL, NULL, "qblk-1", data[0] & 1);
    for (unsigned i = 0; i < (data[0] >> 4); i++)
        submit_text("{\"execute\":\"x\"}");
    talk(&frames, data + 1, size - 1, data[0] & 2 ? 7 : 4096);
    hang_up();
    for (unsigned i = 0; i < n_commands; i++)
        require(commands[i].ends + commands[i].is_abandoned == 1);
    client_done(&client);
    frames_done(&frames);
    return 0;
}
