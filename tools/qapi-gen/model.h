/* What the schema files say, as one model: filled by parse.c, completed and judged by check.c, read
 * by the emitters. Everything in it lives until model_free(). */
#ifndef QAPI_GEN_MODEL_H
#define QAPI_GEN_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum entity_kind { ENTITY_COMMAND, ENTITY_EVENT, ENTITY_STRUCT, ENTITY_UNION, ENTITY_ENUM };
#define ENTITY_KINDS 5

enum type_kind {
    TYPE_UNKNOWN,
    TYPE_STR,
    TYPE_INT,
    TYPE_UINT,
    TYPE_BOOL,
    TYPE_NUMBER,
    TYPE_STR_OR_NULL,
    TYPE_EMPTY,
    TYPE_ENUM,
    TYPE_OBJECT /* a struct or a union */
};

struct entity;

struct type_ref {
    const char *name; /* as written; NULL: none */
    bool is_list;
    enum type_kind kind;
    struct entity *entity; /* of TYPE_ENUM and TYPE_OBJECT */
};

struct member {
    const char *name;
    const char *c_name;
    struct type_ref type;
    bool is_optional;
    const char *since; /* NULL: as long as what holds it */
    const char *doc;
    int line;
};

struct value {
    const char *name;
    const char *c_name; /* the whole constant */
    const char *since;
    const char *doc;
    int line;
};

/* What a union holds for one value of its discriminator. */
struct branch {
    const char *value;
    const char *type_name; /* NULL: nothing more */
    struct entity *type;
    const char *c_name;
    int line;
};

struct entity {
    enum entity_kind kind;
    const char *name;
    const char *since;
    const char *doc;
    const char *file;
    int line;

    struct member *members; /* of a struct, a union's base, or arguments given in place */
    size_t n_members;
    struct type_ref data;    /* command, event: arguments given by the name of a type */
    struct type_ref returns; /* command */
    bool is_agents;          /* command of the guest agent, not of the monitor */
    struct value *values;    /* enum */
    size_t n_values;
    const char *discriminator; /* union */
    int discriminator_line;
    struct member *tag;
    struct branch *branches;
    size_t n_branches;

    /* Found by check.c. */
    const char *c_name; /* without "qapi_": "block_stream_args", "block_info" */
    bool is_sent;       /* part of a command's arguments */
    bool is_got;        /* part of a return or an event */
    int mark;
};

struct model {
    struct entity **entities;
    size_t n_entities;
    struct entity **sorted; /* those that become a C struct, embedded ones first */
    size_t n_sorted;
    const char **files;
    size_t n_files;
    unsigned n_mistakes;
    FILE *complaints; /* where mistakes are told; NULL: nowhere */
    struct chunk *chunks;
};

void model_init(struct model *model, FILE *complaints);
void model_free(struct model *model);

/* Memory of the model, zeroed. The program ends if there is none. */
void *model_alloc(struct model *model, size_t n, size_t size);
const char *model_text(struct model *model, const char *text);
struct entity *model_add(struct model *model);
/* The struct, union or enum of that name, or NULL. */
struct entity *model_find_type(const struct model *model, const char *name);

/* Tells a mistake: "file:line: in command 'x', member 'y': what". member may be NULL. */
void mistake(struct model *model, const struct entity *entity, const char *member, int line,
             const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The same where there is no entity yet. */
void mistake_at(struct model *model, const char *file, int line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

const char *entity_kind_name(enum entity_kind kind);
/* Whether the member is accompanied in C by has_<name>. */
bool member_has_flag(const struct member *member);
/* "BlockDeviceInfo" -> "block_device_info", "XDbgBlockGraph" -> "x_dbg_block_graph". */
const char *c_type_name(struct model *model, const char *name);
/* "node-name" -> "node_name", "default" -> "default_". */
const char *c_member_name(struct model *model, const char *name);
/* Value "null-co" of "blockdev_driver" -> "QAPI_BLOCKDEV_DRIVER_NULL_CO". */
const char *c_constant(struct model *model, const char *c_type, const char *name);
/* Less than, equal to, greater than 0 as a is older than, the same as, newer than b. Both must be
 * versions by is_version(). */
int version_compare(const char *a, const char *b);
bool is_version(const char *text);

/* parse.c: reads one file's text, followed by a NUL, into the model. Returns 0, or -1 after
 * mistakes. */
int parse_text(struct model *model, const char *file, const char *text, size_t len);
/* check_names.c: gives everything its name in C and judges the names. */
void check_names(struct model *model);
/* check.c: the above, references, recursion; fills in what the emitters need. 0, or -1 after
 * mistakes. */
int check_model(struct model *model);

#endif
