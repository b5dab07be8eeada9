/* Everything that the command says: results to stdout, errors and notes to stderr, or with --json
 * lines to stdout (notes then to both); and the exit status that goes with an error. */
#ifndef QBLK_TOOL_REPORT_H
#define QBLK_TOOL_REPORT_H

#include "cli.h"
#include "text.h"

/* Fills *error and returns -EINVAL: a usage error of the command line. */
int usage_error(qblk_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Any other error of the command's own. Returns -EIO. */
int own_error(qblk_error *error, qblk_error_kind kind, qblk_error_code code, const char *format,
              ...) __attribute__((format(printf, 4, 5)));

/* To stdout, without waiting for its reader (out.h). */
void out_text(struct cli *cli, const char *s);
/* The same with a newline behind it; the text is freed. */
void out_line(struct cli *cli, struct text *line);
/* The same with what could steer a terminal made visible. */
void out_plain(struct cli *cli, struct text *line);

/* For people, on stderr: "qblk: ...", and under --json also as a line {"event": "note"} or
 * {"event": "warning"}. note() is silenced by -q. */
void note(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
void warn(struct cli *cli, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A line of the log (-v). */
void log_line(struct cli *cli, const char *s);

/* The exit status for an error of that kind. */
int exit_status(qblk_error_kind kind);

/* Says the error as the last thing and returns the exit status of its kind. */
int report_error(struct cli *cli, const qblk_error *error);
/* The same under a code of the command's own: "left-open", "interrupted". */
int report_error_as(struct cli *cli, const char *code, const qblk_error *error);

#endif
