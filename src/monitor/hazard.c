#include "monitor/hazard.h"

#include <stddef.h>

#include "base/str.h"

struct row {
    enum hazard hazard;
    unsigned from, to; /* inclusive */
    const char *job_type;
    const char *text;
};

#define V(major, minor, micro) ((major) * 1000000u + (minor) * 1000u + (micro))

/* Measured on 5.2.0 and 7.2.22; absent on 10.0.13 and 11.1.3. Of the versions between nothing
 * certain is known, so a range reaches from the first one measured to the next one that is free of
 * it wherever the cause (a filter that the concluded job keeps alive) is in the code. */
static const struct row rows[] = {
    { HAZARD_NODES_WHILE_CONCLUDED, V(5, 0, 0), V(5, 2, 999), "backup",
      "query-named-block-nodes crashes QEMU while a concluded backup job is not dismissed" },
    { HAZARD_NODES_WHILE_CONCLUDED, V(6, 0, 0), V(9, 999, 999), "stream",
      "query-named-block-nodes crashes QEMU while a concluded stream job is not dismissed" },
    { HAZARD_NODES_WHILE_CREATING, V(5, 0, 0), V(9, 999, 999), "create",
      "query-named-block-nodes aborts QEMU while a blockdev-create job opens a new qcow2 image" },
    { HAZARD_DRAIN_WHILE_CREATING, V(5, 0, 0), V(9, 999, 999), "create",
      "a transaction or a backup aborts QEMU while a blockdev-create job opens a new image" },
    { HAZARD_NBD_STOP_HANDSHAKE, V(5, 0, 0), V(9, 999, 999), NULL,
      "nbd-server-stop hangs or crashes QEMU while a client's handshake is unfinished" },
    { HAZARD_QUEUED_BEHIND_QUIT, V(5, 0, 0), V(5, 2, 999), NULL,
      "a command that waits behind quit aborts QEMU" },
    /* Measured on 7.2.22, 10.0.13 and 11.1.3; the command came with 6.1, and no end is known. */
    { HAZARD_REOPEN_NOTHING, V(6, 1, 0), V(99, 999, 999), NULL,
      "blockdev-reopen aborts QEMU if its list of options is empty" },
};

#define N_ROWS ((int)(sizeof(rows) / sizeof(rows[0])))

bool hazard_row(int i, enum hazard *ret_hazard, unsigned *ret_from, unsigned *ret_to,
                const char **ret_job_type, const char **ret_text)
{
    if (i < 0 || i >= N_ROWS)
        return false;
    *ret_hazard = rows[i].hazard;
    *ret_from = rows[i].from;
    *ret_to = rows[i].to;
    *ret_job_type = rows[i].job_type;
    *ret_text = rows[i].text;
    return true;
}

bool hazard_is_known(unsigned version, enum hazard hazard, const char *job_type)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].hazard == hazard && version >= rows[i].from && version <= rows[i].to &&
            str_equal(rows[i].job_type, job_type))
            return true;
    }
    return false;
}

bool hazard_forbids_nodes(unsigned version, const char *job_type, bool is_concluded)
{
    return hazard_is_known(version, HAZARD_NODES_WHILE_CONCLUDED, job_type) ||
           (!is_concluded && hazard_is_known(version, HAZARD_NODES_WHILE_CREATING, job_type));
}

bool hazard_is_possible(unsigned version, enum hazard hazard)
{
    for (int i = 0; i < N_ROWS; i++) {
        if (rows[i].hazard == hazard && version >= rows[i].from && version <= rows[i].to)
            return true;
    }
    return false;
}
