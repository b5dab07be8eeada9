/* qblk/qblk.h - all of libqblk but qblk/ev.h, which needs libev. */
#ifndef QBLK_QBLK_H
#define QBLK_QBLK_H

#include <qblk/base.h>
#include <qblk/monitor.h>
#include <qblk/job.h>
#include <qblk/graph.h>
#include <qblk/ops.h>
#include <qblk/remains.h>
#include <qblk/agent.h>

#endif
