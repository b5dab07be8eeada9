/* Operations that are to end alike: several disks copied by one command. Each is an operation of
 * its own, with its id, its journal and its job; the group only holds them back at these places,
 * and gives all of them up if one fails before the decision:
 *
 *   SAFE     taken up again: nothing of theirs is under way that keeps QEMU from being looked at
 *   PLANNED  every disk has been looked at and none is refused; until then nothing is changed
 *   OPEN     every journal is open, before any target is made
 *   READY    every job is ready; the first of them freezes the guest then, if that was asked for
 *   DECIDED  the same, and the guest is frozen: from here on all are ended, in one burst
 *   OVER     every job is over: the first of them thaws the guest
 *   ENDED    every job is over, before any journal is closed
 *
 * So whoever takes them up after a dead client can tell from any one of them what the others may
 * have done: an operation whose journal is not there has been undone or never began, unless this
 * one has ended as well.
 */
#ifndef QBLK_SRC_OPS_GROUP_H
#define QBLK_SRC_OPS_GROUP_H

#include <stdbool.h>

#include "ops/journal.h"
#include <qblk/ops.h>

enum group_barrier { GROUP_NONE, GROUP_SAFE, GROUP_PLANNED, GROUP_OPEN, GROUP_READY, GROUP_DECIDED,
                     GROUP_OVER, GROUP_ENDED };

/* How far an operation was when it was taken up. */
enum group_found {
    GROUP_FOUND_NOTHING, /* no record: nothing was made */
    GROUP_FOUND_BEGUN,   /* a record, but no job, and none has ended well */
    GROUP_FOUND_JOB,     /* its job is under way */
    GROUP_FOUND_FAILED,  /* its job has failed */
    GROUP_FOUND_ENDED    /* its job has ended well */
};

/* What that means for all of them. */
enum group_verdict {
    GROUP_GO_ON,  /* all are under way: as if nothing had happened. After a lost connection also if some
                   * are not: they begin again, and the others wait */
    GROUP_UNDO,   /* one is missing or has failed: undo the others */
    GROUP_FOLLOW  /* one has ended well: so must the others */
};

/* The operation belongs to the group from now on. 0, or -EINVAL if that has been started,
 * -ENOMEM. */
int group_add(qblk_group *group, qblk_op *op, qblk_error *error);
/* The operation is being freed. */
void group_remove(qblk_op *op);
/* Something happened to the operation: the group looks at it in its next turn. */
void group_notice(qblk_op *op);
/* What was planned is forgotten: the barrier at which it stands is another one, also of the same number. */
void group_forget(qblk_op *op);
/* Whether the operation of that id is in the same group. */
bool group_has(const qblk_op *op, const char *id);
/* Whether it is the first of its group, or in none. */
bool group_is_first(const qblk_op *op);
bool group_is_started(const qblk_group *group);
/* The ids of the others, for the journal. 0 or -ENOMEM. */
int group_list_others(const qblk_op *op, struct journal_nodes *ids);

/* Refuses a disk or a target that another of the group has as well. */
int group_check_clash(const qblk_op *op, qblk_error *error);
/* A step that holds the operation back, if it is in a group. */
void group_plan_barrier(qblk_op *op, enum group_barrier barrier, const char *name);

/* Over a new connection: the operation is planned from its beginning once more; whether that makes
 * no sense any more, since another of the group has failed, and why. */
void group_begins_again(qblk_op *op);
bool group_gives_up(qblk_op *op, qblk_error *ret_why);

/* Once every member has read its journal. *ret_ending: how the one that has ended did (FOLLOW).
 * QBLK_E_BUSY if one of them cannot be taken up. */
int group_judge(qblk_op *op, enum group_verdict *ret_verdict, qblk_ending *ret_ending,
                qblk_error *error);

#endif
