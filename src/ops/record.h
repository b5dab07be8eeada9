/* What the record of an open operation means, and how much of it has come to pass: for whoever
 * takes it up (resume.c) and whoever only looks (open.c, fate.c), so that what is foretold is what
 * is done. */
#ifndef QBLK_SRC_OPS_RECORD_H
#define QBLK_SRC_OPS_RECORD_H

#include "ops/op.h"

/* Its main job, if QEMU knows it; the info is filled in then. A job of that name and of another
 * type than the operation's is not its own. */
qblk_job *record_find_job(const qblk_op *op, qblk_job_info *ret_info);

/* Whether a node of the journal's name, with that driver, can be one. 0 or QBLK_E_JOURNAL. */
int record_check_node(const qblk_op *op, const char *driver, qblk_error *error);
/* Reads the record from the names of the journal's bitmaps (at least one): the kind, the ending,
 * the disk as far as it is still there. op->graph is known. 0, or QBLK_E_JOURNAL, QBLK_E_MEMORY. */
int record_take(qblk_op *op, char *const *names, size_t n, qblk_error *error);

/* Whether it can end in more than one way. */
bool record_has_endings(const qblk_op *op);
/* Whether the disk has moved already; of a commit that is only known if it has ended well. */
bool record_has_pivoted(const qblk_op *op);
/* It has ended well: sees which way, if there is more than one. */
void record_see_ending(qblk_op *op);
/* Whether what there is shows that it was done, although the record does not say so. */
bool record_is_seen_done(const qblk_op *op);
/* How far it is; outcome is that of its main job, if there is one. */
enum group_found record_how_far(const qblk_op *op, bool has_job, qblk_job_outcome outcome);

/* The errors for an operation that is left alone: somebody else's job keeps QEMU from being asked
 * for the record; the record names that operation as one that it belongs to, and is not named by
 * it. */
int record_refuse_hazard(const qblk_job_info *info, qblk_error *error);
int record_refuse_companion(const qblk_op *op, const char *id, qblk_error *error);

#endif
