/* oneshot RUNS FLOOR SOCKET -- COMMAND...: the floor's whole process and the command's, one after
 * the other. Prints: FLOOR_US COMMAND_US DIFFERENCE_US FLOOR_CPU_US COMMAND_CPU_US FLOOR_RSS_KIB
 * COMMAND_RSS_KIB; medians, of the resident set the largest. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

struct side {
    struct series wall, cpu;
    long rss_kib;
};

static void run(struct side *side, char *const argv[], bool counts)
{
    struct run run;

    bench_run(argv, &run);
    if (!counts)
        return;
    series_add(&side->wall, run.wall_us);
    series_add(&side->cpu, run.cpu_us);
    if (run.rss_kib > side->rss_kib)
        side->rss_kib = run.rss_kib;
}

int main(int argc, char **argv)
{
    struct side floor = { .rss_kib = 0 }, command = { .rss_kib = 0 };
    char *floor_argv[3];
    int runs;

    if (argc < 6 || strcmp(argv[4], "--") != 0)
        bench_die("usage: oneshot RUNS FLOOR SOCKET -- COMMAND...");
    runs = atoi(argv[1]);
    floor_argv[0] = argv[2];
    floor_argv[1] = argv[3];
    floor_argv[2] = NULL;
    for (int i = 0; i <= runs; i++) {
        run(&floor, floor_argv, i > 0);
        run(&command, argv + 5, i > 0);
    }
    printf("%.0f %.0f %.0f %.0f %.0f %ld %ld\n", series_at(&floor.wall, 0.5),
           series_at(&command.wall, 0.5),
           series_at(&command.wall, 0.5) - series_at(&floor.wall, 0.5),
           series_at(&floor.cpu, 0.5), series_at(&command.cpu, 0.5), floor.rss_kib,
           command.rss_kib);
    return 0;
}
