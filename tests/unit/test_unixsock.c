/* UNIX sockets: what each failure is called, and flags of every descriptor. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "wire/unixsock.h"

static char dir[64];
static char path[128];
static qblk_error error;

static void setup(void)
{
    (void)snprintf(dir, sizeof(dir), "/tmp/qblk-test-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/sock", dir);
    memset(&error, 0, sizeof(error));
}

static void teardown(void)
{
    (void)unlink(path);
    (void)rmdir(path);
    ck_assert_int_eq(rmdir(dir), 0);
}

static int count_fds(void)
{
    DIR *fds = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(fds);
    while (readdir(fds) != NULL)
        n++;
    closedir(fds);
    return n;
}

static void check_flags(int fd)
{
    ck_assert_int_ge(fd, 0);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Connecting fails with err and a text that contains what, and leaves no descriptor. */
static void unreachable(int err, const char *what)
{
    int before = count_fds();

    ck_assert_int_eq(unixsock_connect(path, &error), -err);
    ck_assert_int_eq(error.code, QBLK_E_NO_MONITOR);
    ck_assert_int_eq(error.kind, QBLK_KIND_CONNECTION);
    ck_assert_int_eq(error.err, err);
    ck_assert_msg(strstr(error.text, what) != NULL, "\"%s\" lacks \"%s\"", error.text, what);
    ck_assert_ptr_nonnull(strstr(error.text, path));
    ck_assert_int_eq(count_fds(), before);
}

START_TEST(a_missing_path_does_not_exist)
{
    unreachable(ENOENT, "does not exist");
}
END_TEST

START_TEST(a_left_over_socket_has_no_listener)
{
    int fd = unixsock_listen(path, &error);

    ck_assert_int_ge(fd, 0);
    close(fd);
    unreachable(ECONNREFUSED, "nobody listens");
}
END_TEST

START_TEST(a_file_and_a_directory_are_no_sockets)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    ck_assert_int_ge(fd, 0);
    close(fd);
    unreachable(ENOTSOCK, "is not a socket");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    unreachable(ENOTSOCK, "is not a socket");
}
END_TEST

START_TEST(a_datagram_socket_is_no_monitor)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    unreachable(EPROTOTYPE, "not a stream socket");
    close(fd);
}
END_TEST

START_TEST(a_forbidden_socket_says_permission_denied)
{
    bool is_root = geteuid() == 0;
    int fd = unixsock_listen(path, &error);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(chmod(path, 0), 0);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    /* Root may connect to anything. */
    if (is_root)
        ck_assert_int_eq(seteuid(65534), 0);
    unreachable(EACCES, "permission denied");
    if (is_root)
        ck_assert_int_eq(seteuid(0), 0);
    close(fd);
}
END_TEST

START_TEST(a_full_backlog_is_a_busy_monitor)
{
    int listener = unixsock_listen(path, &error), fds[16], n = 0, r;

    ck_assert_int_ge(listener, 0);
    while ((r = unixsock_connect(path, &error)) >= 0) {
        ck_assert_int_lt(n, 16);
        fds[n++] = r;
    }
    ck_assert_int_eq(r, -EAGAIN);
    ck_assert_int_eq(error.code, QBLK_E_MONITOR_BUSY);
    ck_assert_int_eq(error.err, EAGAIN);
    ck_assert_ptr_nonnull(strstr(error.text, "busy"));
    ck_assert_int_gt(n, 0);
    while (n > 0)
        close(fds[--n]);
    close(listener);
}
END_TEST

START_TEST(paths_have_at_most_107_bytes)
{
    char text[160];

    memset(text, 'x', sizeof(text));
    text[107] = '\0';
    ck_assert_int_eq(unixsock_check_path(text, &error), 0);
    ck_assert_int_eq(unixsock_connect(text, &error), -ENOENT);
    text[107] = 'x';
    text[108] = '\0';
    ck_assert_int_eq(unixsock_check_path(text, &error), -ENAMETOOLONG);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    ck_assert_int_eq(error.err, ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(error.text, "107"));
    ck_assert_ptr_nonnull(strstr(error.text, "108"));
    ck_assert_int_eq(unixsock_connect(text, &error), -ENAMETOOLONG);
    ck_assert_int_eq(unixsock_listen(text, &error), -ENAMETOOLONG);
    ck_assert_int_eq(unixsock_check_path("", &error), -EINVAL);
}
END_TEST

START_TEST(listening_connecting_and_accepting_talk)
{
    int listener = unixsock_listen(path, &error), client, server;
    char data[8];

    check_flags(listener);
    ck_assert_int_eq(unixsock_accept(listener, &error), -EAGAIN);
    client = unixsock_connect(path, &error);
    check_flags(client);
    server = unixsock_accept(listener, &error);
    check_flags(server);
    ck_assert_int_eq(unixsock_recv(server, data, sizeof(data)), -EAGAIN);
    ck_assert_int_eq(unixsock_send(client, "hello", 5, -1), 5);
    ck_assert_int_eq(unixsock_recv(server, data, sizeof(data)), 5);
    ck_assert_mem_eq(data, "hello", 5);
    close(client);
    ck_assert_int_eq(unixsock_recv(server, data, sizeof(data)), 0);
    ck_assert_int_eq(unixsock_send(server, "x", 1, -1), -EPIPE);
    ck_assert_int_eq(unixsock_send(server, "x", 1, listener), -EPIPE);
    close(server);
    close(listener);
}
END_TEST

START_TEST(listening_on_an_existing_path_is_refused)
{
    int listener = unixsock_listen(path, &error), before = count_fds();

    ck_assert_int_ge(listener, 0);
    ck_assert_int_eq(unixsock_listen(path, &error), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(error.text, path));
    ck_assert_int_eq(count_fds(), before);
    close(listener);
}
END_TEST

START_TEST(descriptors_passed_by_the_peer_do_not_stay)
{
    int fds[2], before;
    char data[8];

    ck_assert_int_eq(unixsock_pair(fds), 0);
    check_flags(fds[0]);
    check_flags(fds[1]);
    before = count_fds();
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(unixsock_send(fds[0], "x", 1, fds[0]), 1);
        ck_assert_int_eq(unixsock_recv(fds[1], data, sizeof(data)), 1);
    }
    ck_assert_int_eq(count_fds(), before);
    close(fds[0]);
    /* A copy of the other end that were left over would keep the stream from ending. */
    ck_assert_int_eq(unixsock_recv(fds[1], data, sizeof(data)), 0);
    close(fds[1]);
}
END_TEST

START_TEST(adopting_sets_the_flags_of_a_stream_socket)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    ck_assert_int_eq(unixsock_adopt(fds[0], &error), 0);
    check_flags(fds[0]);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(adopting_anything_else_is_refused)
{
    int fds[2], listener;

    ck_assert_int_eq(pipe(fds), 0);
    ck_assert_int_eq(unixsock_adopt(fds[0], &error), -ENOTSOCK);
    close(fds[0]);
    ck_assert_int_eq(unixsock_adopt(fds[0], &error), -EBADF);
    close(fds[1]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
    ck_assert_int_eq(unixsock_adopt(fds[0], &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "stream"));
    close(fds[0]);
    close(fds[1]);
    listener = unixsock_listen(path, &error);
    ck_assert_int_eq(unixsock_adopt(listener, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "listens"));
    close(listener);
}
END_TEST

START_TEST(a_copy_is_close_on_exec_and_no_standard_stream)
{
    int fds[2], copy;

    ck_assert_int_eq(unixsock_pair(fds), 0);
    copy = unixsock_dup(fds[0]);
    check_flags(copy);
    ck_assert_int_gt(copy, 2);
    ck_assert_int_eq(unixsock_dup(9999), -EBADF);
    close(copy);
    close(fds[0]);
    close(fds[1]);
}
END_TEST

START_TEST(who_is_at_the_other_end_is_told)
{
    unsigned uid = 12345;
    int fds[2];

    ck_assert_int_eq(unixsock_pair(fds), 0);
    ck_assert_int_eq(unixsock_peer_uid(fds[0], &uid), 0);
    ck_assert_uint_eq(uid, geteuid());
    close(fds[0]);
    close(fds[1]);
    ck_assert_int_eq(unixsock_peer_uid(-1, &uid), -EBADF);
}
END_TEST

START_TEST(a_name_is_one_claimants_at_a_time)
{
    char name[64], long_name[200];
    long pid = 0;
    unsigned uid = 12345;
    int before = count_fds(), fd;

    (void)snprintf(name, sizeof(name), "qblk-test/%ld", (long)getpid());
    fd = unixsock_claim(name, &pid, &uid);
    ck_assert_int_gt(fd, 0);
    for (int i = 0; i < 20; i++) { /* more than a line that nobody looks at holds, if it is short */
        pid = uid = 12345;
        ck_assert_int_eq(unixsock_claim(name, &pid, &uid), -EADDRINUSE);
        ck_assert_int_eq(pid, getpid());
        ck_assert_uint_eq(uid, geteuid());
        pid = uid = 12345;
        ck_assert(unixsock_is_claimed(name, &pid, &uid));
        ck_assert_int_eq(pid, getpid());
        ck_assert_uint_eq(uid, geteuid());
    }
    close(fd);
    ck_assert(!unixsock_is_claimed(name, &pid, &uid));
    fd = unixsock_claim(name, &pid, &uid);
    ck_assert_int_gt(fd, 0);
    close(fd);
    memset(long_name, 'x', sizeof(long_name));
    long_name[sizeof(long_name) - 1] = '\0';
    ck_assert_int_eq(unixsock_claim(long_name, &pid, &uid), -ENAMETOOLONG);
    ck_assert(!unixsock_is_claimed(long_name, &pid, &uid));
    ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* Whoever has the name and does not listen has not claimed it; one who cannot be seen any more may have. */
START_TEST(a_name_that_is_held_otherwise)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    char name[64], text[100];
    socklen_t size;
    long pid = 12345;
    unsigned uid = 12345;
    int callers[64], n = 0;

    /* As tests/unit/claims.c changes it. */
    (void)snprintf(name, sizeof(name), "qblk-test/%ld", (long)getpid());
    (void)snprintf(text, sizeof(text), "%s of %ld", name, (long)getpgrp());
    memcpy(address.sun_path + 1, text, strlen(text));
    size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(text));
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    ck_assert_int_eq(unixsock_claim(name, &pid, &uid), -EADDRINUSE);
    ck_assert_int_eq(pid, 0);
    ck_assert_uint_eq(uid, (unsigned)-1);
    ck_assert(!unixsock_is_claimed(name, &pid, &uid));

    ck_assert_int_eq(listen(fd, 1), 0);
    do {
        callers[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    } while (connect(callers[n++], (struct sockaddr *)&address, size) == 0 && n < 64);
    ck_assert_int_lt(n, 64);
    pid = uid = 12345;
    ck_assert_int_eq(unixsock_claim(name, &pid, &uid), -EADDRINUSE);
    ck_assert_int_eq(pid, 0);
    ck_assert_uint_eq(uid, geteuid());
    ck_assert(unixsock_is_claimed(name, &pid, &uid));
    while (n > 0)
        close(callers[--n]);
    close(fd);
}
END_TEST

/* 0 is no claim to those who hold it, and 1 and 2 get what others write. */
START_TEST(a_claim_is_none_of_the_first_three_descriptors)
{
    char name[64];
    long pid = 0;
    unsigned uid = 0;
    int kept = dup(_i), before = count_fds(), fd;

    ck_assert_int_gt(kept, 2);
    (void)snprintf(name, sizeof(name), "qblk-test/%ld", (long)getpid());
    close(_i);
    fd = unixsock_claim(name, &pid, &uid);
    ck_assert_int_gt(fd, 2);
    check_flags(fd);
    ck_assert_int_eq(fcntl(_i, F_GETFD), -1);
    ck_assert_int_eq(unixsock_claim(name, &pid, &uid), -EADDRINUSE);
    close(fd);
    ck_assert_int_eq(dup2(kept, _i), _i);
    ck_assert_int_eq(count_fds(), before);
    fd = unixsock_claim(name, &pid, &uid);
    ck_assert_int_gt(fd, 2);
    close(fd);
    close(kept);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("unixsock");
    TCase *tc = tcase_create("unixsock");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, who_is_at_the_other_end_is_told);
    tcase_add_test(tc, a_name_is_one_claimants_at_a_time);
    tcase_add_test(tc, a_name_that_is_held_otherwise);
    tcase_add_loop_test(tc, a_claim_is_none_of_the_first_three_descriptors, 0, 3);
    tcase_add_test(tc, a_missing_path_does_not_exist);
    tcase_add_test(tc, a_left_over_socket_has_no_listener);
    tcase_add_test(tc, a_file_and_a_directory_are_no_sockets);
    tcase_add_test(tc, a_datagram_socket_is_no_monitor);
    tcase_add_test(tc, a_forbidden_socket_says_permission_denied);
    tcase_add_test(tc, a_full_backlog_is_a_busy_monitor);
    tcase_add_test(tc, paths_have_at_most_107_bytes);
    tcase_add_test(tc, listening_connecting_and_accepting_talk);
    tcase_add_test(tc, listening_on_an_existing_path_is_refused);
    tcase_add_test(tc, descriptors_passed_by_the_peer_do_not_stay);
    tcase_add_test(tc, adopting_sets_the_flags_of_a_stream_socket);
    tcase_add_test(tc, adopting_anything_else_is_refused);
    tcase_add_test(tc, a_copy_is_close_on_exec_and_no_standard_stream);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
