#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "../fuzz/tree.h"
#include "codec_help.h"

static const struct {
    const char *text;
    size_t len;
    const char *says;
} bad_json[] = {
    { TEXT(""), "byte 0: the text ends" },
    { TEXT("{"), "byte 1: a name is missing" },
    { TEXT("{} x"), "byte 3: more behind" },
    { TEXT("[1,]"), "byte 3: not a value" },
    { TEXT("{'a':1}"), "" },
    { TEXT("[01]"), "byte 2: neither ',' nor ']'" },
    { TEXT("[NaN]"), "" },
    { TEXT("nul"), "" },
    { TEXT("[\"\t\"]"), "byte 2: a control character" },
    { TEXT("{\"a\":1,\"a\":2}"), "a name that the object has already" },
    { TEXT("{\"a\":18446744073709551615,\"a\":2}"), "a name that the object has already" },
    { TEXT("{\"x\":{\"a\":1,\"\\u0061\":2}}"), "a name that the object has already" },
    { TEXT("[\"\xff\"]"), "byte 2: not UTF-8" },
    { TEXT("[\"\xc0\xaf\"]"), "byte 2: not UTF-8" },
    { TEXT("[\"\xed\xa0\x80\"]"), "byte 2: not UTF-8" },
    { TEXT("[\"\xf4\x90\x80\x80\"]"), "byte 2: not UTF-8" },
    { TEXT("[\"\\ud800\"]"), "byte 2: not an escape" },
    { TEXT("{\"a\\u0000\":1}"), "byte 2: a NUL in a name" },
    { TEXT("[\"a\0b\"]"), "byte 3: a NUL in a string" },
    { TEXT("\0"), "byte 0: a NUL" },
    { TEXT("[true\0]"), "byte 5: neither" },
    { TEXT("[]\0"), "byte 2: a NUL" },
    { TEXT("{\"a\"\0:18446744073709551615}"), "byte 4: no ':' behind" },
    { TEXT("[18446744073709551616]"), "an integer beyond 64 bits" },
    { TEXT("[99999999999999999999999]"), "an integer beyond 64 bits" },
    { TEXT("[-9223372036854775809]"), "byte 1: an integer beyond 64 bits" },
    { TEXT("[18446744073709551615,18446744073709551616]"), "an integer beyond 64 bits" },
    { TEXT("[1e999]"), "byte 1: a number that is too big" },
    { TEXT("[18446744073709551615"), "" },
    { TEXT("[18446744073709551615}"), "" },
    { TEXT("[-]"), "byte 2: a digit is missing" },
    { TEXT("[1.e3]"), "byte 3: a digit is missing" },
    { TEXT("[1e+]"), "byte 4: a digit is missing" },
    { TEXT("[\"a"), "byte 3: the text ends inside" },
    { TEXT("[\"\\"), "" },
    { TEXT("[18446744073709551615,\"\\"), "" },
    { TEXT("[018446744073709551615]"), "" },
};

START_TEST(what_is_not_json_by_the_policy_is_refused)
{
    /* A copy without a byte behind it: reading on is an error under ASan. */
    char *copy = malloc(bad_json[_i].len + 1);
    qblk_error error = { .code = QBLK_E_NONE };
    struct doc doc;

    ck_assert_ptr_nonnull(copy);
    copy = realloc(copy, bad_json[_i].len != 0 ? bad_json[_i].len : 1);
    ck_assert_ptr_nonnull(copy);
    memcpy(copy, bad_json[_i].text, bad_json[_i].len);
    ck_assert_ptr_null(tree_parse(copy, bad_json[_i].len, &error));
    ck_assert_int_eq(doc_parse(&doc, copy, bad_json[_i].len), -EBADMSG);
    doc_done(&doc);
    ck_assert_int_lt(codec_explain(-EBADMSG, copy, bad_json[_i].len, &error), 0);
    ck_assert_int_eq(error.code, QBLK_E_ARGUMENT);
    ck_assert_msg(strstr(error.text, bad_json[_i].says) != NULL, "%s", error.text);
    for (const char *c = error.text; *c != '\0'; c++)
        ck_assert_msg(*c >= 0x20 && *c < 0x7f, "%s", error.text);
    free(copy);
}
END_TEST

static const char *const good_json[] = {
    "{}", "[]", " [ 1 , -1.5e3 ] ", "\"text\"", "null", "true", "-0",
    "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x92\xbe\"]", "{\"a\":\"\\u0000\"}", "9223372036854775807",
    "-9223372036854775808", "18446744073709551615", "[9223372036854775808]",
};

START_TEST(what_is_json_by_the_policy_is_taken)
{
    qblk_error error = { .text = "" };
    json_t *json = tree_parse(good_json[_i], strlen(good_json[_i]), &error);
    struct doc doc;

    ck_assert_msg(json != NULL, "%s", error.text);
    json_decref(json);
    ck_assert_int_eq(doc_parse(&doc, good_json[_i], strlen(good_json[_i])), 0);
    doc_done(&doc);
}
END_TEST

/* More names than are compared one by one, of which many look alike; twice is the last one. */
START_TEST(a_name_that_comes_twice_is_found_among_many)
{
    static const char *const last[] = { "first0000063last", "\\u0066irst0000063last",
                                        "first000006\\u0033last", "first0000064last" };

    for (int n = 1; n <= 64; n *= 2) {
        struct buf text = BUF_INIT;
        struct doc doc;

        for (int i = 64 - n; i < 64; i++)
            buf_addf(&text, "%s\"first%07dlast\":{}", i > 64 - n ? "," : "{", i);
        buf_addf(&text, ",\"%s\":1}", last[_i]);
        ck_assert_int_eq(doc_parse(&doc, text.data, text.len), _i < 3 ? -EBADMSG : 0);
        doc_done(&doc);
        buf_done(&text);
    }
}
END_TEST

/* Of every length, written in another way or to the end of the text; and one that is not the same. */
START_TEST(a_name_that_comes_twice_is_found_whatever_its_length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz";
    int at = _i / 2; /* of the letter that is escaped */

    for (int len = at + 1; len <= 26; len++) {
        for (int other = 0; other < 2; other++) {
            struct buf text = BUF_INIT;
            struct doc doc;

            if (_i % 2 == 0)
                buf_addf(&text, "{\"%.*s\":1,", len, letters);
            else
                buf_adds(&text, "{");
            buf_addf(&text, "\"%.*s\\u%04x%.*s%s\":1", at, letters, (unsigned char)letters[at], len - at - 1,
                     letters + at + 1, other ? "x" : "");
            if (_i % 2 == 1)
                buf_addf(&text, ",\"%.*s\":1", len, letters);
            buf_adds(&text, "}");
            ck_assert_int_eq(doc_parse(&doc, text.data, text.len), other ? 0 : -EBADMSG);
            doc_done(&doc);
            buf_done(&text);
        }
    }
}
END_TEST

static json_t *parse_nested(size_t depth, char open, qblk_error *error)
{
    struct buf text = BUF_INIT;
    struct doc doc;
    json_t *json;

    for (size_t i = 0; i < depth; i++)
        buf_adds(&text, open == '[' ? "[" : i + 1 < depth ? "{\"a\":" : "{");
    for (size_t i = 0; i < depth; i++)
        buf_addc(&text, open == '[' ? ']' : '}');
    json = tree_parse(text.data, text.len, error);
    ck_assert_int_eq(doc_parse(&doc, text.data, text.len), json != NULL ? 0 : -EBADMSG);
    doc_done(&doc);
    buf_done(&text);
    return json;
}

START_TEST(nesting_ends_at_the_limit)
{
    qblk_error error;
    json_t *json;

    for (const char *open = "[{"; *open != '\0'; open++) {
        json = parse_nested(CODEC_MAX_DEPTH, *open, &error);
        ck_assert_ptr_nonnull(json);
        json_decref(json);
        ck_assert_ptr_null(parse_nested(CODEC_MAX_DEPTH + 1, *open, &error));
        ck_assert_ptr_nonnull(strstr(error.text, "nested deeper than 1024"));
        ck_assert_ptr_null(parse_nested(100000, *open, &error));
    }
}
END_TEST

START_TEST(brackets_in_strings_do_not_nest)
{
    struct buf text = BUF_INIT;
    qblk_error error;
    json_t *json;

    buf_adds(&text, "[\"\\\"");
    for (int i = 0; i < 5000; i++)
        buf_adds(&text, "[{");
    buf_adds(&text, "\"]");
    json = tree_parse(text.data, text.len, &error);
    ck_assert_ptr_nonnull(json);
    json_decref(json);
    buf_done(&text);
}
END_TEST

/* ---- integers beyond 2^63-1 ------------------------------------------------------------------ */

static const struct {
    const char *text;
    uint64_t value;
} larges[] = {
    { "0", 0 },
    { "9223372036854775807", INT64_MAX },
    { "9223372036854775808", (uint64_t)INT64_MAX + 1 },
    { "10000000000000000000", 10000000000000000000U },
    { "18446744073709551615", UINT64_MAX },
};

START_TEST(unsigned_members_take_every_64_bit_value)
{
    struct qapi_x_dbg_block_graph_node node;
    qblk_error error = { .text = "" };
    char text[128];
    int r;

    (void)snprintf(text, sizeof(text), "{\"id\":%s,\"type\":\"t\",\"name\":\"n\"}",
                   larges[_i].text);
    r = decode(&qapi_type_x_dbg_block_graph_node, text, strlen(text), &node, &error);
    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_uint_eq(node.id, larges[_i].value);
    codec_clear(&qapi_type_x_dbg_block_graph_node, &node);
}
END_TEST

START_TEST(large_integers_are_found_wherever_they_stand)
{
    /* Keys, strings, escapes and nested values around them must not shift the count. */
    static const char text[] =
        "{\"18446744073709551615\":[\"18446744073709551614\",{}],\"x\\\":1\":{\"y\":[true,null,-1."
        "5]},"
        "\"edges\":[{\"parent\":18446744073709551613,\"child\" : 3,\"name\":\":\",\"perm\":[\"1\"],"
        "\"shared-perm\":[]},{\"name\":\"\\\\\",\"child\":9223372036854775808,\"perm\":[],"
        "\"parent\":9223372036854775807,\"shared-perm\":[]}],\"z\":[[[]],1e3],\"nodes\":[]}";
    struct qapi_x_dbg_block_graph graph;
    qblk_error error = { .text = "" };
    int r = decode(&qapi_type_x_dbg_block_graph, text, sizeof(text) - 1, &graph, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_uint_eq(graph.edges.n, 2);
    ck_assert_uint_eq(graph.edges.v[0].parent, 18446744073709551613U);
    ck_assert_uint_eq(graph.edges.v[0].child, 3);
    ck_assert_uint_eq(graph.edges.v[1].child, 9223372036854775808U);
    ck_assert_uint_eq(graph.edges.v[1].parent, 9223372036854775807U);
    ck_assert_str_eq(graph.edges.v[1].name, "\\");
    codec_clear(&qapi_type_x_dbg_block_graph, &graph);
}
END_TEST

static const char *const forged[] = {
    "\"18446744073709551615\"",
    "\"\\u00ff18446744073709551615\"",
    ("\"\xc3\xbf"
     "1\""),
    "\"\"",
    "-1",
    "1.0",
    "1e3",
    "null",
};

START_TEST(no_string_passes_for_an_integer)
{
    /* once alone, and once where a real large integer makes the text be read a second time */
    static const char *const others[] = { "1", "18446744073709551615" };
    struct qapi_x_dbg_block_graph_node node;
    qblk_error error;
    char text[160];

    for (int i = 0; i < 2; i++) {
        (void)snprintf(text, sizeof(text), "{\"x\":%s,\"id\":%s,\"type\":\"t\",\"name\":\"n\"}",
                       others[i], forged[_i]);
        ck_assert_int_lt(
            decode(&qapi_type_x_dbg_block_graph_node, text, strlen(text), &node, &error), 0);
        ck_assert_msg(strstr(error.text, "XDbgBlockGraphNode.id: expected an integer") != NULL,
                      "%s", error.text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_parse");
    TCase *tcase = tcase_create("codec_parse");

    tcase_add_loop_test(tcase, what_is_not_json_by_the_policy_is_refused, 0, N_OF(bad_json));
    tcase_add_loop_test(tcase, what_is_json_by_the_policy_is_taken, 0, N_OF(good_json));
    tcase_add_loop_test(tcase, a_name_that_comes_twice_is_found_among_many, 0, 4);
    tcase_add_loop_test(tcase, a_name_that_comes_twice_is_found_whatever_its_length, 0, 52);
    tcase_add_test(tcase, nesting_ends_at_the_limit);
    tcase_add_test(tcase, brackets_in_strings_do_not_nest);
    tcase_add_loop_test(tcase, unsigned_members_take_every_64_bit_value, 0, N_OF(larges));
    tcase_add_test(tcase, large_integers_are_found_wherever_they_stand);
    tcase_add_loop_test(tcase, no_string_passes_for_an_integer, 0, N_OF(forged));
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
