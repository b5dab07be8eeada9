/* Graphs made up for tests, from replies in a few words. */
#ifndef QBLK_TESTS_GRAPH_HELP_H
#define QBLK_TESTS_GRAPH_HELP_H

#include <check.h>
#include <string.h>

#include "graph/graph.h"

static inline qblk_graph *build(const char *jobs, const char *block, const char *nodes, const char *debug)
{
    struct graph_replies replies = { .jobs = jobs, .block = block, .named_nodes = nodes,
                                     .debug_graph = debug };
    qblk_graph *graph = NULL;
    qblk_error error = { .text = "" };
    int r = graph_build(&replies, &graph, &error);

    ck_assert_msg(r == 0, "%d: %s", r, error.text);
    return graph;
}

static inline char *print(const qblk_graph *graph, int disk, qblk_draw how)
{
    qblk_error error = { .text = "" };
    char *text = NULL;
    int r = qblk_graph_print(graph, disk, how, &text, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    return text;
}

#define NODE(name_, drv_, file_, kids_) \
    "{\"node-name\":\"" name_ "\",\"drv\":\"" drv_ "\",\"file\":\"" file_ \
    "\",\"ro\":false,\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0," \
    "\"children\":[" kids_ "],\"image\":{\"filename\":\"" file_ "\",\"format\":\"" drv_ \
    "\",\"virtual-size\":1073741824}}"
#define KID(role_, name_) "{\"child\":\"" role_ "\",\"node-name\":\"" name_ "\"}"
#define DRIVE(device_, qdev_, node_, file_) \
    "{\"device\":\"" device_ "\",\"qdev\":\"" qdev_ "\",\"type\":\"unknown\",\"removable\":false," \
    "\"locked\":false,\"io-status\":\"ok\",\"inserted\":" NODE(node_, "qcow2", file_, "") "}"
#define EMPTY(device_, qdev_) \
    "{\"device\":\"" device_ "\",\"qdev\":\"" qdev_ "\",\"type\":\"unknown\",\"removable\":true," \
    "\"locked\":false}"
#define REPLY(list_) "{\"return\":[" list_ "]}"

/* A machine with every kind of disk. */
#define MACHINE_BLOCK REPLY( \
    DRIVE("drv0", "/machine/peripheral-anon/device[2]/virtio-backend", "#block1", "/i/a.qcow2") \
    "," DRIVE("", "hd1", "n1", "/i/b.qcow2") \
    "," DRIVE("", "/machine/peripheral/vd2/virtio-backend", "thr", "/i/c.qcow2") \
    "," DRIVE("drv3", "/machine/peripheral/vd3/virtio-backend", "n3", "/j/a.qcow2") \
    "," EMPTY("", "/machine/peripheral-anon/device[0]") "," EMPTY("cd", "cd2"))
#define MACHINE_NODES REPLY( \
    NODE("#block1", "qcow2", "/i/a.qcow2", KID("file", "#block2") "," KID("backing", "base")) \
    "," NODE("#block2", "file", "/i/a.qcow2", "") \
    "," NODE("n1", "qcow2", "/i/b.qcow2", KID("file", "n1f") "," KID("backing", "base")) \
    "," NODE("n1f", "blkdebug", "blkdebug::/i/b.qcow2", KID("image", "n1ff")) \
    "," NODE("n1ff", "file", "/i/b.qcow2", "") \
    "," NODE("base", "raw", "/i/base.raw", KID("file", "basef")) \
    "," NODE("basef", "file", "/i/base.raw", "") \
    "," NODE("thr", "throttle", "/i/c.qcow2", KID("file", "n2")) \
    "," NODE("n2", "qcow2", "/i/c.qcow2", KID("file", "n2f")) \
    "," NODE("n2f", "file", "/i/c.qcow2", "") \
    "," NODE("n3", "qcow2", "/j/a.qcow2", KID("file", "n3f")) \
    "," NODE("n3f", "file", "/j/a.qcow2", "") \
    "," NODE("qblk.0123abcd.journal", "null-co", "null-co://", ""))

#endif
