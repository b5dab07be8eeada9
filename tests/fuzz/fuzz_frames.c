/* Any bytes into the framing: the cut of the input must not change what comes out. The first byte
 * says how large the pieces are, the second the cap. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frames.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* Appends all messages, each behind a newline, and an X if the stream is broken. */
static bool drain(struct frames *frames, struct buf *out)
{
    const char *text;
    size_t len;
    qblk_error error;
    int r;

    while ((r = frames_next(frames, &text, &len, &error)) > 0) {
        require(len >= 2 && len <= frames->cap && text[0] == '{' && text[len - 1] == '}');
        require(buf_addc(out, '\n') == 0 && buf_add(out, text, len) == 0);
    }
    if (r == 0)
        return true;
    require(error.code == QBLK_E_PROTOCOL && error.text[0] != '\0');
    require(frames_next(frames, &text, &len, &error) == r);
    require(buf_addc(out, 'X') == 0);
    return false;
}

static void play(const uint8_t *data, size_t size, size_t piece, size_t cap, struct buf *out)
{
    struct frames frames;

    frames_init(&frames, cap);
    while (size > 0) {
        size_t n = piece < size ? piece : size;

        require(frames_feed(&frames, data, n) == 0);
        data += n;
        size -= n;
        if (!drain(&frames, out))
            break;
        require(frames_is_partial(&frames) == (frames.buf.data != NULL));
    }
    frames_done(&frames);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT, pieces = BUF_INIT;
    size_t piece, cap;

    if (size < 2)
        return 0;
    piece = (size_t)data[0] + 1;
    cap = data[1] == 0 ? 65536 : data[1];
    play(data + 2, size - 2, size, cap, &whole);
    play(data + 2, size - 2, piece, cap, &pieces);
    require(whole.len == pieces.len);
    require(whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0);
    buf_done(&whole);
    buf_done(&pieces);
    return 0;
}
