/* qapi-gen: from qapi-schema/ to C tables and structs, or to a manual page. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "emit.h"
#include "model.h"
#include "text.h"

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: qapi-gen -o DIRECTORY FILE...   write qapi_types.h, qapi_types.c\n"
                  "       qapi-gen -d FILE...             print a manual page\n");
    return 2;
}

static int read_all(struct model *model, char **files, int n)
{
    model->files = model_alloc(model, (size_t)n, sizeof(char *));
    for (int i = 0; i < n; i++) {
        size_t len = 0;
        char *text = text_read(files[i], &len);

        if (text == NULL) {
            (void)fprintf(stderr, "qapi-gen: %s: %s\n", files[i], strerror(errno));
            return -1;
        }
        model->files[model->n_files++] = files[i];
        (void)parse_text(model, files[i], text, len);
        free(text);
    }
    if (model->n_mistakes != 0)
        return -1;
    return check_model(model);
}

static int write_file(const struct model *model, const char *directory, const char *name,
                      void (*emit)(const struct model *model, struct text *out))
{
    struct text out = { NULL, 0, 0 }, path = { NULL, 0, 0 };
    int r;

    emit(model, &out);
    text_addf(&path, "%s/%s", directory, name);
    r = text_write_if_changed(&out, path.data);
    if (r < 0)
        (void)fprintf(stderr, "qapi-gen: %s: %s\n", path.data, strerror(errno));
    text_free(&path);
    text_free(&out);
    return r;
}

static int print_manual(const struct model *model)
{
    struct text out = { NULL, 0, 0 };
    int r;

    emit_man(model, &out);
    r = fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0 ? 0 : -1;
    text_free(&out);
    if (r < 0)
        (void)fprintf(stderr, "qapi-gen: standard output: %s\n", strerror(errno));
    return r;
}

int main(int argc, char **argv)
{
    const char *directory = NULL;
    struct model model;
    int option, manual = 0, r;

    while ((option = getopt(argc, argv, "do:")) != -1) {
        if (option == 'd')
            manual = 1;
        else if (option == 'o')
            directory = optarg;
        else
            return usage();
    }
    if (optind == argc || (directory == NULL) == (manual == 0))
        return usage();
    model_init(&model, stderr);
    r = read_all(&model, argv + optind, argc - optind);
    if (r == 0 && manual)
        r = print_manual(&model);
    else if (r == 0 && (write_file(&model, directory, "qapi_types.h", emit_h) < 0 ||
                        write_file(&model, directory, "qapi_types.c", emit_c) < 0))
        r = -1;
    model_free(&model);
    return r == 0 ? 0 : 1;
}
