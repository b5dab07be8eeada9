/* The TARGET argument of copy and backup, and other paths that are to hold anywhere. */
#ifndef QBLK_TOOL_TARGET_H
#define QBLK_TOOL_TARGET_H

#include <qblk/base.h>

/* Makes an absolute path of what the user wrote: QEMU would resolve a relative one against its own
 * directory. Names that QEMU takes for something other than a file are refused. The path is the
 * caller's. Returns 0 or negative. */
int target_path(const char *target, char **ret_path, qblk_error *error);

/* The same of --quiesce SOCKET: the record in QEMU names the agent's socket for whoever comes after us, from
 * whatever directory. */
int target_agent(const char *path, char **ret_path, qblk_error *error);

#endif
