/* Quiescing: the guest's file systems are frozen through its agent around the instant that counts.
 * The steps for plans, and the agent's channel on the operation's monitor. */
#ifndef QBLK_SRC_OPS_GUEST_H
#define QBLK_SRC_OPS_GUEST_H

#include "ops/op.h"

/* The operation is to quiesce the guest through the agent at path (absolute; NULL: not). With
 * is_optional it goes on if the guest cannot be frozen. To be called when the operation is made;
 * the journal names the socket from then on, for recover. Returns 0, QBLK_E_ARGUMENT,
 * QBLK_E_MEMORY. */
int guest_want(qblk_op *op, const char *path, bool is_optional, qblk_error *error);
void guest_free(struct guest *guest);
/* The socket, or NULL. */
const char *guest_path(const qblk_op *op);

/* Steps: nothing is added for an operation that does not quiesce. What must happen while the guest
 * is frozen stands between the two. */
void plan_freeze(qblk_op *op);
/* Sees beforehand whether the guest could be frozen, where that is not for a long while and nobody
 * wants to go on without. */
void plan_hail(qblk_op *op);
void plan_thaw(qblk_op *op);
/* Taken up again: thaws the guest if the earlier client has left it frozen. */
void plan_mend(qblk_op *op);

/* The value of the journal's key "agent", the caller's, and back. NULL for an operation that does
 * not quiesce; what is malformed is ignored. */
int guest_record(const qblk_op *op, char **ret_value, qblk_error *error);
int guest_read_record(qblk_op *op, const char *value, qblk_error *error);

/* run.c: carries out an ACT_AGENT. The engine hears of it in a later turn of the loop. */
void guest_act(qblk_op *op, const struct act *act);
/* The user has cancelled: a freeze under way is given up. */
void guest_cancelled(qblk_op *op);
/* The connection to QEMU is lost, and being made again. A freeze under way is given up; a guest
 * that is frozen stays so for a while, since what it is frozen for may be done already, and is
 * thawed by the operation once it is known, or when that takes too long. */
void guest_away(qblk_op *op);
/* Whether the operation must wait before it is left: the guest is being thawed, after which
 * op_run() is called again. */
bool guest_holds(qblk_op *op);
/* The connection to QEMU has ended, or the operation cannot be taken up over a new one. Whether it
 * is to end later, as lost, when the guest has been thawed: then by guest.c. */
bool guest_outlives(qblk_op *op, const qblk_error *why);
/* The monitor goes: whether the operation is one of those, and is to end now. */
bool guest_is_cut_off(qblk_op *op, qblk_error *ret_why);

#endif
