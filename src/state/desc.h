#ifndef HUSK_STATE_DESC_H
#define HUSK_STATE_DESC_H

#include <stddef.h>
#include <stdint.h>

/*
 * Field tables: what of a device's plain state struct is saved, under which
 * id. One table drives save, load, dump and the round-trip test. Ids are on
 * users' disks: never renumber, never reuse.
 */
enum state_type {
    STATE_U8,
    STATE_U16,
    STATE_U32,
    STATE_U64,
    STATE_BYTES, /* no numbers: printed and compared byte by byte */
    STATE_BOOL   /* for bool members: load refuses all but 0 and 1 */
};

struct state_field {
    uint16_t id;
    uint8_t type; /* enum state_type; arrays repeat it len / its size times */
    size_t off, len;
    const char *name;
};

/* Arrays of integers work too: len is that of the whole member. */
#define STATE_FIELD(id_, type_, strct, memb)                                   \
    {                                                                          \
        (id_), (type_), offsetof(strct, memb), sizeof(((strct *)0)->memb),     \
            #memb                                                              \
    }

struct state_desc {
    const char *name;
    uint16_t version;
    size_t size;
    const struct state_field *fields;
    size_t nr_fields;
    /* Refuse forged values (-EINVAL): sees a scratch copy; NULL = all valid. */
    int (*check)(const void *state);
};

#define STATE_LAYOUT(type, table)                                              \
    .size = sizeof(type), .fields = (table),                                   \
    .nr_fields = sizeof(table) / sizeof((table)[0])

#endif
