/* latesock SOCKET FIFO: binds, listens only when the FIFO has been opened by a writer and closed, and
 * greets the first client; ends when that has gone. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char greeting[] =
    "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, "
    "\"package\": \"\"}, \"capabilities\": []}}\r\n";

int main(int argc, char **argv)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), fifo, client;
    char data[4096];

    if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path))
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        perror(argv[1]);
        return 1;
    }
    fifo = open(argv[2], O_RDONLY);
    while (fifo >= 0 && read(fifo, data, sizeof(data)) > 0)
        continue;
    if (fifo < 0 || listen(fd, 1) < 0 || (client = accept(fd, NULL, NULL)) < 0) {
        perror(argv[2]);
        return 1;
    }
    if (write(client, greeting, sizeof(greeting) - 1) != (ssize_t)(sizeof(greeting) - 1))
        return 1;
    while (read(client, data, sizeof(data)) > 0)
        continue;
    return 0;
}
