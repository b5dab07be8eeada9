#include "text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void need(struct text *text, size_t extra)
{
    size_t room = text->room != 0 ? text->room : 4096;
    char *data;

    while (room - text->len <= extra)
        room *= 2;
    if (room == text->room)
        return;
    data = realloc(text->data, room);
    if (data == NULL) {
        free(text->data);
        (void)fprintf(stderr, "qapi-gen: out of memory\n");
        exit(1);
    }
    text->data = data;
    text->room = room;
}

void text_addf(struct text *text, const char *format, ...)
{
    va_list ap, again;
    int len;

    va_start(ap, format);
    va_copy(again, ap);
    len = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (len >= 0) {
        need(text, (size_t)len);
        (void)vsnprintf(text->data + text->len, (size_t)len + 1, format, ap);
        text->len += (size_t)len;
    }
    va_end(ap);
}

void text_free(struct text *text)
{
    free(text->data);
    memset(text, 0, sizeof(*text));
}

char *text_read(const char *path, size_t *ret_len)
{
    struct text text = { NULL, 0, 0 };
    FILE *file = fopen(path, "rb");
    int err = 0;

    if (file == NULL)
        return NULL;
    for (;;) {
        size_t n;

        need(&text, 65536);
        n = fread(text.data + text.len, 1, 65535, file);
        text.len += n;
        if (n == 0)
            break;
    }
    if (ferror(file))
        err = errno != 0 ? errno : EIO;
    (void)fclose(file);
    if (err != 0) {
        text_free(&text);
        errno = err;
        return NULL;
    }
    text.data[text.len] = '\0';
    *ret_len = text.len;
    return text.data;
}

int text_write_if_changed(const struct text *text, const char *path)
{
    size_t old_len = 0, written;
    char *old = text_read(path, &old_len);
    int same = old != NULL && old_len == text->len && memcmp(old, text->data, old_len) == 0;
    FILE *file;

    free(old);
    if (same)
        return 0;
    file = fopen(path, "wb");
    if (file == NULL)
        return -1;
    written = fwrite(text->data, 1, text->len, file);
    if (fclose(file) != 0 || written != text->len)
        return -1;
    return 0;
}
