/*
 * Completions for shells, from the table of verbs: verbs, options, and for
 * values what kind of word they are.
 */
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/verb.h"
#include "vmm/vmm.h"

/* What a value can be, by what it is called in the help. */
struct values {
    const char *arg;
    bool file;
    const char *words;
};

static const struct values *values_of(const struct vmconf_info *o)
{
    static const struct values known[] = {
        {"FILE", true, ""},
        {"WHERE", true, "stdio none unix:"},
        {"NAME", false, "auto jit"},
        {"MODEL", false, "husk-v3 husk-v2 host"},
    };
    static const struct values unknown = {"", false, ""};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i].arg, o->arg) == 0)
            return &known[i];
    return &unknown;
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
    const struct values *v = values_of(o);

    (void)printf("        --%s", o->name);
    if (o->letter)
        (void)printf(" | -%c", o->letter);
    (void)printf(")\n");
    if (v->file)
        (void)printf("            compopt -o filenames\n");
    (void)printf("            mapfile -t COMPREPLY < <(compgen %s-W '%s' -- "
                 "\"$cur\")\n"
                 "            return\n            ;;\n",
                 v->file ? "-f " : "", v->words);
}

static void bash_verb(const struct verb *v)
{
    if (v->nr_options == 0)
        return;
    (void)printf("    1:%s)\n        case $prev in\n", v->name);
    for (int i = 0; i < v->nr_options; i++)
        if (v->options[i].arg)
            bash_value(&v->options[i]);
    (void)printf("        esac\n        words='");
    for (int i = 0; i < v->nr_options; i++)
        (void)printf("--%s ", v->options[i].name);
    (void)printf("--help'\n        ;;\n");
}

static void print_bash(void)
{
    (void)printf("_husk()\n{\n"
                 "    local cur=${COMP_WORDS[COMP_CWORD]} words=\n"
                 "    local prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
                 "    case $((COMP_CWORD > 1)):${COMP_WORDS[1]} in\n"
                 "    0:* | 1:help) words='");
    print_verbs();
    (void)printf("' ;;\n    1:completion) words='bash zsh fish' ;;\n");
    for (size_t i = 0; i < NR_VERBS; i++)
        bash_verb(&verbs[i]);
    (void)printf("    esac\n"
                 "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- "
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
        const struct values *v = values_of(o);

        (void)printf(":%s:", o->arg);
        if (v->file)
            (void)printf("_files");
        else if (*v->words)
            (void)printf("(%s)", v->words);
    }
    (void)printf("'");
}

static void zsh_verb(const struct verb *v)
{
    if (v->nr_options == 0)
        return;
    (void)printf("    %s)\n        shift words\n        ((CURRENT--))\n"
                 "        _arguments",
                 v->name);
    for (int i = 0; i < v->nr_options; i++)
        zsh_option(&v->options[i]);
    (void)printf(" \\\n            '(-h --help)'{-h,--help}'[print help]'\n"
                 "        ;;\n");
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
                 "    if ((CURRENT == 2)) || [[ $words[2] = help ]]; then\n"
                 "        _describe verb verbs\n        return\n    fi\n"
                 "    case $words[2] in\n"
                 "    completion) compadd bash zsh fish ;;\n");
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
        const struct values *v = values_of(o);

        (void)printf(v->file ? " -r -F" : " -x");
        if (*v->words)
            (void)printf(" -a '%s'", v->words);
    }
    (void)printf(" -d '");
    print_quoted(o->help, "\\");
    (void)printf("'\n");
}

static void print_fish(void)
{
    (void)printf("complete -c husk -f\n");
    for (size_t i = 0; i < NR_VERBS; i++) {
        (void)printf("complete -c husk -n __fish_use_subcommand -a %s -d '",
                     verbs[i].name);
        print_quoted(verbs[i].summary, "\\");
        (void)printf("'\n");
        for (int n = 0; n < verbs[i].nr_options; n++)
            fish_option(verbs[i].name, &verbs[i].options[n]);
    }
    (void)printf("complete -c husk -n '__fish_seen_subcommand_from "
                 "completion' -a 'bash zsh fish'\n"
                 "complete -c husk -n '__fish_seen_subcommand_from help' -a "
                 "'");
    print_verbs();
    (void)printf("'\n");
}

/* --- The verb ------------------------------------------------------------ */

int cmd_completion(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = {
        {"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    int status = VMM_EXIT_OK;

    if (verb_refuses(verb_find("completion"), argv, 1, &status))
        return status;
    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(shells); i++)
        if (strcmp(shells[i].name, argv[1]) == 0) {
            shells[i].print();
            return VMM_EXIT_OK;
        }
    say_error("completion: name the shell: bash, zsh or fish");
    return VMM_EXIT_USAGE;
}
