#ifndef HUSK_VMFILE_STATEAREA_H
#define HUSK_VMFILE_STATEAREA_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "block/qcow2.h"

/*
 * What is in the state area of a snapshot (block/qcow2.h): sections, and a head
 * that says which and where. Big-endian:
 *
 *      0   8  magic "HUSKSTAT"
 *      8   4  version, 1
 *     12   4  number of sections, at most STATEAREA_SECTIONS
 *     16   8  generation, not 0: of two heads that are valid, the higher counts
 *     24   4  CRC-32C of the head's 4,096 bytes, with 0 in this place
 *     28   4  0
 *     32      sections, 32 bytes each
 *
 * and a section:
 *
 *      0   4  type
 *      4   4  0
 *      8   8  where it is, from the head's beginning
 *     16   8  its length, not 0
 *     24   4  CRC-32C of its content
 *     28   4  0
 *
 * Sections ascend and lie behind the head. What a reader does not know it
 * leaves alone.
 */
enum {
    STATEAREA_HEAD = 4096,
    STATEAREA_SECTIONS = 64,
    STATEAREA_LOW = 4096,      /* where settings go */
    STATEAREA_DEVICES = 65536, /* and what devices and firmware keep */
    STATEAREA_RAM = 2 << 20    /* kept free for the guest's memory */
};

enum statearea_type {
    STATEAREA_SETTINGS = 0x73657474, /* "sett": JSON */
    STATEAREA_VARIABLES = 0x75656669 /* "uefi": the firmware's flash */
};

struct statearea_section {
    uint32_t type, crc;
    uint64_t off, len;
};

struct statearea {
    uint64_t generation;
    unsigned nr;
    struct statearea_section section[STATEAREA_SECTIONS];
};

/* Add a section with that content; its place must be behind the others'. */
void statearea_add(struct statearea *a, uint32_t type, uint64_t off,
                   const void *data, size_t len);
/* Where the last section ends. */
uint64_t statearea_end(const struct statearea *a);
void statearea_pack(const struct statearea *a, uint8_t head[STATEAREA_HEAD]);
/* room: what there is, from the head's beginning. -ENOENT: no head of husk's;
 * -EINVAL: damaged, or of a version that is not known. */
MUST_CHECK int statearea_parse(struct statearea *a,
                               const uint8_t head[STATEAREA_HEAD],
                               uint64_t room);
/* The section of this type; NULL if there is none. */
const struct statearea_section *statearea_find(const struct statearea *a,
                                               uint32_t type);

/* Head of the state area of snapshot id that begins at base. As parse, or the
 * host's. */
MUST_CHECK int statearea_read(struct qcow2 *q, const char *id, uint64_t base,
                              uint64_t room, struct statearea *a);
/* The content of a section, of at most max bytes, with a zero byte behind it;
 * the caller frees it. -ENOENT: there is none; -EINVAL: too long, or damaged.
 */
MUST_CHECK int statearea_load(struct qcow2 *q, const char *id, uint64_t base,
                              const struct statearea *a, uint32_t type,
                              size_t max, uint8_t **data, size_t *len);

#endif
