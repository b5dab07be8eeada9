/* Copy a disk to a new image and pivot to it, under libev, showing each change of the job.
 * Usage: copy_ev SOCKET DISK TARGET (an absolute path) */
#include <ev.h>
#include <qblk/ev.h>
#include <qblk/qblk.h>
#include <stdio.h>

struct copying {
    struct ev_loop *loop;
    const char *disk, *target;
    int status;
};

static void on_job(qblk_op *op, const qblk_job_info *job, void *arg)
{
    (void)op;
    (void)arg;
    printf("job %s: %s\n", job->id, job->status);
}

static void on_end(qblk_op *op, const qblk_op_report *report, const qblk_error *error, void *arg)
{
    struct copying *copying = arg;

    (void)op;
    if (error != NULL)
        fprintf(stderr, "%s\n", error->text);
    else
        printf("%s: %s to %s\n", report->disk, qblk_result_name(report->result), report->target);
    copying->status = error != NULL;
    ev_break(copying->loop, EVBREAK_ALL);
}

static void on_ready(qblk_monitor *monitor, void *arg)
{
    struct copying *copying = arg;
    qblk_copy_options options = QBLK_INIT(qblk_copy_options);
    qblk_error error;

    options.ending = QBLK_END_PIVOT;
    options.common.arg = copying;
    options.common.ops.size = sizeof(options.common.ops);
    options.common.ops.on_job = on_job;
    options.common.ops.on_end = on_end;
    if (qblk_copy(monitor, copying->disk, copying->target, &options, NULL, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        ev_break(copying->loop, EVBREAK_ALL);
    }
}

static void on_dead(qblk_monitor *monitor, const qblk_error *error, void *arg)
{
    struct copying *copying = arg;

    (void)monitor;
    fprintf(stderr, "%s\n", error->text);
    ev_break(copying->loop, EVBREAK_ALL);
}

int main(int argc, char **argv)
{
    struct copying copying = { EV_DEFAULT, NULL, NULL, 1 };
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    qblk_monitor *monitor;
    qblk_error error;

    if (argc != 4)
        return fprintf(stderr, "usage: copy_ev SOCKET DISK TARGET\n"), 2;
    copying.disk = argv[2];
    copying.target = argv[3];
    options.wait_ms = 5000; /* QEMU may still be starting */
    options.arg = &copying;
    options.ops.size = sizeof(options.ops);
    options.ops.on_ready = on_ready;
    options.ops.on_end = on_dead;
    if (qblk_monitor_connect(&monitor, argv[1], &options, &error) < 0 ||
        qblk_monitor_attach_ev(monitor, copying.loop, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    ev_run(copying.loop, 0);
    qblk_monitor_free(monitor);
    return copying.status;
}
