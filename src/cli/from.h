#ifndef HUSK_CLI_FROM_H
#define HUSK_CLI_FROM_H

#include "cli/args.h"
#include "vmfile/vmfile.h"

/*
 * The image that a new VM's disk is made of: a file or an address (http, https,
 * file), as it is or compressed. --sha256 says what sum it has; of an address
 * also a list SHA256SUMS or SHA512SUMS beside it does.
 */

/* Fill the disk of vf; its size becomes the image's. */
MUST_CHECK int from_fill(const struct args *a, const char *from,
                         struct vmfile *vf, struct err *err);

/* The path of a file: address, without a host. -EINVAL with err. */
MUST_CHECK int from_file_url(const char *url, char path[PATH_MAX],
                             struct err *err);
/* The address of the file called name beside url, and *base, what is called
 * so there: its last part, without what is asked or marked in it. -EINVAL: it
 * has none. */
MUST_CHECK int from_beside(const char *url, const char *name, char *out,
                           size_t size, char base[NAME_MAX + 1]);

#endif
