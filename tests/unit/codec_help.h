/* What the codec's tests share. */
#ifndef TESTS_UNIT_CODEC_HELP_H
#define TESTS_UNIT_CODEC_HELP_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "codec/table.h"
#include "qapi_types.h"

/* A string constant and its length, NULs inside included. */
#define TEXT(s) s, sizeof(s) - 1
#define N_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* Parses and decodes; 0 or the error of either. */
static inline int decode(const struct codec_type *type, const char *text, size_t len, void *value,
                         qblk_error *error)
{
    struct doc doc;
    int r = doc_parse(&doc, text, len);

    r = r == 0 ? codec_decode(type, doc_top(&doc), value, error)
               : codec_explain(r, text, len, error);
    doc_done(&doc);
    return r;
}

static inline int run_suite(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}

#endif
