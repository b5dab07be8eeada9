/* cutproxy - stands between a client and QEMU and ends their talk at one exact message.
 *
 *   cutproxy [-m MODE] [-p PID] [-c N | -r N | -x TEXT] [-i TEXT] [-t FILE] [-g] QEMU-SOCKET OWN-SOCKET
 *            REPORT COMMAND...
 *
 * Starts COMMAND, which is to connect to OWN-SOCKET (once, but with -g), and forwards whole messages, framed
 * by the depth of their braces. The talk ends after the N-th command to QEMU (-c), the N-th message to
 * the client (-r) or the first command that has TEXT in it (-x) has been forwarded; without any of
 * these it goes on to its own end. Then, by MODE:
 *
 *   kill   SIGKILL for the client. QEMU's side is closed once QEMU has answered what was
 *          forwarded, so that the command was carried out for certain and nobody heard of it.
 *   cut    both sides are closed, QEMU's also after the answer; the client lives and has to cope.
 *   late   SIGKILL, and QEMU's side is closed at once: the command may still be carried out, or
 *          not, and its answer may arrive in the next client's stream.
 *   back   like cut, but the client finds the socket again, and its second talk has no ordered end.
 *   death  SIGKILL for QEMU; the client lives and has to tell what became of its operation.
 *
 * -p PID   QEMU's
 * -i TEXT  a message of QEMU's own making that the client hears right after the greeting
 * -g       for a proxy of the client's talk with a guest agent in QEMU's place, which does not greet:
 *          COMMAND is the proxy of its other talk, and SIGKILL is for the client that that one starts.
 *          So what that one has told of in its report has reached QEMU
 * -t FILE  is made, not empty, just before a command whose text names a ".probe" node is forwarded
 *
 * REPORT tells the talk: "> command id node-or-job", "< return", "< error", "< EVENT status",
 * and has a line "cut" where the end came as ordered. Exit status: the client's, 137 if it was
 * killed, 70 for its own failures.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 20

struct stream {
    int from, to;
    char *text;          /* the message that is coming in */
    size_t len, room;
    int depth;
    bool in_string, is_escaped;
    unsigned n;          /* messages forwarded */
    unsigned limit;      /* 0: none */
};

enum mode { MODE_KILL, MODE_CUT, MODE_LATE, MODE_BACK, MODE_DEATH };

static enum mode mode = MODE_KILL;
static const char *qemu_path;
static int listener = -1, alive = -1; /* alive: ends with the client */
static int greeter = -1;              /* QEMU, connected and not yet spoken with */
static const char *injected, *to_touch, *last_word;
static bool is_agents;
static struct stream to_qemu, to_client;
static FILE *report;
static pid_t client, qemu;
static pid_t victim; /* the client, or the other proxy's */
static unsigned asked, answered; /* commands forwarded, replies received */

static void die(const char *what) {
    fprintf(stderr, "cutproxy: %s: %s\n", what, strerror(errno));
    if (client > 0)
        kill(client, SIGKILL);
    exit(70);
}

static void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void tell(const char *format, ...) {
    va_list ap;

    va_start(ap, format);
    vfprintf(report, format, ap);
    va_end(ap);
    fflush(report);
}

static int unix_socket(const char *path, struct sockaddr_un *address) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memset(address, 0, sizeof *address);
    address->sun_family = AF_UNIX;
    if (fd < 0 || strlen(path) >= sizeof address->sun_path)
        die(path);
    memcpy(address->sun_path, path, strlen(path) + 1);
    return fd;
}

/* Whoever is to be there listens before the proxy is started: it does not try again. */
static int dial(const char *path) {
    struct sockaddr_un address;
    int fd = unix_socket(path, &address);

    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        die(path);
    return fd;
}

static int listen_at(const char *path) {
    struct sockaddr_un address;
    int fd = unix_socket(path, &address);

    if (bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 1) != 0)
        die(path);
    return fd;
}

/* A peer that has gone is no failure here. */
static void put(int fd, const char *text, size_t len) {
    while (fd >= 0 && len > 0) {
        ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static const char *word(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "-";
}

static void tell_message(const char *text, size_t len, bool is_command) {
    json_t *message = json_loadb(text, len, 0, NULL), *data = json_object_get(message, "data");
    char *id;

    if (!message)
        die("not JSON");
    id = json_dumps(json_object_get(message, "id"), JSON_ENCODE_ANY);
    if (is_command) {
        json_t *args = json_object_get(message, "arguments");

        asked++;
        tell("> %s %s %s\n", word(message, "execute"), id ? id : "-",
             json_object_get(args, "node-name") ? word(args, "node-name") : word(args, "job-id"));
        if (to_touch && strstr(text, ".probe\"")) {
            int fd = open(to_touch, O_CREAT | O_EXCL | O_WRONLY, 0600);

            if (fd < 0 || write(fd, "user's own", 10) != 10)
                die(to_touch);
            close(fd);
            to_touch = NULL;
        }
    } else if (json_object_get(message, "event")) {
        tell("< %s %s\n", word(message, "event"), word(data, "status"));
    } else if (json_object_get(message, "QMP")) {
        tell("< greeting\n");
    } else {
        answered++;
        tell("< %s\n", json_object_get(message, "error") ? "error" : "return");
    }
    free(id);
    json_decref(message);
}

/* Takes one byte; true if it ends a message, which is then in stream->text. */
static bool take(struct stream *stream, char c) {
    if (stream->depth == 0 && c != '{') {
        /* Between messages, where an agent's 0xFF marks a fresh start. */
        if (c == '\xff')
            put(stream->to, &c, 1);
        return false;
    }
    if (stream->len + 1 >= stream->room) {
        stream->room = stream->room ? stream->room * 2 : 4096;
        stream->text = realloc(stream->text, stream->room);
        if (!stream->text)
            die("memory");
    }
    stream->text[stream->len++] = c;
    stream->text[stream->len] = '\0';
    if (stream->in_string) {
        if (stream->is_escaped)
            stream->is_escaped = false;
        else if (c == '\\')
            stream->is_escaped = true;
        else if (c == '"')
            stream->in_string = false;
    } else if (c == '"') {
        stream->in_string = true;
    } else if (c == '{') {
        stream->depth++;
    } else if (c == '}') {
        stream->depth--;
    }
    return stream->depth == 0;
}

/* Forwards what is there. -1: that side has ended; 1: the ordered end has come. What QEMU said
 * beyond that is taken note of, but reaches nobody. */
static int pass(struct stream *stream) {
    char bytes[65536];
    ssize_t n = read(stream->from, bytes, sizeof bytes);
    int r = 0;

    if (n < 0 && errno == EINTR)
        return 0;
    if (n <= 0)
        return -1;
    for (ssize_t i = 0; i < n; i++) {
        if (!take(stream, bytes[i]))
            continue;
        /* What is told of a command is told, and what it touches is made, before QEMU hears it. */
        tell_message(stream->text, stream->len, stream == &to_qemu);
        put(stream->to, stream->text, stream->len);
        put(stream->to, "\n", 1);
        if (stream == &to_client && stream->n == 0 && injected) {
            put(stream->to, injected, strlen(injected));
            put(stream->to, "\n", 1);
        }
        stream->len = 0;
        if (++stream->n != stream->limit &&
            !(stream == &to_qemu && last_word && strstr(stream->text, last_word)))
            continue;
        r = 1;
        tell("cut\n");
        if (stream == &to_qemu)
            break;
        stream->to = -1;
    }
    return r;
}

static int client_status(void) {
    int status;

    while (waitpid(client, &status, 0) < 0) {
        if (errno != EINTR)
            die("waitpid");
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Reads on, for nobody, until QEMU has answered all that it was asked. */
static void hear_out(void) {
    to_client.to = -1;
    while (answered < asked && pass(&to_client) >= 0)
        ;
}

/* QEMU listens before it can greet, and on a busy machine long before: a client is started once it
 * does. An agent greets nobody. */
static void await_greeting(void) {
    struct pollfd fd = { -1, POLLIN, 0 };

    fd.fd = greeter = dial(qemu_path);
    while (poll(&fd, 1, -1) < 0)
        continue;
}

/* False if the client has ended instead. */
static bool meet(void) {
    struct pollfd fds[] = { { listener, POLLIN, 0 }, { alive, POLLIN, 0 } };

    while (poll(fds, 2, -1) < 0)
        continue;
    if (!fds[0].revents)
        return false;
    to_qemu.to = to_client.from = greeter >= 0 ? greeter : dial(qemu_path);
    greeter = -1;
    to_qemu.from = to_client.to = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (to_qemu.from < 0)
        die("accept");
    return true;
}

/* The next talk, of the same client. */
static void begin_again(struct stream *stream) {
    free(stream->text);
    memset(stream, 0, sizeof *stream);
}

static void forget_half(struct stream *stream) {
    stream->len = 0;
    stream->depth = 0;
    stream->in_string = stream->is_escaped = false;
}

static int talk(void);

static int end_talk(void) {
    int status = 70;

    if (mode == MODE_BACK) {
        close(to_qemu.from);
        hear_out();
        close(to_client.from);
        begin_again(&to_qemu);
        begin_again(&to_client);
        asked = answered = 0;
        return meet() ? talk() : client_status();
    }

    if (mode == MODE_LATE)
        close(to_client.from);
    if (mode == MODE_DEATH)
        kill(qemu, SIGKILL);
    else if (mode != MODE_CUT)
        kill(victim, SIGKILL);
    if (mode == MODE_KILL)
        status = client_status();
    if (mode != MODE_LATE) {
        close(to_qemu.from);
        hear_out();
        close(to_client.from);
    }
    return mode == MODE_KILL ? status : client_status();
}

static int talk(void) {
    for (;;) {
        struct pollfd fds[] = { { to_qemu.from, POLLIN, 0 }, { to_client.from, POLLIN, 0 } };
        int r = 0;

        if (poll(fds, 2, -1) < 0)
            continue;
        if (fds[1].revents)
            r = pass(&to_client);
        if (r == 0 && fds[0].revents)
            r = pass(&to_qemu);
        if (r > 0)
            return end_talk();
        if (r < 0) {
            close(to_qemu.from);
            hear_out(); /* so that the next client finds the monitor free, and done */
            close(to_client.from);
            if (!is_agents)
                return client_status();
            /* An agent is spoken with more than once; its messages are counted on. */
            forget_half(&to_qemu);
            forget_half(&to_client);
            if (!meet())
                return client_status();
        }
    }
}

/* What one proxy writes, for another to read. */
#define PID_FD "CUTPROXY_PID_FD"

static void start(char **command) {
    const char *asked_for = getenv(PID_FD);
    int ends[2], pids[2] = { -1, -1 };
    char number[16];

    if (asked_for)
        fcntl(atoi(asked_for), F_SETFD, FD_CLOEXEC);
    if (!is_agents)
        await_greeting();
    if (pipe2(ends, O_CLOEXEC) != 0 || (is_agents && pipe2(pids, O_CLOEXEC) != 0))
        die("pipe");
    client = fork();
    if (client == 0) {
        fcntl(ends[1], F_SETFD, 0);
        unsetenv(PID_FD);
        if (is_agents) {
            snprintf(number, sizeof number, "%d", pids[1]);
            fcntl(pids[1], F_SETFD, 0);
            setenv(PID_FD, number, 1);
        }
        execvp(command[0], command);
        _exit(127);
    }
    if (client < 0)
        die("fork");
    victim = client;
    if (is_agents) {
        close(pids[1]);
        if (read(pids[0], &victim, sizeof victim) != sizeof victim)
            die("the other proxy");
        close(pids[0]);
    }
    if (asked_for) {
        if (write(atoi(asked_for), &client, sizeof client) != sizeof client)
            die(PID_FD);
        close(atoi(asked_for));
    }
    close(ends[1]);
    alive = ends[0];
    if (!meet())
        die("the client ended without a word");
    if (mode != MODE_BACK && !is_agents)
        close(listener);
}

static enum mode mode_of(const char *word) {
    static const char *const words[] = { "kill", "cut", "late", "back", "death" };
    int i = 0;

    while (i < MODE_DEATH && strcmp(words[i], word))
        i++;
    return (enum mode)i;
}

static void too_long(int signo) {
    (void)signo;
    kill(client, SIGKILL);
    _exit(70);
}

int main(int argc, char **argv) {
    int option;

    while ((option = getopt(argc, argv, "+m:p:c:r:x:i:t:g")) != -1) {
        if (option == 'm')
            mode = mode_of(optarg);
        else if (option == 'p')
            qemu = atoi(optarg);
        else if (option == 'c')
            to_qemu.limit = (unsigned)atoi(optarg);
        else if (option == 'r')
            to_client.limit = (unsigned)atoi(optarg);
        else if (option == 'x')
            last_word = optarg;
        else if (option == 'i')
            injected = optarg;
        else if (option == 't')
            to_touch = optarg;
        else if (option == 'g')
            is_agents = true;
        else if (option == '?')
            return 70;
    }
    if (argc - optind < 4)
        die("usage");
    signal(SIGALRM, too_long);
    alarm(PATIENCE_S);
    report = fopen(argv[optind + 2], "we");
    if (!report)
        die(argv[optind + 2]);
    qemu_path = argv[optind];
    listener = listen_at(argv[optind + 1]);
    start(argv + optind + 3);
    return talk();
}
