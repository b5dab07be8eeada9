/* Building an engine's list of steps, and the notes that it gathers. */
#include "ops/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"

void engine_init(struct engine *engine, const char *main_job, void *arg)
{
    memset(engine, 0, sizeof(*engine));
    (void)snprintf(engine->main.id, sizeof(engine->main.id), "%s", main_job);
    engine->arg = arg;
}

static void free_step(struct step *step)
{
    free(step->name);
    free(step->command);
    free(step->undo);
    free(step->unlink);
    free(step->node);
    free(step->otherwise);
    free(step->note);
}

void engine_done(struct engine *engine)
{
    for (size_t i = 0; i < engine->n; i++)
        free_step(&engine->steps[i]);
    free_step(&engine->none);
    free(engine->steps);
    for (size_t i = 0; i < engine->n_notes; i++)
        free(engine->notes[i]);
    free(engine->notes);
    memset(engine, 0, sizeof(*engine));
}

struct step *engine_add(struct engine *engine, enum step_kind kind, const char *name)
{
    struct step *step;

    if (mem_grow(&engine->steps, &engine->room, engine->n, sizeof(*engine->steps)) < 0) {
        engine->failed_alloc = true;
        /* It may have been handed out before, and filled. */
        free_step(&engine->none);
        memset(&engine->none, 0, sizeof(engine->none));
        return &engine->none;
    }
    step = &engine->steps[engine->n++];
    memset(step, 0, sizeof(*step));
    step->kind = kind;
    step->name = mem_strdup(name);
    if (step->name == NULL)
        engine->failed_alloc = true;
    return step;
}

static char *encode(struct engine *engine, const struct codec_command *command, const void *args)
{
    struct buf text = BUF_INIT;
    qblk_error error;
    char *result;

    if (codec_command(command, args, &text, &error) < 0) {
        if (engine->plan_error.code == QBLK_E_NONE)
            engine->plan_error = error;
        buf_done(&text);
        return NULL;
    }
    result = buf_take(&text);
    if (result == NULL)
        engine->failed_alloc = true;
    return result;
}

void step_command(struct engine *engine, struct step *step, const struct codec_command *command,
                  const void *args)
{
    if (!engine->failed_alloc)
        step->command = encode(engine, command, args);
}

void step_undo(struct engine *engine, struct step *step, const struct codec_command *command,
               const void *args)
{
    if (!engine->failed_alloc)
        step->undo = encode(engine, command, args);
}

int engine_ready(const struct engine *engine, qblk_error *error)
{
    if (engine->plan_error.code != QBLK_E_NONE)
        return err_copy(error, &engine->plan_error);
    return engine->failed_alloc ? err_nomem(error) : 0;
}

void engine_note(struct engine *engine, const char *format, ...)
{
    va_list ap;
    char *text;

    if (mem_grow(&engine->notes, &engine->notes_room, engine->n_notes,
                 sizeof(*engine->notes)) < 0)
        return;
    va_start(ap, format);
    text = mem_vprintf(format, ap);
    va_end(ap);
    /* What is planned twice is said once. */
    for (size_t i = 0; text != NULL && i < engine->n_notes; i++) {
        if (strcmp(engine->notes[i], text) == 0) {
            free(text);
            text = NULL;
        }
    }
    if (text != NULL)
        engine->notes[engine->n_notes++] = text;
}

void engine_unnote(struct engine *engine, const char *node)
{
    AUTO_FREE char *start = mem_printf("node %s ", node);

    for (size_t i = 0; start != NULL && i < engine->n_notes; i++) {
        if (!str_starts(engine->notes[i], start))
            continue;
        free(engine->notes[i]);
        memmove(&engine->notes[i], &engine->notes[i + 1],
                (engine->n_notes - i - 1) * sizeof(*engine->notes));
        engine->n_notes--;
        i--;
    }
}
