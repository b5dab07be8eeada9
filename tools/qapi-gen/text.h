/* Text that grows, and files that are written only if their text changed. */
#ifndef QAPI_GEN_TEXT_H
#define QAPI_GEN_TEXT_H

#include <stddef.h>

struct text {
    char *data; /* NUL-terminated once something was added */
    size_t len;
    size_t room;
};

/* The program ends if memory does. */
void text_addf(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void text_free(struct text *text);

/* The whole file, NUL-terminated, to be freed; NULL and errno. */
char *text_read(const char *path, size_t *ret_len);
/* Leaves the file alone if it holds just that. 0, or -1 and errno. */
int text_write_if_changed(const struct text *text, const char *path);

#endif
