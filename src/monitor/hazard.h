/* What is known to crash or hang certain versions of QEMU: the one place where a version number is
 * looked at. Everything else is asked of QEMU's schema. */
#ifndef QBLK_SRC_MONITOR_HAZARD_H
#define QBLK_SRC_MONITOR_HAZARD_H

#include <stdbool.h>

enum hazard {
    /* query-named-block-nodes crashes QEMU while a job of a certain type is concluded and not
     * dismissed: backup in 5.2, stream in 7.2. */
    HAZARD_NODES_WHILE_CONCLUDED,
    /* query-named-block-nodes aborts QEMU while a blockdev-create job is half-way through opening
     * the qcow2 image that it makes: seen on 7.2. */
    HAZARD_NODES_WHILE_CREATING,
    /* A transaction, or a backup, which is one inside, aborts QEMU while a blockdev-create job opens the
     * image that it makes: 5.2 and 7.2. */
    HAZARD_DRAIN_WHILE_CREATING,
    /* nbd-server-stop never returns (7.2), or QEMU crashes later (5.2), if a client has connected
     * and not finished its handshake. */
    HAZARD_NBD_STOP_HANDSHAKE,
    /* A command that waits behind quit aborts QEMU: 5.2. */
    HAZARD_QUEUED_BEHIND_QUIT,
    /* blockdev-reopen with an empty list of options aborts QEMU: all that have the command. */
    HAZARD_REOPEN_NOTHING
};

/* Whether that version (major * 1000000 + minor * 1000 + micro) has the hazard. For
 * HAZARD_NODES_WHILE_CONCLUDED job_type says of which type of job; elsewhere it is NULL. */
bool hazard_is_known(unsigned version, enum hazard hazard, const char *job_type);

/* Whether the nodes must not be asked for because of a job of that type: one that is concluded, or
 * may be so before the question arrives; one that creates an image and is not concluded yet. */
bool hazard_forbids_nodes(unsigned version, const char *job_type, bool is_concluded);

/* Whether it has the hazard with any job type. */
bool hazard_is_possible(unsigned version, enum hazard hazard);

/* For doctor, tests and the manual: row i of the table, false past its end. */
bool hazard_row(int i, enum hazard *ret_hazard, unsigned *ret_from, unsigned *ret_to,
                const char **ret_job_type, const char **ret_text);

#endif
