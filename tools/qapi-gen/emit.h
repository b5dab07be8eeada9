/* From the model, after check_model() found nothing, to text. */
#ifndef QAPI_GEN_EMIT_H
#define QAPI_GEN_EMIT_H

#include "model.h"
#include "text.h"

void emit_h(const struct model *model, struct text *out);
void emit_c(const struct model *model, struct text *out);
void emit_man(const struct model *model, struct text *out);

/* Shared: the comment at the top of a generated file. */
void emit_banner(const struct model *model, struct text *out, const char *what);

#endif
