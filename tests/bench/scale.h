/* The two processes of the measurement with many monitors. */
#ifndef QBLK_TESTS_SCALE_H
#define QBLK_TESTS_SCALE_H

#include <stdbool.h>

#define SCALE_PATH "%s/%05d"

/* What the client asks of the peers over the control socket. */
struct scale_order {
    int n_monitors; /* the first so many send */
    unsigned n_events;
    double per_second;
    bool is_floor;  /* nobody follows: the jobs stay as they are, whatever is said of them */
};

/* What the peers say of it, once all is sent. */
struct scale_report {
    unsigned n_sent;
    double took_us;
};

/* n peers that listen in dir; says a byte to control once they do, then serves until it closes. */
void scale_peer(const char *dir, int n, int control) __attribute__((noreturn));

#endif
