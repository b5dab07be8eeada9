/* What is told of a graph: the drawings, and the words about who uses a node. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "graph_help.h"

START_TEST(the_tree_shows_chain_filters_and_shared_nodes_once)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    char *text = print(graph, -1, QBLK_DRAW_TREE);

    ck_assert_str_eq(
        text,
        "drv0  1 GiB  /machine/peripheral-anon/device[2]/virtio-backend\n"
        "  active: #block1  qcow2  /i/a.qcow2  1 GiB\n"
        "  ├─ file: #block2  file  1 GiB\n"
        "  └─ backing: base  raw  /i/base.raw  1 GiB\n"
        "     └─ file: basef  file  1 GiB\n"
        "hd1  1 GiB  /machine/peripheral/hd1\n"
        "  active: n1  qcow2  /i/b.qcow2  1 GiB\n"
        "  ├─ filter: n1f  blkdebug\n"
        "  │  └─ file: n1ff  file  /i/b.qcow2  1 GiB\n"
        "  └─ backing: base  (see above)\n"
        "vd2  1 GiB  /machine/peripheral/vd2/virtio-backend\n"
        "  filter: thr  throttle\n"
        "  └─ active: n2  qcow2  /i/c.qcow2  1 GiB\n"
        "     └─ file: n2f  file  1 GiB\n"
        "vd3  1 GiB  drive drv3  /machine/peripheral/vd3/virtio-backend\n"
        "  active: n3  qcow2  /j/a.qcow2  1 GiB\n"
        "  └─ file: n3f  file  1 GiB\n"
        "/machine/peripheral-anon/device[0]  (empty)\n"
        "cd2  drive cd  /machine/peripheral/cd2  (empty)\n"
        "other nodes\n"
        "  journal: qblk.0123abcd.journal  null-co  null-co://  1 GiB\n");
    free(text);
    text = print(graph, 1, QBLK_DRAW_CHAIN);
    ck_assert_str_eq(text, "n1 (/i/b.qcow2) -> base (/i/base.raw)\n");
    free(text);
    text = print(graph, 0, QBLK_DRAW_CHAIN);
    ck_assert_str_eq(text, "/i/a.qcow2 -> base (/i/base.raw)\n");
    free(text);
    text = print(graph, 5, QBLK_DRAW_CHAIN);
    ck_assert_str_eq(text, "(empty)\n");
    free(text);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(a_node_s_children_are_told_in_one_order_whatever_qemu_s_is)
{
    static const char *const orders[] = {
        REPLY(NODE("q", "quorum", "", KID("children.10", "b") "," KID("children.9", "a")) ","
              NODE("a", "qcow2", "/a", KID("backing", "b") "," KID("data-file", "d") ","
                   KID("file", "f")) ","
              NODE("b", "raw", "/b", "") "," NODE("d", "file", "/d", "") ","
              NODE("f", "file", "/f", "")),
        REPLY(NODE("q", "quorum", "", KID("children.9", "a") "," KID("children.10", "b")) ","
              NODE("a", "qcow2", "/a", KID("file", "f") "," KID("data-file", "d") ","
                   KID("backing", "b")) ","
              NODE("b", "raw", "/b", "") "," NODE("d", "file", "/d", "") ","
              NODE("f", "file", "/f", "")),
    };

    for (size_t i = 0; i < 2; i++) {
        qblk_graph *graph = build(NULL, NULL, orders[i], NULL);
        char *text = print(graph, -1, QBLK_DRAW_TREE);

        ck_assert_str_eq(text, "q  1 GiB\n"
                               "  unused: q  quorum  1 GiB\n"
                               "  ├─ children.9: a  qcow2  /a  1 GiB\n"
                               "  │  ├─ file: f  file  /f  1 GiB\n"
                               "  │  ├─ data-file: d  file  /d  1 GiB\n"
                               "  │  └─ backing: b  raw  /b  1 GiB\n"
                               "  └─ children.10: b  (see above)\n");
        free(text);
        qblk_graph_free(graph);
    }
}
END_TEST

START_TEST(nothing_drawn_can_command_a_terminal_or_break_dot)
{
    static const char nodes[] =
        REPLY(NODE("a\\u001b[31m\\\"];evil[\\\\", "qc\\u009bow2", "/i/\\\"x\\ny", ""));
    qblk_graph *graph = build(NULL, REPLY(""), nodes, NULL);
    char *text = print(graph, -1, QBLK_DRAW_TREE);

    for (const char *c = text; *c != '\0'; c++)
        ck_assert(*c == '\n' || (unsigned char)*c >= 0x20);
    ck_assert_ptr_null(strstr(text, "\xc2\x9b"));
    ck_assert_int_eq(text[strlen(text) - 1], '\n');
    free(text);
    text = print(graph, -1, QBLK_DRAW_DOT);
    ck_assert_ptr_nonnull(strstr(text, "label=\"a [31m\\\"];evil[\\\\\\n"));
    ck_assert_ptr_nonnull(strstr(text, "/i/\\\"x y"));
    free(text);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(bad_ways_to_draw_are_refused)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    qblk_error error;
    char *text = NULL;

    ck_assert_int_lt(qblk_graph_print(graph, 6, QBLK_DRAW_TREE, &text, &error), 0);
    ck_assert_int_lt(qblk_graph_print(graph, -2, QBLK_DRAW_TREE, &text, &error), 0);
    ck_assert_int_lt(qblk_graph_print(graph, 0, (qblk_draw)9, &text, &error), 0);
    ck_assert_ptr_null(text);
    qblk_graph_free(graph);
}
END_TEST

/* ---- who uses what -------------------------------------------------------------------------- */

#define BIT(name_, flags_)                                                                         \
    "{\"name\":\"" name_ "\",\"count\":131072,\"granularity\":65536," flags_ "}"
#define ON "\"recording\":true,\"busy\":false,\"persistent\":true"
#define OFF "\"recording\":false,\"busy\":true,\"persistent\":false"
#define BROKEN                                                                                     \
    "\"recording\":false,\"busy\":false,\"persistent\":true,\"inconsistent\":true"
#define PLAIN(name_, drv_, file_, more_)                                                           \
    "{\"node-name\":\"" name_ "\",\"drv\":\"" drv_ "\",\"file\":\"" file_                           \
    "\",\"ro\":true,\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0" more_        \
    ",\"image\":{\"filename\":\"" file_ "\",\"format\":\"" drv_                                      \
    "\",\"virtual-size\":1048576,\"actual-size\":200704}}"
#define PART(id_, type_, name_) "{\"id\":" id_ ",\"type\":\"block-" type_ "\",\"name\":\"" name_ "\"}"
#define EDGE(parent_, child_, name_)                                                               \
    "{\"parent\":" parent_ ",\"child\":" child_ ",\"name\":\"" name_                                 \
    "\",\"perm\":[],\"shared-perm\":[]}"
#define JOB(id_, status_, current_, total_)                                                        \
    "{\"id\":\"" id_ "\",\"type\":\"mirror\",\"status\":\"" status_                                  \
    "\",\"current-progress\":" current_ ",\"total-progress\":" total_ "}"

static qblk_graph *daemon_graph(const char *exports, const char *block_jobs)
{
    struct graph_replies replies = {
        .jobs = REPLY(JOB("j", "paused", "1", "3") "," JOB("new", "created", "0", "0")),
        .block = REPLY(""),
        .named_nodes = REPLY(
            PLAIN("flt", "mirror_top", "/t", "") ","
            PLAIN("top", "qcow2", "json:{}",
                  ",\"dirty-bitmaps\":[" BIT("b0", ON) "," BIT("b1", OFF) "," BIT("b2", BROKEN) "]")
            "," PLAIN("topf", "file", "/t", "") "," PLAIN("tgt", "raw", "/new", "") ","
            PLAIN("lone", "null-co", "null-co://", "")),
        .debug_graph =
            "{\"return\":{\"nodes\":[" PART("1", "driver", "flt") "," PART("2", "driver", "top") ","
            PART("3", "driver", "topf") "," PART("4", "driver", "tgt") ","
            PART("5", "driver", "lone") "," PART("6", "job", "j") "," PART("7", "backend", "") ","
            PART("8", "backend", "") "," PART("9", "job", "fresh") "," PART("10", "backend", "dev0")
            "],\"edges\":[" EDGE("1", "2", "backing") "," EDGE("2", "3", "file") ","
            EDGE("7", "1", "root") "," EDGE("6", "1", "main node") "," EDGE("8", "1", "root") ","
            EDGE("6", "2", "source") "," EDGE("6", "1", "intermediate node") ","
            EDGE("6", "4", "target") "," EDGE("9", "4", "file") "," EDGE("10", "4", "root") "]}}",
        .exports = exports,
        .block_jobs = block_jobs,
    };
    qblk_graph *graph = NULL;
    qblk_error error = { .text = "" };

    ck_assert_msg(graph_build(&replies, &graph, &error) == 0, "%s", error.text);
    return graph;
}

#define EXPORT(id_, type_, node_)                                                                  \
    "{\"id\":\"" id_ "\",\"type\":\"" type_ "\",\"node-name\":\"" node_                              \
    "\",\"shutting-down\":false}"
#define STALLED                                                                                    \
    "{\"type\":\"mirror\",\"device\":\"j\",\"len\":3,\"offset\":1,\"busy\":false,\"paused\":false,"  \
    "\"speed\":0,\"io-status\":\"nospace\",\"ready\":false,\"status\":\"paused\","                   \
    "\"auto-finalize\":true,\"auto-dismiss\":false}"

START_TEST(the_tree_shows_who_holds_what_and_how_far_jobs_are)
{
    qblk_graph *graph =
        daemon_graph(REPLY(EXPORT("ex0", "nbd", "flt") "," EXPORT("gone", "nbd", "nowhere")),
                     REPLY(STALLED));
    char *text = print(graph, -1, QBLK_DRAW_TREE);

    ck_assert_str_eq(text,
                     "flt  1 MiB\n"
                     "  filter: flt  mirror_top  [read-only]"
                     "  <- job j (main node, mirror paused 33 %, stalled (nospace))"
                     "  <- export ex0 (nbd)  <- another backend\n"
                     "  └─ active: top  qcow2  /t  1 MiB (196 KiB allocated)  [read-only]"
                     "  <- job j (source)\n"
                     "     ├─ bitmap: b0  128 KiB dirty, granularity 64 KiB, recording, persistent\n"
                     "     ├─ bitmap: b1  128 KiB dirty, granularity 64 KiB, disabled, busy\n"
                     "     ├─ bitmap: b2  inconsistent, persistent\n"
                     "     └─ file: topf  file  1 MiB  [read-only]\n"
                     "lone  1 MiB\n"
                     "  unused: lone  null-co  null-co://  1 MiB (196 KiB allocated)  [read-only]\n"
                     "other nodes\n"
                     "  target: tgt  raw  /new  1 MiB (196 KiB allocated)  [read-only]"
                     "  <- job j (target)  <- job fresh (file)  <- device dev0\n"
                     "other jobs\n"
                     "  new  mirror created\n");
    free(text);
    ck_assert(!graph_is_unexplained(graph));
    qblk_graph_free(graph);
}
END_TEST

START_TEST(exports_are_asked_for_only_when_somebody_has_no_name)
{
    qblk_graph *graph = daemon_graph(NULL, NULL);

    ck_assert(graph_is_unexplained(graph));
    qblk_graph_free(graph);
    graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL); /* nothing is known of users */
    ck_assert(graph_is_unexplained(graph));
    qblk_graph_free(graph);
    graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, "{\"return\":{\"nodes\":[],\"edges\":[]}}");
    ck_assert(!graph_is_unexplained(graph));
    qblk_graph_free(graph);
}
END_TEST

static void check_users(const qblk_graph *graph, const char *node, int n, const char *want)
{
    CLEANUP(buf_done) struct buf out = BUF_INIT;

    ck_assert_int_eq(graph_tell_users(graph, qblk_graph_find_node(graph, node), &out), n);
    ck_assert_str_eq(out.data != NULL ? out.data : "", want);
}

START_TEST(users_are_told_in_words)
{
    qblk_graph *graph = daemon_graph(REPLY(EXPORT("ex0", "nbd", "flt")), REPLY(STALLED));

    check_users(graph, "flt", 3,
                "job 'j' (mirror paused 33 %, stalled (nospace)), export 'ex0' (nbd) and another "
                "user without a name");
    check_users(graph, "top", 2,
                "job 'j' (mirror paused 33 %, stalled (nospace)) and node 'flt' (filter of job "
                "'j')");
    check_users(graph, "topf", 1, "node 'top' (file)");
    check_users(graph, "tgt", 3,
                "job 'j' (mirror paused 33 %, stalled (nospace)), job 'fresh' and device 'dev0'");
    check_users(graph, "lone", 0, "");
    check_users(graph, "none", 0, "");
    qblk_graph_free(graph);

    graph = build(NULL, REPLY(""),
                  REPLY(NODE("base", "raw", "/b", "") ","
                        NODE("a", "qcow2", "/1", KID("backing", "base")) ","
                        NODE("b", "qcow2", "/2", KID("backing", "base")) ","
                        NODE("c", "qcow2", "/3", KID("backing", "base")) ","
                        NODE("d", "qcow2", "/4", KID("backing", "base")) ","
                        NODE("e", "qcow2", "/5", KID("backing", "base"))), NULL);
    check_users(graph, "base", 5,
                "node 'a' (backing), node 'b' (backing), node 'c' (backing) and 2 more nodes");
    qblk_graph_free(graph);
}
END_TEST

START_TEST(dot_shows_the_same)
{
    qblk_graph *graph = daemon_graph(REPLY(EXPORT("ex0", "nbd", "flt")), REPLY(STALLED));
    char *text = print(graph, -1, QBLK_DRAW_DOT);

    ck_assert_ptr_nonnull(strstr(text, "label=\"j\\nmirror paused 33 %, stalled (nospace)\""));
    ck_assert_ptr_nonnull(strstr(text, "label=\"ex0\\nexport\""));
    ck_assert_ptr_nonnull(strstr(text, "label=\"another backend\""));
    ck_assert_ptr_nonnull(strstr(text, "\\nbitmap b0: 128 KiB dirty, granularity 64 KiB, "));
    ck_assert_ptr_nonnull(strstr(text, "\\nread-only\""));
    ck_assert_ptr_nonnull(strstr(text, "label=\"new\\nmirror created\""));
    ck_assert_ptr_nonnull(strstr(text, "label=\"fresh\""));
    ck_assert_ptr_nonnull(strstr(text, "label=\"dev0\\ndevice\""));
    free(text);
    text = print(graph, qblk_graph_find_disk(graph, "lone", NULL), QBLK_DRAW_DOT);
    ck_assert_ptr_null(strstr(text, "ex0"));
    ck_assert_ptr_null(strstr(text, "mirror"));
    free(text);
    qblk_graph_free(graph);
}
END_TEST

/* Nothing in a quoted string of DOT may end it, start an escape of Graphviz (\N, \l, ...) or be an
 * entity. */
START_TEST(no_name_means_anything_in_dot)
{
    static const char nodes[] =
        REPLY(NODE("x\\\\", "ra\\\"w", "&quot;];\\\\N\\\\l<b>\\u007f\\t", ""));
    qblk_graph *graph = build(NULL, REPLY(""), nodes, NULL);
    char *text = print(graph, -1, QBLK_DRAW_DOT);

    ck_assert_ptr_nonnull(strstr(text, "[label=\"x\\\\\\nra\\\"w\\n"
                                       "&amp;quot;];\\\\N\\\\l<b>  \\n1 GiB\"];\n"));
    free(text);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(children_are_told_with_their_roles)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    int n1 = qblk_graph_find_node(graph, "n1");
    qblk_child child;

    ck_assert_int_eq(qblk_graph_child(graph, n1, 0, &child), 1);
    ck_assert_str_eq(child.role, "file");
    ck_assert_int_eq(child.node, qblk_graph_find_node(graph, "n1f"));
    ck_assert_int_eq(qblk_graph_child(graph, n1, 1, &child), 1);
    ck_assert_str_eq(child.role, "backing");
    ck_assert_int_eq(child.node, qblk_graph_find_node(graph, "base"));
    ck_assert_int_eq(qblk_graph_child(graph, n1, 2, &child), 0);
    ck_assert_int_eq(qblk_graph_child(graph, n1, -1, &child), 0);
    ck_assert_int_eq(qblk_graph_child(graph, -1, 0, &child), 0);
    qblk_graph_free(graph);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph_draw");
    TCase *tcase = tcase_create("graph_draw");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_test(tcase, the_tree_shows_chain_filters_and_shared_nodes_once);
    tcase_add_test(tcase, a_node_s_children_are_told_in_one_order_whatever_qemu_s_is);
    tcase_add_test(tcase, nothing_drawn_can_command_a_terminal_or_break_dot);
    tcase_add_test(tcase, bad_ways_to_draw_are_refused);
    tcase_add_test(tcase, the_tree_shows_who_holds_what_and_how_far_jobs_are);
    tcase_add_test(tcase, exports_are_asked_for_only_when_somebody_has_no_name);
    tcase_add_test(tcase, users_are_told_in_words);
    tcase_add_test(tcase, dot_shows_the_same);
    tcase_add_test(tcase, no_name_means_anything_in_dot);
    tcase_add_test(tcase, children_are_told_with_their_roles);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
