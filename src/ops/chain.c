/* The names of images: what an image records for the one below it, and a chain as a line of text. */
#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "ops/op.h"

static bool is_portable(const char *filename)
{
    /* Absolute, or a protocol name such as nbd://... or json:{...}. */
    return filename[0] == '/' || strchr(filename, ':') != NULL;
}

static size_t dir_len(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

int plan_backing_string(const qblk_op *op, int backing, const char *image_path, char **ret_text,
                        qblk_error *error)
{
    const qblk_node *node = qblk_graph_node(op->graph, backing);
    const char *use = NULL;

    if (is_portable(node->filename)) {
        use = node->filename;
    } else {
        /* Opened by a name relative to QEMU's directory, which we cannot know. But what an image in
         * the same directory records for it is right for a neighbour too. */
        size_t len = dir_len(image_path);

        for (int i = 0; i < qblk_graph_node_count(op->graph) && use == NULL; i++) {
            const qblk_node *other = qblk_graph_node(op->graph, i);

            if (other->backing_string != NULL && !other->is_filter &&
                graph_backing_image(op->graph, i) == backing && dir_len(other->filename) == len &&
                strncmp(other->filename, image_path, len) == 0)
                use = other->backing_string;
        }
    }
    if (use == NULL)
        return err_set(error, QBLK_E_TARGET_INVALID, "the image %s (node %s) was opened by a "
                       "relative name, so its name as seen from %s is unknown; %sstart QEMU with "
                       "absolute names", node->filename, node->name, image_path,
                       op->kind == &op_pull || op->kind == &op_commit
                           ? "name the string to record with --backing-file, or " : "");
    *ret_text = mem_strdup(use);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

/* "first" (or the node's own text) and then the images below node as they are now. */
int plan_chain_text(const qblk_op *op, const char *first, int below, char **ret_text,
                    qblk_error *error)
{
    struct buf text = BUF_INIT;
    int steps = qblk_graph_node_count(op->graph);

    if (first != NULL)
        (void)buf_adds(&text, first);
    for (int i = below; i >= 0 && steps-- > 0; i = graph_backing_image(op->graph, i)) {
        const qblk_node *node = qblk_graph_node(op->graph, i);

        (void)buf_addf(&text, "%s%s (%s)", text.len > 0 ? " -> " : "", node->name,
                       node->filename);
    }
    *ret_text = buf_take(&text);
    return *ret_text != NULL ? 0 : err_nomem(error);
}
