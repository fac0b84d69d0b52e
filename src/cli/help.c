#include <ctype.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/args.h"
#include "cli/man.h"
#include "cli/status.h"

static void print_option(FILE *to, const struct vmconf_info *o)
{
    char left[40];

    (void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
                   o->letter ? o->letter : ' ', o->letter ? ", " : "  ",
                   o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    (void)fprintf(to, "  %-22s %s\n", left, o->help);
}

static void print_run_statuses(FILE *to)
{
    static const struct {
        const char *status, *when;
    } rows[] = {
        {"0", "power-off, Ctrl-], or a reset with --no-reboot"},
        {"12", "triple fault with --no-reboot"},
        {"128 + N", "ended by signal N"},
        {"2 * V + 1", "with --debug-exit, V was written to port 0xf4"},
    };

    _Static_assert(VMM_EXIT_OK == 0 && VMM_EXIT_TRIPLE == 12,
                   "the help says otherwise");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        (void)fprintf(to, "  %-10s %s\n", rows[i].status, rows[i].when);
}

static void print_statuses(FILE *to, bool run)
{
    (void)fprintf(to, "\nExit status:\n");
    if (run)
        print_run_statuses(to);
    for (int i = run ? 1 : 0; i < STATUS_NR; i++)
        (void)fprintf(to, "  %-10d %s\n", i, status_info[i].when);
}

void help_verb(FILE *to, const struct verb *v)
{
    static const struct vmconf_info help = {"help", 'h', NULL, "print this"};

    (void)fprintf(to, "Usage: husk %s%s%s%s\n\n%c%s.\n", v->name,
                  *v->words ? " " : "", v->words,
                  v->nr_options && !strstr(v->words, "OPTION") ? " [OPTION...]"
                                                               : "",
                  toupper((unsigned char)v->summary[0]), v->summary + 1);
    if (*v->notes)
        (void)fprintf(to, "%s\n", v->notes);
    if (*v->alias)
        (void)fprintf(to, "Also called: %s\n", v->alias);
    (void)fprintf(to, "\n");
    for (int i = 0; i < v->nr_options; i++)
        print_option(to, &v->options[i]);
    for (int g = 0; g < VERB_NR_GLOBALS; g++)
        if (verb_has_global(v, g)) {
            struct vmconf_info o = verb_global(v, g);

            print_option(to, &o);
        }
    print_option(to, &help);
    if (v->globals)
        print_statuses(to, strcmp(v->name, "run") == 0);
}

void help_verbs(FILE *to)
{
    (void)fprintf(to, "Usage: husk VERB [WORD...] [OPTION...]\n\n");
    for (size_t i = 0; i < NR_VERBS; i++)
        (void)fprintf(to, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
    (void)fprintf(to, "\nA VM is a NAME in the home folder, or a path.\n"
                      "'husk VERB --help' says more, and husk(1) all.\n");
}

int cmd_help(struct args *a)
{
    const struct verb *v;

    if (a->nr_words == 0) {
        help_verbs(stdout);
        return STATUS_OK;
    }
    v = verb_find(a->words[0]);
    if (!v)
        return say_no_verb(a->words[0]);
    if (args_has(a, "man"))
        man_verb(stdout, v);
    else
        help_verb(stdout, v);
    return STATUS_OK;
}
