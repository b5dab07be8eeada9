/* What a QEMU can do is read from its own schema, as real releases have reported it. */
#include <check.h>

#include "../schema/peers.h"
#include "monitor/features.h"

static const struct {
    enum feature feature;
    const char *since;
} known[] = {
    { FEATURE_STREAM_MASKS_PROTOCOL, "9.0" }, { FEATURE_COMMIT_MASKS_PROTOCOL, "9.0" },
    { FEATURE_STREAM_BOTTOM, "6.0" },         { FEATURE_REOPEN, "6.1" },
};

START_TEST(features_are_as_old_as_they_are)
{
    qblk_error error = { .text = "" };
    unsigned features = 0, want = 0;
    json_t *reply = json_object(), *list = json_array(), *entity;
    const char *key;
    char *text;

    use_peer(_i);
    json_object_foreach(schema, key, entity)
        ck_assert_int_eq(json_array_append(list, entity), 0);
    ck_assert_int_eq(json_object_set_new(reply, "return", list), 0);
    text = json_dumps(reply, _i % 2 == 0 ? JSON_COMPACT : 0);
    ck_assert_ptr_nonnull(text);
    ck_assert_msg(features_read(text, &features, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (is_there(known[i].since))
            want |= 1u << known[i].feature;
    }
    ck_assert_uint_eq(sizeof(known) / sizeof(known[0]), N_FEATURES);
    ck_assert_msg(features == want, "%s: %x, not %x", release, features, want);
    free(text);
    json_decref(reply);
    drop_peer();
}
END_TEST

static const char *const bad[] = {
    "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"no\"}}",
    "{\"return\": {}}",
    "{}",
    "{\"return\": [{\"name\": \"block-stream\", \"meta-type\": 1}]}",
};

START_TEST(what_is_no_schema_is_an_error)
{
    qblk_error error = { .text = "" };
    unsigned features = 77;

    ck_assert_int_lt(features_read(bad[_i], &features, &error), 0);
    ck_assert_uint_eq(features, 77);
    ck_assert_int_eq(error.code, QBLK_E_PROTOCOL);
}
END_TEST

START_TEST(what_is_not_there_is_no_feature)
{
    static const char *const texts[] = {
        "{\"return\": []}",
        "{\"return\": [{\"name\": \"block-stream\", \"meta-type\": \"command\"}]}",
        "{\"return\": [{\"name\": \"block-stream\", \"meta-type\": \"command\", \"arg-type\": \"7\"}]}",
        "{\"return\": [{\"name\": \"block-stream\", \"meta-type\": \"command\", \"arg-type\": \"7\"},"
        " {\"name\": \"7\", \"meta-type\": \"object\", \"members\": [{\"name\": \"bottoms\"}]},"
        " {\"name\": \"bottom\", \"meta-type\": \"object\", \"members\": [{\"name\": \"7\"}]}]}",
        "{\"return\": [{\"name\": \"block-job-change\", \"meta-type\": \"event\"}]}",
    };
    qblk_error error;
    unsigned features = 77;

    ck_assert_int_eq(features_read(texts[_i], &features, &error), 0);
    ck_assert_uint_eq(features, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("features");
    TCase *tcase = tcase_create("features");
    SRunner *runner;
    int failed;

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, features_are_as_old_as_they_are, 0, N_PEERS);
    tcase_add_loop_test(tcase, what_is_no_schema_is_an_error, 0, 4);
    tcase_add_loop_test(tcase, what_is_not_there_is_no_feature, 0, 5);
    suite_add_tcase(suite, tcase);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
