#include <errno.h>
#include <jansson.h>
#include <stdio.h>

#include "../starve/heap.h"
#include "base/buf.h"
#include "base/mem.h"
#include "base/pool.h"
#include "codec_help.h"

/* ---- a type with every kind of member, as qapi-gen would make it ----------------------------- */

enum color { RED, GREEN };

struct inner {
    int64_t a;
    char *b;
};

struct all {
    char *str;
    int64_t integer;
    uint64_t large;
    bool flag;
    double number;
    enum color color;
    struct inner inner;
    char *text_or_null;
    bool empty;
    char *opt_str;
    bool has_opt_int;
    int64_t opt_int;
    bool has_opt_null;
    char *opt_null;
    struct inner *opt_inner;
    bool has_opt_numbers;
    struct codec_list opt_numbers;
    struct codec_list larges;
    struct codec_list inners;
};

static const struct codec_value color_values[] = { { .name = "red" }, { .name = "green" } };
static const struct codec_enum color_enum = { .name = "Color",
                                              .values = color_values,
                                              .n_values = 2 };

static const struct codec_member inner_members[] = {
    { .name = "a", .kind = CODEC_INT, .offset = offsetof(struct inner, a) },
    { .name = "b", .kind = CODEC_STR, .is_optional = true, .offset = offsetof(struct inner, b) },
};
static const struct codec_type inner_type = {
    .name = "Inner", .size = sizeof(struct inner), .members = inner_members, .n_members = 2
};

#define AT(member) .offset = offsetof(struct all, member)
static const struct codec_member all_members[] = {
    { .name = "str", .kind = CODEC_STR, AT(str) },
    { .name = "int", .kind = CODEC_INT, AT(integer) },
    { .name = "large", .kind = CODEC_UINT, AT(large) },
    { .name = "flag", .kind = CODEC_BOOL, AT(flag) },
    { .name = "number", .kind = CODEC_NUMBER, AT(number) },
    { .name = "color", .kind = CODEC_ENUM, .values = &color_enum, AT(color) },
    { .name = "inner", .kind = CODEC_OBJECT, .type = &inner_type, AT(inner) },
    { .name = "null", .kind = CODEC_STR_OR_NULL, AT(text_or_null) },
    { .name = "empty", .kind = CODEC_EMPTY, AT(empty) },
    { .name = "opt-str", .kind = CODEC_STR, .is_optional = true, AT(opt_str) },
    { .name = "opt-int", .kind = CODEC_INT, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct all, has_opt_int), AT(opt_int) },
    { .name = "opt-null", .kind = CODEC_STR_OR_NULL, .is_optional = true, .has_flag = true,
      .flag = offsetof(struct all, has_opt_null), AT(opt_null) },
    { .name = "opt-inner", .kind = CODEC_OBJECT, .is_optional = true, .type = &inner_type,
      AT(opt_inner) },
    { .name = "opt-numbers", .kind = CODEC_NUMBER, .is_optional = true, .is_list = true,
      .has_flag = true, .flag = offsetof(struct all, has_opt_numbers), AT(opt_numbers) },
    { .name = "larges", .kind = CODEC_UINT, .is_list = true, AT(larges) },
    { .name = "inners", .kind = CODEC_OBJECT, .is_list = true, .type = &inner_type, AT(inners) },
};
#undef AT
static const struct codec_type all_type = {
    .name = "All",
    .size = sizeof(struct all),
    .members = all_members,
    .n_members = sizeof(all_members) / sizeof(all_members[0]),
};

#define ALL_HEAD                                                                                   \
    "{\"str\":\"s\",\"int\":-1,\"large\":1,\"flag\":true,\"number\":0.5,\"color\":\"green\","
#define ALL_TAIL "\"inner\":{\"a\":1},\"null\":null,\"empty\":{},"
#define ALL_FULL                                                                                   \
    ALL_HEAD ALL_TAIL                                                                              \
        "\"opt-str\":\"o\",\"opt-int\":0,\"opt-null\":null,"                                       \
        "\"opt-inner\":{\"a\":2,\"b\":\"x\"},\"opt-numbers\":[1.5,-2.0],"                          \
        "\"larges\":[0,9223372036854775807],\"inners\":[{\"a\":3},{\"a\":4,\"b\":\"y\"}]}"
#define ALL_LEAST ALL_HEAD ALL_TAIL "\"larges\":[],\"inners\":[]}"

static void assert_zero(const void *value, size_t size)
{
    const char *bytes = value;

    for (size_t i = 0; i < size; i++)
        ck_assert_int_eq(bytes[i], 0);
}

/* ---- decoding -------------------------------------------------------------------------------- */

START_TEST(everything_decodes_and_encodes_to_the_same)
{
    const char *text = _i == 0 ? ALL_FULL : ALL_LEAST;
    struct buf out = BUF_INIT;
    qblk_error error = { .text = "" };
    struct all all;
    int r = decode(&all_type, text, strlen(text), &all, &error);

    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_str_eq(all.str, "s");
    ck_assert_int_eq(all.integer, -1);
    ck_assert_int_eq(all.color, GREEN);
    ck_assert(all.flag && all.empty);
    ck_assert_double_eq(all.number, 0.5);
    ck_assert_int_eq(all.has_opt_int, _i == 0);
    ck_assert_int_eq(all.has_opt_null, _i == 0);
    ck_assert_ptr_null(all.opt_null);
    ck_assert_int_eq(all.opt_inner != NULL, _i == 0);
    ck_assert_uint_eq(all.inners.n, _i == 0 ? 2 : 0);
    r = codec_encode(&all_type, &all, &out, &error);
    ck_assert_msg(r == 0, "%s", error.text);
    ck_assert_str_eq(out.data, text);
    codec_clear(&all_type, &all);
    assert_zero(&all, sizeof(all));
    buf_done(&out);
}
END_TEST

START_TEST(unknown_members_are_ignored)
{
    static const char text[] =
        "{\"new\":{\"a\":[\"\\u0000\"]},\"id\":\"j\",\"status\":\"dreaming\"}";
    struct qapi_job_status_change_event event;
    qblk_error error;

    ck_assert_int_eq(
        decode(&qapi_type_job_status_change_event, text, sizeof(text) - 1, &event, &error), 0);
    ck_assert_str_eq(event.id, "j");
    ck_assert_str_eq(event.status, "dreaming"); /* nor are unknown words an error */
    codec_clear(&qapi_type_job_status_change_event, &event);
}
END_TEST

static const struct {
    const char *from; /* a piece of ALL_FULL */
    const char *to;
    const char *says;
} wrong[] = {
    { "\"str\":\"s\",", "", "All.str: missing" },
    { "\"str\":\"s\"", "\"str\":1", "All.str: expected a string, found an integer" },
    { "\"str\":\"s\"", "\"str\":null", "All.str: expected a string, found null" },
    { "\"str\":\"s\"", "\"str\":\"\\u0000\"", "All.str: the string has a NUL in it" },
    { "\"str\":\"s\"", "\"str\":\"a\\u0000b\"", "All.str: the string has a NUL in it" },
    { "\"str\":\"s\"", "\"str\":18446744073709551615",
      "All.str: expected a string, found an integer of 2^63 or more" },
    { "\"int\":-1", "\"int\":1.0",
      "All.int: expected an integer below 2^63, found a number that is no integer" },
    { "\"int\":-1", "\"int\":1e2", "All.int: expected an integer" },
    { "\"int\":-1", "\"int\":\"1\"", "All.int: expected an integer below 2^63, found a string" },
    { "\"int\":-1", "\"int\":9223372036854775808",
      "All.int: expected an integer below 2^63, found an integer of 2^63 or more" },
    { "\"large\":1", "\"large\":-1", "All.large: expected an integer of 0 or more" },
    { "\"large\":1", "\"large\":1.5", "All.large: expected an integer, found a number" },
    { "\"large\":1", "\"large\":18446744073709551616", "an integer beyond 64 bits" },
    { "\"flag\":true", "\"flag\":1", "All.flag: expected a boolean, found an integer" },
    { "\"number\":0.5", "\"number\":\"0.5\"", "All.number: expected a number, found a string" },
    { "\"green\"", "\"blue\"", "All.color: 'blue' is no value of Color" },
    { "\"green\"", "\"red\\u0000\"", "All.color: 'red' is no value of Color" },
    { "\"green\"", "1", "All.color: expected a string, found an integer" },
    { "\"inner\":{\"a\":1}", "\"inner\":[]", "All.inner: expected an object, found an array" },
    { "\"inner\":{\"a\":1}", "\"inner\":{}", "All.inner.a: missing" },
    { "\"inner\":{\"a\":1}", "\"inner\":null", "All.inner: expected an object, found null" },
    { "\"null\":null", "\"null\":false", "All.null: expected a string, found a boolean" },
    { "\"empty\":{}", "\"empty\":true", "All.empty: expected an object, found a boolean" },
    { "\"opt-str\":\"o\"", "\"opt-str\":null", "All.opt-str: expected a string, found null" },
    { "\"opt-int\":0", "\"opt-int\":[]", "All.opt-int: expected an integer" },
    { "{\"a\":2,\"b\":\"x\"}", "{\"a\":2,\"b\":2}", "All.opt-inner.b: expected a string" },
    { "[1.5,-2.0]", "[1,true]", "All.opt-numbers[1]: expected a number, found a boolean" },
    { "[0,9223372036854775807]", "{}", "All.larges: expected an array, found an object" },
    { "[0,9223372036854775807]", "[0,1,-2]", "All.larges[2]: expected an integer of 0 or more" },
    { "{\"a\":4,\"b\":\"y\"}", "{\"b\":\"y\"}", "All.inners[1].a: missing" },
    { "{\"a\":4,\"b\":\"y\"}", "7", "All.inners[1]: expected an object, found an integer" },
};

START_TEST(a_wrong_member_is_named_by_its_path)
{
    const char *at = strstr(ALL_FULL, wrong[_i].from);
    qblk_error error = { .text = "" };
    char text[1024];
    struct all all;

    ck_assert_ptr_nonnull(at);
    (void)snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - ALL_FULL), ALL_FULL, wrong[_i].to,
                   at + strlen(wrong[_i].from));
    ck_assert_int_lt(decode(&all_type, text, strlen(text), &all, &error), 0);
    ck_assert_msg(strstr(error.text, wrong[_i].says) != NULL, "%s", error.text);
    if (error.code == QBLK_E_PROTOCOL)
        assert_zero(&all, sizeof(all));
}
END_TEST

START_TEST(what_is_no_object_is_refused)
{
    qblk_error error;
    struct all all;

    ck_assert_int_eq(decode(&all_type, "[]", 2, &all, &error), -EPROTO);
    ck_assert_str_eq(error.text, "All: expected an object, found an array");
}
END_TEST

/* An ImageInfo with that many images below it. */
static void add_images(struct buf *text, int below)
{
    for (int i = 0; i <= below; i++)
        buf_addf(text, "%s{\"filename\":\"f%d\",\"format\":\"qcow2\",\"virtual-size\":%d",
                 i > 0 ? ",\"backing-image\":" : "", i, i);
    for (int i = 0; i <= below; i++)
        buf_adds(text, "}");
}

START_TEST(images_below_images_decode_to_any_depth)
{
    struct qapi_image_info image, *at = &image;
    struct buf text = BUF_INIT;
    qblk_error error = { .text = "" };
    int depth = 0, r;

    add_images(&text, 1000);
    r = decode(&qapi_type_image_info, text.data, text.len, &image, &error);
    ck_assert_msg(r == 0, "%s", error.text);
    for (; at->backing_image != NULL; at = at->backing_image)
        depth++;
    ck_assert_int_eq(depth, 1000);
    ck_assert_str_eq(at->filename, "f1000");
    codec_clear(&qapi_type_image_info, &image);
    buf_done(&text);
}
END_TEST

START_TEST(a_long_path_keeps_its_end)
{
    struct qapi_image_info image;
    struct buf text = BUF_INIT;
    qblk_error error;

    add_images(&text, 100);
    ck_assert_int_eq(buf_ok(&text), 0);
    memcpy(strstr(text.data, "\"f100\""), "null  ", 6);
    ck_assert_int_eq(decode(&qapi_type_image_info, text.data, text.len, &image, &error), -EPROTO);
    ck_assert_ptr_nonnull(strstr(error.text, ".backing-image.filename: expected a string"));
    ck_assert_int_eq(strncmp(error.text, "...", 3), 0);
    assert_zero(&image, sizeof(image));
    buf_done(&text);
}
END_TEST

START_TEST(a_union_decodes_by_its_discriminator)
{
    static const char good[] = "{\"file\":\"f\",\"backing\":null,\"driver\":\"qcow2\"}";
    static const char other[] = "{\"driver\":\"raw\",\"backing\":null,\"file\":\"f\"}";
    static const char unknown[] = "{\"driver\":\"blkdebug\"}";
    static const char without[] = "{\"driver\":\"raw\"}";
    struct qapi_blockdev_create_options create;
    struct qapi_blockdev_options options;
    qblk_error error;

    ck_assert_int_eq(decode(&qapi_type_blockdev_options, TEXT(good), &options, &error), 0);
    ck_assert_int_eq(options.driver, QAPI_BLOCKDEV_DRIVER_QCOW2);
    ck_assert_str_eq(options.u.qcow2.file, "f");
    ck_assert(options.u.qcow2.has_backing);
    ck_assert_ptr_null(options.u.qcow2.backing);
    codec_clear(&qapi_type_blockdev_options, &options);
    ck_assert_int_eq(decode(&qapi_type_blockdev_options, TEXT(other), &options, &error), 0);
    ck_assert_str_eq(options.u.raw.file, "f");
    codec_clear(&qapi_type_blockdev_options, &options);
    ck_assert_int_lt(decode(&qapi_type_blockdev_options, TEXT(unknown), &options, &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "BlockdevOptions.driver: 'blkdebug'"));
    ck_assert_int_lt(decode(&qapi_type_blockdev_options, TEXT(without), &options, &error), 0);
    ck_assert_ptr_nonnull(strstr(error.text, "BlockdevOptions.file: missing"));
    ck_assert_int_lt(decode(&qapi_type_blockdev_create_options, TEXT(without), &create, &error), 0);
    ck_assert_ptr_nonnull(
        strstr(error.text, "BlockdevCreateOptions.driver: the schema has nothing"));
}
END_TEST

/* ---- long lists ------------------------------------------------------------------------------ */

/* "{}" or such, of which each hundredth has a name. */
static void add_member(struct buf *text, size_t i, const char *otherwise)
{
    buf_adds(text, i == 0 ? "" : ",");
    if (i % 100 == 0)
        buf_addf(text, "{\"name\":\"m%zu\"}", i);
    else
        buf_adds(text, otherwise);
}

/* Decodes and says how much was asked for at once. */
static int decode_long(const struct codec_type *type, const struct buf *text, unsigned long fail_after,
                       struct codec_list *ret_list, size_t *ret_largest, qblk_error *error)
{
    struct doc doc;
    int r = doc_parse(&doc, text->data, text->len);

    ck_assert_int_eq(r, 0);
    (void)heap_largest();
    if (fail_after != 0)
        mem_fail_after(fail_after);
    r = codec_decode_list(type, doc_top(&doc), ret_list, error);
    if (fail_after != 0)
        mem_fail_after(0);
    *ret_largest = heap_largest();
    doc_done(&doc);
    return r;
}

static const struct {
    size_t good; /* elements, of n */
    size_t n;
    const struct codec_type *type;
    const char *element;
    const char *says;
} hostile[] = {
    { 0, 100000, &qapi_type_block_device_info, "0", "BlockDeviceInfo[0]: expected an object, found an integer" },
    { 0, 100000, &qapi_type_block_device_info, "{}", "BlockDeviceInfo[0].file: missing" },
    { 0, 100000, &qapi_type_schema_info_member, "null", "SchemaInfoMember[0]: expected an object, found null" },
    { 3000, 100000, &qapi_type_schema_info_member, "0", "SchemaInfoMember[3000]: expected an object" },
    { 50000, 50001, &qapi_type_schema_info_member, "0", "SchemaInfoMember[50000]: expected an object" },
};

START_TEST(a_bad_element_is_told_before_there_is_memory_for_many)
{
    size_t size = hostile[_i].type->size, largest;
    struct buf text = BUF_INIT;
    struct codec_list list;
    qblk_error error;

    buf_addc(&text, '[');
    for (size_t i = 0; i < hostile[_i].n; i++)
        buf_addf(&text, "%s%s", i == 0 ? "" : ",", i < hostile[_i].good ? "{}" : hostile[_i].element);
    ck_assert_int_eq(buf_addc(&text, ']'), 0);
    ck_assert_int_eq(decode_long(hostile[_i].type, &text, 0, &list, &largest, &error), -EPROTO);
    ck_assert_msg(strncmp(error.text, hostile[_i].says, strlen(hostile[_i].says)) == 0, "%s", error.text);
    ck_assert_uint_le(largest, POOL_SHARED + 2 * hostile[_i].good * size + 1024);
    assert_zero(&list, sizeof(list));
    buf_done(&text);
}
END_TEST

/* Of an object whose first pointer is the list, or a string in front of it. */
static void check_members(const struct codec_type *type, size_t n, bool is_first)
{
    struct buf text = BUF_INIT;
    qblk_error error = { .text = "" };
    struct qapi_schema_info info;

    buf_addf(&text, "{%s\"members\":[", is_first ? "" : "\"name\":\"a name\",\"meta-type\":\"object\",");
    for (size_t i = 0; i < n; i++)
        add_member(&text, i, "{}");
    ck_assert_int_eq(buf_adds(&text, "]}"), 0);
    ck_assert_msg(decode(type, text.data, text.len, &info, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(info.members.n, n);
    for (size_t i = 0; i < n; i++) {
        const struct qapi_schema_info_member *member = &info.members.v[i];
        char name[32];

        (void)snprintf(name, sizeof(name), "m%zu", i);
        ck_assert_int_eq(member->name != NULL, i % 100 == 0);
        if (member->name != NULL)
            ck_assert_str_eq(member->name, name);
        ck_assert_ptr_null(member->type);
        ck_assert(!member->has_features && member->features.v == NULL);
    }
    codec_clear(type, &info);
    buf_done(&text);
}

START_TEST(a_list_of_elements_shorter_than_their_structs_is_whole)
{
    static const size_t ns[] = { 1638, 1639, 1640, 3277, 3278, 3279, 20000 };
    struct codec_type no_name = qapi_type_schema_info;

    while (strcmp(no_name.members->name, "members") != 0) {
        no_name.members++;
        no_name.n_members--;
    }
    check_members(&no_name, ns[_i], true);
    check_members(&qapi_type_schema_info, ns[_i], false);
}
END_TEST

/* As QEMU's are: the texts are longer than the structs. */
START_TEST(a_long_list_takes_one_piece)
{
    struct buf text = BUF_INIT;
    struct qapi_job_info_list jobs;
    size_t n = 5000, largest;
    struct codec_list list;
    qblk_error error;

    buf_addc(&text, '[');
    for (size_t i = 0; i < n; i++)
        buf_addf(&text, "%s{\"id\":\"j\",\"type\":\"stream\",\"status\":\"running\","
                 "\"current-progress\":0,\"total-progress\":0}", i == 0 ? "" : ",");
    ck_assert_int_eq(buf_addc(&text, ']'), 0);
    ck_assert_int_eq(decode_long(&qapi_type_job_info, &text, 0, &list, &largest, &error), 0);
    ck_assert_uint_ge(largest, n * sizeof(*jobs.v));
    ck_assert_uint_le(largest, n * sizeof(*jobs.v) + 64);
    ck_assert_uint_eq(list.n, n);
    codec_clear_list(&list);
    buf_done(&text);
}
END_TEST

/* ---- memory ---------------------------------------------------------------------------------- */

#ifdef QBLK_TEST_MEM
/* The n-th allocation and all after it fail, of which there are so many at least; LSan sees what leaks. */
static void oom_decode(const struct codec_type *type, const char *text, unsigned long least)
{
    union {
        struct all all;
        struct qapi_image_info image;
    } value;
    qblk_error error;
    int r = -ENOMEM;
    unsigned long n;

    for (n = 0; r != 0;) {
        ck_assert_uint_lt(n, 1000);
        mem_fail_after(++n);
        r = decode(type, text, strlen(text), &value, &error);
        mem_fail_after(0);
        if (r == 0)
            codec_clear(type, &value);
        else
            ck_assert_msg(error.code == QBLK_E_MEMORY, "%s", error.text);
    }
    ck_assert_uint_gt(n, least);
}

START_TEST(running_out_of_memory_while_decoding_leaks_nothing)
{
    struct buf images = BUF_INIT;
    char text[1024];

    oom_decode(&all_type, ALL_FULL, 1);
    (void)snprintf(text, sizeof(text), "{\"x\":[18446744073709551615,18446744073709551614],%s",
                   &ALL_FULL[1]);
    oom_decode(&all_type, text, 1);
    /* Structs that are larger than their texts, and more values than a doc begins with. */
    add_images(&images, 100);
    oom_decode(&qapi_type_image_info, images.data, 3);
    buf_done(&images);
}
END_TEST

START_TEST(running_out_of_memory_while_a_list_grows_leaks_nothing)
{
    struct buf text = BUF_INIT;
    struct codec_list list;
    qblk_error error;
    int r = -ENOMEM;
    unsigned long n;

    buf_addc(&text, '[');
    for (size_t i = 0; i < 20000; i++)
        add_member(&text, i, "{}");
    ck_assert_int_eq(buf_addc(&text, ']'), 0);
    for (n = 0; r != 0;) {
        size_t largest;

        ck_assert_uint_lt(n, 1000);
        r = decode_long(&qapi_type_schema_info_member, &text, ++n, &list, &largest, &error);
        ck_assert(r == 0 || (r == -ENOMEM && error.code == QBLK_E_MEMORY && list.v == NULL));
    }
    codec_clear_list(&list);
    ck_assert_uint_gt(n, 5); /* the list, and each time that it grew */
    buf_done(&text);
}
END_TEST

START_TEST(running_out_of_memory_while_encoding_appends_nothing)
{
    struct qapi_block_dirty_bitmap_merge args = { .node = "n", .target = "t" };
    struct qapi_block_dirty_bitmap bitmaps[] = { { "m", "b1" }, { "m", "b2" } };
    struct buf out = BUF_INIT;
    qblk_error error;
    int r = -ENOMEM;

    args.bitmaps.v = bitmaps;
    args.bitmaps.n = 2;
    json_set_alloc_funcs(mem_zalloc, free);
    for (unsigned long n = 1; r != 0; n++) {
        ck_assert_uint_lt(n, 100);
        mem_fail_after(n);
        r = codec_command(&qapi_cmd_block_dirty_bitmap_merge, &args, &out, &error);
        mem_fail_after(0);
        ck_assert(r == 0 || (out.len == 0 && error.code == QBLK_E_MEMORY));
    }
    ck_assert_uint_gt(out.len, 0);
    buf_done(&out);
}
END_TEST

/* An append before it may be lost, whether there is memory again or not. */
START_TEST(encoding_into_a_buffer_that_has_failed_leaves_it_so)
{
    struct qapi_job_pause_args args = { .id = _i < 2 ? "j" : "\xff" };
    struct buf out = BUF_INIT;
    qblk_error error;
    int r;

    ck_assert_int_eq(buf_adds(&out, "~"), 0);
    mem_fail_after(1);
    ck_assert_int_lt(buf_addf(&out, "%999d", 0), 0);
    mem_fail_after(0);
    r = _i % 2 == 0 ? codec_command(&qapi_cmd_job_pause, &args, &out, &error)
                    : codec_encode(qapi_cmd_job_pause.args, &args, &out, &error);
    ck_assert_int_eq(r, -ENOMEM);
    ck_assert_int_eq(error.code, QBLK_E_MEMORY);
    ck_assert_str_eq(out.data, "~");
    ck_assert_int_lt(buf_ok(&out), 0);
    buf_done(&out);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("codec");
    TCase *tcase = tcase_create("codec");

    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, everything_decodes_and_encodes_to_the_same, 0, 2);
    tcase_add_test(tcase, unknown_members_are_ignored);
    tcase_add_loop_test(tcase, a_wrong_member_is_named_by_its_path, 0, N_OF(wrong));
    tcase_add_test(tcase, what_is_no_object_is_refused);
    tcase_add_test(tcase, images_below_images_decode_to_any_depth);
    tcase_add_test(tcase, a_long_path_keeps_its_end);
    tcase_add_test(tcase, a_union_decodes_by_its_discriminator);
    tcase_add_loop_test(tcase, a_bad_element_is_told_before_there_is_memory_for_many, 0, N_OF(hostile));
    tcase_add_loop_test(tcase, a_list_of_elements_shorter_than_their_structs_is_whole, 0, 7);
    tcase_add_test(tcase, a_long_list_takes_one_piece);
#ifdef QBLK_TEST_MEM
    tcase_add_test(tcase, running_out_of_memory_while_decoding_leaks_nothing);
    tcase_add_test(tcase, running_out_of_memory_while_a_list_grows_leaks_nothing);
    tcase_add_test(tcase, running_out_of_memory_while_encoding_appends_nothing);
    tcase_add_loop_test(tcase, encoding_into_a_buffer_that_has_failed_leaves_it_so, 0, 4);
#endif
    suite_add_tcase(suite, tcase);
    return run_suite(suite);
}
