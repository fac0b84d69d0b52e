#include "cli/verb.h"

#include <ctype.h>
#include <string.h>

#include "base/compiler.h"
#include "vmm/vmm.h"

static void print_option(FILE *to, const struct vmconf_info *o)
{
    char left[40];

    (void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o->letter ? '-' : ' ',
                   o->letter ? o->letter : ' ', o->letter ? ", " : "  ",
                   o->name, o->arg ? " " : "", o->arg ? o->arg : "");
    (void)fprintf(to, "  %-22s %s\n", left, o->help);
}

static void print_statuses(FILE *to)
{
    static const struct {
        const char *status, *when;
    } rows[] = {
        {"0", "power-off, Ctrl-], or a reset with --no-reboot"},
        {"1", "the host or the engine failed"},
        {"2", "bad usage or bad input: nothing has run"},
        {"3", "triple fault with --no-reboot"},
        {"128 + N", "ended by signal N"},
        {"2 * V + 1", "with --debug-exit, V was written to port 0xf4"},
    };

    _Static_assert(VMM_EXIT_OK == 0 && VMM_EXIT_FAILED == 1 &&
                       VMM_EXIT_USAGE == 2 && VMM_EXIT_TRIPLE == 3,
                   "the help says otherwise");
    (void)fprintf(to, "\nExit status:\n");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        (void)fprintf(to, "  %-10s %s\n", rows[i].status, rows[i].when);
}

void help_verb(FILE *to, const struct verb *v)
{
    static const struct vmconf_info help = {"help", 'h', NULL, "print this"};

    (void)fprintf(to, "Usage: husk %s%s%s\n\n%c%s.\n", v->name,
                  *v->words ? " " : "", v->words,
                  toupper((unsigned char)v->summary[0]), v->summary + 1);
    if (v->nr_options == 0)
        return;
    (void)fprintf(to, "Ctrl-] ends it.\n\n");
    for (int i = 0; i < v->nr_options; i++)
        print_option(to, &v->options[i]);
    print_option(to, &help);
    print_statuses(to);
}

void help_verbs(FILE *to)
{
    (void)fprintf(to, "Usage: husk VERB [OPTION...]\n\n");
    for (size_t i = 0; i < NR_VERBS; i++)
        (void)fprintf(to, "  %-11s %s\n", verbs[i].name, verbs[i].summary);
    (void)fprintf(to, "\n'husk VERB --help' says more, and husk(1) all.\n");
}

int cmd_help(int argc, char **argv)
{
    const struct verb *v = verb_find(argv[0]);
    int status = VMM_EXIT_OK;

    if (v && verb_refuses(v, argv, 1, &status))
        return status;
    if (argc < 2) {
        help_verbs(stdout);
        return VMM_EXIT_OK;
    }
    v = verb_find(argv[1]);
    if (v) {
        help_verb(stdout, v);
        return VMM_EXIT_OK;
    }
    return say_no_verb(argv[1]);
}
