/* replay_TARGET FILE|FOLDER...: gives each file to the fuzz target once, without a fuzzer's runtime,
 * so that the corpora are part of the ordinary test run with any compiler. */
#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* nftw() has no argument of the caller's. */
static unsigned long n_inputs;

static int replay(const char *path, const struct stat *info, int type, struct FTW *walk)
{
    size_t size = (size_t)info->st_size;
    uint8_t *data;
    FILE *file;

    (void)walk;
    if (type == FTW_DNR || type == FTW_NS) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    if (type != FTW_F)
        return 0;
    /* Of the exact size, so that a byte read too far is noticed. */
    data = malloc(size != 0 ? size : 1);
    file = fopen(path, "rb");
    if (data == NULL || file == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        if (file != NULL)
            (void)fclose(file);
        free(data);
        return 1;
    }
    (void)fclose(file);
    /* Said before, since a target that finds something ends the program. */
    printf("%s\n", path);
    (void)fflush(stdout);
    (void)LLVMFuzzerTestOneInput(data, size);
    free(data);
    n_inputs++;
    return 0;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (nftw(argv[i], replay, 16, FTW_PHYS) != 0) {
            fprintf(stderr, "%s: not replayed\n", argv[i]);
            return 1;
        }
    printf("%s %lu inputs\n", n_inputs != 0 ? "ok" : "not ok:", n_inputs);
    return n_inputs != 0 ? 0 : 1;
}
