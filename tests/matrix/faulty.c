/* faulty.so - loaded into a QEMU before its C library, it makes writes fail as a full or broken disk
 * does, wherever no file system of a size of our own can be mounted, and for files that QEMU opens by
 * name.
 *
 * The file that FAULTY_RULE names holds the rule: NAME OFFSET ERRNO. A write that reaches beyond
 * OFFSET of a file whose path ends in NAME fails with ERRNO; with an OFFSET of -1 a flush of it does.
 * Without such a file all works, so that taking it away makes room.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* Sets errno if this write, or flush if end is -1, is to fail. */
static bool is_faulty(int fd, off64_t end) {
    const char *rule_path = getenv("FAULTY_RULE");
    char rule[256], link[32], path[512], name[128];
    long long limit;
    int code, rule_fd;
    ssize_t size;

    if (!rule_path || (rule_fd = open(rule_path, O_RDONLY | O_CLOEXEC)) < 0)
        return false;
    size = read(rule_fd, rule, sizeof(rule) - 1);
    close(rule_fd);
    if (size <= 0)
        return false;
    rule[size] = '\0';
    if (sscanf(rule, "%127s %lld %d", name, &limit, &code) != 3)
        return false;
    if (limit < 0 ? end >= 0 : end <= limit)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    size = readlink(link, path, sizeof(path) - 1);
    if (size < (ssize_t)strlen(name))
        return false;
    path[size] = '\0';
    if (strcmp(path + size - strlen(name), name))
        return false;
    errno = code;
    return true;
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void *data, size_t size,
                                                         off64_t offset) {
    static ssize_t (*next)(int, const void *, size_t, off64_t);

    if (is_faulty(fd, offset + (off64_t)size))
        return -1;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwrite64");
    return next(fd, data, size, offset);
}

__attribute__((visibility("default"))) ssize_t pwritev64(int fd, const struct iovec *part, int n,
                                                          off64_t offset) {
    static ssize_t (*next)(int, const struct iovec *, int, off64_t);
    off64_t end = offset;

    for (int i = 0; i < n; i++)
        end += (off64_t)part[i].iov_len;
    if (is_faulty(fd, end))
        return -1;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "pwritev64");
    return next(fd, part, n, offset);
}

__attribute__((visibility("default"))) int fdatasync(int fd) {
    static int (*next)(int);

    if (is_faulty(fd, -1))
        return -1;
    if (!next)
        *(void **)&next = dlsym(RTLD_NEXT, "fdatasync");
    return next(fd);
}
