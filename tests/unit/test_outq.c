/* The output queue: all or nothing in, everything in order out, descriptors with their bytes. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "wire/outq.h"
#include "wire/unixsock.h"

static struct outq queue;
static int ends[2];

static int count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;

    ck_assert_ptr_nonnull(dir);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static void setup(void)
{
    outq_init(&queue, 1 << 20);
    ck_assert_int_eq(unixsock_pair(ends), 0);
}

static void teardown(void)
{
    outq_done(&queue);
    close(ends[0]);
    close(ends[1]);
}

static void add(const char *text, int fd)
{
    ck_assert_int_eq(outq_add(&queue, text, strlen(text), fd, NULL), 0);
}

/* Reads what one recvmsg() gives: text, and the descriptor that came with it (-1: none). */
static ssize_t get(char *data, size_t len, int *ret_fd)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec piece = { .iov_base = data, .iov_len = len };
    struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                              .msg_controllen = sizeof(control.space) };
    struct cmsghdr *c;
    ssize_t n = recvmsg(ends[1], &message, MSG_CMSG_CLOEXEC);

    *ret_fd = -1;
    if (n >= 0 && (c = CMSG_FIRSTHDR(&message)) != NULL) {
        ck_assert_uint_eq(c->cmsg_len, CMSG_LEN(sizeof(int)));
        memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
    }
    return n;
}

START_TEST(what_is_added_arrives_in_order)
{
    char data[16];

    ck_assert(outq_is_empty(&queue));
    add("one", -1);
    add("two", -1);
    ck_assert(!outq_is_empty(&queue));
    ck_assert_int_eq(outq_flush(&queue, ends[0]), 1);
    ck_assert(outq_is_empty(&queue));
    ck_assert_int_eq(unixsock_recv(ends[1], data, sizeof(data)), 6);
    ck_assert_mem_eq(data, "onetwo", 6);
}
END_TEST

START_TEST(a_full_socket_leaves_the_rest_for_later)
{
    enum { CHUNK = 1000, N = 900 };
    char data[CHUNK], got[65536];
    size_t total = 0;
    int r = 0;

    for (int i = 0; i < N; i++) {
        memset(data, 'a' + i % 26, sizeof(data));
        ck_assert_int_eq(outq_add(&queue, data, sizeof(data), -1, NULL), 0);
        if (i == N / 2)
            ck_assert_int_eq(outq_flush(&queue, ends[0]), 0);
    }
    while (total < CHUNK * N) {
        long n;

        r = outq_flush(&queue, ends[0]);
        ck_assert_int_ge(r, 0);
        n = unixsock_recv(ends[1], got, sizeof(got));
        ck_assert_int_gt(n, 0);
        for (long i = 0; i < n; i++)
            ck_assert_int_eq(got[i], 'a' + (int)((total + (size_t)i) / CHUNK % 26));
        total += (size_t)n;
    }
    ck_assert_int_eq(r, 1);
}
END_TEST

START_TEST(beyond_the_limit_nothing_is_queued)
{
    qblk_error error;
    char data[16];

    outq_done(&queue);
    outq_init(&queue, 8);
    add("12345", -1);
    ck_assert_int_eq(outq_add(&queue, "6789", 4, ends[0], &error), -EMSGSIZE);
    ck_assert_int_eq(error.code, QBLK_E_LIMIT);
    ck_assert_int_eq(outq_add(&queue, "123456789", 9, -1, &error), -EMSGSIZE);
    add("678", -1);
    ck_assert_int_eq(outq_flush(&queue, ends[0]), 1);
    ck_assert_int_eq(unixsock_recv(ends[1], data, sizeof(data)), 8);
    add("again", -1);
}
END_TEST

START_TEST(each_descriptor_arrives_with_its_own_bytes)
{
    int a[2], b[2], before = count_fds(), fd;
    char data[64];

    ck_assert_int_eq(pipe(a), 0);
    ck_assert_int_eq(pipe(b), 0);
    add("plain", -1);
    add("first", a[1]);
    add("more", -1);
    add("second", b[1]);
    /* Copies were made: the caller's own may go at once. */
    close(a[1]);
    close(b[1]);
    ck_assert_int_eq(outq_flush(&queue, ends[0]), 1);
    ck_assert_int_eq(get(data, 5, &fd), 5);
    ck_assert_int_eq(fd, -1);
    ck_assert_int_eq(get(data, 9, &fd), 9);
    ck_assert_mem_eq(data, "firstmore", 9);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, "A", 1), 1);
    close(fd);
    ck_assert_int_eq(get(data, sizeof(data), &fd), 6);
    ck_assert_int_eq(write(fd, "B", 1), 1);
    close(fd);
    ck_assert_int_eq(read(a[0], data, 2), 1);
    ck_assert_int_eq(data[0], 'A');
    ck_assert_int_eq(read(b[0], data, 2), 1);
    ck_assert_int_eq(data[0], 'B');
    close(a[0]);
    close(b[0]);
    ck_assert_int_eq(count_fds(), before);
}
END_TEST

START_TEST(descriptors_keep_their_bytes_after_a_partial_write)
{
    static char big[700000];
    char data[65536];
    size_t total = 0;
    ssize_t n;
    int fd = -1, a[2];

    memset(big, 'x', sizeof(big));
    ck_assert_int_eq(pipe(a), 0);
    ck_assert_int_eq(outq_add(&queue, big, sizeof(big), -1, NULL), 0);
    ck_assert_int_eq(outq_flush(&queue, ends[0]), 0);
    while (queue.sent < sizeof(big) * 3 / 4) {
        ck_assert_int_gt(get(data, sizeof(data), &fd), 0);
        total = queue.sent;
        ck_assert_int_ge(outq_flush(&queue, ends[0]), 0);
    }
    ck_assert_uint_gt(total, 0);
    ck_assert(!outq_is_empty(&queue));
    /* This addition moves what is left to the front of the buffer. */
    add("Fd", a[1]);
    ck_assert_uint_eq(queue.sent, 0);
    do {
        ck_assert_int_ge(outq_flush(&queue, ends[0]), 0);
        n = get(data, sizeof(data), &fd);
        ck_assert_int_gt(n, 0);
        /* The kernel may put plain bytes in front, but ends there. */
        ck_assert(fd < 0 || memcmp(data + n - 2, "Fd", 2) == 0);
    } while (fd < 0);
    close(fd);
    close(a[0]);
    close(a[1]);
}
END_TEST

START_TEST(descriptors_that_did_not_go_are_closed)
{
    int before = count_fds();

    add("one", ends[0]);
    add("two", ends[1]);
    ck_assert_int_eq(count_fds(), before + 2);
    outq_done(&queue);
    ck_assert_int_eq(count_fds(), before);
    outq_init(&queue, 100);
}
END_TEST

START_TEST(a_bad_descriptor_is_refused_and_nothing_queued)
{
    qblk_error error;

    ck_assert_int_eq(outq_add(&queue, "x", 1, 9999, &error), -EBADF);
    ck_assert_int_eq(error.err, EBADF);
    ck_assert(outq_is_empty(&queue));
    ck_assert_int_eq(outq_add(&queue, "", 0, ends[0], &error), -EINVAL);
    ck_assert_int_eq(outq_add(&queue, "", 0, -1, &error), 0);
    ck_assert(outq_is_empty(&queue));
}
END_TEST

START_TEST(a_closed_peer_is_an_error_without_a_signal)
{
    add("x", -1);
    close(ends[1]);
    ends[1] = -1;
    ck_assert_int_eq(outq_flush(&queue, ends[0]), -EPIPE);
}
END_TEST

START_TEST(an_empty_queue_holds_little)
{
    static char big[200000];

    ck_assert_int_eq(outq_add(&queue, big, sizeof(big), -1, NULL), 0);
    while (outq_flush(&queue, ends[0]) == 0)
        ck_assert_int_gt(unixsock_recv(ends[1], big, sizeof(big)), 0);
    ck_assert_uint_le(queue.bytes.room, 4096);
}
END_TEST

START_TEST(running_out_of_memory_queues_nothing)
{
    int before = count_fds();
    unsigned long n = 0;
    qblk_error error;
    int r;

    do {
        mem_fail_after(++n);
        r = outq_add(&queue, "text", 4, ends[0], &error);
        mem_fail_after(0);
        if (r < 0) {
            ck_assert_int_eq(r, -ENOMEM);
            ck_assert(outq_is_empty(&queue));
            ck_assert_int_eq(count_fds(), before);
        }
    } while (r < 0);
#ifdef QBLK_TEST_MEM
    ck_assert_uint_gt(n, 2);
#endif
    ck_assert_uint_eq(queue.bytes.len, 4);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("outq");
    TCase *tc = tcase_create("outq");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, what_is_added_arrives_in_order);
    tcase_add_test(tc, a_full_socket_leaves_the_rest_for_later);
    tcase_add_test(tc, beyond_the_limit_nothing_is_queued);
    tcase_add_test(tc, each_descriptor_arrives_with_its_own_bytes);
    tcase_add_test(tc, descriptors_keep_their_bytes_after_a_partial_write);
    tcase_add_test(tc, descriptors_that_did_not_go_are_closed);
    tcase_add_test(tc, a_bad_descriptor_is_refused_and_nothing_queued);
    tcase_add_test(tc, a_closed_peer_is_an_error_without_a_signal);
    tcase_add_test(tc, an_empty_queue_holds_little);
    tcase_add_test(tc, running_out_of_memory_queues_nothing);
    suite_add_tcase(suite, tc);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
