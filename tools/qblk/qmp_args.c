#include "qmp_args.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "rawjson.h"
#include "report.h"

/* A member of the arguments: a value as JSON, or members of its own. */
struct member {
    char *key;
    char *value; /* NULL: an object of the members below */
    struct member *first;
    struct member *next;
};

static struct member *members_free(struct member *member)
{
    while (member != NULL) {
        struct member *next = member->next;

        (void)members_free(member->first);
        free(member->key);
        free(member->value);
        free(member);
        member = next;
    }
    return NULL;
}

/* The member of that key in the list, made at its end if it is not there. */
static struct member *member_get(struct member **list, const char *key, size_t n, bool *ret_is_new)
{
    struct member *made;

    for (; *list != NULL; list = &(*list)->next) {
        if (strlen((*list)->key) == n && memcmp((*list)->key, key, n) == 0) {
            *ret_is_new = false;
            return *list;
        }
    }
    made = xrealloc(NULL, 1, sizeof(*made));
    memset(made, 0, sizeof(*made));
    made->key = xstrndup(key, n);
    *list = made;
    *ret_is_new = true;
    return made;
}

/* Walks a.b.c and puts value, which becomes the tree's, at its end. */
static int put(struct member **list, const char *word, const char *key, size_t n, char *value,
               qblk_error *error)
{
    size_t at = 0;
    int depth = 0;

    for (;;) {
        size_t len = 0;
        bool is_new;
        struct member *member;

        while (at + len < n && key[at + len] != '.')
            len++;
        if (len == 0 || ++depth > RAWJSON_DEPTH / 2) {
            free(value);
            return usage_error(error, "the key '%.*s' in '%.200s' has %s: write KEY=VALUE or "
                               "A.B=VALUE", n > 200 ? 200 : (int)n, key, word,
                               len == 0 ? "an empty part" : "too many parts");
        }
        member = member_get(list, key + at, len, &is_new);
        at += len;
        if (at == n ? !is_new : member->value != NULL) {
            free(value);
            return usage_error(error, "the key '%.*s' is given twice", at > 200 ? 200 : (int)at,
                               key);
        }
        if (at == n) {
            member->value = value;
            return 0;
        }
        at++; /* the dot */
        list = &member->first;
    }
}

static char *value_json(const char *value)
{
    struct text text = { NULL, 0, 0 };

    if (rawjson_check(value, strlen(value), NULL))
        return xstrdup(value);
    json_str(&text, NULL, value);
    return text.s;
}

static int add_word(struct member **list, const char *word, qblk_error *error)
{
    const char *equals = strchr(word, '=');
    size_t n;
    size_t at;

    if (equals == NULL)
        return usage_error(error, "'%.200s' is no argument: write KEY=VALUE, or KEY:=JSON", word);
    n = (size_t)(equals - word);
    if (n > 0 && word[n - 1] == ':') {
        if (!rawjson_check(equals + 1, strlen(equals + 1), &at))
            return usage_error(error, "the value in '%.200s' is not JSON: it goes wrong at its "
                               "character %zu", word, at + 1);
        return put(list, word, word, n - 1, xstrdup(equals + 1), error);
    }
    return put(list, word, word, n, value_json(equals + 1), error);
}

static void write_members(struct text *text, const char *key, const struct member *member)
{
    json_open(text, key, '{');
    for (; member != NULL; member = member->next) {
        if (member->value != NULL)
            json_value(text, member->key, member->value);
        else
            write_members(text, member->key, member->first);
    }
    json_close(text, '}');
}

int qmp_args(char *const *words, int n_words, char **ret_json, qblk_error *error)
{
    struct member *list = NULL;
    struct text text = { NULL, 0, 0 };
    int r = 0;

    *ret_json = NULL;
    for (int i = 0; i < n_words && r == 0; i++)
        r = add_word(&list, words[i], error);
    if (r == 0 && n_words > 0) {
        write_members(&text, NULL, list);
        *ret_json = text.s;
    }
    (void)members_free(list);
    return r;
}
