/* What no two clients may be at once. Two operations that make the same file each see that it is not there,
 * QEMU makes it for both, and the one that fails removes it under the other. One that is at work and one
 * that recovers take an operation in its first instants from one another.
 *
 * It is a name of the kernel's that goes with the process, and with those that it has forked and that have
 * not called exec; and known on this machine, in one network namespace: clients of elsewhere are not seen. */
#ifndef QBLK_SRC_MONITOR_CLAIM_H
#define QBLK_SRC_MONITOR_CLAIM_H

#include <qblk/qblk.h>

/* A place in a directory, by whatever name that goes, for an operation on that monitor. Returns a descriptor,
 * 0 if nothing can be said (the directory is not seen from here, there is a shortage, the name is held by a
 * user who is not to be believed: neither this one, nor root, nor the one whose QEMU it is), or -EBUSY
 * (QBLK_E_BUSY): another operation has it, of this process or of the one that is named. A holder who has been
 * asked so often that he cannot be seen any more is believed: to refuse changes nothing. */
int claim_file(const qblk_monitor *monitor, const char *path, qblk_error *error);
/* An operation, by its id: who is at work on it. Returns the same. */
int claim_operation(const qblk_monitor *monitor, const char *id, qblk_error *error);
/* Whether somebody has that one, with his process id, or 0 if that cannot be seen. Takes nothing. */
bool claim_is_operation_held(const qblk_monitor *monitor, const char *id, long *ret_pid);
/* For the monitor's QEMU: of what must not happen in it while an image is made, and of making one, this client
 * is about to do something. False: another one is; nothing tells when it is done. Several of one monitor do
 * not exclude one another here. */
bool claim_turn(qblk_monitor *monitor);
/* It is done. */
void claim_turn_done(qblk_monitor *monitor);
/* Gives it back. 0 is fine. */
void claim_drop(int claim);

#endif
