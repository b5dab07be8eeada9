#include "ops/like.h"

#include "base/str.h"
#include "ops/overlay.h"

void like_node(const qblk_node *node, struct qapi_blockdev_options *ret,
               struct qapi_blockdev_cache_options *ret_cache)
{
    bool is_unmap = str_equal(node->detect_zeroes, "unmap");

    ret_cache->has_direct = ret_cache->direct = node->is_direct;
    ret_cache->has_no_flush = ret_cache->no_flush = node->no_flush;
    if (node->is_direct || node->no_flush)
        ret->cache = ret_cache;
    ret->has_detect_zeroes = is_unmap || str_equal(node->detect_zeroes, "on");
    ret->detect_zeroes = is_unmap ? QAPI_BLOCKDEV_DETECT_ZEROES_OPTIONS_UNMAP
                                  : QAPI_BLOCKDEV_DETECT_ZEROES_OPTIONS_ON;
    /* QEMU does not tell which nodes discard, but refuses the former without the latter. */
    ret->has_discard = is_unmap;
    ret->discard = QAPI_BLOCKDEV_DISCARD_OPTIONS_UNMAP;
}

static bool may_be_disk(const qblk_op *op, const struct target *to)
{
    return to->is_overlay || op->ending == QBLK_END_PIVOT || op->ending == QBLK_END_KEEP;
}

void like_disk(const qblk_op *op, const struct target *to, bool is_file, struct qapi_blockdev_options *ret,
               struct qapi_blockdev_cache_options *ret_cache)
{
    int top = to->is_overlay ? overlay_part(op, to)->top : op->top;
    const qblk_node *image = qblk_graph_node(op->graph, top);
    const qblk_node *file = qblk_graph_node(op->graph, image->file);

    if (!may_be_disk(op, to))
        return;
    like_node(is_file && file != NULL && file->detect_zeroes[0] != '\0' ? file : image, ret, ret_cache);
    /* What the image discards is for its file to discard. */
    if (is_file && str_equal(image->detect_zeroes, "unmap")) {
        ret->has_discard = true;
        ret->discard = QAPI_BLOCKDEV_DISCARD_OPTIONS_UNMAP;
    }
}
