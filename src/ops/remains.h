/* What an operation of an earlier client has made and what of it there still is: remains.c. */
#ifndef QBLK_SRC_OPS_REMAINS_H
#define QBLK_SRC_OPS_REMAINS_H

#include "ops/op.h"

/* The node of that name, or NULL. */
const struct qapi_block_device_info *
remains_find_node(const struct qapi_block_device_info_list *list, const char *name);

/* Whether nodes of the operation are there that look at a target before there is a journal. */
bool remains_has_look(const qblk_op *op, const struct qapi_block_device_info_list *list);

/* Makes the operation's parts, if it has several targets: as many as its nodes, its jobs and its
 * record tell of. list has the nodes that there are. 0, -ENOMEM. */
int remains_make_parts(qblk_op *op, const struct qapi_block_device_info_list *list,
                       qblk_error *error);

/* Steps for what there is to undo, oldest first, as undoing goes backward; creations under way are
 * waited for. */
int remains_plan(qblk_op *op, const struct qapi_block_device_info_list *list, bool has_job,
                 qblk_error *error);

/* A step that waits until an image is made, or not. The job stays: it proves whose the file is. */
int remains_plan_creation_end(qblk_op *op, const char *job, qblk_error *error);

#endif
