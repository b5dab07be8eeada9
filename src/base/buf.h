/* A growable byte buffer. Once something was appended, its bytes are always followed by a NUL that does not
 * count. */
#ifndef QBLK_SRC_BUF_H
#define QBLK_SRC_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

struct buf {
    char *data; /* NULL while empty and never written, but with BUF_ON() */
    size_t len;
    size_t room;
    int failed; /* an append ran out of memory; sticky, checked once at the end by buf_ok() */
    bool is_lent; /* data is not to be freed, and not given away */
};

#define BUF_INIT { NULL, 0, 0, 0, false }
/* Room that most commands, events and replies fit into. */
#define BUF_MESSAGE 512
/* In an array that outlives it, as long as that has room: nothing is allocated until then. */
#define BUF_ON(array) { (array), 0, sizeof(array), 0, true }

void buf_init(struct buf *buf);
void buf_done(struct buf *buf);
void buf_reset(struct buf *buf); /* empties it, keeps the memory */

/* Room for at least extra more bytes after len; returns where, or NULL. */
char *buf_reserve(struct buf *buf, size_t extra);
/* Appending. All return 0 or -ENOMEM, and mark the buffer as failed. */
int buf_add(struct buf *buf, const void *data, size_t len);
int buf_adds(struct buf *buf, const char *text);
int buf_addc(struct buf *buf, char c);
int buf_addf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vaddf(struct buf *buf, const char *format, va_list ap)
    __attribute__((format(printf, 2, 0)));
/* Drops the first n bytes. */
void buf_drop(struct buf *buf, size_t n);
/* Back to where it was before appends that may have failed. What had failed before them stays so. */
struct buf_mark {
    size_t len;
    int failed;
};
struct buf_mark buf_mark(const struct buf *buf);
void buf_cut(struct buf *buf, struct buf_mark mark);
/* The text, which becomes the caller's; NULL if an append failed. The buffer is empty after. */
char *buf_take(struct buf *buf);
/* 0, or -ENOMEM if any append failed. */
int buf_ok(const struct buf *buf);

#endif
