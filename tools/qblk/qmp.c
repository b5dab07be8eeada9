/* The verb qmp: any command, its reply untouched. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "json.h"
#include "qmp_args.h"
#include "rawjson.h"
#include "report.h"
#include "session.h"
#include "verbs.h"

#define INPUT_MAX (64u << 20) /* what the library takes as one message */

static int read_stdin(struct text *text, qblk_error *error)
{
    static char chunk[16384];

    text_add(text, "");
    for (;;) {
        ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return own_error(error, QBLK_KIND_FAILED, QBLK_E_SYSTEM,
                             "cannot read standard input: %s", strerror(errno));
        if (n == 0)
            return 0;
        text_add_n(text, chunk, (size_t)n);
        if (text->len > INPUT_MAX)
            return usage_error(error, "standard input is over 64 MiB: that is no command");
    }
}

/* A whole {"execute": ...}, checked as far as it can be without QEMU. */
static int check_command(const char *json, size_t n, qblk_error *error)
{
    const char *value;
    size_t len;
    size_t at;

    if (!rawjson_check(json, n, &at))
        return usage_error(error, "the command is not JSON: it goes wrong at its character %zu",
                           at + 1);
    if (!rawjson_member(json, n, "execute", &value, &len) &&
        !rawjson_member(json, n, "exec-oob", &value, &len))
        return usage_error(error, "the command has no member 'execute': write '{\"execute\": "
                           "\"NAME\"}', or the name alone");
    return 0;
}

/* The whole command as text, from whatever was given. */
static int build_command(struct cli *cli, struct text *json, qblk_error *error)
{
    const char *first = cli->args[0];
    bool is_stdin = strcmp(first, "-") == 0;
    char *arguments;
    int r;

    if (is_stdin || *first == '{') {
        if (cli->n_args > 1)
            return usage_error(error, "'%.200s' comes after a whole command: put the arguments "
                               "into it", cli->args[1]);
        if (is_stdin) {
            r = read_stdin(json, error);
            if (r < 0)
                return r;
        } else {
            text_add(json, first);
        }
        return check_command(json->s, json->len, error);
    }
    if (*first == '\0' || strchr(first, '=') != NULL)
        return usage_error(error, "'%.200s' is no name of a command: write qmp COMMAND "
                           "[KEY=VALUE...]", first);
    r = qmp_args(cli->args + 1, cli->n_args - 1, &arguments, error);
    if (r < 0)
        return r;
    json_open(json, NULL, '{');
    json_str(json, "execute", first);
    if (arguments != NULL)
        json_value(json, "arguments", arguments); /* too deep a one is the library's to refuse */
    json_close(json, '}');
    free(arguments);
    return 0;
}

/* QEMU's error reply as an error. */
static void reply_error(const struct cli *cli, const char *s, size_t n, qblk_error *error)
{
    const char *value;
    size_t len;
    char *class = NULL;
    char *desc = NULL;

    if (rawjson_member(s, n, "class", &value, &len))
        class = rawjson_string(value, len);
    if (rawjson_member(s, n, "desc", &value, &len))
        desc = rawjson_string(value, len);
    /* JSON has a place of its own for the class. */
    (void)own_error(error, QBLK_KIND_FAILED, QBLK_E_QEMU, "%s%s%s",
                    class != NULL && !cli->opt.json ? class : "",
                    class != NULL && !cli->opt.json ? ": " : "",
                    desc != NULL ? desc : "QEMU gave no reason");
    (void)snprintf(error->qmp_class, sizeof(error->qmp_class), "%s", class != NULL ? class : "");
    free(class);
    free(desc);
}

static void print_value(struct cli *cli, const char *s, size_t n)
{
    struct text line = { NULL, 0, 0 };

    if (cli->opt.json) {
        text_add(&line, "{\"result\": ");
        rawjson_compact(&line, s, n);
        text_add(&line, "}");
    } else if (isatty(STDOUT_FILENO) == 1) {
        rawjson_pretty(&line, s, n);
    } else {
        rawjson_compact(&line, s, n);
    }
    out_line(cli, &line);
}

static int print_reply(struct cli *cli, const char *reply)
{
    size_t n = strlen(reply);
    const char *value = reply;
    size_t len = n;
    struct text line = { NULL, 0, 0 };
    qblk_error error;

    if (rawjson_check(reply, n, NULL)) {
        if (rawjson_member(reply, n, "error", &value, &len)) {
            reply_error(cli, value, len, &error);
            return report_error(cli, &error);
        }
        if (!rawjson_member(reply, n, "return", &value, &len)) {
            value = reply;
            len = n;
        }
        print_value(cli, value, len);
        return EXIT_DONE;
    }
    /* Deeper than we look, but the library let it pass: hand it on whole. */
    text_add(&line, cli->opt.json ? "{\"result\": " : "");
    text_add(&line, reply);
    text_add(&line, cli->opt.json ? "}" : "");
    out_line(cli, &line);
    return EXIT_DONE;
}

/* What QEMU would let through and a running job, or QEMU itself, would suffer from is refused,
 * unless by force. */
static int check_harm(struct session *session, const struct text *json, qblk_error *error)
{
    const char *value;
    size_t len;
    char *name = NULL, *arguments = NULL;
    int r;

    if (session->cli->opt.force)
        return 0;
    if (rawjson_member(json->s, json->len, "execute", &value, &len) ||
        rawjson_member(json->s, json->len, "exec-oob", &value, &len))
        name = rawjson_string(value, len);
    if (rawjson_member(json->s, json->len, "arguments", &value, &len))
        arguments = xstrndup(value, len);
    r = name == NULL ? 0 : qblk_guard(session->monitor, name, arguments, cli_left_ms(session->cli),
                                      error);
    free(name);
    free(arguments);
    if (r < 0 && (error->code == QBLK_E_BUSY || error->code == QBLK_E_HAZARD)) {
        size_t n = strlen(error->text);

        (void)snprintf(error->text + n, sizeof(error->text) - n, "; --force sends it all the same");
    }
    return r;
}

int run_qmp(struct cli *cli)
{
    struct session session;
    struct text json = { NULL, 0, 0 };
    char *reply = NULL;
    qblk_error error;
    int status;

    if (build_command(cli, &json, &error) < 0) {
        text_free(&json);
        return report_error(cli, &error);
    }
    if (session_open(&session, cli, NULL, NULL, &error) < 0 ||
        check_harm(&session, &json, &error) < 0 ||
        qblk_monitor_command(session.monitor, json.s, -1, cli_left_ms(cli), &reply, &error) < 0)
        status = report_error(cli, &error);
    else
        status = print_reply(cli, reply);
    free(reply);
    text_free(&json);
    return session_end(&session, status);
}
