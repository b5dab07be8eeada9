#include "help.h"

#include <string.h>

#include "json.h"
#include "opts.h"
#include "report.h"
#include "verbs.h"

static void describe_command(struct text *to)
{
    text_add(to, "usage: qblk [-s SOCKET] [OPTION...] VERB ...\n\n"
                 "Drives QEMU's live block operations over its QMP socket.\n\nVerbs:\n");
    for (int i = 0; i < n_verbs; i++) {
        struct text left = { NULL, 0, 0 };

        text_addf(&left, "%s%s%s", verbs[i].name, *verbs[i].args != '\0' ? " " : "",
                  verbs[i].args);
        text_add_entry(to, left.s, verbs[i].summary);
        text_free(&left);
    }
    text_add(to, "\nOptions of every verb:\n");
    opts_describe(to, 0);
    text_add(to, "\n'qblk help VERB' or 'qblk VERB --help' tells more. Exit status: 0 done, 1 "
                 "failed, 2 wrong\nusage, 3 no connection, 4 timed out, 5 cancelled, 6 refused. "
                 "Manual: qblk(1).\n");
}

static void describe_verb(struct text *to, const struct verb *verb)
{
    text_addf(to, "usage: qblk [-s SOCKET] [OPTION...] %s%s%s\n\n%s.\n", verb->name,
              *verb->args != '\0' ? " " : "", verb->args, verb->summary);
    if (verb->detail != NULL)
        text_addf(to, "%s\n", verb->detail);
    if (opts_any(verb->bit)) {
        text_add(to, "\nOptions:\n");
        opts_describe(to, verb->bit);
    }
    text_add(to, "\nOptions of every verb:\n");
    opts_describe(to, 0);
}

int help_print(struct cli *cli, const struct verb *verb)
{
    struct text text = { NULL, 0, 0 }, line = { NULL, 0, 0 };

    if (verb != NULL)
        describe_verb(&text, verb);
    else
        describe_command(&text);
    if (cli->opt.json) {
        json_open(&line, NULL, '{');
        json_open(&line, "result", '{');
        json_str(&line, "text", text.s);
        json_close(&line, '}');
        json_close(&line, '}');
        out_line(cli, &line);
    } else {
        out_text(cli, text.s);
    }
    text_free(&text);
    return EXIT_DONE;
}

int run_help(struct cli *cli)
{
    const struct verb *verb = NULL;
    qblk_error error;
    int used;

    if (cli->n_args == 0 || (cli->n_args == 1 && verb_is_group(cli->args[0])))
        return help_print(cli, NULL);
    verb = verb_find(cli->args, cli->n_args, &used, &error);
    if (verb != NULL && used < cli->n_args) {
        (void)usage_error(&error, "'%s' has no parts to tell about", verb->name);
        verb = NULL;
    }
    return verb == NULL ? report_error(cli, &error) : help_print(cli, verb);
}
