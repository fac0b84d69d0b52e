#include "cli/args.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"
#include "cli/options.h"
#include "cli/status.h"

const struct vmconf_info verb_globals[VERB_NR_GLOBALS] = {
    [GLOBAL_HOME] = {"home", 0, "DIR",
                     "where VMs live (default $HUSK_HOME or "
                     "~/.local/share/husk)"},
    [GLOBAL_OUTPUT] = {"output", 'o', "FORMAT", "table, json, jsonl or name"},
    [GLOBAL_JSON] = {"json", 0, NULL, "the same as --output json"},
    [GLOBAL_QUIET] = {"quiet", 'q', NULL, "say less"},
    [GLOBAL_VERBOSE] = {"verbose", 'v', NULL, "log more (HUSK_LOG=info)"},
    [GLOBAL_YES] = {"yes", 'y', NULL, "do not ask"},
    [GLOBAL_NO_PROGRESS] = {"no-progress", 0, NULL, "show no progress"},
};

enum { MAX_ROWS = 64 };

bool verb_has_global(const struct verb *v, int global)
{
    if (!(v->globals & 1u << global))
        return false;
    for (int i = 0; i < v->nr_options; i++)
        if (strcmp(v->options[i].name, verb_globals[global].name) == 0)
            return false;
    return true;
}

struct vmconf_info verb_global(const struct verb *v, int global)
{
    struct vmconf_info o = verb_globals[global];

    for (int i = 0; i < v->nr_options; i++)
        if (v->options[i].letter == o.letter)
            o.letter = 0;
    return o;
}

/* One table of the verb's own options and of those that it shares; which[] has
 * the latter's numbers. */
static int join_tables(const struct verb *v, struct vmconf_info rows[MAX_ROWS],
                       int which[MAX_ROWS])
{
    int nr = 0;

    for (int i = 0; i < v->nr_options && nr < MAX_ROWS; i++) {
        which[nr] = -1;
        rows[nr++] = v->options[i];
    }
    for (int g = 0; g < VERB_NR_GLOBALS && nr < MAX_ROWS; g++)
        if (verb_has_global(v, g)) {
            which[nr] = g;
            rows[nr++] = verb_global(v, g);
        }
    return nr;
}

static int set_format(struct args *a, const char *value, struct err *err)
{
    static const char *const names[] = {[FORMAT_TABLE] = "table",
                                        [FORMAT_JSON] = "json",
                                        [FORMAT_JSONL] = "jsonl",
                                        [FORMAT_NAME] = "name"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], value) == 0) {
            a->format = (enum format)i;
            return 0;
        }
    return err_set(err, -EINVAL,
                   "%s: '%s' is no form of output: use table, json, jsonl or "
                   "name",
                   a->verb->name, value);
}

static int set_global(struct args *a, int global, const char *value,
                      const char **home, struct err *err)
{
    switch (global) {
    case GLOBAL_HOME: *home = value; return 0;
    case GLOBAL_OUTPUT: return set_format(a, value, err);
    case GLOBAL_JSON: a->format = FORMAT_JSON; return 0;
    case GLOBAL_QUIET: a->quiet = true; return 0;
    case GLOBAL_VERBOSE: log_set_level(LOG_INFO); return 0;
    case GLOBAL_YES: a->yes = true; return 0;
    case GLOBAL_NO_PROGRESS: a->progress = false; return 0;
    default: return 0;
    }
}

static int add_word(struct args *a, const char *word, struct err *err)
{
    if (a->nr_words == ARGS_MAX_WORDS || a->nr_words == a->verb->max_words)
        return err_set(err, -EINVAL,
                       "%s: '%.80s' is one word too many: see 'husk %s --help'",
                       a->verb->name, word, a->verb->name);
    a->words[a->nr_words++] = word;
    return 0;
}

static int add_option(struct args *a, int row, const char *value,
                      struct err *err)
{
    if (a->nr_options == ARGS_MAX_OPTIONS)
        return err_set(err, -EINVAL, "%s: there are too many options",
                       a->verb->name);
    a->options[a->nr_options++] = (struct args_option){row, value};
    return 0;
}

/* Returns 1 if help was asked for. */
static int parse(struct args *a, char **argv, struct err *err)
{
    struct vmconf_info rows[MAX_ROWS];
    int which[MAX_ROWS];
    struct options o = {.verb = a->verb->name,
                        .table = rows,
                        .nr = join_tables(a->verb, rows, which),
                        .argv = (const char *const *)argv + 1};
    const char *value = NULL, *home = NULL;
    int rc = 0, row;

    while (rc == 0 && (row = options_next(&o, &value, err)) != OPTIONS_END) {
        if (row == OPTIONS_HELP)
            return 1;
        if (row < 0)
            rc = row;
        else if (row == OPTIONS_WORD)
            rc = add_word(a, value, err);
        else if (which[row] >= 0)
            rc = set_global(a, which[row], value, &home, err);
        else
            rc = add_option(a, row, value, err);
    }
    if (rc == 0 && a->nr_words < a->verb->min_words)
        rc = err_set(err, -EINVAL, "%s: something is missing: husk %s %s",
                     a->verb->name, a->verb->name, a->verb->words);
    if (rc == 0 && a->verb->globals & 1u << GLOBAL_HOME)
        rc = home_init(&a->home, home, err);
    return rc;
}

bool args_parse(struct args *a, const struct verb *v, char **argv, int *status)
{
    struct err err = {0};
    int rc;

    *a = (struct args){.verb = v, .progress = true};
    rc = parse(a, argv, &err);
    if (rc == 0)
        return true;
    if (rc > 0) {
        help_verb(stdout, v);
        *status = STATUS_OK;
        return false;
    }
    (void)args_fail(a, -EINVAL, &err);
    *status = STATUS_USAGE;
    return false;
}

const char *args_value(const struct args *a, const char *name)
{
    for (int i = a->nr_options; i-- > 0;) {
        const struct args_option *o = &a->options[i];

        if (strcmp(a->verb->options[o->row].name, name) == 0)
            return o->value ? o->value : "";
    }
    return NULL;
}

bool args_has(const struct args *a, const char *name)
{
    return args_value(a, name) != NULL;
}

bool args_json(const struct args *a)
{
    return a->format == FORMAT_JSON || a->format == FORMAT_JSONL;
}

/* A file's name, and so a message, can have bytes that are no UTF-8. */
static json_t *json_text(const char *text)
{
    json_t *v = json_string(text);
    char plain[sizeof(((struct err *)NULL)->text)];

    if (v)
        return v;
    (void)snprintf(plain, sizeof(plain), "%s", text);
    for (char *p = plain; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return json_string(plain);
}

int args_fail(const struct args *a, int rc, const struct err *err)
{
    enum status status = status_of(rc);
    json_t *v;

    if (!args_json(a)) {
        say_error(err->text);
        return (int)status;
    }
    v = json_pack("{s:{s:s, s:i, s:o}}", "error", "code",
                  status_info[status].code, "status", (int)status, "message",
                  json_text(err->text));
    (void)json_dumpf(v, stderr, JSON_COMPACT);
    (void)fputc('\n', stderr);
    json_decref(v);
    return (int)status;
}
