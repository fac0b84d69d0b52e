#include <errno.h>
#include <stdio.h>

#include "cli/options.h"
#include "cli/verb.h"
#include "config/vmconf.h"
#include "vmm/vmm.h"

/* Returns 1 if help was asked for. */
static int parse(struct vmconf *conf, const char *const *words, struct err *err)
{
    struct options o = {.verb = "run",
                        .table = vmconf_info,
                        .nr = VMCONF_NR_OPTIONS,
                        .argv = words};
    const char *value = NULL;
    int rc;

    while ((rc = options_next(&o, &value, err)) != OPTIONS_END) {
        if (rc == OPTIONS_HELP)
            return 1;
        if (rc == OPTIONS_WORD)
            return err_set(err, -EINVAL,
                           "run: '%s' is one word too many: see 'husk run "
                           "--help'",
                           value);
        if (rc < 0)
            return rc;
        rc = vmconf_set(conf, (enum vmconf_option)rc, value, err);
        if (rc < 0)
            return rc;
    }
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
    const struct vmm_config cfg = {.conf = &conf};
    struct err err = {0};
    int status = VMM_EXIT_OK;
    int rc;

    (void)argc;
    vmconf_init(&conf);
    rc = parse(&conf, (const char *const *)argv + 1, &err);
    if (rc > 0) {
        help_verb(stdout, verb_find("run"));
        return VMM_EXIT_OK;
    }
    if (rc < 0) {
        say_error(err.text);
        return VMM_EXIT_USAGE;
    }
    rc = vmm_run(&cfg, &status, &err);
    if (rc == 0)
        return status;
    say_error(err.text);
    return is_host_failure(rc) || status != VMM_EXIT_OK ? VMM_EXIT_FAILED
                                                        : VMM_EXIT_USAGE;
}
