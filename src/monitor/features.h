/* What this QEMU can do, from its own account of its interface (query-qmp-schema). Asked once a
 * monitor, and only when an operation has to choose: the reply is some 250 kB. */
#ifndef QBLK_SRC_MONITOR_FEATURES_H
#define QBLK_SRC_MONITOR_FEATURES_H

#include "monitor/monitor.h"

enum feature {
    FEATURE_STREAM_MASKS_PROTOCOL, /* block-stream backing-mask-protocol */
    FEATURE_COMMIT_MASKS_PROTOCOL, /* block-commit backing-mask-protocol */
    FEATURE_STREAM_BOTTOM,         /* block-stream bottom */
    FEATURE_REOPEN,                /* blockdev-reopen */
    N_FEATURES
};

/* Whether QEMU has been asked, and whether it has it: false as long as it was not. */
bool features_known(const qblk_monitor *monitor);
bool features_has(const qblk_monitor *monitor, enum feature feature);

/* A question under way, part of whoever asks: zeroed, with fn and arg set. */
struct features_asking {
    void (*fn)(void *arg, const qblk_error *error); /* error is NULL if they are known now */
    void *arg;
    qblk_monitor *monitor;
    uint32_t token;
};

/* fn is called once, inside process(), unless this fails or it is abandoned. A QEMU that refuses to
 * tell has no features. */
int features_ask(qblk_monitor *monitor, struct features_asking *asking, qblk_error *error);
void features_abandon(struct features_asking *asking); /* without effect if it is not under way */

/* What a reply to query-qmp-schema, asked by whoever else, says of the monitor's QEMU. */
int features_take(qblk_monitor *monitor, const char *reply, qblk_error *error);

/* Pure: the set of features, 1 << FEATURE_..., from a reply to query-qmp-schema. */
int features_read(const char *reply, unsigned *ret_features, qblk_error *error);

#endif
