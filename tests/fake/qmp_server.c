#include "qmp_server.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define WAIT_MS 30000
#define GREETING \
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, " \
    "\"package\": \"scripted\"}, \"capabilities\": [\"oob\"]}}\r\n"

struct server {
    int listener;
    int fd;          /* -1: no connection */
    size_t split;    /* 0: whole writes */
    long fds;        /* descriptors that came */
    char *in;        /* what the client sent and no line has taken */
    size_t in_len;
    json_t *ids;     /* by name; "" is $id */
    unsigned line;
    const char *text; /* of the line */
};

static bool fail(const struct server *server, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static bool fail(const struct server *server, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    fprintf(stderr, "qmp_server: line %u: %s\nqmp_server: ", server->line, server->text);
    vfprintf(stderr, format, ap);
    fputc('\n', stderr);
    va_end(ap);
    return false;
}

static void *must(void *memory)
{
    if (memory == NULL) {
        fputs("qmp_server: out of memory\n", stderr);
        _exit(1);
    }
    return memory;
}

/* ---- bytes -------------------------------------------------------------------------------- */

static bool wait_for(int fd, short events)
{
    struct pollfd one = { .fd = fd, .events = events };
    int n;

    do {
        n = poll(&one, 1, WAIT_MS);
    } while (n < 0 && errno == EINTR);
    return n > 0;
}

static bool send_all(struct server *server, const char *data, size_t len)
{
    while (len > 0) {
        size_t piece = server->split != 0 && server->split < len ? server->split : len;
        ssize_t n = send(server->fd, data, piece, MSG_NOSIGNAL);

        if (n < 0 && errno == EAGAIN) {
            if (!wait_for(server->fd, POLLOUT))
                return fail(server, "the client does not read");
            continue;
        }
        if (n < 0)
            return fail(server, "cannot send: %s", strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static void close_passed(struct server *server, struct msghdr *message)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c)) {
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
            close(fd);
            server->fds++;
        }
    }
}

/* Reads what is there into in. Returns what recvmsg() does. */
static ssize_t receive(struct server *server, int flags)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(16 * sizeof(int))];
    } control;
    char data[65536];
    struct iovec piece = { .iov_base = data, .iov_len = sizeof(data) };
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = &control,
        .msg_controllen = sizeof(control.space),
    };
    ssize_t n;

    do {
        n = recvmsg(server->fd, &message, MSG_CMSG_CLOEXEC | flags);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return n;
    close_passed(server, &message);
    server->in = must(realloc(server->in, server->in_len + (size_t)n));
    memcpy(server->in + server->in_len, data, (size_t)n);
    server->in_len += (size_t)n;
    return n;
}

/* How many of the bytes make the first whole message; 0: there is none. */
static size_t message_len(const char *data, size_t len)
{
    bool in_string = false;
    long depth = 0;

    for (size_t i = 0; i < len; i++) {
        char c = data[i];

        if (in_string && c == '\\')
            i++;
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '['))
            depth++;
        else if (!in_string && (c == '}' || c == ']') && --depth == 0)
            return i + 1;
    }
    return 0;
}

/* ---- messages ----------------------------------------------------------------------------- */

static bool matches(json_t *pattern, const json_t *value)
{
    const char *key;
    json_t *part;
    size_t i;

    if (json_is_string(pattern) && strcmp(json_string_value(pattern), "$any") == 0)
        return true;
    if (json_is_object(pattern) && json_is_object(value)) {
        json_object_foreach (pattern, key, part) {
            json_t *other = json_object_get(value, key);

            if (other == NULL || !matches(part, other))
                return false;
        }
        return true;
    }
    if (json_is_array(pattern) && json_is_array(value)) {
        if (json_array_size(pattern) != json_array_size(value))
            return false;
        for (i = 0; i < json_array_size(pattern); i++) {
            if (!matches(json_array_get(pattern, i), json_array_get(value, i)))
                return false;
        }
        return true;
    }
    return json_equal(pattern, value) == 1;
}

static void remember(struct server *server, const char *name, size_t len, const json_t *message)
{
    char key[32];

    (void)snprintf(key, sizeof(key), "%.*s", (int)len, name);
    if (json_object_get(message, "id") == NULL) {
        json_object_del(server->ids, key);
        return;
    }
    json_object_set_new(server->ids, key, json_deep_copy(json_object_get(message, "id")));
}

/* The client's next message as a new tree. */
static json_t *next_message(struct server *server)
{
    json_error_t why;
    json_t *message;
    size_t len;

    while ((len = message_len(server->in, server->in_len)) == 0) {
        ssize_t n;

        if (!wait_for(server->fd, POLLIN)) {
            fail(server, "nothing came, only: %.*s", (int)server->in_len, server->in);
            return NULL;
        }
        n = receive(server, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) {
            fail(server, "the client has left (%s) after: %.*s",
                 n == 0 ? "end of the stream" : strerror(errno), (int)server->in_len, server->in);
            return NULL;
        }
    }
    message = json_loadb(server->in, len, JSON_ALLOW_NUL, &why);
    if (message == NULL)
        fail(server, "the client sent what is not JSON, %s: %.*s", why.text, (int)len, server->in);
    memmove(server->in, server->in + len, server->in_len - len);
    server->in_len -= len;
    return message;
}

static bool expect(struct server *server, const char *line)
{
    const char *name = line;
    size_t name_len;
    json_error_t why;
    json_t *pattern, *message;
    bool ok;

    while (isalnum((unsigned char)*line))
        line++;
    name_len = (size_t)(line - name);
    pattern = json_loads(line, JSON_DECODE_ANY, &why);
    if (pattern == NULL)
        return fail(server, "the pattern is not JSON: %s", why.text);
    message = next_message(server);
    ok = message != NULL && matches(pattern, message);
    if (message != NULL && !ok) {
        char *got = must(json_dumps(message, JSON_SORT_KEYS));

        fail(server, "expected: %s\nqmp_server:      got: %s", line, got);
        free(got);
    }
    if (ok) {
        remember(server, "", 0, message);
        if (name_len != 0)
            remember(server, name, name_len, message);
    }
    json_decref(pattern);
    json_decref(message);
    return ok;
}

/* The text with ids put in; NULL after a complaint. */
static char *with_ids(const struct server *server, const char *text)
{
    char *out = NULL, name[32], *id;
    size_t out_len = 0;
    FILE *stream = must(open_memstream(&out, &out_len));

    while (*text != '\0') {
        int n = 0;

        if (strncmp(text, "$id", 3) != 0) {
            fputc(*text++, stream);
            continue;
        }
        text += 3;
        while (isalnum((unsigned char)*text) && n < (int)sizeof(name) - 1)
            name[n++] = *text++;
        name[n] = '\0';
        if (json_object_get(server->ids, name) == NULL) {
            fail(server, "no id is remembered as $id%s", name);
            fclose(stream);
            free(out);
            return NULL;
        }
        id = must(json_dumps(json_object_get(server->ids, name), JSON_ENCODE_ANY));
        fputs(id, stream);
        free(id);
    }
    fclose(stream);
    return out;
}

/* Replaces C escapes in place and returns the length. */
static size_t unescape(char *text)
{
    char *to = text, digits[3] = "";

    for (const char *from = text; *from != '\0'; from++) {
        if (*from != '\\' || from[1] == '\0') {
            *to++ = *from;
            continue;
        }
        switch (*++from) {
        case 'n':
            *to++ = '\n';
            break;
        case 'r':
            *to++ = '\r';
            break;
        case 't':
            *to++ = '\t';
            break;
        case '0':
            *to++ = '\0';
            break;
        case 'x':
            (void)snprintf(digits, sizeof(digits), "%.2s", from + 1);
            *to++ = (char)strtol(digits, NULL, 16);
            from += strlen(digits);
            break;
        default:
            *to++ = *from;
            break;
        }
    }
    return (size_t)(to - text);
}

static bool send_line(struct server *server, const char *text, bool is_raw)
{
    char *out = with_ids(server, text);
    bool ok;

    if (out == NULL)
        return false;
    if (is_raw) {
        ok = send_all(server, out, unescape(out));
    } else {
        size_t len = strlen(out);

        /* In one piece: a client may leave as soon as it has read the last brace. */
        out = must(realloc(out, len + 3));
        memcpy(out + len, "\r\n", 3);
        ok = send_all(server, out, len + 2);
    }
    free(out);
    return ok;
}

/* ---- directives --------------------------------------------------------------------------- */

static void hang_up(struct server *server)
{
    if (server->fd >= 0)
        close(server->fd);
    server->fd = -1;
    server->in_len = 0;
    server->fds = 0;
}

static bool accept_next(struct server *server)
{
    hang_up(server);
    if (server->listener < 0)
        return fail(server, "there is no listening socket");
    if (!wait_for(server->listener, POLLIN))
        return fail(server, "no client has come");
    server->fd = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC);
    return server->fd >= 0 || fail(server, "accept: %s", strerror(errno));
}

static bool no_message(struct server *server, const char *when)
{
    if (message_len(server->in, server->in_len) == 0)
        return true;
    return fail(server, "%s the client sent: %.*s", when, (int)server->in_len, server->in);
}

static bool be_quiet(struct server *server)
{
    while (receive(server, MSG_DONTWAIT) > 0)
        ;
    return no_message(server, "unexpectedly");
}

static bool expect_eof(struct server *server)
{
    ssize_t n;

    do {
        if (!wait_for(server->fd, POLLIN))
            return fail(server, "the client stays");
        n = receive(server, MSG_DONTWAIT);
    } while (n > 0 || (n < 0 && errno == EAGAIN));
    return no_message(server, "before it left");
}

static bool expect_fds(struct server *server, long n)
{
    if (server->fds != n)
        return fail(server, "%ld descriptors came", server->fds);
    server->fds = 0;
    return true;
}

static bool reset(struct server *server)
{
    if (server->in_len == 0 && !wait_for(server->fd, POLLIN))
        return fail(server, "the client sent nothing");
    hang_up(server);
    return true;
}

static bool fill(struct server *server, long n)
{
    char text[65536];

    memset(text, 'x', sizeof(text));
    while (n > 0) {
        size_t piece = n < (long)sizeof(text) ? (size_t)n : sizeof(text);

        if (!send_all(server, text, piece))
            return false;
        n -= (long)piece;
    }
    return true;
}

/* Many in one piece, so that there is always more than one reading takes. */
static bool pour(struct server *server, const char *text)
{
    size_t len = strlen(text), room = 65536 / (len + 2) + 1, at = 0;
    char *many = must(malloc(room * (len + 2)));
    ssize_t n;

    for (size_t i = 0; i < room; i++, at += len + 2) {
        memcpy(many + at, text, len);
        memcpy(many + at + len, "\r\n", 2);
    }
    /* Whole pieces: what the client reads is whole messages for as long as it reads. */
    for (size_t from = 0;; from = (from + (size_t)n) % at) {
        while ((n = send(server->fd, many + from, at - from, MSG_NOSIGNAL)) < 0 && errno == EAGAIN)
            if (!wait_for(server->fd, POLLOUT))
                break;
        if (n < 0)
            break;
    }
    free(many);
    return errno == EPIPE || errno == ECONNRESET || fail(server, "the client stays");
}

static bool directive(struct server *server, const char *word)
{
    long n = 0;
    const char *space = strchr(word, ' ');

    if (space != NULL)
        n = strtol(space, NULL, 10);
    if (strcmp(word, "listen-again") == 0)
        return accept_next(server);
    if (strcmp(word, "nogreet") == 0)
        return fail(server, "nogreet must be a connection's first line");
    if (server->fd < 0)
        return fail(server, "there is no connection");
    if (strcmp(word, "negotiate") == 0)
        return expect(server, " {\"execute\": \"qmp_capabilities\"}") &&
               send_line(server, "{\"return\": {}, \"id\": $id}", false);
    if (strncmp(word, "fds ", 4) == 0)
        return expect_fds(server, n);
    if (strcmp(word, "quiet") == 0)
        return be_quiet(server);
    if (strcmp(word, "eof") == 0)
        return expect_eof(server);
    if (strcmp(word, "rst") == 0)
        return reset(server);
    if (strcmp(word, "stall") == 0)
        return wait_for(server->fd, POLLRDHUP) || fail(server, "the client stays");
    if (strncmp(word, "fill ", 5) == 0)
        return fill(server, n);
    if (strncmp(word, "pour ", 5) == 0)
        return pour(server, word + 5);
    if (strncmp(word, "split ", 6) == 0)
        server->split = n > 0 ? (size_t)n : 0;
    else if (strcmp(word, "hup") == 0)
        hang_up(server);
    else
        return fail(server, "no such directive");
    return true;
}

static bool play_line(struct server *server, const char *line)
{
    const char *rest = line + 1;

    if (*line == '!')
        return directive(server, rest + strspn(rest, " "));
    if (*line != '<' && *line != '>')
        return fail(server, "a line must begin with <, >, >>, ! or #");
    if (server->fd < 0)
        return fail(server, "there is no connection");
    if (*line == '<')
        return expect(server, rest);
    if (*rest == '>')
        return send_line(server, rest[1] == ' ' ? rest + 2 : rest + 1, true);
    return send_line(server, rest + strspn(rest, " "), false);
}

static bool play(struct server *server, char *script)
{
    bool is_fresh = true;
    char *save = NULL;

    if (server->fd < 0 && !accept_next(server))
        return false;
    /* strtok_r() would skip blank lines without counting them. */
    for (char *line = script; line != NULL; line = save) {
        save = strchr(line, '\n');
        if (save != NULL)
            *save++ = '\0';
        server->line++;
        server->text = line;
        line += strspn(line, " \t");
        if (*line == '\0' || *line == '#')
            continue;
        if (is_fresh) {
            is_fresh = false;
            if (strcmp(line, "! nogreet") == 0)
                continue;
            if (!send_all(server, GREETING, strlen(GREETING)))
                return false;
        }
        if (!play_line(server, line))
            return false;
        is_fresh = strcmp(line, "! listen-again") == 0;
    }
    /* A script may end in a greeting only. */
    return !is_fresh || send_all(server, GREETING, strlen(GREETING));
}

int qmp_server_play(int listener, int connection, const char *script)
{
    struct server server = { .listener = listener, .fd = connection, .text = "(start)" };
    char *copy = must(strdup(script));
    bool ok;

    server.ids = must(json_object());
    ok = play(&server, copy);
    hang_up(&server);
    json_decref(server.ids);
    free(server.in);
    free(copy);
    return ok ? 0 : 1;
}
