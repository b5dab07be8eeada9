#include "agent_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define N_FILE_SYSTEMS 2
#define HUGE_REPLY (2 << 20)

static const char *const actions[] = { "error:", "disabled", "ignore", "mute",   "late", "close",
                                       "half",   "garbage",  "number", "huge", "stays" };

void agent_model_init(struct agent_model *model)
{
    memset(model, 0, sizeof(*model));
}

void agent_model_done(struct agent_model *model)
{
    buf_done(&model->in);
    buf_done(&model->out);
    buf_done(&model->late);
    buf_done(&model->asked);
}

bool agent_model_is_rule(const char *rule)
{
    const char *action = strchr(rule, '=');

    for (size_t i = 0; action != NULL && i < sizeof(actions) / sizeof(actions[0]); i++) {
        if (strcmp(action + 1, actions[i]) == 0 ||
            (i == 0 && strncmp(action + 1, actions[i], strlen(actions[i])) == 0))
            return true;
    }
    return false;
}

void agent_model_rule(struct agent_model *model, const char *rule)
{
    if (model->n_rules < AGENT_MODEL_RULES)
        model->rules[model->n_rules++] = rule;
}

/* The action for this call of the command, or "". */
static const char *take_rule(struct agent_model *model, const char *name)
{
    for (int i = 0; i < model->n_rules; i++) {
        const char *rule = model->rules[i];
        bool is_for_ever = rule[0] == '*';
        size_t len = strcspn(rule + is_for_ever, "=");

        if (strlen(name) != len || strncmp(rule + is_for_ever, name, len) != 0)
            continue;
        if (!is_for_ever)
            memmove(&model->rules[i], &model->rules[i + 1],
                    (size_t)(--model->n_rules - i) * sizeof(model->rules[0]));
        return rule + is_for_ever + len + 1;
    }
    return "";
}

static void refuse(struct buf *out, const char *class, const char *text)
{
    (void)buf_addf(out, "{\"error\": {\"class\": \"%s\", \"desc\": \"%s\"}}\n", class, text);
}

static bool is_allowed_while_frozen(const char *name)
{
    return strcmp(name, "guest-ping") == 0 || strcmp(name, "guest-info") == 0 ||
           str_starts(name, "guest-sync") || strcmp(name, "guest-fsfreeze-status") == 0 ||
           strcmp(name, "guest-fsfreeze-thaw") == 0;
}

/* As for one that the administrator has blocked: by a rule that stands. */
static bool is_blocked(const struct agent_model *model, const char *name)
{
    for (int i = 0; i < model->n_rules; i++) {
        const char *rule = model->rules[i];

        if (rule[0] == '*' && str_starts(rule + 1, name) && strcmp(rule + 1 + strlen(name), "=disabled") == 0)
            return true;
    }
    return false;
}

static void list_commands(const struct agent_model *model, struct buf *out)
{
    static const char *const names[] = { "guest-fsfreeze-thaw", "guest-fsfreeze-freeze",
                                         "guest-fsfreeze-status", "guest-info", "guest-ping" };

    (void)buf_adds(out, "{\"version\": \"7.2.22\", \"supported_commands\": [");
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        (void)buf_addf(out, "%s{\"enabled\": %s, \"name\": \"%s\", \"success-response\": true}",
                       i > 0 ? ", " : "",
                       (model->is_frozen && !is_allowed_while_frozen(names[i])) ||
                       is_blocked(model, names[i]) ? "false" : "true", names[i]);
    (void)buf_adds(out, "]}");
}

/* Does it, unless it only seems to; the value that it returns goes to out. False: no such command. */
static bool act(struct agent_model *model, const char *name, const char *command, bool seems,
                struct buf *out)
{
    bool freezes = str_starts(name, "guest-fsfreeze-freeze");

    if (str_starts(name, "guest-sync")) {
        const char *id = strstr(command, "\"id\":");

        (void)buf_addf(out, "%ld", id != NULL ? strtol(id + 5, NULL, 10) : 0);
    } else if (strcmp(name, "guest-ping") == 0) {
        (void)buf_adds(out, "{}");
    } else if (strcmp(name, "guest-info") == 0) {
        list_commands(model, out);
    } else if (strcmp(name, "guest-fsfreeze-status") == 0) {
        (void)buf_adds(out, model->is_frozen ? "\"frozen\"" : "\"thawed\"");
    } else if (freezes || strcmp(name, "guest-fsfreeze-thaw") == 0) {
        (void)buf_addf(out, "%d", freezes || model->is_frozen ? N_FILE_SYSTEMS : 0);
        if (!seems)
            model->is_frozen = freezes;
    } else {
        return false;
    }
    return true;
}

static void answer(struct agent_model *model, const char *name, const char *value,
                   const char *action)
{
    struct buf *out = strcmp(action, "late") == 0 ? &model->late : &model->out;

    if (strcmp(name, "guest-sync-delimited") == 0)
        (void)buf_addc(out, (char)0xff);
    if (strcmp(action, "garbage") == 0) {
        (void)buf_adds(out, "}]no JSON\n");
    } else if (strcmp(action, "half") == 0) {
        (void)buf_addf(out, "{\"return\": %.1s", value);
        model->closes = true;
    } else if (strcmp(action, "number") == 0) {
        (void)buf_adds(out, "{\"return\": 77}\n");
    } else if (strcmp(action, "huge") == 0) {
        (void)buf_adds(out, "{\"return\": \"");
        for (int i = 0; i < HUGE_REPLY; i += 16)
            (void)buf_adds(out, "huge huge huge! ");
        (void)buf_adds(out, "\"}\n");
    } else if (strcmp(action, "mute") != 0) {
        (void)buf_addf(out, "{\"return\": %s}\n", value);
    }
}

static void refuse_disabled(struct buf *out, const char *name)
{
    char text[128];

    (void)snprintf(text, sizeof(text), "Command %s has been disabled", name);
    refuse(out, "CommandNotFound", text);
}

static void carry_out(struct agent_model *model, const char *name, const char *command)
{
    const char *action = take_rule(model, name);
    struct buf value = BUF_INIT;

    (void)buf_addf(&model->asked, "%s%s", model->asked.len > 0 ? " " : "",
                   str_starts(name, "guest-") ? name + strlen("guest-") : name);
    (void)buf_add(&model->out, model->late.data, model->late.len);
    buf_reset(&model->late);
    if (strcmp(action, "close") == 0)
        model->closes = true;
    else if (str_starts(action, "error:"))
        refuse(&model->out, "GenericError", action + strlen("error:"));
    else if (strcmp(action, "disabled") == 0 ||
             (model->is_frozen && !is_allowed_while_frozen(name)))
        refuse_disabled(&model->out, name);
    else if (strcmp(action, "ignore") != 0 &&
             act(model, name, command, strcmp(action, "stays") == 0, &value))
        answer(model, name, value.data, action);
    else if (strcmp(action, "ignore") != 0)
        refuse(&model->out, "CommandNotFound", "The command has not been found");
    buf_done(&value);
}

static void command_came(struct agent_model *model)
{
    const char *name = strstr(model->in.data, "\"execute\":");
    char copy[64];

    if (name == NULL || sscanf(name, "\"execute\":%*[ ]\"%63[^\"]", copy) != 1) {
        if (name == NULL || sscanf(name, "\"execute\":\"%63[^\"]", copy) != 1) {
            refuse(&model->out, "GenericError", "QMP input lacks member 'execute'");
            buf_reset(&model->in);
            return;
        }
    }
    carry_out(model, copy, model->in.data);
    buf_reset(&model->in);
}

void agent_model_feed(struct agent_model *model, const void *data, size_t len)
{
    const unsigned char *bytes = data;

    for (size_t i = 0; i < len && !model->closes; i++) {
        int depth = 0;

        if (bytes[i] == 0xff) {
            refuse(&model->out, "GenericError", "JSON parse error, stray '\\uFFFD'");
            buf_reset(&model->in);
            continue;
        }
        if (model->in.len == 0 && bytes[i] != '{')
            continue;
        (void)buf_addc(&model->in, (char)bytes[i]);
        for (size_t k = 0; k < model->in.len; k++)
            depth += (model->in.data[k] == '{') - (model->in.data[k] == '}');
        if (depth == 0)
            command_came(model);
    }
}

void agent_model_left(struct agent_model *model)
{
    model->closes = false;
    buf_reset(&model->out);
}
