/* The graph built from replies of real QEMUs, in the middle of every kind of job, and from replies
 * that no QEMU would give. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "graph_help.h"

#define DATA "tests/data/graph/"

/* query-jobs, query-block, query-named-block-nodes, x-debug-query-block-graph */
struct replies {
    char *line[4];
};

static void read_replies(struct replies *replies, const char *name)
{
    char path[256];
    FILE *file;

    (void)snprintf(path, sizeof(path), DATA "%s.jsonl", name);
    file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    for (int i = 0; i < 4; i++) {
        size_t room = 0;

        replies->line[i] = NULL;
        ck_assert_int_gt(getline(&replies->line[i], &room, file), 0);
        replies->line[i][strcspn(replies->line[i], "\n")] = '\0';
        if (replies->line[i][0] == '\0') {
            free(replies->line[i]);
            replies->line[i] = NULL;
        }
    }
    (void)fclose(file);
}

static void free_replies(struct replies *replies)
{
    for (int i = 0; i < 4; i++)
        free(replies->line[i]);
}

static const char *name_of(const qblk_graph *graph, int node)
{
    return node >= 0 ? qblk_graph_node(graph, node)->name : "-";
}

/* ---- real graphs ---------------------------------------------------------------------------- */

static const char *const versions[] = { "5.2", "7.2", "10.0", "11.1" };

static const struct {
    const char *job, *stage, *chain;
    bool is_held; /* by the job, where the disk's top node is asked about */
} moments[] = {
    { "stream", "running", "top mid2 mid1 base", true },
    { "stream", "pending", "top mid2 mid1 base", true },
    { "stream", "concluded", "top base", true },
    { "stream", "after", "top base", false },
    { "commit", "running", "top mid2 mid1 base", true },
    { "commit", "pending", "top mid2 mid1 base", true },
    { "commit", "concluded", "top base", true },
    { "commit", "after", "top base", false },
    { "commit-active", "running", "top mid2 mid1 base", true },
    { "commit-active", "pending", "top mid2 mid1 base", true },
    { "commit-active", "concluded", "base", false },
    { "commit-active", "after", "base", false },
    { "mirror", "running", "top mid2 mid1 base", true },
    { "mirror", "pending", "top mid2 mid1 base", true },
    { "mirror", "concluded", "tgt", false },
    { "mirror", "after", "tgt", false },
    { "backup", "running", "top mid2 mid1 base", true },
    { "backup", "pending", "top mid2 mid1 base", true },
    { "backup", "concluded", "top mid2 mid1 base", false },
    { "backup", "after", "top mid2 mid1 base", false },
};

static void check_chain(const qblk_graph *graph, int disk, const char *want, const char *what)
{
    const qblk_disk *vd0 = qblk_graph_disk(graph, disk);
    char chain[256] = "";

    for (int at = vd0->top; at >= 0; at = graph_backing_image(graph, at)) {
        const qblk_node *node = qblk_graph_node(graph, at);

        ck_assert(!node->is_filter);
        ck_assert_int_eq(graph_disk_of(graph, at), disk);
        ck_assert_int_ge(node->file, 0);
        ck_assert(qblk_graph_node(graph, node->file)->is_protocol);
        (void)snprintf(chain + strlen(chain), sizeof(chain) - strlen(chain), "%s%s",
                       chain[0] != '\0' ? " " : "", node->name);
    }
    ck_assert_msg(strcmp(chain, want) == 0, "%s: %s, should be %s", what, chain, want);
}

/* So does the debug graph with query-block alone, where the nodes cannot be asked about. */
START_TEST(chains_of_real_graphs_are_told_without_the_nodes)
{
    int n = 0;

    for (size_t v = 0; v < 4; v++) {
        for (size_t m = 0; m < sizeof(moments) / sizeof(moments[0]); m++) {
            struct replies replies;
            qblk_graph *graph;
            const qblk_disk *disk;
            const char *node;
            char name[64];

            (void)snprintf(name, sizeof(name), "%s-%s-%s", versions[v], moments[m].job,
                           moments[m].stage);
            if (strcmp(name, "7.2-stream-after") == 0 || strcmp(name, "5.2-backup-after") == 0)
                continue; /* it had crashed when its nodes were asked */
            read_replies(&replies, name);
            if (replies.line[1] == NULL) {
                free_replies(&replies);
                continue; /* nor was query-block asked then */
            }
            n++;
            graph = build(replies.line[0], replies.line[1], NULL, replies.line[3]);
            disk = qblk_graph_disk(graph, 0);
            ck_assert_int_eq(qblk_graph_find_disk(graph, "vd0", NULL), 0);
            check_chain(graph, 0, moments[m].chain, name);
            for (int at = disk->top; at >= 0; at = graph_backing_image(graph, at)) {
                ck_assert_str_eq(qblk_graph_node(graph, at)->driver, "qcow2");
                ck_assert_str_eq(qblk_graph_node(graph, at)->filename,
                                 qblk_graph_node(graph, qblk_graph_node(graph, at)->file)->filename);
                ck_assert_uint_eq(qblk_graph_node(graph, at)->virtual_size, disk->virtual_size);
            }
            if (moments[m].is_held)
                ck_assert_ptr_nonnull(graph_job_on(graph, disk->root, -1, &node));
            for (qblk_draw how = QBLK_DRAW_TREE; how <= QBLK_DRAW_DOT; how++) {
                char *text = print(graph, -1, how);

                ck_assert_msg(strstr(text, "0 B") == NULL, "%s: a size that is not known: %s", name, text);
                free(text);
            }
            qblk_graph_free(graph);
            free_replies(&replies);
        }
    }
    ck_assert_int_eq(n, 80 - 4);
}
END_TEST

/* Every way to learn of the edges gives the same chain, in every version. */
START_TEST(chains_of_real_graphs_are_told_the_same_by_every_source)
{
    int n = 0;

    for (size_t v = 0; v < 4; v++) {
        for (size_t m = 0; m < sizeof(moments) / sizeof(moments[0]); m++) {
            struct replies replies;
            char name[64];

            (void)snprintf(name, sizeof(name), "%s-%s-%s", versions[v], moments[m].job,
                           moments[m].stage);
            if (strcmp(name, "7.2-stream-after") == 0 || strcmp(name, "5.2-backup-after") == 0)
                continue; /* it had crashed when its nodes were asked */
            read_replies(&replies, name);
            for (int source = 0; replies.line[2] != NULL && source < 2; source++) {
                qblk_graph *graph = build(replies.line[0], replies.line[1], replies.line[2],
                                          source == 0 ? replies.line[3] : NULL);
                int disk = qblk_graph_find_disk(graph, "vd0", NULL);

                n++;
                ck_assert_int_eq(disk, 0);
                ck_assert_int_eq(qblk_graph_disk_count(graph), 1);
                check_chain(graph, disk, moments[m].chain, name);
                qblk_graph_free(graph);
            }
            free_replies(&replies);
        }
    }
    ck_assert_int_eq(n, 2 * (80 - 4));
}
END_TEST

START_TEST(jobs_are_found_on_what_they_hold)
{
    for (size_t v = 0; v < 4; v++) {
        for (size_t m = 0; m < sizeof(moments) / sizeof(moments[0]); m++) {
            const char *job, *node = NULL;
            struct replies replies;
            qblk_graph *graph;
            char name[64];

            (void)snprintf(name, sizeof(name), "%s-%s-%s", versions[v], moments[m].job,
                           moments[m].stage);
            if (strcmp(name, "7.2-stream-after") == 0 || strcmp(name, "5.2-backup-after") == 0)
                continue;
            read_replies(&replies, name);
            if (replies.line[2] != NULL) {
                graph = build(replies.line[0], replies.line[1], replies.line[2], replies.line[3]);
                job = graph_job_on(graph, qblk_graph_disk(graph, 0)->top, -1, &node);
                ck_assert_msg((job != NULL) == moments[m].is_held, "%s: %s", name,
                              job != NULL ? job : "nothing");
                if (job != NULL) {
                    ck_assert_str_eq(job, "j");
                    ck_assert_int_ge(qblk_graph_find_node(graph, node), 0);
                }
                qblk_graph_free(graph);
            }
            free_replies(&replies);
        }
    }
}
END_TEST

START_TEST(the_root_is_what_the_device_uses)
{
    for (size_t v = 0; v < 4; v++) {
        static const char *const jobs[] = { "mirror", "backup", "commit-active" };

        for (size_t j = 0; j < 3; j++) {
            for (int source = 0; source < 2; source++) {
                struct replies replies;
                const qblk_disk *disk;
                qblk_graph *graph;
                char name[64];

                (void)snprintf(name, sizeof(name), "%s-%s-running", versions[v], jobs[j]);
                read_replies(&replies, name);
                graph = build(replies.line[0], replies.line[1], replies.line[2],
                              source == 0 ? replies.line[3] : NULL);
                disk = qblk_graph_disk(graph, 0);
                ck_assert_str_eq(disk->name, "vd0");
                ck_assert_str_eq(disk->device, "vd0");
                ck_assert_str_eq(disk->qom_path, "/machine/peripheral/vd0/virtio-backend");
                ck_assert_str_eq(name_of(graph, disk->top), "top");
                ck_assert_uint_eq(disk->virtual_size, 67108864);
                ck_assert_msg(qblk_graph_node(graph, disk->root)->is_filter, "%s %d", name, source);
                qblk_graph_free(graph);
                free_replies(&replies);
            }
        }
    }
}
END_TEST

START_TEST(users_are_told_with_their_roles)
{
    struct replies replies;
    qblk_user user;
    qblk_graph *graph;
    int node, jobs = 0, devices = 0, nodes = 0;

    read_replies(&replies, "10.0-mirror-running");
    graph = build(replies.line[0], replies.line[1], replies.line[2], replies.line[3]);
    node = qblk_graph_disk(graph, 0)->root;
    for (int k = 0; qblk_graph_user(graph, node, k, &user); k++) {
        jobs += strcmp(user.kind, "job") == 0 && strcmp(user.role, "main node") == 0;
        devices += strcmp(user.kind, "device") == 0 && strcmp(user.role, "root") == 0;
    }
    node = qblk_graph_find_node(graph, "mid2");
    for (int k = 0; qblk_graph_user(graph, node, k, &user); k++)
        nodes += strcmp(user.kind, "node") == 0 && strcmp(user.name, "top") == 0
                 && strcmp(user.role, "backing") == 0;
    ck_assert_int_eq(jobs, 1);
    ck_assert_int_eq(devices, 1);
    ck_assert_int_eq(nodes, 1);
    ck_assert_int_eq(qblk_graph_user(graph, -1, 0, &user), 0);
    ck_assert_int_eq(qblk_graph_user(graph, node, 1, &user), 0);
    ck_assert_int_eq(qblk_graph_user(graph, node, -1, &user), 0);
    ck_assert_ptr_null(qblk_graph_node(graph, qblk_graph_node_count(graph)));
    ck_assert_ptr_null(qblk_graph_disk(graph, -1));
    qblk_graph_free(graph);
    free_replies(&replies);
}
END_TEST

START_TEST(what_goes_with_a_node_is_listed_in_the_order_of_deletion)
{
    struct replies replies;
    qblk_graph *graph;
    int list[8], n = 0;

    read_replies(&replies, "10.0-stream-concluded");
    graph = build(replies.line[0], replies.line[1], replies.line[2], replies.line[3]);
    /* Nothing goes while the job holds it. */
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "mid2"), list, 8, &n), 0);
    qblk_graph_free(graph);
    /* The same without the debug graph, as if the job were dismissed. */
    graph = build(NULL, replies.line[1], replies.line[2], NULL);
    free_replies(&replies);
    qblk_graph_free(graph);

    read_replies(&replies, "10.0-mirror-concluded");
    graph = build(replies.line[0], replies.line[1], replies.line[2], replies.line[3]);
    /* The old chain: mid2 is used by top, until top has gone. */
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "mid2"), list, 8, &n), 0);
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "top"), list, 8, &n), 2);
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "mid2"), list, 8, &n), 2);
    ck_assert_int_eq(n, 4);
    ck_assert_str_eq(name_of(graph, list[0]), "top");
    ck_assert_str_eq(name_of(graph, list[1]), "top-f");
    ck_assert_str_eq(name_of(graph, list[2]), "mid2");
    ck_assert_str_eq(name_of(graph, list[3]), "mid2-f");
    /* What the device uses stays; room is not overrun; nonsense is nothing. */
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "tgt"), list, 8, &n), 0);
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "mid1"), list, 5, &n), 1);
    ck_assert_int_eq(n, 5);
    ck_assert_int_eq(graph_deletable(graph, -1, list, 8, &n), 0);
    ck_assert_int_eq(graph_deletable(graph, 999, list, 8, &n), 0);
    qblk_graph_free(graph);
    free_replies(&replies);
}
END_TEST

/* ---- made-up graphs ------------------------------------------------------------------------- */

static int find(const qblk_graph *graph, const char *name, qblk_error *error)
{
    memset(error, 0, sizeof(*error));
    return qblk_graph_find_disk(graph, name, error);
}

START_TEST(disks_answer_to_all_their_names)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    qblk_error error;

    ck_assert_int_eq(qblk_graph_disk_count(graph), 6);
    ck_assert_str_eq(qblk_graph_disk(graph, 0)->name, "drv0");
    ck_assert_str_eq(qblk_graph_disk(graph, 1)->name, "hd1");
    ck_assert_str_eq(qblk_graph_disk(graph, 1)->qom_path, "/machine/peripheral/hd1");
    ck_assert_str_eq(qblk_graph_disk(graph, 2)->name, "vd2");
    ck_assert_str_eq(qblk_graph_disk(graph, 4)->name, "/machine/peripheral-anon/device[0]");
    ck_assert_str_eq(qblk_graph_disk(graph, 5)->name, "cd2");
    ck_assert_int_eq(qblk_graph_disk(graph, 5)->root, -1);
    ck_assert_int_eq(qblk_graph_disk(graph, 5)->top, -1);

    ck_assert_int_eq(find(graph, "hd1", &error), 1);
    ck_assert_int_eq(find(graph, "/machine/peripheral/hd1", &error), 1);
    ck_assert_int_eq(find(graph, "/machine/peripheral/vd2", &error), 2);
    ck_assert_int_eq(find(graph, "/machine/peripheral/vd2/virtio-backend", &error), 2);
    ck_assert_int_eq(find(graph, "/machine/peripheral-anon/device[2]", &error), 0);
    ck_assert_int_eq(find(graph, "drv0", &error), 0);
    ck_assert_int_eq(find(graph, "drv3", &error), 3);
    ck_assert_int_eq(find(graph, "#block1", &error), 0);
    ck_assert_int_eq(find(graph, "thr", &error), 2);
    ck_assert_int_eq(find(graph, "n2", &error), 2);
    ck_assert_int_eq(find(graph, "n2f", &error), 2);
    ck_assert_int_eq(find(graph, "/i/b.qcow2", &error), 1);
    ck_assert_int_eq(find(graph, "b.qcow2", &error), 1);
    ck_assert_int_eq(find(graph, "/j/a.qcow2", &error), 3);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(unknown_and_ambiguous_disks_are_refused_with_the_candidates)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    qblk_error error;

    ck_assert_int_lt(find(graph, "a.qcow2", &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_AMBIGUOUS);
    ck_assert_ptr_nonnull(strstr(error.text, "drv0"));
    ck_assert_ptr_nonnull(strstr(error.text, "vd3"));
    ck_assert_ptr_null(strstr(error.text, "hd1"));
    ck_assert_int_lt(find(graph, "nope", &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_UNKNOWN_DISK);
    ck_assert_ptr_nonnull(strstr(error.text, "drv0, hd1, vd2, vd3"));
    ck_assert_int_lt(find(graph, "base", &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_UNKNOWN_DISK);
    ck_assert_ptr_nonnull(strstr(error.text, "below disk drv0"));
    ck_assert_int_lt(find(graph, "", &error), 0);
    ck_assert_int_lt(qblk_graph_find_disk(graph, "nope", NULL), 0);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(images_in_a_chain_answer_to_name_file_and_depth)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    int base = qblk_graph_find_node(graph, "base"), n2 = qblk_graph_find_node(graph, "n2");
    qblk_error error;

    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 1, "@1", &error), base);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 1, "base", &error), base);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 1, "basef", &error), base);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 1, "/i/base.raw", &error), base);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 1, "base.raw", &error), base);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 2, "@0", &error), n2);
    ck_assert_int_eq(qblk_graph_find_in_chain(graph, 2, "thr", &error), n2);
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 2, "@1", &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_UNKNOWN_DISK);
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 1, "@99999999999999999999", &error), 0);
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 1, "@", &error), 0);
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 1, "n3", &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "@0 n1"));
    ck_assert_ptr_nonnull(strstr(error.text, "@1 base"));
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 5, "@0", &error), 0);
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 77, "@0", &error), 0);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(a_filter_below_an_image_stays_its_file)
{
    qblk_graph *graph = build(NULL, MACHINE_BLOCK, MACHINE_NODES, NULL);
    const qblk_node *n1 = qblk_graph_node(graph, qblk_graph_find_node(graph, "n1"));
    int list[8], n = 0;

    ck_assert_str_eq(name_of(graph, n1->file), "n1f");
    ck_assert_str_eq(name_of(graph, n1->backing), "base");
    ck_assert(qblk_graph_node(graph, n1->file)->is_filter);
    qblk_graph_free(graph);

    /* With no drive all of it can go, but for what QEMU named. */
    graph = build(NULL, REPLY(""), MACHINE_NODES, NULL);
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "n1"), list, 8, &n), 3);
    ck_assert_str_eq(name_of(graph, list[1]), "n1f");
    ck_assert_str_eq(name_of(graph, list[2]), "n1ff");
    n = 0;
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "#block1"), list, 8, &n),
                     0);
    ck_assert_int_eq(graph_deletable(graph, qblk_graph_find_node(graph, "base"), list, 8, &n), 0);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(without_drives_the_nodes_that_nothing_uses_are_disks)
{
    static const char debug[] =
        "{\"return\":{\"nodes\":[{\"id\":1,\"type\":\"block-driver\",\"name\":\"a\"},"
        "{\"id\":2,\"type\":\"block-driver\",\"name\":\"af\"},"
        "{\"id\":3,\"type\":\"block-driver\",\"name\":\"#block9\"},"
        "{\"id\":4,\"type\":\"block-driver\",\"name\":\"t\"},"
        "{\"id\":18446744073709551615,\"type\":\"block-job\",\"name\":\"j\"}],"
        "\"edges\":[{\"parent\":1,\"child\":2,\"name\":\"file\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":3,\"child\":1,\"name\":\"backing\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":18446744073709551615,\"child\":3,\"name\":\"main node\",\"perm\":[],"
        "\"shared-perm\":[]},"
        "{\"parent\":18446744073709551615,\"child\":4,\"name\":\"target\",\"perm\":[],"
        "\"shared-perm\":[]},"
        "{\"parent\":77,\"child\":4,\"name\":\"x\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":1,\"child\":78,\"name\":\"x\",\"perm\":[],\"shared-perm\":[]}]}}";
    static const char jobs[] =
        REPLY("{\"id\":\"j\",\"type\":\"mirror\",\"status\":\"running\","
              "\"current-progress\":1,\"total-progress\":3}");
    static const char qsd_nodes[] =
        REPLY("{\"node-name\":\"a\",\"drv\":\"qcow2\",\"file\":\"a\",\"ro\":false,"
              "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"image\":{\"filename\":\"a\",\"format\":\"qcow2\",\"virtual-size\":5}},"
              "{\"node-name\":\"af\",\"drv\":\"file\",\"file\":\"a\",\"ro\":false,"
              "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"image\":{\"filename\":\"a\",\"format\":\"file\",\"virtual-size\":5}},"
              "{\"node-name\":\"#block9\",\"drv\":\"mirror_top\",\"file\":\"a\",\"ro\":false,"
              "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"image\":{\"filename\":\"a\",\"format\":\"mirror_top\",\"virtual-size\":5}},"
              "{\"node-name\":\"t\",\"drv\":\"raw\",\"file\":\"t\",\"ro\":false,"
              "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"image\":{\"filename\":\"t\",\"format\":\"raw\",\"virtual-size\":5}},"
              "{\"node-name\":\"qblk.0123abcd.journal\",\"drv\":\"null-co\",\"file\":\"null-co://\","
              "\"ro\":false,\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"image\":{\"filename\":\"null-co://\",\"format\":\"null-co\",\"virtual-size\":5}}");
    qblk_graph *graph = build(jobs, REPLY(""), qsd_nodes, debug);
    char *text;

    ck_assert_int_eq(qblk_graph_disk_count(graph), 1);
    ck_assert_str_eq(qblk_graph_disk(graph, 0)->name, "a");
    ck_assert_str_eq(name_of(graph, qblk_graph_disk(graph, 0)->root), "#block9");
    ck_assert_str_eq(name_of(graph, qblk_graph_disk(graph, 0)->top), "a");
    text = print(graph, 0, QBLK_DRAW_TREE);
    ck_assert_str_eq(text, "a  5 B\n"
                           "  filter: #block9  mirror_top  <- job j (main node, mirror running "
                           "33 %)\n"
                           "  └─ active: a  qcow2  a  5 B\n"
                           "     └─ file: af  file  5 B\n");
    free(text);
    qblk_graph_free(graph);
}
END_TEST

/* As QEMU 5.2 has it: the backup has a backend of its own, and its filter leads to the target too. */
START_TEST(without_nodes_the_disk_below_a_backups_filter_is_told)
{
    static const char debug[] =
        "{\"return\":{\"nodes\":[{\"id\":1,\"type\":\"block-backend\",\"name\":\"\"},"
        "{\"id\":2,\"type\":\"block-driver\",\"name\":\"qblk.0123abcd.filter\"},"
        "{\"id\":3,\"type\":\"block-job\",\"name\":\"qblk.0123abcd.backup\"},"
        "{\"id\":4,\"type\":\"block-driver\",\"name\":\"qblk.0123abcd.target\"},"
        "{\"id\":5,\"type\":\"block-driver\",\"name\":\"qblk.0123abcd.file\"},"
        "{\"id\":6,\"type\":\"block-driver\",\"name\":\"a\"},"
        "{\"id\":7,\"type\":\"block-driver\",\"name\":\"af\"}],"
        "\"edges\":[{\"parent\":2,\"child\":4,\"name\":\"target\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":2,\"child\":6,\"name\":\"backing\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":4,\"child\":5,\"name\":\"file\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":6,\"child\":7,\"name\":\"file\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":3,\"child\":2,\"name\":\"main node\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":3,\"child\":4,\"name\":\"target\",\"perm\":[],\"shared-perm\":[]},"
        "{\"parent\":1,\"child\":2,\"name\":\"root\",\"perm\":[],\"shared-perm\":[]}]}}";
    static const char jobs[] =
        REPLY("{\"id\":\"qblk.0123abcd.backup\",\"type\":\"backup\",\"status\":\"running\","
              "\"current-progress\":1,\"total-progress\":3}");
    qblk_graph *graph = build(jobs, REPLY(""), NULL, debug);

    ck_assert_int_eq(qblk_graph_disk_count(graph), 1);
    ck_assert_str_eq(qblk_graph_disk(graph, 0)->name, "a");
    ck_assert_str_eq(name_of(graph, qblk_graph_disk(graph, 0)->root), "qblk.0123abcd.filter");
    ck_assert_str_eq(name_of(graph, qblk_graph_disk(graph, 0)->top), "a");
    ck_assert_int_eq(qblk_graph_find_disk(graph, "a", NULL), 0);
    qblk_graph_free(graph);
}
END_TEST

START_TEST(bitmaps_are_told_by_name_and_those_of_jobs_are_not)
{
#define HAS "\"recording\":true,\"busy\":true,\"persistent\":false"
#define HAS_NOT "\"recording\":false,\"busy\":false,\"persistent\":true,\"inconsistent\":true"
    static const char nodes[] =
        REPLY(NODE("none", "raw", "/r", "") ","
              "{\"node-name\":\"a\",\"drv\":\"qcow2\",\"file\":\"a\",\"ro\":false,"
              "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
              "\"dirty-bitmaps\":[{\"count\":5,\"granularity\":1," HAS "},"
              "{\"name\":\"b0\",\"count\":131072,\"granularity\":65536," HAS "},"
              "{\"name\":\"b1\",\"count\":-1,\"granularity\":512," HAS_NOT "}],"
              "\"image\":{\"filename\":\"a\",\"format\":\"qcow2\",\"virtual-size\":5}}");
    static const char block[] = REPLY(DRIVE("d", "q", "late", "/l"));
    qblk_graph *graph = build(NULL, block, nodes, NULL);
    int a = qblk_graph_find_node(graph, "a");
    qblk_bitmap bitmap;

    ck_assert_int_eq(qblk_graph_node(graph, a)->bitmaps, 2);
    ck_assert_int_eq(qblk_graph_bitmap(graph, a, 0, &bitmap), 1);
    ck_assert_str_eq(bitmap.name, "b0");
    ck_assert_uint_eq(bitmap.count, 131072);
    ck_assert_uint_eq(bitmap.granularity, 65536);
    ck_assert(bitmap.is_recording && bitmap.is_busy);
    ck_assert(!bitmap.is_persistent && !bitmap.is_inconsistent);
    ck_assert_int_eq(qblk_graph_bitmap(graph, a, 1, &bitmap), 1);
    ck_assert_str_eq(bitmap.name, "b1");
    ck_assert_uint_eq(bitmap.count, 0);
    ck_assert_uint_eq(bitmap.granularity, 512);
    ck_assert(!bitmap.is_recording && !bitmap.is_busy);
    ck_assert(bitmap.is_persistent && bitmap.is_inconsistent);
    ck_assert_int_eq(qblk_graph_bitmap(graph, a, 2, &bitmap), 0);
    ck_assert_int_eq(qblk_graph_bitmap(graph, a, -1, &bitmap), 0);
    ck_assert_int_eq(qblk_graph_bitmap(graph, -1, 0, &bitmap), 0);
    ck_assert_int_eq(qblk_graph_bitmap(graph, 99, 0, &bitmap), 0);
    ck_assert_int_eq(qblk_graph_bitmap(graph, qblk_graph_find_node(graph, "none"), 0, &bitmap), 0);
    ck_assert_int_eq(qblk_graph_bitmap(graph, qblk_graph_find_node(graph, "late"), 0, &bitmap), 0);
    qblk_graph_free(graph);
}
END_TEST

/* ---- hostile graphs ------------------------------------------------------------------------- */

START_TEST(circles_are_cut_and_hang_nothing)
{
    static const char nodes[] =
        REPLY(NODE("a", "qcow2", "/a", KID("backing", "b"))
              "," NODE("b", "throttle", "/b", KID("file", "c"))
              "," NODE("c", "copy-on-read", "/c", KID("file", "b") "," KID("backing", "a"))
              "," NODE("s", "raw", "/s", KID("file", "s") "," KID("backing", "nowhere"))
              "," NODE("a", "raw", "/other", ""));
    static const char block[] = REPLY(DRIVE("x", "y", "a", "/a") "," DRIVE("z", "", "s", "/s"));
    qblk_graph *graph = build(NULL, block, nodes, NULL);
    const char *node;
    qblk_error error;
    int list[8], n = 0;

    ck_assert_int_eq(qblk_graph_node_count(graph), 4);
    ck_assert_str_eq(qblk_graph_node(graph, 0)->driver, "qcow2"); /* the first of a name stays */
    for (int how = 0; how < 3; how++)
        free(print(graph, -1, (qblk_draw)how));
    ck_assert_int_lt(qblk_graph_find_in_chain(graph, 0, "nope", &error), 0);
    ck_assert_ptr_null(graph_job_on(graph, 0, -1, &node));
    (void)graph_deletable(graph, 1, list, 8, &n);
    ck_assert_int_ge(graph_skip_filters(graph, 2), 0);
    ck_assert_int_eq(graph_skip_filters(graph, -1), -1);
    ck_assert_int_eq(graph_backing_image(graph, -1), -1);
    ck_assert_int_eq(graph_disk_of(graph, 99), -1);
    qblk_graph_free(graph);
}
END_TEST

static char *long_chain(int n, bool is_looped)
{
    char *text = malloc((size_t)n * 320 + 64), *at = text;

    at += sprintf(at, "{\"return\":[");
    for (int i = 0; i < n; i++)
        at += sprintf(at,
                      "%s{\"node-name\":\"n%d\",\"drv\":\"%s\",\"file\":\"/f%d\",\"ro\":false,"
                      "\"backing_file_depth\":0,\"encrypted\":false,\"write_threshold\":0,"
                      "\"children\":[{\"child\":\"backing\",\"node-name\":\"n%d\"}],"
                      "\"image\":{\"filename\":\"/f%d\",\"format\":\"x\",\"virtual-size\":1}}",
                      i > 0 ? "," : "", i, i % 3 == 1 ? "throttle" : "qcow2", i,
                      i + 1 < n ? i + 1 : is_looped ? 0 : -1, i);
    (void)sprintf(at, "]}");
    return text;
}

START_TEST(ten_thousand_nodes_in_a_row_are_walked_and_drawn)
{
    for (int is_looped = 0; is_looped < 2; is_looped++) {
        char *nodes = long_chain(10000, is_looped);
        qblk_graph *graph =
            build(NULL, REPLY(DRIVE("", "/machine/peripheral/vd0", "n0", "/f0")), nodes, NULL);
        int bottom, depth = 0;

        for (bottom = qblk_graph_disk(graph, 0)->top; graph_backing_image(graph, bottom) >= 0;
             bottom = graph_backing_image(graph, bottom))
            depth++;
        ck_assert_str_eq(name_of(graph, bottom), "n9999");
        ck_assert_int_eq(depth, 6666);
        for (int how = 0; how < 3; how++)
            free(print(graph, -1, (qblk_draw)how));
        ck_assert_int_eq(qblk_graph_find_in_chain(graph, 0, "@6666", NULL), bottom);
        qblk_graph_free(graph);
        free(nodes);
    }
}
END_TEST

START_TEST(replies_that_are_none_are_errors)
{
    static const char *const bad[] = {
        "", "{", "[]", "{\"return\":{}}", "{\"return\":[1]}", "{\"return\":[{\"id\":3}]}",
        "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no\"}}",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        for (int which = 0; which < 6; which++) {
            const char *reply[6] = { NULL };
            struct graph_replies replies;
            qblk_graph *graph = NULL;
            qblk_error error = { .text = "" };
            int r;

            reply[which] = bad[i];
            replies = (struct graph_replies){ reply[0], reply[1], reply[2],
                                              reply[3], reply[4], reply[5] };
            r = graph_build(&replies, &graph, &error);
            if (which >= 3) {
                ck_assert_int_eq(r, 0); /* one can do without those */
            } else {
                ck_assert_int_lt(r, 0);
                ck_assert_str_ne(error.text, "");
                ck_assert_ptr_null(graph);
            }
            qblk_graph_free(graph);
        }
    }
}
END_TEST

START_TEST(memory_that_fails_leaves_nothing_behind)
{
    struct replies replies;
    int r = -1;

    read_replies(&replies, "11.1-backup-running");
    for (unsigned long n = 1; r < 0; n++) {
        struct graph_replies all = { replies.line[0], replies.line[1], replies.line[2],
                                     replies.line[3], NULL, NULL };
        qblk_graph *graph = NULL;
        qblk_error error = { .text = "" };
        char *text = NULL;

        mem_fail_after(n);
        r = graph_build(&all, &graph, &error);
        if (r == 0)
            r = qblk_graph_print(graph, -1, QBLK_DRAW_TREE, &text, &error);
        if (r == 0) {
            free(text);
            r = qblk_graph_print(graph, -1, QBLK_DRAW_DOT, &text, &error);
        }
        mem_fail_after(0);
        if (r < 0)
            ck_assert_int_eq(error.code, QBLK_E_MEMORY);
        else
            free(text);
        qblk_graph_free(graph);
        ck_assert_uint_lt(n, 100000);
    }
    free_replies(&replies);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("graph");
    TCase *tcase = tcase_create("graph");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, chains_of_real_graphs_are_told_the_same_by_every_source);
    tcase_add_test(tcase, chains_of_real_graphs_are_told_without_the_nodes);
    tcase_add_test(tcase, jobs_are_found_on_what_they_hold);
    tcase_add_test(tcase, the_root_is_what_the_device_uses);
    tcase_add_test(tcase, users_are_told_with_their_roles);
    tcase_add_test(tcase, what_goes_with_a_node_is_listed_in_the_order_of_deletion);
    tcase_add_test(tcase, disks_answer_to_all_their_names);
    tcase_add_test(tcase, unknown_and_ambiguous_disks_are_refused_with_the_candidates);
    tcase_add_test(tcase, images_in_a_chain_answer_to_name_file_and_depth);
    tcase_add_test(tcase, a_filter_below_an_image_stays_its_file);
    tcase_add_test(tcase, without_drives_the_nodes_that_nothing_uses_are_disks);
    tcase_add_test(tcase, without_nodes_the_disk_below_a_backups_filter_is_told);
    tcase_add_test(tcase, bitmaps_are_told_by_name_and_those_of_jobs_are_not);
    tcase_add_test(tcase, circles_are_cut_and_hang_nothing);
    tcase_add_test(tcase, ten_thousand_nodes_in_a_row_are_walked_and_drawn);
    tcase_add_test(tcase, replies_that_are_none_are_errors);
    tcase_add_test(tcase, memory_that_fails_leaves_nothing_behind);
    suite_add_tcase(suite, tcase);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
