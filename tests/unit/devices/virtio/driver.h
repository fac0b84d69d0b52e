#ifndef HUSK_TESTS_UNIT_DEVICES_VIRTIO_DRIVER_H
#define HUSK_TESTS_UNIT_DEVICES_VIRTIO_DRIVER_H

#include "mem/gmem.h"

/*
 * The driver's side of a split virtqueue (virtio 1.2, 2.7), without any check:
 * tests break rules with it.
 */
enum { DESC_NEXT = 1, DESC_WRITE = 2, DESC_INDIRECT = 4 };

/* Guest memory of the tests: two banks that touch, a hole, ROM. */
enum {
    RAM_SIZE = 0x40000,
    RAM2 = RAM_SIZE,
    RAM2_SIZE = 0x10000,
    HOLE = 0x80000,
    ROM = 0x100000,
    ROM_SIZE = 0x1000
};

void ram_init(struct gmem *gm);

struct ring {
    struct gmem *gm;
    gpa_t desc, avail, used;
    uint16_t size;
    uint16_t avail_idx; /* next to offer */
    uint16_t last_used; /* next to look at */
};

/* A ring whose areas lie one after the other from base (a page), zeroed. */
void ring_init(struct ring *r, struct gmem *gm, gpa_t base, uint16_t size);
/* Entry i of the descriptor table at table. */
void put_desc(struct gmem *gm, gpa_t table, unsigned i, gpa_t addr,
              uint32_t len, uint16_t flags, uint16_t next);
/* Entry i of the ring's own table. */
void ring_desc(struct ring *r, unsigned i, gpa_t addr, uint32_t len,
               uint16_t flags, uint16_t next);
/* Make the chain at head available. */
void ring_offer(struct ring *r, uint16_t head);
/* The next used entry, if there is one. */
bool ring_take(struct ring *r, uint32_t *id, uint32_t *len);

uint16_t ring_used_flags(const struct ring *r);
uint16_t ring_used_idx(const struct ring *r);
uint16_t ring_avail_event(const struct ring *r);
void ring_set_avail_flags(struct ring *r, uint16_t flags);
void ring_set_avail_idx(struct ring *r, uint16_t idx);
void ring_set_used_event(struct ring *r, uint16_t idx);

#endif
