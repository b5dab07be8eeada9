/* The log of one monitor, handed down to the layers below. */
#ifndef QBLK_SRC_LOG_H
#define QBLK_SRC_LOG_H

#include <qblk/monitor.h>

struct log {
    void (*fn)(qblk_log_level level, const char *text, void *arg);
    void *arg;
};

/* Costs nothing but a test while nobody listens. log may be NULL. */
#define LOG_ON(log) ((log) != NULL && (log)->fn != NULL)
#define log_debug(log, ...) \
    do { \
        if (LOG_ON(log)) \
            log_write((log), QBLK_LOG_DEBUG, __VA_ARGS__); \
    } while (0)

void log_write(const struct log *log, qblk_log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* A message in ('<') or out ('>') at level TRACE. */
void log_message(const struct log *log, char direction, const char *text, size_t len);

#endif
