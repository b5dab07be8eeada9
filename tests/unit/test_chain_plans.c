/* What a pull or a commit would send, to the letter, and that nothing but questions is sent for a plan
 * or a refusal. The chain is top -> mid -> base. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recorder.h"

static struct peer peer;
static qblk_monitor *monitor;

static void setup(void)
{
    recorder_reset();
    monitor = peer_start(&peer, PEER_VERSION(10, 0, 13), NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

#define BITMAP(name, more) "{\"name\": \"" name "\", \"granularity\": 65536, " more "}"
#define GOOD "\"count\": 65536, \"recording\": true, \"persistent\": true, \"busy\": false"
#define EMPTY "\"count\": 0, \"recording\": true, \"persistent\": true, \"busy\": false"
#define STOPPED "\"count\": 65536, \"recording\": false, \"persistent\": true, \"busy\": false"
#define BROKEN GOOD ", \"inconsistent\": true"
#define BUSY "\"count\": 65536, \"recording\": true, \"persistent\": true, \"busy\": true"

#define ADD(node) "{\"type\":\"block-dirty-bitmap-add\",\"data\":{\"node\":\"" node \
    "\",\"name\":\"b\",\"granularity\":65536,\"persistent\":true}}"
#define MARK "{\"type\":\"block-dirty-bitmap-add\",\"data\":{\"node\":\"qblk.ID.journal\"," \
    "\"name\":\"qblk1 added b\",\"disabled\":true}}"
#define CLEAR(node) "{\"type\":\"block-dirty-bitmap-clear\",\"data\":{\"node\":\"" node \
    "\",\"name\":\"b\"}}"
#define MERGE(node, from) "{\"type\":\"block-dirty-bitmap-merge\",\"data\":{\"node\":\"" node \
    "\",\"target\":\"b\",\"bitmaps\":[" from "]}}"
#define FROM(node) "{\"node\":\"" node "\",\"name\":\"b\"}"
#define TRANSACTION(actions) \
    "{\"execute\":\"transaction\",\"arguments\":{\"actions\":[" actions "]}}"

#define SCHEMA(stream, commit) "[{\"name\": \"block-stream\", \"meta-type\": \"command\", " \
    "\"arg-type\": \"1\"}, {\"name\": \"1\", \"meta-type\": \"object\", \"members\": [" stream \
    "]}, {\"name\": \"block-commit\", \"meta-type\": \"command\", \"arg-type\": \"2\"}, " \
    "{\"name\": \"2\", \"meta-type\": \"object\", \"members\": [" commit "]}]"
#define MEMBER(name) "{\"name\": \"" name "\", \"type\": \"bool\"}"
static const char old_schema[] = SCHEMA("", "");
static const char new_schema[] = SCHEMA(MEMBER("bottom") "," MEMBER("backing-mask-protocol"),
                                        MEMBER("backing-mask-protocol"));

struct plan_case {
    const char *name;
    bool is_commit;
    const char *into, *base, *bottom, *top;
    qblk_ending ending;
    bool relative, no_bitmaps;
    const char *bitmaps[3]; /* of top, mid, base */
    const char *names[2];   /* what the headers of top and mid say */
    const char *base_driver;
    uint64_t mid_size, top_size;
    const char *schema;
    const char *has[4];     /* of what would be sent, in this order */
    const char *has_not;
    const char *says;       /* a note, or with a code the refusal */
    qblk_error_code code;
};

static const struct plan_case cases[] = {
    { .name = "pull into mid", .into = "mid",
      .has = { "op=pull disk=vd0 old=base,base-file intent=finish",
               "{\"execute\":\"block-stream\",\"arguments\":{\"job-id\":\"qblk.ID.pull\","
               "\"device\":\"mid\",\"auto-finalize\":true,\"auto-dismiss\":false}}",
               "\"blockdev-del\",\"arguments\":{\"node-name\":\"base\"}" } },
    { .name = "pull to a bottom", .bottom = "mid", .schema = new_schema,
      .has = { "{\"execute\":\"block-stream\",\"arguments\":{\"job-id\":\"qblk.ID.pull\","
               "\"device\":\"top\",\"bottom\":\"mid\",\"auto-finalize\":true,"
               "\"auto-dismiss\":false}}" } },
    { .name = "pull to a bottom, which QEMU does not know", .bottom = "mid", .schema = old_schema,
      .says = "this QEMU cannot leave what is below a pull open", .code = QBLK_E_UNSUPPORTED },
    { .name = "pull to a bottom, of a QEMU that tells nothing", .bottom = "mid",
      .says = "this QEMU cannot leave what is below a pull open", .code = QBLK_E_UNSUPPORTED },
    { .name = "pull to a base without a format", .base = "base", .base_driver = "file",
      .schema = new_schema, .has = { "\"base-node\":\"base\",\"backing-file\":\"DIR/base.qcow2\","
                                     "\"backing-mask-protocol\":true," } },
    { .name = "the same where QEMU cannot", .base = "base", .base_driver = "file",
      .schema = old_schema, .has = { "\"base-node\":\"base\"" }, .has_not = "mask",
      .says = "will name \"file\" as the format" },
    { .name = "commit below the top to a base without a format", .is_commit = true, .top = "mid",
      .base_driver = "file", .schema = new_schema,
      .has = { "{\"execute\":\"block-commit\",\"arguments\":{\"job-id\":\"qblk.ID.commit\","
               "\"device\":\"top\",\"base-node\":\"base\",\"top-node\":\"mid\","
               "\"backing-file\":\"DIR/base.qcow2\",\"backing-mask-protocol\":true,"
               "\"filter-node-name\":\"qblk.ID.filter\",\"auto-dismiss\":false}}" } },
    { .name = "commit of the top to a base without a format asks nothing", .is_commit = true,
      .base_driver = "file", .has = { "\"block-commit\"" }, .has_not = "mask" },

    { .name = "relative", .base = "base", .relative = true, .names = { "../b/mid.qcow2", "base.qcow2" },
      .has = { "\"backing-file\":\"../b/base.qcow2\"" } },
    { .name = "relative with an absolute name in between", .base = "base", .relative = true,
      .names = { "../b/mid.qcow2", NULL }, .says = "itself records the absolute name",
      .code = QBLK_E_TARGET_INVALID },
    { .name = "relative with a colon", .base = "base", .relative = true,
      .names = { "../b:c/mid.qcow2", "./base.qcow2" }, .has = { "\"backing-file\":\"../b:c/./base.qcow2\"" } },
    { .name = "relative over another name", .is_commit = true, .top = "mid", .relative = true,
      .names = { "other.qcow2", "base.qcow2" }, .says = "records other.qcow2, but lies on",
      .code = QBLK_E_TARGET_INVALID },

    { .name = "pull with bitmaps", .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD),
                                                BITMAP("b", GOOD) },
      .has = { "op=pull", TRANSACTION(MERGE("top", FROM("mid") "," FROM("base"))),
               "\"block-stream\"" } },
    { .name = "pull with bitmaps that say nothing", .bitmaps = { BITMAP("b", GOOD),
                                                                 BITMAP("b", EMPTY) },
      .has_not = "merge", .has = { "\"block-stream\"" } },
    { .name = "pull with a gap", .bitmaps = { BITMAP("b", GOOD), NULL, BITMAP("b", GOOD) },
      .has_not = "merge", .says = "bitmap b of node base is not carried on: an image above" },
    { .name = "pull with one that is not in the top image", .bitmaps = { NULL, BITMAP("b", GOOD) },
      .has_not = "merge", .says = "bitmap b of node mid is not carried on: the disk's top image" },
    { .name = "pull with one that stopped at the top", .bitmaps = { BITMAP("b", STOPPED), BITMAP("b", GOOD) },
      .has_not = "transaction", .says = "bitmap b of node mid is not carried on: that of the disk's top image" },
    { .name = "pull with one that stopped", .bitmaps = { BITMAP("b", GOOD), BITMAP("b", STOPPED) },
      .has_not = "merge", .says = "it is disabled and has missed writes" },
    { .name = "pull with a broken one", .bitmaps = { BITMAP("b", GOOD), BITMAP("b", BROKEN) },
      .has_not = "merge", .says = "it is inconsistent" },
    { .name = "pull with one in use", .bitmaps = { BITMAP("b", GOOD), BITMAP("b", BUSY) },
      .says = "bitmap b of node mid is in use", .code = QBLK_E_BUSY },
    { .name = "pull with the upper one in use", .bitmaps = { BITMAP("b", BUSY), BITMAP("b", GOOD) },
      .says = "bitmap b of node top is in use", .code = QBLK_E_BUSY },
    { .name = "pull of an image of another size", .mid_size = 4096,
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD) }, .says = "of the same size only",
      .code = QBLK_E_SIZE_MISMATCH },
    { .name = "the same without bitmaps", .mid_size = 4096, .no_bitmaps = true,
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD) }, .has = { "\"block-stream\"" },
      .has_not = "transaction" },
    { .name = "pull over an image that is too short", .base = "base", .mid_size = 4096,
      .says = "node mid has 4096 bytes, the base (node base)", .code = QBLK_E_SIZE_MISMATCH },
    { .name = "commit of an image that is too short", .is_commit = true, .top = "mid", .mid_size = 4096,
      .says = "node mid has 4096 bytes, the base (node base)", .code = QBLK_E_SIZE_MISMATCH },
    { .name = "commit of a disk that is too short", .is_commit = true, .top_size = 4096,
      .says = "node top has 4096 bytes, the base (node base)", .code = QBLK_E_SIZE_MISMATCH },
    { .name = "active commit over a short image", .is_commit = true, .mid_size = 4096,
      .has = { "\"block-commit\"" } },
    { .name = "commit below the top with bitmaps", .is_commit = true, .top = "mid",
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD), BITMAP("b", GOOD) },
      .has = { "base=base old=", " intent=merge", TRANSACTION(MERGE("top", FROM("mid"))),
               "\"block-commit\"" } },
    { .name = "pivot to an image without bitmaps", .is_commit = true,
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD) },
      .has = { "base=base bitmaps=move old=", "\"block-commit\"",
               TRANSACTION(ADD("base") "," MARK "," MERGE("base", FROM("top") "," FROM("mid"))),
               "\"job-complete\"" } },
    { .name = "pivot to an image that has it", .is_commit = true,
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD), BITMAP("b", GOOD) },
      .has = { TRANSACTION(MERGE("top", FROM("base"))), "\"block-commit\"",
               TRANSACTION(CLEAR("base") "," MERGE("base", FROM("top") "," FROM("mid"))),
               "\"job-complete\"" } },
    { .name = "pivot to an image that has one of no use", .is_commit = true, .base = "mid",
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", STOPPED) },
      .says = "which has one of that name already: it is disabled", .code = QBLK_E_TARGET_INVALID },
    { .name = "pivot to an image that stores none", .is_commit = true, .base_driver = "raw",
      .bitmaps = { BITMAP("b", GOOD) }, .has = { "\"block-commit\"" }, .has_not = "transaction",
      .says = "has a format that stores none" },
    { .name = "a commit that stays", .is_commit = true, .ending = QBLK_END_FINISH,
      .bitmaps = { BITMAP("b", GOOD), BITMAP("b", GOOD) }, .has = { "\"block-commit\"" },
      .has_not = "transaction" },
    { .name = "a commit that is kept and may pivot one day", .is_commit = true,
      .ending = QBLK_END_KEEP, .bitmaps = { BITMAP("b", GOOD), NULL, BITMAP("b", GOOD) },
      .has = { "bitmaps=move", "\"block-commit\"" } },
};

#define N_CASES ((int)(sizeof(cases) / sizeof(cases[0])))

static void dress(const struct plan_case *one)
{
    static const char *const nodes[] = { "top", "mid", "base" };

    for (int i = 0; i < 3; i++) {
        struct peer_node *node = peer_node(&peer, nodes[i]);

        node->more_bitmaps = one->bitmaps[i];
        if (i < 2)
            (void)snprintf(node->recorded, sizeof(node->recorded), "%s",
                           one->names[i] != NULL ? one->names[i] : "");
        if (i == 0 && one->top_size > 0)
            node->size = one->top_size;
        if (i == 1 && one->mid_size > 0)
            node->size = one->mid_size;
        if (i == 2 && one->base_driver != NULL)
            (void)snprintf(node->driver, sizeof(node->driver), "%s", one->base_driver);
    }
    peer.schema = one->schema;
}

static void begin(const struct plan_case *one)
{
    qblk_pull_options pull = QBLK_INIT(qblk_pull_options);
    qblk_commit_options commit = QBLK_INIT(qblk_commit_options);
    qblk_error error = { .text = "" };
    int r;

    recorder_watch(&pull.common);
    pull.common.dry_run = true;
    commit.common = pull.common;
    pull.base = commit.base = one->base;
    pull.into = one->into;
    pull.bottom = one->bottom;
    commit.top = one->top;
    commit.ending = one->ending;
    pull.relative = commit.relative = one->relative;
    pull.no_bitmaps = commit.no_bitmaps = one->no_bitmaps;
    r = one->is_commit ? qblk_commit(monitor, "vd0", &commit, NULL, &error)
                       : qblk_pull(monitor, "vd0", &pull, NULL, &error);
    ck_assert_msg(r == 0, "%s: %s", one->name, error.text);
    ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "%s is stuck", one->name);
}

static void mask(char *text, const char *what, size_t len, const char *with)
{
    for (char *at; (at = strstr(text, what)) != NULL;) {
        memmove(at + strlen(with), at + len, strlen(at + len) + 1);
        memcpy(at, with, strlen(with));
    }
}

static void only_asked(const struct plan_case *one)
{
    size_t asked = peer_count(&peer, "query-qmp-schema");
    bool must_ask = one->bottom != NULL ||
                    (one->base_driver != NULL && strcmp(one->base_driver, "file") == 0 &&
                     (!one->is_commit || one->top != NULL));

    ck_assert_msg(asked == (must_ask ? 1 : 0), "%s: asked %zu times", one->name, asked);
    for (size_t i = 0; i < peer.n_sent; i++)
        ck_assert_msg(strstr(peer.sent[i], "\"query-") != NULL ||
                          strstr(peer.sent[i], "\"x-debug-query-") != NULL ||
                          strstr(peer.sent[i], "\"qmp_capabilities\"") != NULL,
                      "%s: sent %s", one->name, peer.sent[i]);
}

static void check_plan(const struct plan_case *one)
{
    char *text = strdup(recorder.planned != NULL ? recorder.planned : ""), *at = text;

    mask(text, recorder.operation, 8, "ID");
    mask(text, peer.dir, strlen(peer.dir), "DIR");
    for (int i = 0; i < 4 && one->has[i] != NULL; i++) {
        char *found = strstr(at, one->has[i]);

        ck_assert_msg(found != NULL, "%s: no %s in %s", one->name, one->has[i], at);
        at = found + 1;
    }
    ck_assert_msg(one->has_not == NULL || strstr(text, one->has_not) == NULL, "%s: %s", one->name,
                  text);
    ck_assert_msg(one->says == NULL || strstr(recorder.notes, one->says) != NULL, "%s: says %s",
                  one->name, recorder.notes);
    if (one->says == NULL)
        ck_assert_str_eq(recorder.notes, "");
    free(text);
}

START_TEST(this_is_planned_or_refused_and_only_questions_are_sent)
{
    const struct plan_case *one = &cases[_i];
    char *before, *after;

    dress(one);
    before = peer_state(&peer);
    begin(one);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    only_asked(one);
    if (one->code != QBLK_E_NONE) {
        ck_assert_msg(recorder.has_error && recorder.error.code == one->code, "%s: %s", one->name,
                      recorder.error.text);
        ck_assert_msg(strstr(recorder.error.text, one->says) != NULL, "%s: %s", one->name,
                      recorder.error.text);
    } else {
        ck_assert_msg(recorder.result == QBLK_RESULT_PLANNED, "%s: %s", one->name,
                      recorder.error.text);
        check_plan(one);
    }
    free(before);
    free(after);
}
END_TEST

START_TEST(what_qemu_can_do_is_asked_once)
{
    const struct plan_case *one = &cases[4];

    for (int i = 0; i < 2; i++) {
        dress(one);
        begin(one);
        ck_assert_int_eq(recorder.result, QBLK_RESULT_PLANNED);
        ck_assert_uint_eq(peer_count(&peer, "query-qmp-schema"), 1);
        recorder_reset();
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chain_plans");
    TCase *tcase = tcase_create("chain_plans");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, this_is_planned_or_refused_and_only_questions_are_sent, 0, N_CASES);
    tcase_add_test(tcase, what_qemu_can_do_is_asked_once);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
