/* rawqmp - the live tests' own QMP client. It shares nothing with the library that it helps to judge.
 *
 *   rawqmp SOCKET run JSON...   sends each command, prints each reply
 *   rawqmp SOCKET hmp LINE...   the same for the human monitor; prints its text
 *   rawqmp SOCKET state         jobs, exports, bitmaps, nodes and edges in a fixed order, to be compared
 *   rawqmp SOCKET shape LINE... the same with sizes, limits and counts of bitmaps, without what is drawn
 *                               by lot, in an order of its own; then what hmp would print
 *   rawqmp SOCKET chart         the edges, each node named by its file and driver, whatever its name
 *   rawqmp SOCKET strays        jobs, bitmaps named qblk.*, and such nodes that no device or export uses
 *   rawqmp SOCKET events        prints "listening", then each event: NAME JOB STATUS ERROR
 *   rawqmp SOCKET quit          says quit, and returns once the monitor is closed
 *   rawqmp SOCKET hold          prints "connected" and keeps the monitor until its input ends
 *   rawqmp SOCKET say TEXT      writes the text and leaves; no greeting is waited for
 *   rawqmp SOCKET ask TEXT      the same, and prints one line of answer first
 *
 * The socket may appear later. What is asked has to be answered within PATIENCE_S; events, hold and ask
 * wait for as long as it takes. Exit status 1 on any failure or error reply.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_S 60

static FILE *in, *out;
static FILE *sheet; /* where lines to be compared go */
static bool is_shape;

static void die(const char *what, const char *detail) {
    fprintf(stderr, "rawqmp: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    exit(1);
}

static int64_t now_ms(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Tells of what comes into the directory of the path. */
static int watch_place(const char *path) {
    const char *slash = strrchr(path, '/');
    char *place = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    int notes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (!place || notes < 0 || inotify_add_watch(notes, place, IN_CREATE | IN_MOVED_TO) < 0)
        die(path, strerror(errno));
    free(place);
    return notes;
}

/* Returns when something has come, or after so long. */
static void await_note(int notes, int64_t most_ms) {
    struct pollfd fd = { notes, POLLIN, 0 };
    char note[4096];

    (void)poll(&fd, 1, (int)most_ms);
    while (read(notes, note, sizeof note) > 0)
        continue;
}

static void dial(const char *path) {
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int notes = watch_place(path), fd;
    int64_t end = now_ms() + PATIENCE_S * 1000, left;
    bool is_there;

    if (strlen(path) >= sizeof address.sun_path)
        die("path too long", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    for (;;) {
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            die("socket", strerror(errno));
        if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
            break;
        is_there = errno == ECONNREFUSED;
        if (!is_there && errno != ENOENT)
            die(path, strerror(errno));
        close(fd);
        left = end - now_ms();
        if (left <= 0)
            die("nothing listens", path);
        /* Of the listen() that follows a bind() nothing tells. */
        await_note(notes, is_there ? 1 : left);
    }
    close(notes);
    in = fdopen(fd, "r");
    out = fdopen(dup(fd), "w");
    if (!in || !out)
        die("fdopen", NULL);
}

static json_t *hear(void) {
    static char *line;
    static size_t room;
    json_error_t error;
    json_t *message;

    if (getline(&line, &room, in) < 0)
        return NULL;
    message = json_loads(line, 0, &error);
    if (!message)
        die("not JSON", line);
    return message;
}

/* Says one command and returns its reply; events in between are of no interest here. */
static json_t *ask(const char *text) {
    json_t *message;

    fprintf(out, "%s\n", text);
    if (fflush(out))
        die("write", strerror(errno));
    while ((message = hear())) {
        if (json_object_get(message, "return") || json_object_get(message, "error"))
            return message;
        json_decref(message);
    }
    die("connection lost at", text);
    return NULL;
}

static json_t *ask_well(const char *text) {
    json_t *reply = ask(text);
    json_t *value = json_object_get(reply, "return");

    if (!value)
        die(text, json_dumps(reply, JSON_COMPACT));
    json_incref(value);
    json_decref(reply);
    return value;
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));

    return text ? text : "-";
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void print_sorted(char **line, size_t n) {
    if (n > 1)
        qsort(line, n, sizeof *line, by_text);
    for (size_t i = 0; i < n; i++) {
        fprintf(sheet ? sheet : stdout, "%s\n", line[i]);
        free(line[i]);
    }
    free(line);
}

static char **add_line(char **line, size_t *n, char *text) {
    char **more = realloc(line, (*n + 1) * sizeof *more);

    if (!more || !text)
        die("out of memory", NULL);
    more[(*n)++] = text;
    return more;
}

static json_t *vertex(json_t *graph, json_int_t id) {
    size_t i;
    json_t *node;

    json_array_foreach(json_object_get(graph, "nodes"), i, node)
        if (json_integer_value(json_object_get(node, "id")) == id)
            return node;
    die("edge to nowhere", NULL);
    return NULL;
}

static char *join(const char *const *part, size_t n) {
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);

    if (!memory)
        die("out of memory", NULL);
    for (size_t i = 0; i < n; i++)
        fprintf(memory, "%s%s", i ? " " : "", part[i]);
    if (fclose(memory))
        die("out of memory", NULL);
    return text;
}

/* Says whether a job is concluded. */
static bool print_jobs(void) {
    json_t *jobs = ask_well("{\"execute\": \"query-jobs\"}");
    char **line = NULL;
    size_t n = 0, i;
    bool is_concluded = false;
    json_t *job;

    json_array_foreach(jobs, i, job) {
        is_concluded = is_concluded || !strcmp(text_of(job, "status"), "concluded");
        line = add_line(line, &n, join((const char *[]){ "job", text_of(job, "id"),
                                                         text_of(job, "type"),
                                                         text_of(job, "status") }, 4));
    }
    print_sorted(line, n);
    json_decref(jobs);
    return is_concluded;
}

static void print_exports(void) {
    json_t *reply = ask("{\"execute\": \"query-block-exports\"}"), *export;
    char **line = NULL;
    size_t n = 0, i;

    json_array_foreach(json_object_get(reply, "return"), i, export)
        line = add_line(line, &n, join((const char *[]){
                    "export", text_of(export, "id"), text_of(export, "type"),
                    text_of(export, "node-name"),
                    json_is_true(json_object_get(export, "shutting-down")) ? "ending" : "" }, 5));
    print_sorted(line, n);
    json_decref(reply);
}

static json_t *ask_nodes(void) {
    return ask_well("{\"execute\": \"query-named-block-nodes\", \"arguments\": {\"flat\": true}}");
}

/* A number of an object as text, which lives until the next but three. */
static const char *number_of(const json_t *object, const char *key) {
    static char text[4][24];
    static unsigned next;
    char *at = text[next++ % 4];

    snprintf(at, sizeof text[0], "%lld", (long long)json_integer_value(json_object_get(object, key)));
    return at;
}

static void print_bitmaps(void) {
    json_t *nodes = ask_nodes(), *node, *bitmap;
    char **line = NULL;
    size_t n = 0, i, k;

    json_array_foreach(nodes, i, node) {
        if (is_shape && !strcmp(text_of(node, "drv"), "qcow2"))
            line = add_line(line, &n, join((const char *[]){
                        "size", text_of(node, "node-name"),
                        number_of(json_object_get(node, "image"), "virtual-size") }, 3));
        json_array_foreach(json_object_get(node, "dirty-bitmaps"), k, bitmap)
            line = add_line(line, &n, join((const char *[]){
                        "bitmap", text_of(node, "node-name"), text_of(bitmap, "name"),
                        json_is_true(json_object_get(bitmap, "recording")) ? "recording" : "",
                        json_is_true(json_object_get(bitmap, "persistent")) ? "persistent" : "",
                        json_is_true(json_object_get(bitmap, "busy")) ? "busy" : "",
                        number_of(bitmap, "count") }, is_shape ? 7 : 6));
    }
    print_sorted(line, n);
    json_decref(nodes);
}

/* ---- the graph --------------------------------------------------------------------------------- */

static void add_node(json_t *graph, const char *type, const char *name) {
    json_t *nodes = json_object_get(graph, "nodes");

    json_array_append_new(nodes, json_pack("{s:I, s:s, s:s}", "id",
                                           (json_int_t)json_array_size(nodes), "type", type, "name",
                                           name));
}

static void add_edge(json_t *graph, const char *role, size_t parent, size_t child) {
    json_array_append_new(json_object_get(graph, "edges"),
                          json_pack("{s:I, s:I, s:s, s:[]}", "parent", (json_int_t)parent, "child",
                                    (json_int_t)child, "name", role, "perm"));
}

/* Nodes of one file belong together, and an image to what it names as its backing file. */
static const char *relation(const json_t *above, const json_t *below) {
    const char *file = text_of(below, "file");

    if (above != below && !strcmp(text_of(above, "file"), file))
        return "same";
    return !strcmp(text_of(above, "backing_file"), file) ? "backing" : NULL;
}

/* Who uses what, as far as it can be told without the debug command: in its form. */
static json_t *guess_graph(void) {
    static const char *const questions[] = { "{\"execute\": \"query-block\"}",
                                             "{\"execute\": \"query-block-exports\"}" };
    json_t *graph = json_pack("{s:[], s:[]}", "nodes", "edges");
    json_t *nodes = ask_nodes();
    json_t *one, *other;
    size_t i, k, q;

    json_array_foreach(nodes, i, one)
        add_node(graph, "block-driver", text_of(one, "node-name"));
    json_array_foreach(nodes, i, one)
        json_array_foreach(nodes, k, other)
            if (relation(one, other))
                add_edge(graph, relation(one, other), i, k);
    for (q = 0; q < 2; q++) {
        json_t *reply = ask(questions[q]), *user;
        size_t u;

        json_array_foreach(json_object_get(reply, "return"), u, user) {
            json_t *disk = json_object_get(user, "inserted");
            const char *name = text_of(disk ? disk : user, "node-name");

            add_node(graph, "block-backend", "");
            json_array_foreach(nodes, k, other)
                if (!strcmp(text_of(other, "node-name"), name))
                    add_edge(graph, "root", json_array_size(json_object_get(graph, "nodes")) - 1, k);
        }
        json_decref(reply);
    }
    json_decref(nodes);
    return graph;
}

/* The debug command is unstable: QEMU may have been told to refuse such. */
static json_t *ask_graph(void) {
    json_t *reply = ask("{\"execute\": \"x-debug-query-block-graph\"}");
    json_t *graph = json_incref(json_object_get(reply, "return"));

    json_decref(reply);
    return graph ? graph : guess_graph();
}

static void print_state(void) {
    json_t *graph, *item;
    char **line = NULL;
    size_t n = 0, i;

    /* QEMU 7.2 may crash when asked for its nodes while a concluded stream job waits. */
    if (!print_jobs())
        print_bitmaps();
    print_exports();
    graph = ask_graph();
    json_array_foreach(json_object_get(graph, "nodes"), i, item)
        line = add_line(line, &n, join((const char *[]){ text_of(item, "type"),
                                                         text_of(item, "name") }, 2));
    json_array_foreach(json_object_get(graph, "edges"), i, item) {
        json_t *parent = vertex(graph, json_integer_value(json_object_get(item, "parent")));
        json_t *child = vertex(graph, json_integer_value(json_object_get(item, "child")));
        char *permissions = json_dumps(json_object_get(item, "perm"), JSON_COMPACT);

        line = add_line(line, &n, join((const char *[]){ "edge", text_of(parent, "name"),
                                                         text_of(item, "name"),
                                                         text_of(child, "name"), permissions }, 5));
        free(permissions);
    }
    print_sorted(line, n);
    json_decref(graph);
}

/* The limits of the guest's I/O. */
static void print_limits(void) {
    json_t *reply = ask("{\"execute\": \"query-block\"}"), *disk;
    char **line = NULL;
    size_t n = 0, i;

    json_array_foreach(json_object_get(reply, "return"), i, disk) {
        json_t *medium = json_object_get(disk, "inserted");

        if (json_integer_value(json_object_get(medium, "bps")) ||
            json_integer_value(json_object_get(medium, "iops")))
            line = add_line(line, &n, join((const char *[]){
                        "limits", text_of(disk, "qdev"), number_of(medium, "bps"),
                        number_of(medium, "iops"), text_of(medium, "group") }, 5));
    }
    print_sorted(line, n);
    json_decref(reply);
}

/* Without the operation's id and QEMU's own count of nodes. */
static void drop_lots(char *text) {
    char *to = text;

    while (*text) {
        if (!strncmp(text, "qblk.", 5) && strspn(text + 5, "0123456789abcdef") == 8 &&
            text[13] == '.') {
            memcpy(to, "qblk.ID", 7);
            to += 7;
            text += 13;
        } else if (!strncmp(text, "#block", 6)) {
            memmove(to, text, 6);
            to += 6;
            text += 6 + strspn(text + 6, "0123456789");
        } else {
            *to++ = *text++;
        }
    }
    *to = '\0';
}

static void print_shape(void) {
    char *text = NULL, *save = NULL;
    size_t size = 0, n = 0;
    char **line = NULL;

    is_shape = true;
    sheet = open_memstream(&text, &size);
    if (!sheet)
        die("out of memory", NULL);
    print_limits();
    print_state();
    if (fclose(sheet))
        die("out of memory", NULL);
    sheet = NULL;
    for (char *at = strtok_r(text, "\n", &save); at; at = strtok_r(NULL, "\n", &save)) {
        drop_lots(at);
        line = add_line(line, &n, strdup(at));
    }
    print_sorted(line, n);
    free(text);
}

static json_t *node_named(json_t *nodes, const char *name) {
    size_t i;
    json_t *node;

    json_array_foreach(nodes, i, node)
        if (!strcmp(text_of(node, "node-name"), name))
            return node;
    return NULL;
}

/* What a vertex is called whatever QEMU or the operation named it: the last part of the name of the
 * file at the lower end of its file edges, and its driver. */
static char *label(json_t *graph, json_t *nodes, json_t *from) {
    json_t *node = node_named(nodes, text_of(from, "name")), *low = node, *edge, *next = from;
    const char *name, *slash;
    size_t k;

    if (strcmp(text_of(from, "type"), "block-driver"))
        return join((const char *[]){ text_of(from, "type") + strlen("block-") }, 1);
    while (next) {
        json_t *at = next;

        next = NULL;
        json_array_foreach(json_object_get(graph, "edges"), k, edge) {
            const char *role = text_of(edge, "name");

            if (vertex(graph, json_integer_value(json_object_get(edge, "parent"))) == at &&
                (!strcmp(role, "file") || !strcmp(role, "image")))
                next = vertex(graph, json_integer_value(json_object_get(edge, "child")));
        }
        if (next)
            low = node_named(nodes, text_of(next, "name"));
    }
    name = text_of(low, "file");
    slash = strrchr(name, '/');
    return join((const char *[]){ slash ? slash + 1 : name, text_of(node, "drv") }, 2);
}

static void print_chart(void) {
    json_t *graph = ask_graph(), *nodes = ask_nodes(), *edge;
    char **line = NULL;
    size_t n = 0, k;

    json_array_foreach(json_object_get(graph, "edges"), k, edge) {
        json_t *parent = vertex(graph, json_integer_value(json_object_get(edge, "parent")));
        json_t *child = vertex(graph, json_integer_value(json_object_get(edge, "child")));
        char *above = label(graph, nodes, parent), *below = label(graph, nodes, child);

        line = add_line(line, &n, join((const char *[]){ above, text_of(edge, "name"), below }, 3));
        free(above);
        free(below);
    }
    print_sorted(line, n);
    json_decref(nodes);
    json_decref(graph);
}

static void print_marks(void) {
    json_t *nodes = ask_nodes(), *node, *bitmap;
    size_t i, k;

    json_array_foreach(nodes, i, node)
        json_array_foreach(json_object_get(node, "dirty-bitmaps"), k, bitmap)
            if (!strncmp(text_of(bitmap, "name"), "qblk.", 5))
                printf("bitmap %s %s\n", text_of(node, "node-name"), text_of(bitmap, "name"));
    json_decref(nodes);
}

/* Marks what can be reached from the backends of devices and exports, then names the rest. */
static void print_strays(void) {
    json_t *graph, *item, *edge;
    size_t i, k;
    bool grown = true;

    if (!print_jobs())
        print_marks();
    graph = ask_graph();
    json_array_foreach(json_object_get(graph, "nodes"), i, item)
        if (!strcmp(text_of(item, "type"), "block-backend"))
            json_object_set_new(item, "used", json_true());
    while (grown) {
        grown = false;
        json_array_foreach(json_object_get(graph, "edges"), k, edge) {
            json_t *parent = vertex(graph, json_integer_value(json_object_get(edge, "parent")));
            json_t *child = vertex(graph, json_integer_value(json_object_get(edge, "child")));

            if (json_object_get(parent, "used") && !json_object_get(child, "used")) {
                json_object_set_new(child, "used", json_true());
                grown = true;
            }
        }
    }
    json_array_foreach(json_object_get(graph, "nodes"), i, item)
        if (!json_object_get(item, "used") && !strncmp(text_of(item, "name"), "qblk.", 5))
            printf("node %s\n", text_of(item, "name"));
    json_decref(graph);
}

static void print_events(void) {
    json_t *message;

    puts("listening");
    while ((message = hear())) {
        json_t *data = json_object_get(message, "data");
        const char *name = text_of(message, "event");
        const char *job = json_object_get(data, "id") ? text_of(data, "id") : text_of(data, "device");

        printf("%s %s %s %s\n", name, job, text_of(data, "status"), text_of(data, "error"));
        json_decref(message);
    }
}

static void run_command(const char *text) {
    json_t *reply = ask(text);
    char *shown = json_dumps(reply, JSON_COMPACT | JSON_SORT_KEYS);

    puts(shown);
    if (json_object_get(reply, "error"))
        exit(1);
    free(shown);
    json_decref(reply);
}

static void run_hmp(const char *line) {
    json_t *command = json_pack("{s:s, s:{s:s}}", "execute", "human-monitor-command", "arguments",
                                "command-line", line);
    char *text = command ? json_dumps(command, JSON_COMPACT) : NULL;
    json_t *said;

    if (!text)
        die("not a line", line);
    said = ask_well(text);
    fputs(json_string_value(said), stdout);
    json_decref(said);
    json_decref(command);
    free(text);
}

static void too_long(int signo) {
    static const char said[] = "rawqmp: no answer\n";

    (void)signo;
    _exit(write(STDERR_FILENO, said, sizeof said - 1) < 0 ? 2 : 1);
}

/* QEMU may be gone before its answer is written. */
static void quit(void) {
    json_t *message;

    fputs("{\"execute\": \"quit\"}\n", out);
    if (fflush(out))
        die("write", strerror(errno));
    while ((message = hear()))
        json_decref(message);
}

int main(int argc, char **argv) {
    const char *what = argc > 2 ? argv[2] : "";

    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3)
        die("usage: rawqmp SOCKET run|hmp|state|shape|chart|strays|events|quit|hold|say|ask ...", NULL);
    dial(argv[1]);
    if (!strcmp(what, "say") && argc == 4)
        return fputs(argv[3], out) == EOF || fflush(out) == EOF;
    if (!strcmp(what, "ask") && argc == 4) {
        char line[4096];

        if (fputs(argv[3], out) == EOF || fflush(out) == EOF || !fgets(line, sizeof line, in))
            die("no answer", NULL);
        fputs(line, stdout);
        return 0;
    }
    signal(SIGALRM, too_long);
    alarm(PATIENCE_S);
    json_decref(hear());
    if (!strcmp(what, "hold")) {
        alarm(0);
        puts("connected");
        return getchar() == EOF ? 0 : 0;
    }
    json_decref(ask_well("{\"execute\": \"qmp_capabilities\"}"));
    if (!strcmp(what, "state"))
        print_state();
    else if (!strcmp(what, "shape"))
        print_shape();
    else if (!strcmp(what, "chart"))
        print_chart();
    else if (!strcmp(what, "strays"))
        print_strays();
    else if (!strcmp(what, "events")) {
        alarm(0);
        print_events();
    } else if (!strcmp(what, "quit"))
        quit();
    else if (!strcmp(what, "run"))
        for (int i = 3; i < argc; i++)
            run_command(argv[i]);
    else if (strcmp(what, "hmp"))
        die("unknown word", what);
    if (!strcmp(what, "hmp") || !strcmp(what, "shape"))
        for (int i = 3; i < argc; i++)
            run_hmp(argv[i]);
    return 0;
}
