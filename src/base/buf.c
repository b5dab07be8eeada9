#include "base/buf.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void buf_init(struct buf *buf)
{
    memset(buf, 0, sizeof(*buf));
}

void buf_done(struct buf *buf)
{
    if (!buf->is_lent)
        free(buf->data);
    buf_init(buf);
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = 0;
    if (buf->data != NULL)
        buf->data[0] = '\0';
}

char *buf_reserve(struct buf *buf, size_t extra)
{
    size_t want, room;
    char *data;

    if (extra >= SIZE_MAX / 2 - buf->len) {
        buf->failed = 1;
        return NULL;
    }
    want = buf->len + extra + 1;
    if (want > buf->room) {
        room = buf->room < 128 ? 128 : buf->room;
        while (room < want)
            room *= 2;
        data = mem_realloc(buf->is_lent ? NULL : buf->data, room);
        if (data == NULL) {
            buf->failed = 1;
            return NULL;
        }
        if (buf->is_lent)
            memcpy(data, buf->data, buf->len);
        buf->is_lent = false;
        buf->data = data;
        buf->room = room;
        buf->data[buf->len] = '\0';
    }
    return buf->data + buf->len;
}

int buf_add(struct buf *buf, const void *data, size_t len)
{
    char *at = buf_reserve(buf, len);

    if (at == NULL)
        return -ENOMEM;
    if (len != 0)
        memcpy(at, data, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
    return 0;
}

int buf_adds(struct buf *buf, const char *text)
{
    return buf_add(buf, text, strlen(text));
}

int buf_addc(struct buf *buf, char c)
{
    return buf_add(buf, &c, 1);
}

int buf_vaddf(struct buf *buf, const char *format, va_list ap)
{
    size_t left = buf->room - buf->len;
    va_list again;
    int len;

    /* It most often fits. */
    va_copy(again, ap);
    len = vsnprintf(left > 0 ? buf->data + buf->len : NULL, left, format, again);
    va_end(again);
    if (len < 0 || ((size_t)len >= left && buf_reserve(buf, (size_t)len) == NULL)) {
        if (left > 0)
            buf->data[buf->len] = '\0';
        buf->failed = 1;
        return -ENOMEM;
    }
    if ((size_t)len >= left)
        (void)vsnprintf(buf->data + buf->len, (size_t)len + 1, format, ap);
    buf->len += (size_t)len;
    return 0;
}

int buf_addf(struct buf *buf, const char *format, ...)
{
    va_list ap;
    int r;

    va_start(ap, format);
    r = buf_vaddf(buf, format, ap);
    va_end(ap);
    return r;
}

void buf_drop(struct buf *buf, size_t n)
{
    if (n >= buf->len) {
        buf->len = 0;
    } else {
        memmove(buf->data, buf->data + n, buf->len - n);
        buf->len -= n;
    }
    if (buf->data != NULL)
        buf->data[buf->len] = '\0';
}

struct buf_mark buf_mark(const struct buf *buf)
{
    return (struct buf_mark){ .len = buf->len, .failed = buf->failed };
}

void buf_cut(struct buf *buf, struct buf_mark mark)
{
    buf->len = mark.len;
    buf->failed = mark.failed;
    if (buf->data != NULL)
        buf->data[mark.len] = '\0';
}

char *buf_take(struct buf *buf)
{
    char *text = NULL;

    if (!buf->failed && buf->is_lent)
        text = mem_strndup(buf->data, buf->len);
    else if (!buf->failed && buf_reserve(buf, 0) != NULL)
        text = TAKE(buf->data);
    buf_done(buf);
    return text;
}

int buf_ok(const struct buf *buf)
{
    return buf->failed ? -ENOMEM : 0;
}
