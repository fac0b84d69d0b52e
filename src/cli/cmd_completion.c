/*
 * Completions for shells, from the table of verbs: verbs, options, and for
 * values what kind of word they are.
 */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/args.h"
#include "cli/status.h"

/* Words that a value can be, by the option's name. */
static const char *words_of(const struct vmconf_info *o)
{
    static const struct {
        const char *option, *words;
    } known[] = {
        {"engine", "auto jit"},
        {"firmware", "bios uefi none"},
        {"cpu", "husk-v3 husk-v2 host"},
        {"serial", "stdio none unix:"},
        {"console", "stdio none unix:"},
        {"debugcon", "stdio none unix:"},
        {"output", "table json jsonl name"},
        {"format", "qcow2 raw vmdk vdi vhdx vhd"},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].option, o->name) == 0)
            return known[i].words;
    return "";
}

/* Whether it can be a file, by what it is called in the help. */
static bool is_file(const struct vmconf_info *o)
{
    static const char *const known[] = {"FILE", "WHERE", "WHAT", "DIR"};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], o->arg) == 0)
            return true;
    return false;
}

/* All options of a verb, its own and those that it shares: the n-th. */
static bool nth_option(const struct verb *v, int n, struct vmconf_info *o)
{
    if (n < v->nr_options) {
        *o = v->options[n];
        return true;
    }
    n -= v->nr_options;
    for (int g = 0; g < VERB_NR_GLOBALS; g++)
        if (verb_has_global(v, g) && n-- == 0) {
            *o = verb_global(v, g);
            return true;
        }
    return false;
}

/* The shell's command for the words behind a verb that are no options. */
static const char *words_command(const struct verb *v)
{
    switch (v->kind) {
    case WORDS_VM: return "husk list -o name 2>/dev/null";
    case WORDS_SHELL: return "echo bash zsh fish";
    case WORDS_VERB:
    case WORDS_FILE:
    case WORDS_NONE: break;
    }
    return "";
}

static void print_verbs(void)
{
    for (size_t i = 0; i < NR_VERBS; i++)
        (void)printf("%s%s", i ? " " : "", verbs[i].name);
}

/* Text between single quotes, with a backslash before each of special. */
static void print_quoted(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'') {
            (void)printf("'\\''");
            continue;
        }
        if (strchr(special, *text))
            (void)putchar('\\');
        (void)putchar(*text);
    }
}

/* --- bash ---------------------------------------------------------------- */

static void bash_value(const struct vmconf_info *o)
{
    bool file = is_file(o);

    (void)printf("        --%s", o->name);
    if (o->letter)
        (void)printf(" | -%c", o->letter);
    (void)printf(")\n");
    if (file)
        (void)printf("            compopt -o filenames\n");
    (void)printf("            mapfile -t COMPREPLY < <(compgen %s-W '%s' -- "
                 "\"$cur\")\n"
                 "            return\n            ;;\n",
                 file ? "-f " : "", words_of(o));
}

static void bash_verb(const struct verb *v)
{
    struct vmconf_info o;
    bool any = false;

    (void)printf("    1:%s)\n", v->name);
    for (int i = 0; nth_option(v, i, &o); i++)
        if (o.arg) {
            if (!any)
                (void)printf("        case $prev in\n");
            any = true;
            bash_value(&o);
        }
    if (any)
        (void)printf("        esac\n");
    (void)printf("        words='");
    for (int i = 0; nth_option(v, i, &o); i++)
        (void)printf("--%s ", o.name);
    (void)printf("--help'\n");
    /* Without a dash: what the verb works on. */
    if (*words_command(v))
        (void)printf("        [[ $cur = -* ]] || words=$(%s)\n",
                     words_command(v));
    if (v->kind == WORDS_VERB) {
        (void)printf("        [[ $cur = -* ]] || words='");
        print_verbs();
        (void)printf("'\n");
    }
    if (v->kind == WORDS_VM || v->kind == WORDS_FILE)
        (void)printf("        [[ $cur = -* ]] || { compopt -o filenames; "
                     "files=-f; }\n");
    (void)printf("        ;;\n");
}

static void print_bash(void)
{
    (void)printf("_husk()\n{\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} words= files=\n"
                 "    local prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                 "    case $((COMP_CWORD > 1)):${COMP_WORDS[1]} in\n"
                 "    0:*) words='");
    print_verbs();
    (void)printf("' ;;\n");
    for (size_t i = 0; i < NR_VERBS; i++)
        bash_verb(&verbs[i]);
    (void)printf("    esac\n"
                 "    mapfile -t COMPREPLY < <(compgen $files -W \"$words\" -- "
                 "\"$cur\")\n}\ncomplete -F _husk husk\n");
}

/* --- zsh ----------------------------------------------------------------- */

static void zsh_option(const struct vmconf_info *o)
{
    (void)printf(" \\\n            ");
    if (o->letter)
        (void)printf("'(-%c --%s)'{-%c,--%s}", o->letter, o->name, o->letter,
                     o->name);
    else
        (void)printf("--%s", o->name);
    (void)printf("'[");
    print_quoted(o->help, "[]\\");
    (void)printf("]");
    if (o->arg) {
        (void)printf(":%s:", o->arg);
        if (is_file(o))
            (void)printf("_files");
        else if (*words_of(o))
            (void)printf("(%s)", words_of(o));
    }
    (void)printf("'");
}

static void zsh_words(const struct verb *v)
{
    if (v->kind == WORDS_FILE)
        (void)printf(" \\\n            '*:file:_files'");
    else if (v->kind == WORDS_VERB)
        (void)printf(" \\\n            '*:verb:(${verbs%%%%:*})'");
    else if (*words_command(v))
        (void)printf(" \\\n            \"*:%s:($(%s))\"",
                     v->kind == WORDS_VM ? "vm" : "shell", words_command(v));
}

static void zsh_verb(const struct verb *v)
{
    struct vmconf_info o;

    (void)printf("    %s)\n        shift words\n        ((CURRENT--))\n"
                 "        _arguments",
                 v->name);
    for (int i = 0; nth_option(v, i, &o); i++)
        zsh_option(&o);
    (void)printf(" \\\n            '(-h --help)'{-h,--help}'[print help]'");
    zsh_words(v);
    (void)printf("\n        ;;\n");
}

static void print_zsh(void)
{
    (void)printf("#compdef husk\n_husk()\n{\n    local -a verbs=(\n");
    for (size_t i = 0; i < NR_VERBS; i++) {
        (void)printf("        '%s:", verbs[i].name);
        print_quoted(verbs[i].summary, ":\\");
        (void)printf("'\n");
    }
    (void)printf("    )\n"
                 "    if ((CURRENT == 2)); then\n"
                 "        _describe verb verbs\n        return\n    fi\n"
                 "    case $words[2] in\n");
    for (size_t i = 0; i < NR_VERBS; i++)
        zsh_verb(&verbs[i]);
    (void)printf("    esac\n}\n"
                 "if [[ $funcstack[1] = _husk ]]; then\n    _husk \"$@\"\n"
                 "else\n    compdef _husk husk\nfi\n");
}

/* --- fish ---------------------------------------------------------------- */

static void fish_option(const char *verb, const struct vmconf_info *o)
{
    (void)printf("complete -c husk -n '__fish_seen_subcommand_from %s' -l %s",
                 verb, o->name);
    if (o->letter)
        (void)printf(" -s %c", o->letter);
    if (o->arg) {
        (void)printf(is_file(o) ? " -r -F" : " -x");
        if (*words_of(o))
            (void)printf(" -a '%s'", words_of(o));
    }
    (void)printf(" -d '");
    print_quoted(o->help, "\\");
    (void)printf("'\n");
}

static void fish_words(const struct verb *v)
{
    if (v->kind == WORDS_NONE)
        return;
    (void)printf("complete -c husk -n '__fish_seen_subcommand_from %s' ",
                 v->name);
    if (v->kind == WORDS_FILE) {
        (void)printf("-F\n");
        return;
    }
    if (v->kind == WORDS_SHELL) {
        (void)printf("-a 'bash zsh fish'\n");
        return;
    }
    if (v->kind == WORDS_VERB) {
        (void)printf("-a '");
        print_verbs();
        (void)printf("'\n");
        return;
    }
    (void)printf("-F -a '(%s)'\n", words_command(v));
}

static void print_fish(void)
{
    struct vmconf_info o;

    (void)printf("complete -c husk -f\n");
    for (size_t i = 0; i < NR_VERBS; i++) {
        (void)printf("complete -c husk -n __fish_use_subcommand -a %s -d '",
                     verbs[i].name);
        print_quoted(verbs[i].summary, "\\");
        (void)printf("'\n");
        for (int n = 0; nth_option(&verbs[i], n, &o); n++)
            fish_option(verbs[i].name, &o);
        fish_words(&verbs[i]);
    }
}

/* --- The verb ------------------------------------------------------------ */

int cmd_completion(struct args *a)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {
        {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};

    for (size_t i = 0; i < ARRAY_LEN(shells); i++)
        if (strcmp(shells[i].name, a->words[0]) == 0) {
            shells[i].print();
            return STATUS_OK;
        }
    say_error("completion: name the shell: bash, zsh or fish");
    return STATUS_USAGE;
}
