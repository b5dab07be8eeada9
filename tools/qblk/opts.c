#include "opts.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "report.h"
#include "sizes.h"
#include "suggest.h"
#include "text.h"
#include "verbs.h"

enum opt_kind {
    OPT_FLAG,    /* bool */
    OPT_LEVEL,   /* int, one more each time */
    OPT_TEXT,    /* const char * */
    OPT_SECONDS, /* int64_t, ms */
    OPT_LIMIT,   /* the same, not 0 */
    OPT_RATE,    /* uint64_t */
    OPT_COUNT,   /* uint64_t, not 0 */
    OPT_SIZE,    /* uint64_t, bytes, not 0 */
    OPT_GIVEN,   /* struct given */
    OPT_GIVEN_RATE, /* struct given, a rate */
    OPT_CHOICE,  /* const char *, one of choices */
    OPT_ENDING   /* qblk_ending, value */
};

struct opt_def {
    const char *name;
    char letter;         /* 0: none */
    enum opt_kind kind;
    size_t offset;
    const char *arg;     /* NULL: takes none */
    const char *choices; /* "a|b" */
    qblk_ending value;
    uint32_t verbs;
    const char *help;
};

#define AT(member) offsetof(struct options, member)
#define ENDS(end) .kind = OPT_ENDING, .offset = AT(ending), .value = QBLK_END_##end
static const struct opt_def table[] = {
    { "socket", 's', OPT_TEXT, AT(socket), "PATH", .verbs = VERB_ALL,
      .help = "QEMU's QMP socket; without it $QBLK_SOCKET" },
    { "wait", 0, OPT_SECONDS, AT(wait_ms), "S", .verbs = VERB_ALL,
      .help = "wait up to S seconds for the socket to appear" },
    { "timeout", 0, OPT_LIMIT, AT(timeout_ms), "S", .verbs = VERB_ALL,
      .help = "give the whole command S seconds; decimals allowed" },
    { "json", 0, OPT_FLAG, AT(json), .verbs = VERB_ALL,
      .help = "print one JSON object a line on stdout, the result or error last" },
    { "quiet", 'q', OPT_FLAG, AT(quiet), .verbs = VERB_ALL,
      .help = "no notes, no progress line" },
    { "verbose", 'v', OPT_LEVEL, AT(verbose), .verbs = VERB_ALL,
      .help = "log to stderr; twice: every message too" },
    { "help", 'h', OPT_FLAG, AT(help), .verbs = VERB_ALL, .help = "describe the verb" },
    { "version", 0, OPT_FLAG, AT(version), .verbs = VERB_ALL, .help = "print the version" },

    { "base", 0, OPT_TEXT, AT(base), "IMAGE", .verbs = VERB_PULL | VERB_COMMIT,
      .help = "pull: keep it and what is below; commit: it takes the data (@1, node, file)" },
    { "top", 0, OPT_TEXT, AT(top), "IMAGE", .verbs = VERB_COMMIT,
      .help = "the uppermost image to commit; without it the disk's own" },
    { "backing-file", 0, OPT_TEXT, AT(backing_file), "STRING", .verbs = VERB_PULL | VERB_COMMIT,
      .help = "what to record in the image above as its backing file" },
    { "into", 0, OPT_TEXT, AT(into), "IMAGE", .verbs = VERB_PULL,
      .help = "the image that takes the data; without it the disk's top" },
    { "bottom", 0, OPT_TEXT, AT(bottom), "IMAGE", .verbs = VERB_PULL,
      .help = "instead of --base: the lowest image to pull; what is below may change meanwhile" },
    { "relative", 0, OPT_FLAG, AT(relative),
      .verbs = VERB_PULL | VERB_COMMIT | VERB_COPY | VERB_SNAPSHOT,
      .help = "record a name that is relative to the image's directory" },
    { "sync", 0, OPT_CHOICE, AT(sync), "MODE", "full|top|none", .verbs = VERB_BACKUP | VERB_COPY,
      .help = "full (default), top for the top image alone; copy: none for new writes only" },
    { "no-bitmaps", 0, OPT_FLAG, AT(no_bitmaps),
      .verbs = VERB_PULL | VERB_COMMIT | VERB_COPY | VERB_SWAP | VERB_SNAPSHOT,
      .help = "give up the dirty bitmaps of the images that go; snapshot: do not continue any" },
    { "pivot", 0, .verbs = VERB_COPY | VERB_COMMIT | VERB_RECOVER, ENDS(PIVOT),
      .help = "once in sync, move the disk (default of commit)" },
    { "finish", 0, .verbs = VERB_COPY | VERB_COMMIT | VERB_RECOVER, ENDS(FINISH),
      .help = "once in sync, end; the disk stays where it is (default of copy)" },
    { "keep", 0, .verbs = VERB_COPY | VERB_COMMIT, ENDS(KEEP),
      .help = "once in sync, return and leave the job mirroring" },
    { "shallow", 0, OPT_FLAG, AT(shallow), .verbs = VERB_COPY,
      .help = "copy the top image alone; TARGET shares the images below" },
    { "reuse-external", 0, OPT_FLAG, AT(reuse),
      .verbs = VERB_COPY | VERB_BACKUP | VERB_SNAPSHOT,
      .help = "TARGET exists and is to be overwritten; FILE is a prepared overlay" },
    { "resize", 0, OPT_SIZE, AT(resize), "SIZE", .verbs = VERB_SWAP,
      .help = "give the disk SIZE once it has moved" },
    { "format", 0, OPT_CHOICE, AT(format), "F", "qcow2|raw",
      .verbs = VERB_COPY | VERB_SWAP | VERB_BACKUP,
      .help = "format of TARGET: qcow2 or raw; without it the disk's own" },
    { "blockdev", 0, OPT_TEXT, AT(blockdev), "JSON", .verbs = VERB_COPY,
      .help = "in place of TARGET: a node as for blockdev-add, without node-name" },
    { "quiesce", 0, OPT_TEXT, AT(quiesce), "SOCKET", .verbs = VERB_COPY | VERB_SNAPSHOT,
      .help = "freeze the guest's file systems meanwhile, through its agent" },
    { "quiesce-optional", 0, OPT_FLAG, AT(quiesce_optional), .verbs = VERB_COPY | VERB_SNAPSHOT,
      .help = "go on without if they cannot be frozen" },
    { "granularity", 0, OPT_SIZE, AT(granularity), "SIZE", .verbs = VERB_COPY,
      .help = "copy in pieces of SIZE, a power of two from 512 to 64M" },
    { "buf-size", 0, OPT_SIZE, AT(buf_size), "SIZE", .verbs = VERB_COPY,
      .help = "have at most SIZE in flight" },
    { "active", 0, OPT_FLAG, AT(active), .verbs = VERB_COPY | VERB_JOB_CHANGE,
      .help = "let each of the guest's writes wait until the target has it too" },
    { "active-late", 0, OPT_FLAG, AT(active_late), .verbs = VERB_COPY,
      .help = "--active once in sync, where QEMU can" },
    { "on-source-error", 0, OPT_CHOICE, AT(on_source_error), "POLICY",
      "report|stop|ignore|enospc", .verbs = VERB_COPY,
      .help = "--on-error for reads of the disk" },
    { "on-target-error", 0, OPT_CHOICE, AT(on_target_error), "POLICY",
      "report|stop|ignore|enospc", .verbs = VERB_COPY,
      .help = "--on-error for writes to TARGET" },
    { "compress", 0, OPT_FLAG, AT(compress), .verbs = VERB_BACKUP,
      .help = "compress the data in TARGET" },
    { "legacy", 0, OPT_FLAG, AT(legacy), .verbs = VERB_COPY | VERB_BACKUP,
      .help = "use drive-mirror or drive-backup" },
    { "speed", 0, OPT_RATE, AT(speed), "RATE", .verbs = VERB_OPS,
      .help = "at most RATE a second, such as 64M; 0 for no limit" },
    { "on-error", 0, OPT_CHOICE, AT(on_error), "POLICY", "report|stop|ignore|enospc",
      .verbs = VERB_OPS,
      .help = "on an I/O error: report (default), stop, ignore or enospc" },
    { "dry-run", 0, OPT_FLAG, AT(dry_run), .verbs = VERB_OPS | VERB_SMALL | VERB_SNAPSHOT,
      .help = "check and print what would be sent; change nothing" },
    { "async", 0, OPT_FLAG, AT(async), .verbs = VERB_OPS | VERB_JOB_END,
      .help = "do not wait for the end of the job" },
    { "cancel-on-timeout", 0, OPT_FLAG, AT(cancel_on_timeout), .verbs = VERB_OPS | VERB_SNAPSHOT,
      .help = "when --timeout has passed, cancel and undo" },
    { "list", 0, OPT_FLAG, AT(list), .verbs = VERB_RECOVER,
      .help = "only list what is open" },
    { "all", 0, OPT_FLAG, AT(all), .verbs = VERB_RECOVER,
      .help = "list what belongs to no operation, too, and what frees it" },
    { "operation", 0, OPT_TEXT, AT(operation), "ID", .verbs = VERB_RECOVER,
      .help = "only the operation of this id" },
    { "undo", 0, OPT_FLAG, AT(undo), .verbs = VERB_RECOVER,
      .help = "cancel what still can be cancelled, and undo it" },
    { "any", 0, OPT_FLAG, AT(any), .verbs = VERB_JOB_WAIT,
      .help = "wait for the first of the jobs only" },
    { "ready", 0, OPT_FLAG, AT(ready), .verbs = VERB_JOB_WAIT,
      .help = "a job that is ready counts as well" },
    { "shrink", 0, OPT_FLAG, AT(shrink), .verbs = VERB_RESIZE,
      .help = "SIZE may be smaller; what is beyond is lost" },
    { "bps", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS]), "RATE", .verbs = VERB_THROTTLE,
      .help = "at most so many bytes a second in all" },
    { "bps-rd", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS_RD]), "RATE", .verbs = VERB_THROTTLE,
      .help = "at most so many bytes read a second" },
    { "bps-wr", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS_WR]), "RATE", .verbs = VERB_THROTTLE,
      .help = "at most so many bytes written a second" },
    { "iops", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS]), "N", .verbs = VERB_THROTTLE,
      .help = "at most so many requests a second in all" },
    { "iops-rd", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_RD]), "N", .verbs = VERB_THROTTLE,
      .help = "at most so many reads a second" },
    { "iops-wr", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_WR]), "N", .verbs = VERB_THROTTLE,
      .help = "at most so many writes a second" },
    { "bps-max", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS_MAX]), "RATE", .verbs = VERB_THROTTLE,
      .help = "for a burst: bytes a second in all" },
    { "bps-rd-max", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS_RD_MAX]), "RATE", .verbs = VERB_THROTTLE,
      .help = "for a burst: bytes read a second" },
    { "bps-wr-max", 0, OPT_GIVEN_RATE, AT(limits[QBLK_LIMIT_BPS_WR_MAX]), "RATE", .verbs = VERB_THROTTLE,
      .help = "for a burst: bytes written a second" },
    { "iops-max", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_MAX]), "N", .verbs = VERB_THROTTLE,
      .help = "for a burst: requests a second in all" },
    { "iops-rd-max", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_RD_MAX]), "N", .verbs = VERB_THROTTLE,
      .help = "for a burst: reads a second" },
    { "iops-wr-max", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_WR_MAX]), "N", .verbs = VERB_THROTTLE,
      .help = "for a burst: writes a second" },
    { "iops-size", 0, OPT_GIVEN, AT(limits[QBLK_LIMIT_IOPS_SIZE]), "BYTES", .verbs = VERB_THROTTLE,
      .help = "a request of more bytes counts as several" },
    { "group", 0, OPT_TEXT, AT(group), "NAME", .verbs = VERB_THROTTLE,
      .help = "share the limits with the other disks of that group" },
    { "off", 0, OPT_FLAG, AT(off), .verbs = VERB_THROTTLE, .help = "no limits any more" },
    { "keep-nodes", 0, OPT_FLAG, AT(keep_nodes), .verbs = VERB_DETACH,
      .help = "leave the disk's nodes, to be used again" },
    { "tries", 0, OPT_COUNT, AT(tries), "N", .verbs = VERB_DETACH,
      .help = "ask the guest N times (8)" },
    { "interval", 0, OPT_LIMIT, AT(interval_ms), "S", .verbs = VERB_DETACH,
      .help = "wait S seconds each time (20)" },
    { "force", 0, OPT_FLAG, AT(force), .verbs = VERB_QMP | VERB_JOB_DISMISS,
      .help = "although it spoils a job that runs, or takes an open operation's outcome away" },
    { "reconnect", 0, OPT_LIMIT, AT(reconnect_ms), "S",
      .verbs = VERB_PULL | VERB_COMMIT | VERB_COPY | VERB_SWAP | VERB_BACKUP | VERB_RESIZE |
               VERB_THROTTLE | VERB_DETACH | VERB_SNAPSHOT | VERB_JOB_WAIT | VERB_JOB_WATCH |
               VERB_WATCH | VERB_RECOVER | VERB_EVENTS,
      .help = "if the connection is lost, try for S seconds to make it again" },
    { "glob", 0, OPT_TEXT, AT(glob), "PATTERN", .verbs = VERB_WATCH,
      .help = "every socket whose path matches, now or later; quote it" },
    { "dot", 0, OPT_FLAG, AT(dot), .verbs = VERB_TREE, .help = "print input for Graphviz" },
    { "follow", 0, OPT_FLAG, AT(follow), .verbs = VERB_EVENTS,
      .help = "go on until interrupted (the default)" },
    { "count", 0, OPT_COUNT, AT(count), "N", .verbs = VERB_EVENTS,
      .help = "end after N events" },
};

#define N_OPTS ((int)(sizeof(table) / sizeof(table[0])))

static bool is_for(const struct opt_def *def, uint32_t verb_bit)
{
    return verb_bit == 0 ? def->verbs == VERB_ALL
                         : def->verbs != VERB_ALL && (def->verbs & verb_bit) != 0;
}

bool opts_any(uint32_t verb_bit)
{
    for (int i = 0; i < N_OPTS; i++) {
        if (is_for(&table[i], verb_bit))
            return true;
    }
    return false;
}

void opts_describe(struct text *to, uint32_t verb_bit)
{
    for (int i = 0; i < N_OPTS; i++) {
        const struct opt_def *def = &table[i];
        struct text left = { NULL, 0, 0 };

        if (!is_for(def, verb_bit))
            continue;
        if (def->letter != 0)
            text_addf(&left, "-%c, ", def->letter);
        text_addf(&left, "--%s", def->name);
        if (def->arg != NULL)
            text_addf(&left, " %s", def->arg);
        text_add_entry(to, left.s, def->help);
        text_free(&left);
    }
}

static int choose(const struct opt_def *def, const char *value, qblk_error *error)
{
    size_t n = strlen(value);

    for (const char *p = def->choices; p != NULL; p = strchr(p, '|')) {
        p += *p == '|';
        if (n > 0 && strncmp(p, value, n) == 0 && (p[n] == '|' || p[n] == '\0'))
            return 0;
    }
    return usage_error(error, "--%s takes one of %s, not '%s'", def->name, def->choices, value);
}

static int apply_given(const struct opt_def *def, const char *value, struct given *given,
                       qblk_error *error)
{
    char name[32];

    (void)snprintf(name, sizeof(name), "--%s", def->name);
    given->is_given = true;
    return def->kind == OPT_GIVEN_RATE ? parse_rate(name, value, &given->value, error)
                                       : parse_size(name, value, &given->value, error);
}

static int apply(struct cli *cli, const struct opt_def *def, const char *value, qblk_error *error)
{
    char *at = (char *)&cli->opt + def->offset;
    const char *text = value;
    int64_t ms = 0;
    uint64_t number = 0;
    char name[32];
    int r = 0;

    if (def->arg != NULL && value == NULL)
        return usage_error(error, "--%s needs %s behind it", def->name, def->arg);
    switch (def->kind) {
    case OPT_FLAG:
        memcpy(at, &(bool){ true }, sizeof(bool));
        return 0;
    case OPT_LEVEL:
        cli->opt.verbose++;
        return 0;
    case OPT_ENDING:
        if (cli->opt.ending != QBLK_END_DEFAULT && cli->opt.ending != def->value)
            return usage_error(error, "--pivot, --finish and --keep exclude one another: give the "
                               "one that says how the copy is to end");
        cli->opt.ending = def->value;
        return 0;
    case OPT_CHOICE:
        r = value == NULL ? -1 : choose(def, value, error);
        break;
    case OPT_TEXT:
        if (value == NULL || *value == '\0')
            r = usage_error(error, "--%s was given an empty %s", def->name, def->arg);
        break;
    case OPT_SECONDS:
    case OPT_LIMIT:
        r = parse_seconds(def->name, value, &ms, error);
        if (r == 0 && ms == 0 && def->kind == OPT_LIMIT)
            r = usage_error(error, "--%s 0 would end before it began; leave it out for no limit",
                            def->name);
        if (r == 0)
            memcpy(at, &ms, sizeof(ms));
        return r;
    case OPT_GIVEN:
    case OPT_GIVEN_RATE:
        return apply_given(def, value, (struct given *)(void *)at, error);
    case OPT_RATE:
    case OPT_COUNT:
    case OPT_SIZE:
        (void)snprintf(name, sizeof(name), "--%s", def->name);
        r = def->kind == OPT_RATE   ? parse_rate("--speed", value, &number, error)
            : def->kind == OPT_SIZE ? parse_size(name, value, &number, error)
                                    : parse_count(def->name, value, &number, error);
        if (r == 0)
            memcpy(at, &number, sizeof(number));
        return r;
    default:
        break;
    }
    if (r == 0)
        memcpy(at, &text, sizeof(text));
    return r;
}

static const struct opt_def *find_long(const char *name, size_t n, qblk_error *error)
{
    char word[48];
    char hint[64];
    struct suggest suggest;

    for (int i = 0; i < N_OPTS; i++) {
        if (strlen(table[i].name) == n && memcmp(table[i].name, name, n) == 0)
            return &table[i];
    }
    hint[0] = '\0';
    if (n < sizeof(word)) {
        memcpy(word, name, n);
        word[n] = '\0';
        suggest_init(&suggest, word);
        for (int i = 0; i < N_OPTS; i++)
            suggest_try(&suggest, table[i].name);
        if (suggest.best != NULL)
            (void)snprintf(hint, sizeof(hint), "did you mean --%s? ", suggest.best);
    }
    (void)usage_error(error, "there is no option --%.*s; %s'qblk help VERB' lists them",
                      n > 60 ? 60 : (int)n, name, hint);
    return NULL;
}

/* Where the parsing is. */
struct args {
    int argc;
    char **argv;
    int next;
    bool seen[N_OPTS];
};

static const char *option_value(struct args *args, const struct opt_def *def, const char *joined,
                                qblk_error *error)
{
    if (joined != NULL)
        return joined;
    if (args->next < args->argc)
        return args->argv[args->next++];
    (void)usage_error(error, "--%s needs %s behind it", def->name, def->arg);
    return NULL;
}

static int parse_long(struct cli *cli, struct args *args, const char *word, qblk_error *error)
{
    const char *equals = strchr(word, '=');
    size_t n = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct opt_def *def = find_long(word, n, error);
    const char *value = NULL;

    if (def == NULL)
        return -1;
    if (def->arg == NULL && equals != NULL)
        return usage_error(error, "--%s takes no value", def->name);
    if (def->arg != NULL) {
        value = option_value(args, def, equals != NULL ? equals + 1 : NULL, error);
        if (value == NULL)
            return -1;
    }
    args->seen[def - table] = true;
    return apply(cli, def, value, error);
}

static int parse_short(struct cli *cli, struct args *args, const char *word, qblk_error *error)
{
    for (; *word != '\0'; word++) {
        const struct opt_def *def = NULL;
        const char *value = NULL;

        for (int i = 0; i < N_OPTS && def == NULL; i++)
            def = table[i].letter == *word ? &table[i] : NULL;
        if (def == NULL)
            return usage_error(error, "there is no option -%c; 'qblk help VERB' lists them", *word);
        if (def->arg != NULL) {
            value = option_value(args, def, word[1] != '\0' ? word + 1 : NULL, error);
            if (value == NULL)
                return -1;
        }
        args->seen[def - table] = true;
        if (apply(cli, def, value, error) < 0)
            return -1;
        if (value != NULL)
            return 0;
    }
    return 0;
}

/* What follows the word and a blank in the verb's name, or NULL: "list" of "job list" for "job". */
static const char *within(const struct verb *verb, const char *group)
{
    size_t n = strlen(group);

    return strncmp(verb->name, group, n) == 0 && verb->name[n] == ' ' ? verb->name + n + 1 : NULL;
}

/* First words of verbs of two. */
static const char *const groups[] = { "job", "agent" };
#define N_GROUPS ((int)(sizeof(groups) / sizeof(groups[0])))

bool verb_is_group(const char *word)
{
    for (int i = 0; i < N_GROUPS; i++) {
        if (strcmp(groups[i], word) == 0)
            return true;
    }
    return false;
}

/* The verb's name in the group, or without one; NULL if it is not there. */
static const char *name_in(const struct verb *verb, const char *group)
{
    if (group != NULL)
        return within(verb, group);
    return strchr(verb->name, ' ') == NULL ? verb->name : NULL;
}

static void unknown_verb(const char *word, const char *group, qblk_error *error)
{
    const char *of = group != NULL ? group : "", *space = group != NULL ? " " : "";
    struct suggest suggest;
    char hint[64] = "";

    suggest_init(&suggest, word);
    for (int i = 0; i < n_verbs; i++) {
        const char *name = name_in(&verbs[i], group);

        if (name != NULL)
            suggest_try(&suggest, name);
    }
    for (int i = 0; i < N_GROUPS && group == NULL; i++)
        suggest_try(&suggest, groups[i]);
    if (suggest.best != NULL)
        (void)snprintf(hint, sizeof(hint), "did you mean '%s%s%s'? ", of, space, suggest.best);
    (void)usage_error(error, "there is no verb '%s%s%.60s'; %s'qblk help' lists them", of, space,
                      word, hint);
}

/* A group alone: names what can follow. */
static void lonely_group(const char *group, qblk_error *error)
{
    struct text list = { NULL, 0, 0 };
    int n = 0, total = 0;

    for (int i = 0; i < n_verbs; i++)
        total += within(&verbs[i], group) != NULL;
    for (int i = 0; i < n_verbs; i++) {
        const char *name = within(&verbs[i], group);

        if (name != NULL)
            text_addf(&list, "%s%s", n == 0 ? "" : n == total - 1 ? " or " : ", ", name);
        n += name != NULL;
    }
    (void)usage_error(error, "'%s' needs to know what to do: %s", group, list.s);
    text_free(&list);
}

const struct verb *verb_find(char *const *words, int n_words, int *ret_used, qblk_error *error)
{
    const char *group = n_words > 0 && verb_is_group(words[0]) ? words[0] : NULL;
    const char *word;

    if (n_words == 0) {
        (void)usage_error(error, "no verb: say what to do; 'qblk help' lists the verbs");
        return NULL;
    }
    if (group != NULL && n_words == 1) {
        lonely_group(group, error);
        return NULL;
    }
    word = words[group != NULL];
    for (int i = 0; i < n_verbs; i++) {
        const char *name = name_in(&verbs[i], group);

        if (name != NULL && strcmp(name, word) == 0) {
            *ret_used = 1 + (group != NULL);
            return &verbs[i];
        }
    }
    unknown_verb(word, group, error);
    return NULL;
}

static int check(struct cli *cli, const struct args *args, qblk_error *error)
{
    const struct verb *verb = cli->verb;

    for (int i = 0; i < N_OPTS; i++) {
        if (args->seen[i] && (table[i].verbs & verb->bit) == 0)
            return usage_error(error, "--%s means nothing to '%s'; 'qblk help %s' lists its "
                               "options", table[i].name, verb->name, verb->name);
    }
    if (cli->opt.quiet && cli->opt.verbose > 0)
        return usage_error(error, "-q and -v contradict one another");
    if (cli->opt.cancel_on_timeout && cli->opt.timeout_ms == 0)
        return usage_error(error, "--cancel-on-timeout needs --timeout S");
    if (cli->opt.async && cli->opt.dry_run)
        return usage_error(error, "--async and --dry-run contradict one another: a dry run starts "
                           "no job");
    if (cli->opt.async && cli->opt.ending == QBLK_END_KEEP)
        return usage_error(error, "--async and --keep contradict one another: --keep waits until "
                           "the copy is in sync");
    if (cli->n_args < verb->min_args)
        return usage_error(error, "too few arguments: qblk %s%s%s", verb->name,
                           *verb->args != '\0' ? " " : "", verb->args);
    if (verb->max_args >= 0 && cli->n_args > verb->max_args)
        return usage_error(error, "one argument too many, '%.60s': qblk %s%s%s",
                           cli->args[verb->max_args], verb->name, *verb->args != '\0' ? " " : "",
                           verb->args);
    return 0;
}

/* --json decides how a mistake elsewhere on the line is told, so it is looked for first. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0)
            return true;
    }
    return false;
}

int opts_parse(struct cli *cli, int argc, char **argv, qblk_error *error)
{
    struct args args = { .argc = argc, .argv = argv, .next = 1 };
    bool only_words = false;
    int used = 0;

    cli->opt.json = wants_json(argc, argv);
    cli->args = xrealloc(NULL, (size_t)argc + 1, sizeof(char *));
    cli->n_args = 0;
    while (args.next < argc) {
        char *word = argv[args.next++];
        int r = 0;

        if (only_words || word[0] != '-' || word[1] == '\0')
            cli->args[cli->n_args++] = word;
        else if (strcmp(word, "--") == 0)
            only_words = true;
        else if (word[1] == '-')
            r = parse_long(cli, &args, word + 2, error);
        else
            r = parse_short(cli, &args, word + 1, error);
        if (r < 0)
            return r;
    }
    if (cli->opt.version ||
        (cli->opt.help && (cli->n_args == 0 ||
                           (cli->n_args == 1 && verb_is_group(cli->args[0])))))
        return 0;
    cli->verb = verb_find(cli->args, cli->n_args, &used, error);
    if (cli->verb == NULL)
        return -1;
    memmove(cli->args, cli->args + used, sizeof(char *) * (size_t)(cli->n_args - used));
    cli->n_args -= used;
    return cli->opt.help ? 0 : check(cli, &args, error);
}
