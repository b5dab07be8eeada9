#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/buf.h"

void log_write(const struct log *log, qblk_log_level level, const char *format, ...)
{
    char text[1024];
    va_list ap;

    if (!LOG_ON(log))
        return;
    va_start(ap, format);
    (void)vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    log->fn(level, text, log->arg);
}

void log_message(const struct log *log, char direction, const char *text, size_t len)
{
    char room[BUF_MESSAGE];
    struct buf line = BUF_ON(room);

    if (!LOG_ON(log))
        return;
    (void)buf_addc(&line, direction);
    (void)buf_addc(&line, ' ');
    (void)buf_add(&line, text, len);
    if (buf_ok(&line) == 0)
        log->fn(QBLK_LOG_TRACE, line.data, log->arg);
    buf_done(&line);
}
