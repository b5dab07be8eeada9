/* What an overlay records of the image below it: overlay.c. */
#ifndef QBLK_SRC_OPS_OVERLAY_H
#define QBLK_SRC_OPS_OVERLAY_H

#include "ops/op.h"

/* The part whose target it is. */
const struct op_part *overlay_part(const qblk_op *op, const struct target *to);

/* What an overlay has to record as the format of that image. */
const char *overlay_backing_format(const qblk_op *op, int image);

/* Whether an overlay that was prepared for one of the parts is right: a target's judge. */
int overlay_judge(const qblk_op *op, const struct target *to,
                  const struct qapi_block_device_info *seen, uint64_t length, qblk_error *error);

/* A step that sees, just before the transaction, that the overlays are as long as the disks: QEMU does not, and
 * a resize may have come in between. */
void overlay_plan_sizes(qblk_op *op);
/* A step that looks at the overlays of all parts once they are in place. */
void overlay_plan_verify(qblk_op *op);
/* Whether that takes the node query, which is not safe at any time; the query for disks tells
 * nothing of an image below a filter, or of one that no device uses. */
bool overlay_needs_nodes(const qblk_op *op, const struct op_part *part);

#endif
