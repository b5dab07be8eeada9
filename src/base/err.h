/* Filling in a qblk_error. One table says for every code its word, its kind and its errno. */
#ifndef QBLK_SRC_ERR_H
#define QBLK_SRC_ERR_H

#include <stdarg.h>
#include <qblk/base.h>

/* Writes *error (if not NULL) and returns the negative errno value of the code. */
int err_set(qblk_error *error, qblk_error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* As above for a failed system call: code QBLK_E_SYSTEM (QBLK_E_MEMORY for ENOMEM), err as given,
 * its strerror text appended. Returns -err. */
int err_sys(qblk_error *error, int err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int err_nomem(qblk_error *error);

/* Copies from to *to if to is not NULL; returns -from->err. */
int err_copy(qblk_error *to, const qblk_error *from);

/* Puts "prefix: " before the text. */
void err_prefix(qblk_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
