/* A node that may take a disk's place is opened as what is there now, as far as QEMU tells: cache.direct,
 * cache.no-flush and detect-zeroes. Whether a node discards it tells only by detect-zeroes=unmap. */
#ifndef QBLK_SRC_OPS_LIKE_H
#define QBLK_SRC_OPS_LIKE_H

#include "ops/op.h"
#include "qapi_types.h"

/* Sets in *ret what it has in common with the node; *ret_cache has to last as long as that. */
void like_node(const qblk_node *node, struct qapi_blockdev_options *ret,
               struct qapi_blockdev_cache_options *ret_cache);
/* The same of a target's image or of its file, with those of the disk; nothing of one that stays beside
 * the disk. */
void like_disk(const qblk_op *op, const struct target *to, bool is_file, struct qapi_blockdev_options *ret,
               struct qapi_blockdev_cache_options *ret_cache);

#endif
