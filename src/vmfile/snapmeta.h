#ifndef HUSK_VMFILE_SNAPMETA_H
#define HUSK_VMFILE_SNAPMETA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * What husk keeps of a snapshot beside its disk, in the extra data of its
 * entry in the qcow2 file, behind what qcow2 defines. Big-endian:
 *
 *      0   4  magic "husk"
 *      4   1  version, 1
 *      5   1  flags: 1 doomed (its deletion waits for who has it mapped),
 *             2 safety (made by husk itself, before a restore),
 *             4 there is a state area, and its length behind the settings
 *      6   2  length of the parent's id
 *      8   2  length of the text
 *     10   2  length of the settings as they are stored
 *     12   4  length of the settings; if it differs, they are stored as a zlib
 *             stream (RFC 1950)
 *     16   4  CRC-32C of all of it, with 0 in this place
 *     20      parent's id, text, settings
 *             with flag 4: 8 bytes, the length of the state area
 *
 * Bytes behind that are left for later versions.
 */
struct snapmeta {
    bool doomed, safety;
    uint64_t state_bytes; /* of its state area; 0: there is none */
    char *parent, *text;  /* not NULL */
    char *settings;       /* NULL: there are none here */
};

/* At most size bytes. *len is what it took. -E2BIG with err if there is too
 * much to keep. */
MUST_CHECK int snapmeta_pack(const struct snapmeta *m, uint8_t *buf,
                             size_t size, size_t *len, struct err *err);
/* Strings are m's until snapmeta_free. -ENOENT: nothing of husk's; -EINVAL:
 * damaged; -ENOMEM. m is then empty, with strings. */
MUST_CHECK int snapmeta_unpack(struct snapmeta *m, const uint8_t *buf,
                               size_t len);
void snapmeta_free(struct snapmeta *m);

#endif
