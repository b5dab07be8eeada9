/* That two operations make the same file at once: each sees that it is not there, QEMU makes it for both,
 * and the one that fails then removes it under the other. What is told here is known to the clients of
 * this machine alone, of one network namespace; others are seen by QEMU's locks, if they come late enough. */
#ifndef QBLK_SRC_MONITOR_CLAIM_H
#define QBLK_SRC_MONITOR_CLAIM_H

#include <qblk/base.h>

/* A place in a directory, by whatever name that goes. Returns a descriptor, 0 if nothing can be said (the
 * directory is not seen from here, the name is another user's, there is a shortage), or -EBUSY
 * (QBLK_E_BUSY): another operation has it, of this process or of the one that is named. */
int claim_file(const char *path, qblk_error *error);
/* Gives it back. 0 is fine. */
void claim_drop(int claim);

#endif
