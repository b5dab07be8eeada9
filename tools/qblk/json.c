#include "json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "rawjson.h"

/* Bytes of the UTF-8 sequence at s, 0 if it is none (overlong and surrogates included). */
static size_t utf8_length(const unsigned char *s)
{
    unsigned c = s[0];

    if (c < 0x80)
        return 1;
    if (c >= 0xc2 && c <= 0xdf)
        return (s[1] & 0xc0) == 0x80 ? 2 : 0;
    if (c >= 0xe0 && c <= 0xef) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80)
            return 0;
        return (c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f) ? 0 : 3;
    }
    if (c >= 0xf0 && c <= 0xf4) {
        if ((s[1] & 0xc0) != 0x80 || (s[2] & 0xc0) != 0x80 || (s[3] & 0xc0) != 0x80)
            return 0;
        return (c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f) ? 0 : 4;
    }
    return 0;
}

static void add_string(struct text *text, const char *value)
{
    text_add(text, "\"");
    while (*value != '\0') {
        unsigned char c = (unsigned char)*value;
        size_t n = utf8_length((const unsigned char *)value);

        if (n == 0) {
            text_add(text, "\xef\xbf\xbd"); /* U+FFFD */
            n = 1;
        } else if (c == '"' || c == '\\') {
            text_addf(text, "\\%c", c);
        } else if (c == '\n') {
            text_add(text, "\\n");
        } else if (c < 0x20 || c == 0x7f) {
            text_addf(text, "\\u%04x", (unsigned)c);
        } else {
            text_add_n(text, value, n);
        }
        value += n;
    }
    text_add(text, "\"");
}

static void add_key(struct text *text, const char *key)
{
    if (text->len > 0 && strchr("{[ ", text->s[text->len - 1]) == NULL)
        text_add(text, ", ");
    if (key != NULL) {
        add_string(text, key);
        text_add(text, ": ");
    }
}

void json_open(struct text *text, const char *key, char bracket)
{
    add_key(text, key);
    text_add_n(text, &bracket, 1);
}

void json_close(struct text *text, char bracket)
{
    text_add_n(text, &bracket, 1);
}

void json_null(struct text *text, const char *key)
{
    add_key(text, key);
    text_add(text, "null");
}

void json_str(struct text *text, const char *key, const char *value)
{
    if (value == NULL) {
        json_null(text, key);
        return;
    }
    add_key(text, key);
    add_string(text, value);
}

void json_word(struct text *text, const char *key, const char *value)
{
    json_str(text, key, value != NULL && *value != '\0' ? value : NULL);
}

void json_u64(struct text *text, const char *key, uint64_t value)
{
    add_key(text, key);
    text_addf(text, "%" PRIu64, value);
}

void json_i64(struct text *text, const char *key, int64_t value)
{
    add_key(text, key);
    text_addf(text, "%" PRId64, value);
}

void json_bool(struct text *text, const char *key, bool value)
{
    add_key(text, key);
    text_add(text, value ? "true" : "false");
}

void json_raw(struct text *text, const char *key, const char *value)
{
    if (value == NULL || !rawjson_check(value, strlen(value), NULL)) {
        json_str(text, key, value);
        return;
    }
    json_value(text, key, value);
}

void json_value(struct text *text, const char *key, const char *value)
{
    add_key(text, key);
    rawjson_compact(text, value, strlen(value)); /* one line, whatever it was */
}

void json_time(struct text *text, const char *key, int64_t us)
{
    if (us <= 0) {
        json_null(text, key);
        return;
    }
    add_key(text, key);
    text_addf(text, "%" PRId64 ".%06d", us / 1000000, (int)(us % 1000000));
}

void json_event(struct text *text, const char *name)
{
    struct timespec now = { 0, 0 };

    (void)clock_gettime(CLOCK_REALTIME, &now);
    json_open(text, NULL, '{');
    json_str(text, "event", name);
    add_key(text, "time");
    text_addf(text, "%lld.%03ld", (long long)now.tv_sec, now.tv_nsec / 1000000);
}

void json_job_members(struct text *text, const qblk_job_info *job)
{
    bool ended = job->outcome != QBLK_OUTCOME_NONE;

    json_str(text, "id", job->id);
    json_word(text, "type", job->type);
    json_word(text, "status", job->status);
    json_str(text, "state", qblk_job_state_name(job->state));
    json_str(text, "outcome", ended ? qblk_job_outcome_name(job->outcome) : NULL);
    json_str(text, "error", job->error);
    json_str(text, "operation", job->operation);
    json_u64(text, "current", job->current);
    json_u64(text, "total", job->total);
    if (job->is_listed)
        json_u64(text, "speed", job->speed);
    else
        json_null(text, "speed");
    json_u64(text, "rate", job->rate);
    if (job->eta_ms >= 0)
        json_i64(text, "eta_ms", job->eta_ms);
    else
        json_null(text, "eta_ms");
    json_bool(text, "ready", job->is_ready);
    json_bool(text, "stalled", job->is_stalled);
    json_str(text, "stall_reason", job->stall_reason);
    json_str(text, "stall_node", job->stall_node);
    json_str(text, "stall_op", job->stall_op);
    json_u64(text, "errors", job->errors);
    if (job->is_listed) {
        json_bool(text, "auto_finalize", job->auto_finalize);
        json_bool(text, "auto_dismiss", job->auto_dismiss);
    } else {
        json_null(text, "auto_finalize");
        json_null(text, "auto_dismiss");
    }
}

void json_job(struct text *text, const qblk_job_info *job)
{
    json_open(text, "job", '{');
    json_job_members(text, job);
    json_close(text, '}');
}
