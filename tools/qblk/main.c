/* qblk: the command. The table of its verbs, and what comes before and after each of them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "help.h"
#include "json.h"
#include "opts.h"
#include "report.h"
#include "verbs.h"

/* For the output when --timeout has passed. */
#define LAST_WORDS_MS 1000

#define DISK_IS "DISK is a device id, QOM path, drive name, node name or image file name."

#define AGENT_IS \
    "SOCKET is that of the guest agent's channel, not QEMU's QMP socket; -s is not used."

const struct verb verbs[] = {
    { "disks", VERB_DISKS, 0, 0, "", "List the disks", NULL, run_disks },
    { "tree", VERB_TREE, 0, 1, "[DISK]", "Draw the chain of a disk, or everything", DISK_IS,
      run_tree },
    { "pull", VERB_PULL, 1, 1, "DISK", "Pull the data of the backing images into a disk's image",
      DISK_IS, run_pull },
    { "commit", VERB_COMMIT, 1, 1, "DISK", "Commit images of a disk's chain down into a lower one",
      DISK_IS "\nFrom the start on the images between are worth nothing by themselves.", run_commit },
    { "copy", VERB_COPY, 1, -1, "DISK TARGET | DISK=TARGET...",
      "Copy disks to image files, and perhaps move them",
      DISK_IS "\nTARGET is a file as QEMU sees it, a relative name being taken from here, or an NBD "
      "export:\nnbd://HOST[:PORT]/EXPORT, nbd+unix:///EXPORT?socket=/PATH.\nSeveral disks all "
      "become ready before any of them ends, and end together or not at all.", run_copy },
    { "swap", VERB_SWAP, 2, 2, "DISK TARGET", "Move a disk to an image that is there",
      DISK_IS "\nTARGET is an image of the disk's size, or, if it is raw, a bigger one; all of it is "
      "overwritten.", run_swap },
    { "backup", VERB_BACKUP, 2, 2, "DISK TARGET", "Back a disk up as it is now",
      DISK_IS "\nTARGET is a file as QEMU sees it; a relative name is taken from here.",
      run_backup },
    { "resize", VERB_RESIZE, 2, 2, "DISK SIZE", "Change the size of a disk",
      DISK_IS "\nSIZE is in bytes, or has a unit: 512K, 64M, 10G.", run_resize },
    { "throttle", VERB_THROTTLE, 1, 1, "DISK", "Limit the I/O of a disk by its guest, or show the "
      "limits",
      DISK_IS "\nWithout limits or --off those in force are shown. The speed of a job is another\n"
      "thing: see job speed.", run_throttle },
    { "detach", VERB_DETACH, 1, 1, "DEVICE", "Unplug the device of a disk, and remove its nodes",
      "DEVICE is the disk, by any name that it has.", run_detach },
    { "snapshot", VERB_SNAPSHOT, 1, -1, "DISK=FILE...", "Put new overlays above disks at one instant",
      DISK_IS "\nFILE is made, a qcow2 image that takes what the guest writes from then on; a relative\n"
      "name is taken from here. One disk may also be given as DISK FILE.", run_snapshot },
    { "job list", VERB_JOB_LIST, 0, 0, "", "List the block jobs", NULL, run_job_list },
    { "job info", VERB_JOB_INFO, 1, 1, "ID", "Tell everything about a job", NULL, run_job_info },
    { "job wait", VERB_JOB_WAIT, 1, -1, "ID...", "Wait until jobs end", NULL, run_job_wait },
    { "job watch", VERB_JOB_WATCH, 0, -1, "[ID...]", "Print each change of state of jobs",
      "Ends when the jobs named have ended; without an ID it goes on until interrupted.",
      run_job_watch },
    { "job pause", VERB_JOB_QUICK, 1, 1, "ID", "Pause a job", NULL, run_job_act },
    { "job resume", VERB_JOB_QUICK, 1, 1, "ID", "Resume a job that was paused or stopped on an "
      "error", NULL, run_job_act },
    { "job speed", VERB_JOB_QUICK, 2, 2, "ID RATE", "Limit the speed of a job; 0 is no limit",
      "RATE has a unit, a second: 64M, 512K, 1G.", run_job_act },
    { "job change", VERB_JOB_CHANGE, 1, 1, "ID", "Change a copy that runs",
      "--active has to be given; QEMU offers nothing else, from 8.2 on.", run_job_act },
    { "job cancel", VERB_JOB_END, 1, 1, "ID", "Cancel a job by force", NULL, run_job_act },
    { "job finish", VERB_JOB_END, 1, 1, "ID", "End a ready job without a pivot",
      "The target is then a consistent copy as of that instant.", run_job_act },
    { "job pivot", VERB_JOB_END, 1, 1, "ID", "End a ready job by moving the disk to the target",
      "A job that is paused pivots when it is resumed.", run_job_act },
    { "job complete", VERB_JOB_END, 1, 1, "ID", "The same as job pivot", NULL, run_job_act },
    { "job finalize", VERB_JOB_END, 1, 1, "ID", "Let a pending job end", NULL, run_job_act },
    { "job dismiss", VERB_JOB_DISMISS, 1, 1, "ID", "Make QEMU forget a job that is over", NULL,
      run_job_act },
    { "watch", VERB_WATCH, 0, -1, "[SOCKET...]", "Print each change of the jobs of many QEMUs",
      "Follows the monitors at the sockets given and at all that match --glob, as they come and go,\n"
      "until interrupted. It serves as the one client of each.", run_watch },
    { "recover", VERB_RECOVER, 0, 0, "", "Finish or undo what a client has left open",
      "What is open is read from QEMU itself; each operation ends as its owner meant it to.",
      run_recover },
    { "agent ping", VERB_AGENT, 1, 1, "SOCKET", "See whether a guest agent answers", AGENT_IS,
      run_agent },
    { "agent status", VERB_AGENT, 1, 1, "SOCKET", "Tell whether a guest is frozen", AGENT_IS,
      run_agent },
    { "agent thaw", VERB_AGENT, 1, 1, "SOCKET", "Thaw a guest that was left frozen", AGENT_IS,
      run_agent },
    { "events", VERB_EVENTS, 0, -1, "[PATTERN...]", "Print QEMU's events as they come",
      "PATTERN is a shell wildcard for names of events, such as 'BLOCK_*'.", run_events },
    { "qmp", VERB_QMP, 1, -1, "COMMAND [KEY=VALUE...]", "Run any QMP command",
      "VALUE is JSON where it is a JSON number, true, false, null, object, array or quoted\n"
      "string, and a string otherwise; KEY:=JSON insists on JSON; a.b=1 nests. COMMAND may also\n"
      "be a whole '{\"execute\": ...}', or - for one on standard input.", run_qmp },
    { "help", VERB_HELP, 0, 2, "[VERB]", "Describe a verb, or list them all", NULL, run_help },
};

const int n_verbs = (int)(sizeof(verbs) / sizeof(verbs[0]));

static int print_version(struct cli *cli)
{
    struct text line = { NULL, 0, 0 };

    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '{');
        json_str(&line, "version", qblk_version());
        json_close(&line, '}');
        json_close(&line, '}');
    } else {
        text_addf(&line, "qblk %s", qblk_version());
    }
    out_line(cli, &line);
    return EXIT_DONE;
}

static int run(struct cli *cli, int argc, char **argv)
{
    qblk_error error;

    if (opts_parse(cli, argc, argv, &error) < 0)
        return report_error(cli, &error);
    if (cli->opt.timeout_ms > 0)
        cli->deadline_ms = clock_ms() + cli->opt.timeout_ms;
    if (cli->opt.version)
        return print_version(cli);
    if (cli->opt.help)
        return help_print(cli, cli->verb);
    progress_init(&cli->progress, cli->err, !cli->opt.quiet && cli->opt.verbose == 0);
    return cli->verb->run(cli);
}

/* Whatever was closed when we started must not become the socket: output would go to QEMU. In its
 * place stands something that cannot be written. */
static void hold_standard_files(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDONLY);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

static void begin_output(struct cli *cli)
{
    out_init(&cli->streams[0], STDOUT_FILENO);
    out_init(&cli->streams[1], STDERR_FILENO);
    cli->out = &cli->streams[0];
    cli->err = out_is_same(&cli->streams[0], &cli->streams[1]) ? cli->out : &cli->streams[1];
}

/* All is done, and its reader may take his time, but for --timeout. */
static int end_output(struct cli *cli, int status)
{
    int64_t until = clock_ms() + LAST_WORDS_MS;
    struct text line = { NULL, 0, 0 };
    int failure;

    until = cli->deadline_ms > until ? cli->deadline_ms : until;
    out_drain(cli->out, cli->deadline_ms < 0 ? -1 : (int)(until - clock_ms()));
    out_drain(cli->err, cli->deadline_ms < 0 ? -1 : clock_ms() < until ? (int)(until - clock_ms()) : 0);
    failure = out_failure(cli->out);
    if (failure != 0) {
        text_addf(&line, "qblk: cannot write the output: %s\n",
                  failure == ETIMEDOUT || failure == ENOBUFS ? "nobody reads it" : strerror(failure));
        out_take_again(cli->err);
        out_put(cli->err, line.s);
        out_drain(cli->err, LAST_WORDS_MS);
        text_free(&line);
        if (status == EXIT_DONE)
            status = failure == ETIMEDOUT ? EXIT_TIMEOUT : EXIT_FAILED;
    }
    out_close(&cli->streams[0]);
    out_close(&cli->streams[1]);
    return status;
}

int main(int argc, char **argv)
{
    struct cli cli;
    int status;

    hold_standard_files();
    memset(&cli, 0, sizeof(cli));
    cli.deadline_ms = -1;
    begin_output(&cli);
    /* A reader of ours who goes away must not end an operation in its middle. */
    (void)signal(SIGPIPE, SIG_IGN);
    status = run(&cli, argc, argv);
    free(cli.args);
    free(cli.opt.globs.v);
    return end_output(&cli, status);
}
