#include "cli/options.h"

#include <errno.h>
#include <string.h>

static int refuse(const struct options *o, const char *word, struct err *err)
{
    return err_set(err, -EINVAL,
                   "%s: there is no option '%s': see 'husk %s --help'", o->verb,
                   word, o->verb);
}

static int find_name(const struct options *o, const char *name, size_t len)
{
    for (int i = 0; i < o->nr; i++)
        if (strlen(o->table[i].name) == len &&
            memcmp(o->table[i].name, name, len) == 0)
            return i;
    return -1;
}

static int find_letter(const struct options *o, char letter)
{
    for (int i = 0; i < o->nr; i++)
        if (o->table[i].letter == letter)
            return i;
    return -1;
}

/* The value is the next word, whatever it looks like. */
static int take_value(struct options *o, int row, const char *word,
                      const char **value, struct err *err)
{
    if (!*o->argv)
        return err_set(err, -EINVAL, "%s: option '%s' needs a value", o->verb,
                       word);
    *value = *o->argv++;
    return row;
}

static int next_long(struct options *o, const char *word, const char **value,
                     struct err *err)
{
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    int row = find_name(o, name, len);

    if (row < 0 && strcmp(name, "help") == 0)
        return OPTIONS_HELP;
    if (row < 0)
        return refuse(o, word, err);
    if (!o->table[row].arg && name[len])
        return err_set(err, -EINVAL, "%s: option '--%s' takes no value",
                       o->verb, o->table[row].name);
    if (!o->table[row].arg)
        return row;
    if (!name[len])
        return take_value(o, row, word, value, err);
    *value = name + len + 1;
    return row;
}

static int next_letter(struct options *o, const char **value, struct err *err)
{
    char word[] = {'-', *o->letters, '\0'};
    int row = find_letter(o, *o->letters);

    o->letters = o->letters[1] ? o->letters + 1 : NULL;
    if (row < 0 && word[1] == 'h')
        return OPTIONS_HELP;
    if (row < 0)
        return refuse(o, word, err);
    if (!o->table[row].arg)
        return row;
    if (!o->letters)
        return take_value(o, row, word, value, err);
    *value = o->letters;
    o->letters = NULL;
    return row;
}

int options_next(struct options *o, const char **value, struct err *err)
{
    const char *word;

    *value = NULL;
    if (o->letters)
        return next_letter(o, value, err);
    word = *o->argv;
    if (!word)
        return OPTIONS_END;
    o->argv++;
    if (!o->only_words && strcmp(word, "--") == 0) {
        o->only_words = true;
        return options_next(o, value, err);
    }
    if (o->only_words || word[0] != '-' || !word[1]) {
        *value = word;
        return OPTIONS_WORD;
    }
    if (word[1] == '-')
        return next_long(o, word, value, err);
    o->letters = word + 1;
    return next_letter(o, value, err);
}
