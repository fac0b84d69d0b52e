#include <stdio.h>

#include "cli/args.h"
#include "cli/status.h"
#include "cli/version.h"

int cmd_version(struct args *a)
{
    (void)a;
    (void)printf("husk %s\n", HUSK_VERSION);
    return STATUS_OK;
}
