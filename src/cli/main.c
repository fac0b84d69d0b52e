#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "bootdisk/child.h"
#include "cli/args.h"
#include "cli/status.h"
#include "net/helper.h"

/* With 0, 1 or 2 closed, the next file that is opened would become standard
 * input or output. Those three are for child processes, too. */
static void open_standard_fds(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd >= 0 && fd <= STDERR_FILENO)
            (void)fcntl(fd, F_SETFD, 0);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        (void)close(fd);
}

int main(int argc, char **argv)
{
    struct args a;
    const struct verb *v;
    int status = STATUS_OK;
    char help[] = "help", version[] = "version";

    if (argc == 2 && strcmp(argv[1], CHILD_ROLE) == 0)
        _exit(child_main());
    if (argc == 1 && strcmp(argv[0], HELPER_NAME) == 0)
        return helper_main(); /* husk has started itself */
    open_standard_fds();
    log_init_from_env();
    if (argc < 2) {
        help_verbs(stderr);
        return STATUS_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        argv[1] = help;
    if (strcmp(argv[1], "--version") == 0)
        argv[1] = version;
    v = verb_find(argv[1]);
    if (!v)
        return say_no_verb(argv[1]);
    return args_parse(&a, v, argv + 1, &status) ? v->run(&a) : status;
}
