/* agent_server SOCKET LOG [RULE...]: a guest agent at SOCKET as agent_model.h has it, for clients one
 * after another, until it is ended. Prints "ready" and closes standard output once it listens; appends
 * each command to LOG as a line, and "left" when a client goes. RULE "frozen": the guest is frozen from
 * the start. Removes SOCKET when SIGTERM ends it. Exit status 2: wrong usage. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_model.h"
#include "qmp_server.h"

static const char *path;

static void end(int signo)
{
    (void)signo;
    (void)unlink(path);
    _exit(0);
}

static void log_line(FILE *file, const char *text)
{
    fprintf(file, "%s\n", text);
    (void)fflush(file);
}

/* Takes what was asked out of the model. */
static void log_asked(FILE *file, struct agent_model *model)
{
    char *save = NULL;

    for (char *word = model->asked.len > 0 ? strtok_r(model->asked.data, " ", &save) : NULL;
         word != NULL; word = strtok_r(NULL, " ", &save))
        log_line(file, word);
    buf_reset(&model->asked);
}

static bool send_all(int fd, struct buf *out)
{
    while (out->len > 0) {
        ssize_t n = send(fd, out->data, out->len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0)
            buf_drop(out, (size_t)n);
    }
    return true;
}

static void serve(int fd, struct agent_model *model, FILE *file)
{
    char bytes[4096];
    ssize_t n;

    do {
        n = recv(fd, bytes, sizeof(bytes), 0);
        if (n > 0)
            agent_model_feed(model, bytes, (size_t)n);
        /* What was asked is known before it is answered. */
        log_asked(file, model);
    } while (n > 0 && send_all(fd, &model->out) && !model->closes);
    log_line(file, "left");
    agent_model_left(model);
}

int main(int argc, char **argv)
{
    struct agent_model model;
    int listener, fd;
    FILE *file;

    agent_model_init(&model);
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "frozen") == 0)
            model.is_frozen = true;
        else if (agent_model_is_rule(argv[i]))
            agent_model_rule(&model, argv[i]);
        else
            argc = 0;
    }
    if (argc < 3) {
        fputs("usage: agent_server SOCKET LOG [frozen] [COMMAND=ACTION...]\n", stderr);
        return 2;
    }
    path = argv[1];
    file = fopen(argv[2], "a");
    listener = file != NULL ? qmp_server_bind(path) : -errno;
    if (listener < 0) {
        fprintf(stderr, "agent_server: %s: %s\n", file != NULL ? path : argv[2],
                strerror(-listener));
        return 2;
    }
    (void)signal(SIGTERM, end);
    puts("ready");
    (void)fclose(stdout);
    while ((fd = accept(listener, NULL, NULL)) >= 0 || errno == EINTR) {
        if (fd < 0)
            continue;
        serve(fd, &model, file);
        close(fd);
    }
    return 1;
}
