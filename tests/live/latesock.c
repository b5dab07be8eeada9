/* latesock SOCKET FIFO [N]: binds, listens only when the FIFO has been opened by a writer and closed, and
 * greets the first client; ends when that has gone. Without N it answers nothing; with N, what comes
 * behind the first N messages is answered only when the FIFO has been opened and closed again. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char greeting[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"\"}, \"capabilities\": []}}\r\n";

/* Returns when it has been opened by a writer, and closed. */
static int wait_for(const char *path)
{
    int fifo = open(path, O_RDONLY);
    char byte;

    if (fifo < 0)
        return -1;
    while (read(fifo, &byte, 1) > 0)
        continue;
    return close(fifo);
}

/* An empty answer to each message: an object to the first, which ends the negotiation, else a list. */
static void answer(int client, const char *fifo, int n)
{
    char data[4096], reply[256];
    int count = 0;
    ssize_t got;

    while ((got = read(client, data, sizeof(data) - 1)) > 0) {
        data[got] = '\0';
        for (const char *id = data; (id = strstr(id, "\"id\":")) != NULL; id++, count++) {
            if (count == n && wait_for(fifo) < 0)
                return;
            (void)snprintf(reply, sizeof(reply), "{\"return\": %s, %.*s}\r\n", count == 0 ? "{}" : "[]",
                           (int)strcspn(id, ",}"), id);
            if (write(client, reply, strlen(reply)) < 0)
                return;
        }
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), client;
    char data[4096];

    if (argc < 3 || argc > 4 || strlen(argv[1]) >= sizeof(address.sun_path))
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror(argv[1]);
        return 1;
    }
    if (wait_for(argv[2]) < 0 || listen(fd, 1) < 0 || (client = accept(fd, NULL, NULL)) < 0) {
        perror(argv[2]);
        return 1;
    }
    if (write(client, greeting, sizeof(greeting) - 1) != (ssize_t)(sizeof(greeting) - 1))
        return 1;
    if (argc == 4)
        answer(client, argv[2], atoi(argv[3]));
    while (read(client, data, sizeof(data)) > 0)
        continue;
    return 0;
}
