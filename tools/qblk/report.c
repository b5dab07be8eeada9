#include "report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "json.h"

static void __attribute__((format(printf, 5, 0)))
fill(qblk_error *error, qblk_error_kind kind, qblk_error_code code, int err, const char *format,
     va_list ap)
{
    memset(error, 0, sizeof(*error));
    error->kind = kind;
    error->code = code;
    error->err = err;
    (void)vsnprintf(error->text, sizeof(error->text), format, ap);
}

int usage_error(qblk_error *error, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fill(error, QBLK_KIND_USAGE, QBLK_E_ARGUMENT, EINVAL, format, ap);
    va_end(ap);
    return -EINVAL;
}

int own_error(qblk_error *error, qblk_error_kind kind, qblk_error_code code, const char *format,
              ...)
{
    va_list ap;

    va_start(ap, format);
    fill(error, kind, code, EIO, format, ap);
    va_end(ap);
    return -EIO;
}

void out_text(struct cli *cli, const char *s)
{
    progress_clear(&cli->progress);
    out_put(cli->out, s);
}

void out_line(struct cli *cli, struct text *line)
{
    text_add(line, "\n");
    out_text(cli, line->s);
    text_free(line);
}

void out_plain(struct cli *cli, struct text *line)
{
    struct text plain = { NULL, 0, 0 };

    text_add_plain(&plain, text_str(line), false);
    text_free(line);
    out_line(cli, &plain);
}

static void err_line(struct cli *cli, const char *s)
{
    struct text line = { NULL, 0, 0 };

    progress_clear(&cli->progress);
    text_add(&line, "qblk: ");
    text_add_plain(&line, s, false);
    text_add(&line, "\n");
    out_put(cli->err, line.s);
    text_free(&line);
}

void log_line(struct cli *cli, const char *s)
{
    err_line(cli, s);
}

static void say(struct cli *cli, const char *event, const char *s)
{
    struct text line = { NULL, 0, 0 };

    err_line(cli, s);
    if (!cli->opt.json)
        return;
    json_event(&line, event);
    json_str(&line, "message", s);
    json_close(&line, '}');
    out_line(cli, &line);
}

void note(struct cli *cli, const char *format, ...)
{
    char s[1024];
    va_list ap;

    if (cli->opt.quiet)
        return;
    va_start(ap, format);
    (void)vsnprintf(s, sizeof(s), format, ap);
    va_end(ap);
    say(cli, "note", s);
}

void warn(struct cli *cli, const char *format, ...)
{
    char s[1024];
    va_list ap;

    va_start(ap, format);
    (void)vsnprintf(s, sizeof(s), format, ap);
    va_end(ap);
    say(cli, "warning", s);
}

int exit_status(qblk_error_kind kind)
{
    switch (kind) {
    case QBLK_KIND_NONE:
        return EXIT_DONE;
    case QBLK_KIND_USAGE:
        return EXIT_USAGE;
    case QBLK_KIND_CONNECTION:
        return EXIT_CONNECTION;
    case QBLK_KIND_TIMEOUT:
        return EXIT_TIMEOUT;
    case QBLK_KIND_CANCELLED:
        return EXIT_CANCELLED;
    case QBLK_KIND_REFUSED:
        return EXIT_REFUSED;
    case QBLK_KIND_FAILED:
    default:
        return EXIT_FAILED;
    }
}

int report_error_as(struct cli *cli, const char *code, const qblk_error *error)
{
    if (cli->opt.json) {
        struct text line = { NULL, 0, 0 };

        json_open(&line, NULL, '{');
        json_open(&line, "error", '{');
        json_str(&line, "code", code);
        json_word(&line, "class", error->qmp_class);
        json_str(&line, "message", error->text);
        json_word(&line, "job", error->job);
        json_word(&line, "operation", error->operation);
        json_close(&line, '}');
        json_close(&line, '}');
        out_line(cli, &line);
    } else {
        err_line(cli, error->text[0] != '\0' ? error->text : code);
    }
    return exit_status(error->kind);
}

int report_error(struct cli *cli, const qblk_error *error)
{
    return report_error_as(cli, qblk_error_code_name(error->code), error);
}
