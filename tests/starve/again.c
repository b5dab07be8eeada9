#include "again.h"

#include <alloca.h>
#include <dirent.h>
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__real_malloc(size_t size);
void __real_free(void *p);
struct mallinfo2 __real_mallinfo2(void);

#define MOST_REGIONS 128
#define SPARE ((size_t)8 << 20) /* of the heap: what a run may take without asking the kernel */
#define MOST_FDS 64

/* All there is to know, outside of what is taken back. */
static struct image {
    jmp_buf registers;
    struct region {
        char *at, *copy;
        size_t size;
    } regions[MOST_REGIONS];
    size_t n_regions;
    struct region stack; /* what is in use of it */
    char *program_break;
    unsigned fds[MOST_FDS]; /* that are open, in order */
    size_t n_fds;
} *image;

void *again_map(size_t size)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED)
        abort();
    return p;
}

void again_prepare(void)
{
    if (mallopt(M_MMAP_MAX, 0) == 0 || mallopt(M_TRIM_THRESHOLD, 1 << 30) == 0)
        abort();
}

/* What nothing is in at the end of the heap need not be taken back, and stays with the process. Returns where
 * that begins. A block larger than all that is free together fits into no hole: it begins there, and goes
 * beyond what was the end. */
static uintptr_t end_of_heap(void)
{
    size_t size = __real_mallinfo2().fordblks + SPARE;
    uintptr_t was_end = (uintptr_t)sbrk(0);
    uintptr_t last = (uintptr_t)__real_malloc(size);

    if (last == 0 || last > was_end || last + size <= was_end) {
        fprintf(stderr, "again: the end of the heap cannot be found\n");
        abort();
    }
    __real_free((void *)last);
    return last;
}

/* Of this process alone, written to, and not given by again_map(), which is shared. */
static void list_regions(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], rights[5], name[256], room[4096];
    uintptr_t heap_end = end_of_heap();
    uintptr_t from, to;

    if (maps == NULL || setvbuf(maps, room, _IOFBF, sizeof(room)) != 0)
        abort();
    while (fgets(line, sizeof(line), maps) != NULL) {
        struct region *region = &image->regions[image->n_regions];

        name[0] = '\0';
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %4s %*s %*s %*s %255s", &from, &to, rights, name) < 3 ||
            strcmp(rights, "rw-p") != 0)
            continue;
        if (strcmp(name, "[heap]") == 0 && to > heap_end) /* it may come in parts */
            to = heap_end > from ? heap_end : from;
        if (strcmp(name, "[stack]") == 0) {
            image->stack.at = (char *)from; /* for now */
            image->stack.size = to - from;
            continue;
        }
        if (from == to)
            continue;
        if (++image->n_regions == MOST_REGIONS)
            abort();
        region->at = (char *)from;
        region->size = to - from;
    }
    (void)fclose(maps);
    if (image->stack.at == NULL)
        abort();
}

static int by_number(const void *a, const void *b)
{
    const unsigned *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void list_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    const struct dirent *entry;

    if (dir == NULL)
        abort();
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(dir))
            continue;
        if (image->n_fds == MOST_FDS)
            abort();
        image->fds[image->n_fds++] = (unsigned)atoi(entry->d_name);
    }
    (void)closedir(dir);
    qsort(image->fds, image->n_fds, sizeof(image->fds[0]), by_number);
}

static void close_others(void)
{
    unsigned next = 0;

    for (size_t i = 0; i < image->n_fds; i++) {
        if (image->fds[i] > next)
            (void)syscall(SYS_close_range, next, image->fds[i] - 1, 0);
        next = image->fds[i] + 1;
    }
    (void)syscall(SYS_close_range, next, ~0U, 0);
}

/* From the frame of the function that calls this one upwards. */
__attribute__((noinline))
static void save(void)
{
    char *end = image->stack.at + image->stack.size, *begin = __builtin_frame_address(0);

    image->stack = (struct region){ .at = begin, .size = (size_t)(end - begin) };
    image->stack.copy = again_map(image->stack.size);
    image->program_break = sbrk(0);
    for (size_t i = 0; i < image->n_regions; i++)
        image->regions[i].copy = again_map(image->regions[i].size);
    memcpy(image->stack.copy, image->stack.at, image->stack.size);
    for (size_t i = 0; i < image->n_regions; i++)
        memcpy(image->regions[i].copy, image->regions[i].at, image->regions[i].size);
}

__attribute__((noinline))
void again_here(void)
{
    image = again_map(sizeof(*image));
    list_fds();
    list_regions();
    if (_setjmp(image->registers) == 0)
        save();
}

/* Its own frame is below the part of the stack that it writes to. */
__attribute__((noinline, noreturn))
static void restore(void)
{
    close_others();
    (void)syscall(SYS_brk, image->program_break);
    for (size_t i = 0; i < image->n_regions; i++)
        memcpy(image->regions[i].at, image->regions[i].copy, image->regions[i].size);
    memcpy(image->stack.at, image->stack.copy, image->stack.size);
    _longjmp(image->registers, 1);
}

void again_go(void)
{
    const char *here = __builtin_frame_address(0);
    size_t above = here > image->stack.at ? (size_t)(here - image->stack.at) : 0;
    volatile char *deeper = alloca(above + 4096);

    deeper[0] = 0;
    restore();
}
