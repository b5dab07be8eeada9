#include "agent/talk.h"

#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "qapi_types.h"

#define DELIMITER 0xff

void talk_init(struct talk *talk)
{
    memset(talk, 0, sizeof(*talk));
    frames_init(&talk->in, TALK_REPLY_MAX);
    buf_init(&talk->raw);
    buf_init(&talk->reply);
}

void talk_done(struct talk *talk)
{
    frames_done(&talk->in);
    buf_done(&talk->raw);
    buf_done(&talk->reply);
}

static void forget_message(struct talk *talk)
{
    frames_done(&talk->in);
    frames_init(&talk->in, TALK_REPLY_MAX);
}

void talk_reset(struct talk *talk)
{
    forget_message(talk);
    buf_reset(&talk->raw);
    talk->is_synced = talk->is_dropping = false;
    talk->n_first = 0;
}

int talk_command(const struct codec_command *command, const void *args, struct buf *out,
                 qblk_error *error)
{
    int r = codec_command(command, args, out, error);

    return r == 0 && buf_addc(out, '\n') < 0 ? err_nomem(error) : r;
}

int talk_sync(struct talk *talk, int64_t id, struct buf *out, qblk_error *error)
{
    struct qapi_guest_sync_delimited_args args = { .id = id };

    talk->id = id;
    talk->is_synced = false;
    talk->is_dropping = true;
    if (buf_addc(out, (char)DELIMITER) < 0)
        return err_nomem(error);
    return talk_command(&qapi_cmd_guest_sync_delimited, &args, out, error);
}

int talk_feed(struct talk *talk, const void *data, size_t len)
{
    size_t n = sizeof(talk->first) - talk->n_first;

    if (n > len)
        n = len;
    memcpy(talk->first + talk->n_first, data, n);
    talk->n_first += n;
    return buf_add(&talk->raw, data, len);
}

bool talk_is_monitor(const struct talk *talk)
{
    static const char greeting[] = "{\"QMP\":";
    size_t at = 0;

    /* An agent that was told nonsense says so at once; QEMU greets before anything else. */
    for (size_t i = 0; i < talk->n_first && at < sizeof(greeting) - 1; i++) {
        if (strchr(" \t\r\n", talk->first[i]) != NULL)
            continue;
        if (talk->first[i] != greeting[at++])
            return false;
    }
    return at == sizeof(greeting) - 1;
}

/* Moves bytes up to the next delimiter, or up to and with it, out of raw. */
static int take_raw(struct talk *talk)
{
    struct buf *raw = &talk->raw;
    const char *end = memchr(raw->data, DELIMITER, raw->len);
    size_t len = end != NULL ? (size_t)(end - raw->data) : raw->len;
    int r = 0;

    if (talk->is_dropping) {
        talk->is_dropping = end == NULL;
        len += end != NULL;
    } else if (len == 0) {
        /* One in the middle: what came since the last was for somebody else, or cut off. */
        forget_message(talk);
        len = 1;
    } else {
        r = frames_feed(&talk->in, raw->data, len);
    }
    buf_drop(raw, len);
    return r;
}

/* A message behind a delimiter: the reply to the sync under way, or not. */
static void see_sync(struct talk *talk)
{
    int64_t id;

    talk->is_synced = codec_reply_int(&qapi_cmd_guest_sync_delimited, talk->reply.data, &id,
                                      NULL) == 0 && id == talk->id;
    /* The answer to an earlier sync; ours stands behind a delimiter of its own. */
    talk->is_dropping = !talk->is_synced;
}

static int keep_reply(struct talk *talk, const char *text, size_t len, qblk_error *error)
{
    buf_reset(&talk->reply);
    talk->reply.failed = 0;
    return buf_add(&talk->reply, text, len) < 0 ? err_nomem(error) : 0;
}

int talk_next(struct talk *talk, const char **ret_reply, qblk_error *error)
{
    const char *text;
    size_t len;
    int r;

    for (;;) {
        r = talk->is_dropping ? 0 : frames_next(&talk->in, &text, &len, error);
        if (r < 0 && talk->is_synced)
            return r;
        if (r < 0) {
            forget_message(talk);
            talk->is_dropping = true;
        } else if (r > 0) {
            if (keep_reply(talk, text, len, error) < 0)
                return -ENOMEM;
            if (talk->is_synced) {
                *ret_reply = talk->reply.data;
                return 1;
            }
            see_sync(talk);
            if (talk->is_dropping)
                forget_message(talk);
        } else if (talk->raw.len == 0) {
            return 0;
        } else if (take_raw(talk) < 0) {
            return err_nomem(error);
        }
    }
}
