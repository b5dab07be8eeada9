#include <ctype.h>
#include <string.h>

#include "emit.h"

/* Text in mdoc: a backslash, or a point or quote at the start of a line, would mean something; each
 * sentence has a line of its own. */
static void emit_text(struct text *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        text_addf(out, "\\&");
    for (; *text != '\0'; text++) {
        if (*text == '\\')
            text_addf(out, "\\e");
        else if (*text == '.' && text[1] == ' ' && isupper((unsigned char)text[2]))
            text_addf(out, ".\n%c", *(text += 2));
        else
            text_addf(out, "%c", *text == '\n' ? ' ' : *text);
    }
}

/* As in the schema: Type or [Type]. */
static void emit_type(struct text *out, const struct type_ref *type)
{
    text_addf(out, "Vt %s%s%s", type->is_list ? "[" : "", type->name, type->is_list ? "]" : "");
}

static void emit_sentence(struct text *out, const char *doc)
{
    if (doc == NULL)
        return;
    emit_text(out, doc);
    text_addf(out, "\n");
}

static void emit_since(struct text *out, const char *since)
{
    if (since != NULL)
        text_addf(out, "Since QEMU %s.\n", since);
}

/* One line: what it is; whether it must be there; since when. */
static void emit_facts(struct text *out, const struct member *member)
{
    if (member->doc == NULL && member->since == NULL && !member->is_optional)
        return;
    text_addf(out, "\\&");
    if (member->doc != NULL)
        emit_text(out, member->doc);
    if (member->is_optional)
        text_addf(out, "%soptional", member->doc != NULL ? "; " : "");
    if (member->since != NULL)
        text_addf(out, "%ssince QEMU %s", member->doc != NULL || member->is_optional ? "; " : "",
                  member->since);
    text_addf(out, ".\n");
}

static void emit_members(struct text *out, const struct entity *entity)
{
    if (entity->n_members == 0)
        return;
    text_addf(out, ".Pp\n.Bl -tag -width Ds -compact\n");
    for (size_t i = 0; i < entity->n_members; i++) {
        const struct member *member = &entity->members[i];

        text_addf(out, ".It Cm %s ", member->name);
        emit_type(out, &member->type);
        text_addf(out, "\n");
        emit_facts(out, member);
    }
    text_addf(out, ".El\n");
}

static void emit_branches(struct text *out, const struct entity *entity)
{
    text_addf(out, ".Pp\nFurther members, by\n.Cm %s :\n.Bl -tag -width Ds -compact\n",
              entity->discriminator);
    for (size_t i = 0; i < entity->n_branches; i++) {
        const struct branch *branch = &entity->branches[i];

        if (branch->type != NULL)
            text_addf(out, ".It Cm %s\nthose of\n.Vt %s\n", branch->value, branch->type_name);
        else
            text_addf(out, ".It Cm %s\nnone\n", branch->value);
    }
    text_addf(out, ".El\n");
}

static void emit_values(struct text *out, const struct entity *entity)
{
    text_addf(out, ".Pp\n.Bl -tag -width Ds -compact\n");
    for (size_t i = 0; i < entity->n_values; i++) {
        text_addf(out, ".It Cm %s\n", entity->values[i].name);
        emit_sentence(out, entity->values[i].doc);
        emit_since(out, entity->values[i].since);
    }
    text_addf(out, ".El\n");
}

static void emit_entity(struct text *out, const struct entity *entity)
{
    text_addf(out, ".Ss %s\n", entity->name);
    emit_sentence(out, entity->doc);
    emit_since(out, entity->since);
    if (entity->data.name != NULL) {
        text_addf(out, "%s\n.", entity->kind == ENTITY_COMMAND ? "Arguments:" : "Data:");
        emit_type(out, &entity->data);
        text_addf(out, " .\n");
    }
    emit_members(out, entity);
    if (entity->kind == ENTITY_UNION)
        emit_branches(out, entity);
    if (entity->kind == ENTITY_ENUM)
        emit_values(out, entity);
    if (entity->returns.name != NULL) {
        text_addf(out, ".Pp\nReturns\n.");
        emit_type(out, &entity->returns);
        text_addf(out, " .\n");
    }
}

static void emit_section(const struct model *model, struct text *out, const char *title,
                         enum entity_kind from, enum entity_kind to)
{
    text_addf(out, ".Sh %s\n", title);
    for (size_t i = 0; i < model->n_entities; i++) {
        const struct entity *entity = model->entities[i];

        if (entity->kind >= from && entity->kind <= to && !entity->is_agents)
            emit_entity(out, entity);
    }
}

/* Left out where there are none. */
static void emit_agents(const struct model *model, struct text *out)
{
    bool has_title = false;

    for (size_t i = 0; i < model->n_entities; i++) {
        if (!model->entities[i]->is_agents)
            continue;
        if (!has_title)
            text_addf(out, ".Sh GUEST AGENT COMMANDS\n"
                           "Sent to the guest agent's socket, not to the monitor.\n");
        has_title = true;
        emit_entity(out, model->entities[i]);
    }
}

void emit_man(const struct model *model, struct text *out)
{
    text_addf(out, ".\\\" Made by qapi-gen; change these instead:");
    for (size_t i = 0; i < model->n_files; i++)
        text_addf(out, " %s", model->files[i]);
    text_addf(out, "\n.Dd $Mdocdate$\n.Dt LIBQBLK-QMP 7\n.Os\n.Sh NAME\n"
                   ".Nm libqblk-qmp\n.Nd the QMP commands, events and types that libqblk uses\n"
                   ".Sh DESCRIPTION\n"
                   "This is the part of QEMU's monitor protocol on which\n.Xr libqblk 3\n"
                   "and\n.Xr qblk 1\nare built.\nOnly members listed here are sent; "
                   "others in a reply are ignored.\nA version says when something appeared in "
                   "QEMU;\nwhere none is given it is as old as what holds it.\n"
                   "Any other command can be sent as JSON text, by\n"
                   ".Fn qblk_monitor_command\nor\n.Ql qblk qmp .\n.Pp\n"
                   "Builtin types are\n.Vt str ,\n.Vt int ,\n.Vt size\nand\n.Vt uint64\n"
                   "(64 bits, the latter two unsigned),\n.Vt bool ,\n.Vt number ,\n"
                   ".Vt str-or-null\n(a string or the JSON value null), and\n.Vt empty\n"
                   "(an object without members).\n");
    emit_section(model, out, "COMMANDS", ENTITY_COMMAND, ENTITY_COMMAND);
    emit_agents(model, out);
    emit_section(model, out, "EVENTS", ENTITY_EVENT, ENTITY_EVENT);
    emit_section(model, out, "TYPES", ENTITY_STRUCT, ENTITY_ENUM);
    text_addf(out, ".Sh SEE ALSO\n.Xr qblk 1 ,\n.Xr libqblk 3 ,\n.Xr libqblk-states 7\n");
}
