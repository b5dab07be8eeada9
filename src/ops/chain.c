/* The names of images: what an image records for the one below it, and a chain as a line of
 * text. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/op.h"

bool plan_is_portable(const char *filename)
{
    /* Behind a slash a colon makes no protocol. */
    return filename[strcspn(filename, "/:")] == ':' || filename[0] == '/';
}

static size_t dir_len(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? (size_t)(slash - path) + 1 : 0;
}

const char *plan_file_name(const qblk_op *op, int image)
{
    const qblk_node *node = qblk_graph_node(op->graph, image);
    const qblk_node *file = qblk_graph_node(op->graph, node->file);

    /* QEMU tells the name as json: when the image lies on another one than its header says, though
     * it is in a file like any other. Only raw may be a window of one. */
    if (str_starts(node->filename, "json:") && strcmp(node->driver, "raw") != 0 && file != NULL &&
        file->is_protocol && file->filename[0] != '\0' && !str_starts(file->filename, "json:"))
        return file->filename;
    return node->filename;
}

/* ---- absolute, or as it is recorded already --------------------------------------------------- */

/* What another image records for the same one: any absolute name; a relative one if it lies in the
 * same directory. Never what QEMU makes up. */
static const char *recorded_elsewhere(const qblk_op *op, int backing, const char *image_path)
{
    size_t len = dir_len(image_path);

    for (int i = 0; i < qblk_graph_node_count(op->graph); i++) {
        const qblk_node *other = qblk_graph_node(op->graph, i);

        if (other->backing_string == NULL || other->is_filter ||
            graph_backing_image(op->graph, i) != backing ||
            str_starts(other->backing_string, "json:"))
            continue;
        if (plan_is_portable(other->backing_string) ||
            (dir_len(plan_file_name(op, i)) == len &&
             strncmp(plan_file_name(op, i), image_path, len) == 0))
            return other->backing_string;
    }
    return NULL;
}

int plan_backing_string(const qblk_op *op, int backing, const char *image_path, char **ret_text,
                        qblk_error *error)
{
    const qblk_node *node = qblk_graph_node(op->graph, backing);
    const char *filename = plan_file_name(op, backing), *use = NULL;
    bool can_say = op->kind == &op_pull || op->kind == &op_commit;
    bool is_made_up = str_starts(filename, "json:");

    if (plan_is_portable(filename) && !is_made_up)
        use = filename;
    else
        /* Opened by a name relative to QEMU's directory, which we cannot know, or by options. */
        use = recorded_elsewhere(op, backing, image_path);
    if (use == NULL && is_made_up && !can_say)
        use = filename; /* the only name there is */
    if (use == NULL && is_made_up)
        return err_set(error, QBLK_E_TARGET_INVALID, "the image of node %s was opened by options that "
                       "no file name says, and other programs could not follow the json: name that "
                       "QEMU makes of them; name the string to record with --backing-file",
                       node->name);
    if (use == NULL)
        return err_set(error, QBLK_E_TARGET_INVALID, "the image %s (node %s) was opened by a "
                       "relative name, so its name as seen from %s is unknown; %sstart QEMU with "
                       "absolute names", filename, node->name, image_path,
                       can_say ? "name the string to record with --backing-file, or " : "");
    *ret_text = mem_strdup(use);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

bool plan_masks(qblk_op *op, enum feature feature, int image, int backing)
{
    const qblk_node *node = qblk_graph_node(op->graph, backing);
    const char *path = plan_file_name(op, image);

    if (features_has(op->monitor, feature))
        return true;
    engine_note(&op->engine, "image %s will name \"%s\" as the format of its backing file, from which "
                "this QEMU cannot be kept; for programs that want \"raw\" there, run \"qemu-img rebase "
                "-u -F raw -b FILE %s\" once QEMU has ended", path, node->driver, path);
    return false;
}

/* ---- relative --------------------------------------------------------------------------------- */

/* Whether the name may well be that of the image: the same but for the directory. */
static bool is_name_of(const char *recorded, const char *filename)
{
    return strcmp(recorded + dir_len(recorded), filename + dir_len(filename)) == 0;
}

/* What the image at records for the one below, if that is a relative name of it. */
static int read_relative(const qblk_op *op, int at, const char **ret_name, qblk_error *error)
{
    static const char what_to_do[] = "leave --relative out, or name the string with --backing-file";
    const qblk_node *node = qblk_graph_node(op->graph, at);
    const char *name = node->backing_string, *file = plan_file_name(op, at);
    int below = graph_backing_image(op->graph, at);

    if (name == NULL || plan_is_portable(name))
        return err_set(error, QBLK_E_TARGET_INVALID, "no relative name can be recorded: image %s "
                       "(node %s) itself records %s%s; %s", file, node->name,
                       name != NULL ? "the absolute name " : "no backing file",
                       name != NULL ? name : "", what_to_do);
    if (below < 0 || !is_name_of(name, plan_file_name(op, below)))
        return err_set(error, QBLK_E_TARGET_INVALID, "no relative name can be recorded: image %s "
                       "(node %s) records %s, but lies on %s just now; %s", file, node->name, name,
                       below >= 0 ? plan_file_name(op, below) : "nothing", what_to_do);
    *ret_name = name;
    return 0;
}

int plan_relative_string(const qblk_op *op, int image, int backing, char **ret_text,
                         qblk_error *error)
{
    struct buf text = BUF_INIT;

    for (int at = image; at >= 0 && at != backing; at = graph_backing_image(op->graph, at)) {
        const char *name = NULL;
        int r = read_relative(op, at, &name, error);

        if (r < 0) {
            buf_done(&text);
            return r;
        }
        /* From the directory that the names so far lead to. */
        if (text.len > 0)
            text.len = dir_len(text.data);
        (void)buf_adds(&text, name);
    }
    *ret_text = buf_take(&text);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

/* The directory that a file is in, without links; NULL if it cannot be looked at. */
static char *real_dir(const char *path)
{
    AUTO_FREE char *dir = mem_strndup(path, dir_len(path));

    return dir != NULL ? realpath(dir, NULL) : NULL;
}

/* Directories without a slash at their end, except the root. */
static void add_way(struct buf *text, const char *from, const char *to)
{
    size_t same = 0;

    if (strcmp(from, "/") == 0)
        from = "";
    if (strcmp(to, "/") == 0)
        to = "";
    for (size_t i = 0;; i++) {
        bool ends = from[i] == '\0' || from[i] == '/', end = to[i] == '\0' || to[i] == '/';

        if (ends && end)
            same = i;
        if (from[i] != to[i] || from[i] == '\0')
            break;
    }
    for (const char *at = from + same; *at != '\0'; at++) {
        if (*at == '/')
            (void)buf_adds(text, "../");
    }
    if (to[same] != '\0')
        (void)buf_addf(text, "%s/", to + same + 1);
}

int plan_relative_path(const char *image, const char *backing, char **ret_text, qblk_error *error)
{
    AUTO_FREE char *from = NULL, *to = NULL;
    struct buf text = BUF_INIT;

    if (image[0] != '/' || backing[0] != '/')
        return err_set(error, QBLK_E_TARGET_INVALID, "no relative name can be recorded in %s: the "
                       "image below, %s, is not known by an absolute file name; leave --relative out",
                       image, backing);
    if (dir_len(image) != dir_len(backing) || strncmp(image, backing, dir_len(image)) != 0) {
        from = real_dir(image);
        to = real_dir(backing);
        if (from == NULL || to == NULL)
            return err_set(error, QBLK_E_TARGET_INVALID, "no relative name can be recorded in %s: the "
                           "way from there to %s cannot be seen from here; put both into one "
                           "directory, or leave --relative out", image, backing);
        add_way(&text, from, to);
    }
    (void)buf_adds(&text, backing + dir_len(backing));
    /* What has a colon before any slash would be taken for a protocol. */
    if (buf_ok(&text) == 0 && plan_is_portable(text.data)) {
        buf_done(&text);
        (void)buf_addf(&text, "./%s", backing + dir_len(backing));
    }
    *ret_text = buf_take(&text);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

/* ---- a chain ------------------------------------------------------------------------------------ */

bool plan_is_below(const qblk_op *op, int image, int above)
{
    int at = above, steps = qblk_graph_node_count(op->graph);

    while (at >= 0 && at != image && steps-- > 0)
        at = graph_backing_image(op->graph, at);
    return at == image && image != above;
}

int plan_check_end(const qblk_op *op, int above, int image, int base, qblk_error *error)
{
    const qblk_node *node = qblk_graph_node(op->graph, image), *low = qblk_graph_node(op->graph, base);
    const qblk_node *over = qblk_graph_node(op->graph, above);
    uint64_t end = node->virtual_size; /* 0: unknown */

    if (end == 0 || low == NULL || end >= low->virtual_size || (over != NULL && end >= over->virtual_size))
        return 0;
    return err_set(error, QBLK_E_SIZE_MISMATCH, "node %s has %llu bytes, the base (node %s) %llu, and what that "
                   "holds behind would appear on disk %s; pull everything, or use copy --pivot instead",
                   node->name, (unsigned long long)end, low->name, (unsigned long long)low->virtual_size,
                   op->disk_name);
}

static void add_images(struct buf *text, const qblk_op *op, int from, int to)
{
    int steps = qblk_graph_node_count(op->graph);

    for (int i = from; i >= 0 && steps-- > 0; i = graph_backing_image(op->graph, i)) {
        const qblk_node *node = qblk_graph_node(op->graph, i);

        (void)buf_addf(text, "%s%s (%s)", text->len > 0 ? " -> " : "", node->name, node->filename);
        if (i == to)
            break;
    }
}

/* "first" (or the node's own text) and then the images below node as they are now. */
int plan_chain_text(const qblk_op *op, const char *first, int below, char **ret_text,
                    qblk_error *error)
{
    struct buf text = BUF_INIT;

    if (first != NULL)
        (void)buf_adds(&text, first);
    add_images(&text, op, below, -1);
    *ret_text = buf_take(&text);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

int plan_chain_without(const qblk_op *op, int last, int next, char **ret_text, qblk_error *error)
{
    struct buf text = BUF_INIT;

    if (last >= 0)
        add_images(&text, op, op->top, last);
    add_images(&text, op, next, -1);
    *ret_text = buf_take(&text);
    return *ret_text != NULL ? 0 : err_nomem(error);
}

/* ---- what they hold -------------------------------------------------------------------------- */

bool plan_is_encrypted(const qblk_op *op, int image)
{
    const qblk_node *node = qblk_graph_node(op->graph, image), *file = qblk_graph_node(op->graph, node->file);

    return node->is_encrypted || (file != NULL && file->is_encrypted);
}

void plan_tell_clear(const qblk_op *op, int to, int from, int stop, struct buf *text)
{
    for (int i = from; i >= 0 && i != stop && !plan_is_encrypted(op, to); i = graph_backing_image(op->graph, i)) {
        if (plan_is_encrypted(op, i))
            (void)buf_addf(text, "%sthe data of the encrypted image %s (%s) will be in clear in %s (%s)",
                           text->len > 0 ? "; " : "", qblk_graph_node(op->graph, i)->name,
                           plan_file_name(op, i), qblk_graph_node(op->graph, to)->name, plan_file_name(op, to));
    }
}

int plan_warn(qblk_op *op, struct buf *text, qblk_error *error)
{
    int r = buf_ok(text);

    if (r == 0 && text->len > 0)
        op->warning = buf_take(text);
    buf_done(text);
    return r < 0 ? err_nomem(error) : 0;
}
