/* Send one command as JSON and print the whole reply; then print the events that come within a
 * second. Usage: raw SOCKET '{"execute":"query-version"}' */
#include <qblk/qblk.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    qblk_monitor_options options = QBLK_INIT(qblk_monitor_options);
    qblk_monitor *monitor;
    qblk_error error;
    char *text;
    int r;

    if (argc != 3)
        return fprintf(stderr, "usage: raw SOCKET JSON\n"), 2;
    options.queue_events = true;
    if (qblk_monitor_open(&monitor, argv[1], 5000, &options, &error) < 0)
        return fprintf(stderr, "%s\n", error.text), 1;
    r = qblk_monitor_command(monitor, argv[2], -1, 5000, &text, &error);
    while (r >= 0) {
        puts(text);
        free(text);
        r = qblk_monitor_next_event(monitor, NULL, 1000, &text, &error);
        if (r == 0)
            break;
    }
    if (r < 0)
        fprintf(stderr, "%s\n", error.text);
    qblk_monitor_free(monitor);
    return r < 0 ? 1 : 0;
}
