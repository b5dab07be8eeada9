/* qmp_server SOCKET SCRIPT: listens at SOCKET and plays the file SCRIPT ("-": standard input).
 * Prints "ready" when it listens, and removes SOCKET at the end. Exit status: 0 the script came to its end, 1 not, 2 wrong usage. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qmp_server.h"

static char *read_all(FILE *file)
{
    size_t room = 65536, len = 0, n;
    char *text = malloc(room);

    while (text != NULL && (n = fread(text + len, 1, room - len - 1, file)) > 0) {
        len += n;
        if (len == room - 1) {
            char *grown = realloc(text, room * 2);

            if (grown == NULL) {
                free(text);
                return NULL;
            }
            text = grown;
            room *= 2;
        }
    }
    if (text != NULL)
        text[len] = '\0';
    return text;
}

int main(int argc, char **argv)
{
    FILE *file;
    char *script;
    int listener, r;

    if (argc != 3) {
        fputs("usage: qmp_server SOCKET SCRIPT\n", stderr);
        return 2;
    }
    file = strcmp(argv[2], "-") == 0 ? stdin : fopen(argv[2], "r");
    if (file == NULL) {
        fprintf(stderr, "qmp_server: %s: %s\n", argv[2], strerror(errno));
        return 2;
    }
    script = read_all(file);
    if (file != stdin)
        fclose(file);
    if (script == NULL) {
        fputs("qmp_server: out of memory\n", stderr);
        return 2;
    }
    listener = qmp_server_bind(argv[1]);
    if (listener < 0) {
        fprintf(stderr, "qmp_server: %s: %s\n", argv[1], strerror(-listener));
        free(script);
        return 2;
    }
    puts("ready");
    (void)fclose(stdout);
    r = qmp_server_play(listener, -1, script);
    close(listener);
    (void)unlink(argv[1]);
    free(script);
    return r;
}
