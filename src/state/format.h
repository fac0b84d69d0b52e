#ifndef HUSK_STATE_FORMAT_H
#define HUSK_STATE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

/*
 * A saved state, byte by byte. All numbers are little-endian and unaligned.
 *
 * offset size
 *      0    8  magic "HUSKSTAT"
 *      8    4  format version: 1
 *     12    4  number of sections
 *     16    8  length of the whole, this header included
 *     24    4  CRC-32 of bytes 0..23
 *     28       sections, one after the other, up to the end
 *
 * A section holds one object's state:
 *      0    4  length of the section, this header included
 *      4    4  instance: tells objects with one name apart
 *      8    2  version of the object's description
 *     10    2  length n of the name, 1..63
 *     12    4  CRC-32 of the section without these 4 bytes
 *     16    n  name: printable ASCII, no final zero
 *   16+n       fields up to the end of the section
 *
 * A field:
 *      0    2  id
 *      2    1  type (enum state_type; its values are on users' disks)
 *      3    1  0
 *      4    4  length l of the value
 *      8    l  value: numbers of the type, or bytes
 */
#define STATE_MAGIC          "HUSKSTAT"
#define STATE_FORMAT_VERSION 1u

enum {
    STATE_HDR_SIZE = 28,
    STATE_MAGIC_LEN = 8,
    STATE_HDR_VERSION = 8,
    STATE_HDR_SECTIONS = 12,
    STATE_HDR_LEN = 16,
    STATE_HDR_CRC = 24,

    STATE_SEC_SIZE = 16, /* without the name */
    STATE_SEC_LEN = 0,
    STATE_SEC_INSTANCE = 4,
    STATE_SEC_VERSION = 8,
    STATE_SEC_NAME_LEN = 10,
    STATE_SEC_CRC = 12,

    STATE_FLD_SIZE = 8,
    STATE_FLD_ID = 0,
    STATE_FLD_TYPE = 2,
    STATE_FLD_LEN = 4,

    STATE_NAME_MAX = 63,
    STATE_MAX_SECTIONS = 4096 /* a machine of 255 CPUs has some 600 */
};

/* Bytes of one number of a type; 0 for an unknown type. */
unsigned state_type_size(unsigned type);
/* The CRC of a section of len bytes: of all but the field that holds it. */
uint32_t state_section_crc(const uint8_t *section, size_t len);

#endif
