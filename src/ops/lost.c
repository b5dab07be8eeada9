/* The connection is gone in the middle of an operation. Whether QEMU is, cannot be told from here:
 * a living one is asked by recover, a dead one leaves files, and somebody has to decide about
 * those. So it is said where the operation stood and what each file is worth by what is known. None
 * is removed: after a pivot that QEMU may have carried out, the target is the disk. */
#include <stdlib.h>
#include <unistd.h>

#include "base/str.h"
#include "ops/op.h"
#include "ops/remains.h"

/* What an overlay is worth, which holds nothing until the disk is on it. */
static const char *overlay_worth(const qblk_op *op, bool is_made)
{
    const struct engine *engine = &op->engine;

    if (engine->is_past)
        return "is the disk's top image: what the guest wrote since the snapshot is in this file "
               "alone; keep it, and the image that it records as its backing file";
    if (engine->mode == ENGINE_FORWARD && engine_has_begun(engine, STEP_POINT))
        return "may be the disk's top image by now: QEMU had been told to take the snapshot, and "
               "what the guest wrote since would be in this file alone; look at both, it and the "
               "image below, before removing it";
    return is_made ? "holds nothing of the disk yet: of no use" : "is as it was";
}

/* A mirror flushes its target at its end, a backup leaves that to the image's closing. */
static bool is_written_out(const qblk_op *op)
{
    const struct engine *engine = &op->engine;

    if (op->kind != &op_backup || str_equal(op->to.format, "raw"))
        return true;
    if (op->is_resumed && op->nodes != NULL && !op->has_job &&
        remains_find_node(op->nodes, op->to.names.node) == NULL)
        return true;
    for (size_t i = 0; i < engine->n; i++) {
        const struct step *step = &engine->steps[i];

        if (op->legacy ? step->kind == STEP_DISMISS : str_equal(step->node, op->to.names.node))
            return step->is_done && !engine->is_in_doubt;
    }
    return false;
}

/* What the target is worth. */
static const char *worth(const qblk_op *op, bool is_made)
{
    const struct engine *engine = &op->engine;
    bool is_pivot = str_equal(op->kind->job_type, "mirror") && op->ending == QBLK_END_PIVOT;

    if (op->kind == &op_snapshot)
        return overlay_worth(op, is_made);
    if (engine->is_past)
        return is_pivot ? "is complete, and the disk has moved to it: what the guest wrote since "
                          "is in this file alone"
           : is_written_out(op)
               ? "is complete"
               : "may be incomplete: all data was copied, but QEMU was not seen to close the image, and may "
                 "have held a part of it in memory; if QEMU has died, make the backup anew";
    if (!engine_has_begun(engine, STEP_START) && !op->has_job)
        return is_made ? "holds nothing of the disk yet: of no use" : "is as it was";
    if (engine->mode == ENGINE_FORWARD && engine_has_begun(engine, STEP_VERB))
        return is_pivot ? "may be the disk by now: QEMU had been told to move the disk there, and "
                          "what the guest wrote since would be in this file alone; look at both "
                          "before using or removing either"
                        : "may be complete or not: QEMU had been told to finish it; look at both, "
                          "the disk and this file, before using it";
    return "is incomplete: of no use as a copy of the disk";
}

static void tell_target(qblk_op *op, size_t number)
{
    const struct target *to = op_target(op, number);
    const char *made = journal_file(&op->journal, number);
    const char *file = made != NULL ? made : to->path;

    if (file == NULL || (op->to.kind == TARGET_FILE && access(file, F_OK) != 0))
        return;
    engine_note(&op->engine, "%s %s, %s by this operation, %s",
                op->to.kind == TARGET_FILE ? "file" : "target", file,
                made != NULL ? "made" : "to be written", worth(op, made != NULL));
}

/* A pull and a commit move data within the chain, which reads the same from its top all along. */
static void tell_chain(qblk_op *op)
{
    const struct engine *engine = &op->engine;

    if (!engine_has_begun(engine, STEP_START) && !op->has_job)
        return;
    if (op->kind == &op_pull)
        /* QEMU changes the header at the job's end, and the tables for the pulled data follow when
         * the guest flushes: a QEMU that dies in between leaves an image without either. */
        engine_note(&op->engine, "disk %s: the images below still hold all that was to be pulled: "
                    "keep them. What was pulled so far stays, and pulling again goes on from "
                    "there; but if QEMU has died and the image filled names no backing file, or "
                    "another, bring the old one back with \"qemu-img rebase -u -b FILE -F FORMAT\" "
                    "before anything else", op->disk_name);
    else if (op->kind == &op_commit)
        engine_note(&op->engine, "disk %s: its top image over the others reads as before; the "
                    "image that data was committed into has changed, and is of no use without "
                    "those above it unless the commit came to its end", op->disk_name);
}

/* What its kind says of itself: most of these are one command, of which recover finds nothing. */
static void tell_command(qblk_op *op)
{
    op->kind->tell_left(op);
    if (op->kind == &op_resize && op->top >= 0)
        engine_note(&op->engine, "if QEMU has died, image %s of disk %s has the size that it had or the one "
                    "that was asked for, which \"qemu-img info\" shows; its data is not changed",
                    plan_file_name(op, op->top), op->disk_name);
}

/* Until its record is read, the engine knows nothing of how far it came. */
static bool is_known(const qblk_op *op)
{
    return op->graph != NULL && (!op->is_resumed || op->journal.op != NULL);
}

static void tell_files(qblk_op *op)
{
    for (size_t i = 0; i < op_n_targets(op); i++)
        tell_target(op, i);
    tell_chain(op);
}

void lost_remember(qblk_op *op)
{
    struct engine *engine = &op->engine;
    size_t first = engine->n_notes;

    if (!is_known(op))
        return;
    journal_free_nodes(&op->worths);
    tell_files(op);
    for (size_t i = first; i < engine->n_notes; i++) {
        (void)journal_add(&op->worths, engine->notes[i]);
        free(engine->notes[i]);
    }
    engine->n_notes = first;
}

void lost_recall(qblk_op *op)
{
    for (size_t i = 0; i < op->worths.n; i++)
        engine_note(&op->engine, "when the connection was lost: %s", op->worths.v[i]);
}

void lost_tell(qblk_op *op)
{
    bool is_begun = engine_has_begun(&op->engine, STEP_CALL) || op->engine.tried > 0 ||
                    op->is_resumed || op->has_returned;

    if ((op->graph == NULL && !op->has_returned) || op->common.dry_run || !is_begun)
        return;
    if (is_known(op))
        tell_files(op);
    else
        lost_recall(op);
    if (op->kind->tell_left != NULL) {
        tell_command(op);
        return;
    }
    engine_note(&op->engine, "if QEMU still runs, \"qblk recover --operation %s\" takes the "
                "operation up again; if it has died, nothing of the operation is left but its "
                "files", op->id);
}
