/* Pull a disk's backing images into its top image, and wait. Usage: pull SOCKET DISK */
#include <qblk/qblk.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    qblk_monitor *monitor;
    qblk_op_report report = QBLK_INIT(qblk_op_report);
    qblk_error error;
    qblk_op *op;

    if (argc != 3 || qblk_monitor_open(&monitor, argv[1], 5000, NULL, &error) < 0)
        return fprintf(stderr, "%s\n", argc == 3 ? error.text : "usage: pull SOCKET DISK"), 1;
    if (qblk_pull(monitor, argv[2], NULL, &op, &error) < 0 ||
        qblk_op_wait(op, -1, &report, &error) < 0)
        fprintf(stderr, "%s\n", error.text);
    else
        printf("%s: %s\n", argv[2], qblk_result_name(report.result));
    qblk_monitor_free(monitor);
    return report.result == QBLK_RESULT_COMPLETED ? 0 : 1;
}
