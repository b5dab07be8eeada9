/* What a new client finds open in a peer. */
#ifndef QBLK_TESTS_UNIT_LOOK_AID_H
#define QBLK_TESTS_UNIT_LOOK_AID_H

#include "peer.h"

/* To be freed. */
qblk_remains *look(struct peer *peer, qblk_monitor *monitor);
/* The operation of that id, or NULL. */
const qblk_open_op *look_find(const qblk_remains *remains, const char *id);

#endif
