#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/compiler.h"
#include "cli/verb.h"
#include "config/vmconf.h"
#include "vmm/vmm.h"

/* getopt_long's values: options by number from here, so that letters stay
 * letters. */
enum { OPT_BASE = 256, OPT_HELP = 'h' };

/* Both tables end with the end marker; letters with their colons. */
struct getopt_tables {
    struct option longs[VMCONF_NR_OPTIONS + 2];
    char letters[2 * VMCONF_NR_OPTIONS + 4];
};

static void fill_tables(struct getopt_tables *t)
{
    char *p = t->letters;

    *p++ = ':'; /* a missing value is ':', not '?' */
    *p++ = OPT_HELP;
    for (int i = 0; i < VMCONF_NR_OPTIONS; i++) {
        const struct vmconf_info *o = &vmconf_info[i];

        t->longs[i] =
            (struct option){o->name, o->arg ? required_argument : no_argument,
                            NULL, OPT_BASE + i};
        if (!o->letter)
            continue;
        *p++ = o->letter;
        if (o->arg)
            *p++ = ':';
    }
    *p = '\0';
    t->longs[VMCONF_NR_OPTIONS] =
        (struct option){"help", no_argument, NULL, OPT_HELP};
    t->longs[VMCONF_NR_OPTIONS + 1] = (struct option){0};
}

static void print_help(void)
{
    (void)printf("Usage: husk run --kernel FILE [OPTION...]\n\n"
                 "Boots a kernel in a new machine. Ctrl-] ends it.\n\n");
    for (int i = 0; i < VMCONF_NR_OPTIONS; i++) {
        const struct vmconf_info *o = &vmconf_info[i];
        char left[40];

        (void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s",
                       o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
                       o->letter ? ", " : "  ", o->name, o->arg ? " " : "",
                       o->arg ? o->arg : "");
        (void)printf("  %-22s %s\n", left, o->help);
    }
    (void)printf(
        "  -h, --help             print this\n\n"
        "Exit status: %d after power-off, Ctrl-], or a reset with "
        "--no-reboot;\n%d if the host or the engine failed; %d for bad usage "
        "or bad input; %d after a\ntriple fault with --no-reboot; 128 + N "
        "when ended by signal N. With --debug-exit\nalso what the guest "
        "chose.\n",
        VMM_EXIT_OK, VMM_EXIT_FAILED, VMM_EXIT_USAGE, VMM_EXIT_TRIPLE);
}

static int option_by_letter(int c)
{
    for (int i = 0; i < VMCONF_NR_OPTIONS; i++)
        if (vmconf_info[i].letter && vmconf_info[i].letter == c)
            return i;
    return -1;
}

static int bad_option(int c, char **argv, struct err *err)
{
    const char *word = argv[optind - 1];

    if (c == ':')
        return err_set(err, -EINVAL, "run: option '%s' needs a value", word);
    if (optopt >= OPT_BASE)
        return err_set(err, -EINVAL, "run: option '%s' takes no value", word);
    if (optopt)
        return err_set(err, -EINVAL,
                       "run: there is no option '-%c': see 'husk run --help'",
                       optopt);
    return err_set(err, -EINVAL,
                   "run: there is no option '%s': see 'husk run --help'", word);
}

/* Returns 1 if help was asked for. */
static int parse(struct vmconf *conf, int argc, char **argv, struct err *err)
{
    struct getopt_tables t;
    int c, opt, rc;

    fill_tables(&t);
    opterr = 0;
    while ((c = getopt_long(argc, argv, t.letters, t.longs, NULL)) != -1) {
        if (c == OPT_HELP)
            return 1;
        if (c == '?' || c == ':')
            return bad_option(c, argv, err);
        opt = c >= OPT_BASE ? c - OPT_BASE : option_by_letter(c);
        rc = vmconf_set(conf, (enum vmconf_option)opt, optarg, err);
        if (rc < 0)
            return rc;
    }
    if (optind < argc)
        return err_set(err, -EINVAL,
                       "run: '%s' is one word too many: see 'husk run --help'",
                       argv[optind]);
    return vmconf_check(conf, err);
}

/* Whether the host, and not what it was asked for, is at fault. */
static bool is_host_failure(int code)
{
    switch (-code) {
    case EAGAIN:
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSYS: return true;
    default: return false;
    }
}

int cmd_run(int argc, char **argv)
{
    struct vmconf conf;
    struct err err = {0};
    int status = VMM_EXIT_OK;
    int rc;

    vmconf_init(&conf);
    rc = parse(&conf, argc, argv, &err);
    if (rc > 0) {
        print_help();
        return VMM_EXIT_OK;
    }
    if (rc < 0) {
        say_error(err.text);
        return VMM_EXIT_USAGE;
    }
    rc = vmm_run(&conf, &status, &err);
    if (rc == 0)
        return status;
    say_error(err.text);
    return is_host_failure(rc) || status != VMM_EXIT_OK ? VMM_EXIT_FAILED
                                                        : VMM_EXIT_USAGE;
}
