#include "monitor/features.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "qapi_types.h"
#include "qmp/scan.h"

static const struct {
    const char *command;
    const char *member; /* of its arguments; NULL: that there is such a command is enough */
} table[N_FEATURES] = {
    [FEATURE_STREAM_MASKS_PROTOCOL] = { "block-stream", "backing-mask-protocol" },
    [FEATURE_COMMIT_MASKS_PROTOCOL] = { "block-commit", "backing-mask-protocol" },
    [FEATURE_STREAM_BOTTOM] = { "block-stream", "bottom" },
    [FEATURE_REOPEN] = { "blockdev-reopen", NULL },
};

/* ---- reading --------------------------------------------------------------------------------- */

/* The reply is a list of a thousand entities. A tree of all of it would take megabytes, so they are
 * cut out of the text one by one, and only those decoded that may matter. */
struct entities {
    struct scan scan;
    struct buf text; /* the one at hand, as a reply of its own */
};

static int entities_begin(struct entities *entities, const char *reply, qblk_error *error)
{
    struct scan scan;
    struct scan_member member;

    memset(entities, 0, sizeof(*entities));
    scan_init(&scan, reply, strlen(reply));
    while (scan_member_next(&scan, &member)) {
        struct scan_token token;

        if (!scan_string_is(&member.key, "return") || *member.value != '[')
            continue;
        scan_init(&entities->scan, member.value, (size_t)(member.end - member.value));
        (void)scan_next(&entities->scan, &token);
        return 0;
    }
    return err_set(error, QBLK_E_PROTOCOL, "the reply to query-qmp-schema has no list");
}

/* The next one whose text has the word, quotes included; false at the end or out of memory. */
static bool entities_next(struct entities *entities, const char *word)
{
    struct scan_token token;
    const char *start = NULL;

    while (scan_next(&entities->scan, &token)) {
        if (token.kind == '{' && entities->scan.depth == 2)
            start = token.text;
        if (token.kind != '}' || entities->scan.depth != 1 || start == NULL)
            continue;
        size_t len = (size_t)(token.text - start) + 1;

        if (memmem(start, len, word, strlen(word)) == NULL)
            continue;
        buf_reset(&entities->text);
        (void)buf_adds(&entities->text, "{\"return\":[");
        (void)buf_add(&entities->text, start, len);
        (void)buf_adds(&entities->text, "]}");
        return buf_ok(&entities->text) == 0;
    }
    return false;
}

/* The entity of that name, a command or a type. Returns 1 and the list of it, which is the caller's
 * to clear, 0 if there is none, or an error. */
static int find_entity(const char *reply, const char *name, bool is_command,
                       struct qapi_schema_info_list *ret_list, qblk_error *error)
{
    struct entities entities;
    AUTO_FREE char *word = mem_printf("\"%s\"", name);
    int r = word != NULL ? entities_begin(&entities, reply, error) : err_nomem(error);

    if (r < 0)
        return r;
    while (r == 0 && entities_next(&entities, word)) {
        r = codec_reply(&qapi_cmd_query_qmp_schema, entities.text.data, ret_list, error);
        if (r < 0)
            break;
        if (ret_list->n == 1 && strcmp(ret_list->v[0].name, name) == 0 &&
            (strcmp(ret_list->v[0].meta_type, "command") == 0) == is_command)
            r = 1;
        else
            codec_reply_clear(&qapi_cmd_query_qmp_schema, ret_list);
    }
    if (r == 0 && buf_ok(&entities.text) < 0)
        r = err_nomem(error);
    buf_done(&entities.text);
    return r;
}

static bool has_member(const struct qapi_schema_info_list *list, const char *member)
{
    for (size_t i = 0; i < list->v[0].members.n; i++) {
        if (str_equal(list->v[0].members.v[i].name, member))
            return true;
    }
    return false;
}

/* 1, 0, or an error. */
static int is_there(const char *reply, const char *command, const char *member, qblk_error *error)
{
    struct qapi_schema_info_list list, args;
    int r = find_entity(reply, command, true, &list, error);

    if (r <= 0)
        return r;
    if (member != NULL && list.v[0].arg_type == NULL)
        r = 0;
    else if (member != NULL)
        r = find_entity(reply, list.v[0].arg_type, false, &args, error);
    codec_reply_clear(&qapi_cmd_query_qmp_schema, &list);
    if (member == NULL || r <= 0)
        return r;
    r = has_member(&args, member);
    codec_reply_clear(&qapi_cmd_query_qmp_schema, &args);
    return r;
}

int features_read(const char *reply, unsigned *ret_features, qblk_error *error)
{
    unsigned features = 0;

    for (unsigned i = 0; i < N_FEATURES; i++) {
        int r = is_there(reply, table[i].command, table[i].member, error);

        if (r < 0)
            return r;
        if (r > 0)
            features |= 1u << i;
    }
    *ret_features = features;
    return 0;
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool features_known(const qblk_monitor *monitor)
{
    return monitor->has_features;
}

bool features_has(const qblk_monitor *monitor, enum feature feature)
{
    return (monitor->features & 1u << feature) != 0;
}

/* An answer that makes no sense tells of no features. */
int features_take(qblk_monitor *monitor, const char *reply, qblk_error *error)
{
    if (features_read(reply, &monitor->features, error) < 0 && error->code == QBLK_E_MEMORY)
        return -error->err;
    monitor->has_features = true;
    return 0;
}

static void hear(void *arg, const char *reply, const qblk_error *error)
{
    struct features_asking *asking = arg;
    qblk_error mine;

    asking->token = 0;
    if (reply != NULL)
        error = features_take(asking->monitor, reply, &mine) < 0 ? &mine : NULL;
    asking->fn(asking->arg, error);
}

int features_ask(qblk_monitor *monitor, struct features_asking *asking, qblk_error *error)
{
    asking->monitor = monitor;
    return monitor_call(monitor, &qapi_cmd_query_qmp_schema, NULL, hear, asking, &asking->token,
                        error);
}

void features_abandon(struct features_asking *asking)
{
    if (asking->token != 0)
        monitor_abandon(asking->monitor, asking->token);
    asking->token = 0;
}
