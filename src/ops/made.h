/* The files that an operation has made, which undoing it removes: those alone. */
#ifndef QBLK_SRC_OPS_MADE_H
#define QBLK_SRC_OPS_MADE_H

#include "ops/engine.h"

/* To be called from time to time: remembers which file it is that a step has just made, as far as it is seen
 * from here. */
void made_see(struct engine *engine);

/* Whether some QEMU has the file at that path open and uses it: positive, 0, or -1 where that cannot be seen
 * from here. */
int made_is_held(const char *path);

/* Whether there is nothing in that file but zeroes, as in one that was just made; true where that cannot be seen
 * from here. */
bool made_is_bare(const char *path);

/* Removes it. 0; EBUSY: somebody has it open; EEXIST: another file has come in its place; or another errno. */
int made_remove(const struct step *step);

#endif
