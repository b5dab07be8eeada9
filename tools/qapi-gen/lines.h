/* The lines on which the parts of a JSON text stand: jansson does not keep them. */
#ifndef QAPI_GEN_LINES_H
#define QAPI_GEN_LINES_H

#include <jansson.h>

#include "model.h"

/* One value of the text. Its parts are listed in the text's order, which is the order in which
 * jansson iterates over an object (no key is there twice). */
struct pos {
    int line; /* of an object's member: where its key stands */
    struct pos *first;
    struct pos *next;
};

/* text must be valid JSON. */
struct pos *lines_scan(struct model *model, const char *text);
/* The line of the member key of object, which stands at pos; pos's own if it is not there. */
int lines_of(const struct pos *pos, json_t *object, const char *key);
/* The part of that key, or NULL. */
const struct pos *lines_part(const struct pos *pos, json_t *object, const char *key);

#endif
