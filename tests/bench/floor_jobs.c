/* floor_jobs SOCKET: what "qblk job list" asks, by fixed bytes, with as little as a program can do:
 * greeting, qmp_capabilities, query-jobs, query-block-jobs, each answered before the next. */
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int line(int fd)
{
    static char in[65536];
    ssize_t n;

    do {
        n = read(fd, in, sizeof(in));
        if (n <= 0)
            return 0;
    } while (in[n - 1] != '\n');
    return 1;
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {
        "{\"execute\":\"qmp_capabilities\"}",
        "{\"execute\":\"query-jobs\"}",
        "{\"execute\":\"query-block-jobs\"}",
    };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    if (argc != 2 || strlen(argv[1]) >= sizeof(address.sun_path))
        return 2;
    strcpy(address.sun_path, argv[1]);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || !line(fd))
        return 1;
    for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        size_t len = strlen(commands[i]);

        if (write(fd, commands[i], len) != (ssize_t)len || !line(fd))
            return 1;
    }
    return 0;
}
