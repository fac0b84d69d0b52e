#include <stdio.h>

#include "cli/verb.h"
#include "cli/version.h"
#include "vmm/vmm.h"

int cmd_version(int argc, char **argv)
{
    int status = VMM_EXIT_OK;

    (void)argc;
    if (verb_refuses(verb_find("version"), argv, 0, &status))
        return status;
    (void)printf("husk %s\n", HUSK_VERSION);
    return VMM_EXIT_OK;
}
