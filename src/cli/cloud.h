#ifndef HUSK_CLI_CLOUD_H
#define HUSK_CLI_CLOUD_H

#include "block/blk.h"
#include "cli/args.h"
#include "config/settings.h"

/* The options of a new VM that are for cloud-init in its image, as settings;
 * the disk that tells cloud-init of them when the VM runs. */

/* --cloud-init, --ssh-key, --hostname, --user and --password. */
MUST_CHECK int cloud_options(const struct args *a, struct settings *s,
                             struct err *err);

/* A read-only disk of seed_make; *out is NULL if no setting asks for one. The
 * caller closes it. */
MUST_CHECK int cloud_disk(const struct settings *s, struct blk **out,
                          struct err *err);

#endif
