/* Follow every job of a QEMU, whoever started it, until QEMU ends. Your own poll(2) turns the
 * monitor. Usage: follow SOCKET */
#include <poll.h>
#include <qblk/qblk.h>
#include <stdio.h>

static void on_state(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    (void)arg;
    qblk_job_get_info(job, &info);
    printf("%s %s: %s%s\n", info.type[0] != '\0' ? info.type : "?", info.id, info.status,
           info.is_stalled ? " (stalled)" : "");
    fflush(stdout);
}

static void on_end(qblk_job *job, void *arg)
{
    qblk_job_info info = QBLK_INIT(qblk_job_info);

    (void)arg;
    qblk_job_get_info(job, &info);
    printf("%s %s: %s%s%s\n", info.type[0] != '\0' ? info.type : "?", info.id,
           qblk_job_outcome_name(info.outcome), info.error != NULL ? ": " : "",
           info.error != NULL ? info.error : "");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    qblk_jobs_ops ops = QBLK_INIT(qblk_jobs_ops);
    qblk_monitor *monitor;
    qblk_error error;

    if (argc != 2)
        return fprintf(stderr, "usage: follow SOCKET\n"), 2;
    ops.on_job = on_state;
    ops.on_state = on_state;
    ops.on_end = on_end;
    if (qblk_monitor_connect(&monitor, argv[1], NULL, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    if (qblk_jobs_track(monitor, &ops, NULL, &error) == 0) {
        struct pollfd pfd;

        do {
            pfd.fd = qblk_monitor_fd(monitor);
            pfd.events = qblk_monitor_events(monitor);
            pfd.revents = 0;
            (void)poll(&pfd, 1, qblk_monitor_timeout(monitor));
        } while (qblk_monitor_process(monitor, pfd.revents, &error) == 0);
    }
    fprintf(stderr, "%s\n", error.text);
    qblk_monitor_free(monitor);
    return error.code == QBLK_E_LOST ? 0 : 1;
}
