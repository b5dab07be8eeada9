#include "opts.h"

#include <stdio.h>
#include <string.h>

#include "opts_table.h"
#include "report.h"
#include "sizes.h"
#include "suggest.h"
#include "text.h"
#include "verbs.h"

static bool is_for(const struct opt_def *def, uint32_t verb_bit)
{
    return verb_bit == 0 ? def->verbs == VERB_ALL
                         : def->verbs != VERB_ALL && (def->verbs & verb_bit) != 0;
}

bool opts_any(uint32_t verb_bit)
{
    for (int i = 0; i < n_opts; i++) {
        if (is_for(&opts_table[i], verb_bit))
            return true;
    }
    return false;
}

void opts_describe(struct text *to, uint32_t verb_bit)
{
    for (int i = 0; i < n_opts; i++) {
        const struct opt_def *def = &opts_table[i];
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

static void add_word(struct words *words, const char *word)
{
    words->v = xrealloc(words->v, (size_t)words->n + 1, sizeof(*words->v));
    words->v[words->n++] = word;
}

static int apply(struct cli *cli, const struct opt_def *def, const char *value, qblk_error *error)
{
    char *at = (char *)&cli->opt + def->offset;
    const char *text = value, *before;
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
            return usage_error(error, "--%s says otherwise than the option before it how it is to end: give one of "
                               "them", def->name);
        cli->opt.ending = def->value;
        return 0;
    case OPT_CHOICE:
        r = value == NULL ? -1 : choose(def, value, error);
        break;
    case OPT_TEXT:
    case OPT_WORDS:
        if (value == NULL || *value == '\0')
            r = usage_error(error, "--%s was given an empty %s", def->name, def->arg);
        if (r == 0 && def->kind == OPT_WORDS) {
            add_word((struct words *)(void *)at, value);
            return 0;
        }
        /* Of those of every verb the last one counts, as one may be in an alias. */
        memcpy(&before, at, sizeof(before));
        if (r == 0 && value != NULL && def->verbs != VERB_ALL && before != NULL && strcmp(before, value) != 0)
            r = usage_error(error, "--%s was given as '%.200s' and as '%.200s': give one of them", def->name,
                            before, value);
        break;
    case OPT_SECONDS:
    case OPT_LIMIT:
        r = parse_seconds(def->name, value, &ms, error);
        if (r == 0 && ms == 0 && def->kind == OPT_LIMIT)
            r = usage_error(error, "--%s 0 would end before it began; leave it out for what is usual",
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

    for (int i = 0; i < n_opts; i++) {
        if (strlen(opts_table[i].name) == n && memcmp(opts_table[i].name, name, n) == 0)
            return &opts_table[i];
    }
    hint[0] = '\0';
    if (n < sizeof(word)) {
        memcpy(word, name, n);
        word[n] = '\0';
        suggest_init(&suggest, word);
        for (int i = 0; i < n_opts; i++)
            suggest_try(&suggest, opts_table[i].name);
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
    bool seen[OPTS_MAX];
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
    args->seen[def - opts_table] = true;
    return apply(cli, def, value, error);
}

static int parse_short(struct cli *cli, struct args *args, const char *word, qblk_error *error)
{
    for (; *word != '\0'; word++) {
        const struct opt_def *def = NULL;
        const char *value = NULL;

        for (int i = 0; i < n_opts && def == NULL; i++)
            def = opts_table[i].letter == *word ? &opts_table[i] : NULL;
        if (def == NULL)
            return usage_error(error, "there is no option -%c; 'qblk help VERB' lists them", *word);
        if (def->arg != NULL) {
            value = option_value(args, def, word[1] != '\0' ? word + 1 : NULL, error);
            if (value == NULL)
                return -1;
        }
        args->seen[def - opts_table] = true;
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

/* The verbs that the option belongs to, by all its rows: parsing marks the first. */
static uint32_t verbs_of(const struct opt_def *def)
{
    uint32_t all = 0;

    for (int i = 0; i < n_opts; i++) {
        if (strcmp(opts_table[i].name, def->name) == 0)
            all |= opts_table[i].verbs;
    }
    return all;
}

static int check(struct cli *cli, const struct args *args, qblk_error *error)
{
    const struct verb *verb = cli->verb;

    for (int i = 0; i < n_opts; i++) {
        if (args->seen[i] && (verbs_of(&opts_table[i]) & verb->bit) == 0)
            return usage_error(error, "--%s means nothing to '%s'; 'qblk help %s' lists its "
                               "options", opts_table[i].name, verb->name, verb->name);
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
