#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/log.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "vmm/vmm.h"

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct verb verbs[] = {
    {"run", "boot a kernel in a new machine, on this terminal", cmd_run},
    {"help", "say what husk can do, or how a verb is used", cmd_help},
    {"version", "print the version", cmd_version},
};

void say_error(const char *text)
{
    (void)fprintf(stderr, "husk: %s\n", text);
}

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static void print_usage(FILE *to)
{
    (void)fprintf(to, "Usage: husk VERB [OPTION...]\n\n");
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        (void)fprintf(to, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
    (void)fprintf(to, "\n'husk VERB --help' says more.\n");
}

static int unknown_verb(const char *name)
{
    (void)fprintf(
        stderr, "husk: there is no verb '%s': 'husk help' lists them\n", name);
    return VMM_EXIT_USAGE;
}

static int cmd_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    (void)printf("husk %s\n", HUSK_VERSION);
    return VMM_EXIT_OK;
}

static int cmd_help(int argc, char **argv)
{
    static char ask[] = "--help";
    const struct verb *v;

    if (argc < 2) {
        print_usage(stdout);
        return VMM_EXIT_OK;
    }
    v = find_verb(argv[1]);
    if (!v)
        return unknown_verb(argv[1]);
    if (v->run == cmd_run) {
        char *args[] = {argv[1], ask, NULL};

        return v->run(2, args);
    }
    (void)printf("husk %s: %s\n", v->name, v->summary);
    return VMM_EXIT_OK;
}

/* With 0, 1 or 2 closed, the next file that is opened would become standard
 * input or output. */
static void open_standard_fds(void)
{
    int fd;

    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

static void set_log_from_environment(void)
{
    static const char *const names[] = {"err", "warn", "info", "debug"};
    const char *level = getenv("HUSK_LOG");
    const char *guest = getenv("HUSK_LOG_GUEST");

    for (size_t i = 0; level && i < ARRAY_LEN(names); i++)
        if (strcmp(level, names[i]) == 0)
            log_set_level((enum log_level)i);
    log_set_guest(guest && strcmp(guest, "1") == 0);
}

int main(int argc, char **argv)
{
    const struct verb *v;

    open_standard_fds();
    set_log_from_environment();
    if (argc < 2) {
        print_usage(stderr);
        return VMM_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return cmd_help(1, argv);
    if (strcmp(argv[1], "--version") == 0)
        return cmd_version(argc, argv);
    v = find_verb(argv[1]);
    return v ? v->run(argc - 1, argv + 1) : unknown_verb(argv[1]);
}
