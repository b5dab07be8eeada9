/* Any bytes as a schema file of qapi-gen: read, checked, and, if there is no mistake in it, made
 * into C and a manual page.
 *
 * Corpus: tests/fuzz/corpus/schema, qapi-schema, and tests/gen. Needs tools/qapi-gen without
 * main.c, jansson. */
#include <stdlib.h>
#include <string.h>

#include "../../tools/qapi-gen/emit.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static void emit(const struct model *model,
                 void (*emitter)(const struct model *model, struct text *out))
{
    struct text out = { NULL, 0, 0 };

    emitter(model, &out);
    text_free(&out);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char *text = malloc(size + 1);
    struct model model;

    if (text == NULL)
        abort();
    if (size != 0)
        memcpy(text, data, size);
    text[size] = '\0';
    model_init(&model, NULL);
    if (parse_text(&model, "fuzz.json", text, size) == 0 && check_model(&model) == 0) {
        emit(&model, emit_h);
        emit(&model, emit_c);
        emit(&model, emit_man);
    }
    model_free(&model);
    free(text);
    return 0;
}
