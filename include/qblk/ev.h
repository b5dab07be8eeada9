/* qblk/ev.h - attaches a monitor to a libev loop. The only header that needs libev. */
#ifndef QBLK_EV_H
#define QBLK_EV_H

#include <qblk/base.h>

struct ev_loop;

QBLK_BEGIN_DECLS

/* From now on the loop turns the monitor: it watches its descriptor and its time and calls
 * qblk_monitor_process(). Undone by qblk_monitor_detach_ev() or by freeing the monitor; the loop
 * must outlive both. Returns 0, -EBUSY (attached already), -ENOMEM. Never blocks. Since: 0.1. */
QBLK_API int qblk_monitor_attach_ev(qblk_monitor *monitor, struct ev_loop *loop,
                                    qblk_error *error) QBLK_MUST_CHECK;

/* Takes it out of its loop; without effect if it is in none. Since: 0.1. */
QBLK_API void qblk_monitor_detach_ev(qblk_monitor *monitor);

QBLK_END_DECLS

#endif
