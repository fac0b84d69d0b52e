#include "tests/unit/devices/virtio/driver.h"

#include <string.h>

#include "base/endian.h"
#include "tests/unit/test.h"

void ram_init(struct gmem *gm)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM_SIZE},
        {.start = RAM2, .size = RAM2_SIZE},
        {.start = ROM, .size = ROM_SIZE, .readonly = true},
    };
    struct err err;

    assert_int_equal(
        gmem_init(gm, layout, sizeof(layout) / sizeof(layout[0]), &err), 0);
}

static void put16(struct gmem *gm, gpa_t gpa, uint16_t val)
{
    assert_int_equal(gmem_write(gm, gpa, &val, sizeof(val)), 0);
}

static uint16_t get16(const struct gmem *gm, gpa_t gpa)
{
    uint16_t val;

    assert_int_equal(gmem_read(gm, gpa, &val, sizeof(val)), 0);
    return val;
}

void ring_init(struct ring *r, struct gmem *gm, gpa_t base, uint16_t size)
{
    static const uint8_t zeros[8192];

    assert_int_equal(gmem_write(gm, base, zeros, sizeof(zeros)), 0);
    *r = (struct ring){.gm = gm, .desc = base, .size = size};
    r->avail = base + 16u * size;
    r->used = (r->avail + 6 + 2u * size + 3) & ~(gpa_t)3;
}

void put_desc(struct gmem *gm, gpa_t table, unsigned i, gpa_t addr,
              uint32_t len, uint16_t flags, uint16_t next)
{
    uint8_t d[16];

    put_le64(d, addr);
    put_le32(d + 8, len);
    put_le16(d + 12, flags);
    put_le16(d + 14, next);
    assert_int_equal(gmem_write(gm, table + 16u * i, d, sizeof(d)), 0);
}

void ring_desc(struct ring *r, unsigned i, gpa_t addr, uint32_t len,
               uint16_t flags, uint16_t next)
{
    put_desc(r->gm, r->desc, i, addr, len, flags, next);
}

void ring_offer(struct ring *r, uint16_t head)
{
    put16(r->gm, r->avail + 4 + 2u * (r->avail_idx % r->size), head);
    r->avail_idx++;
    put16(r->gm, r->avail + 2, r->avail_idx);
}

bool ring_take(struct ring *r, uint32_t *id, uint32_t *len)
{
    uint8_t e[8];

    if (get16(r->gm, r->used + 2) == r->last_used)
        return false;
    assert_int_equal(gmem_read(r->gm,
                               r->used + 4 + 8u * (r->last_used % r->size), e,
                               sizeof(e)),
                     0);
    r->last_used++;
    *id = get_le32(e);
    *len = get_le32(e + 4);
    return true;
}

uint16_t ring_used_flags(const struct ring *r)
{
    return get16(r->gm, r->used);
}

uint16_t ring_used_idx(const struct ring *r)
{
    return get16(r->gm, r->used + 2);
}

uint16_t ring_avail_event(const struct ring *r)
{
    return get16(r->gm, r->used + 4 + 8u * r->size);
}

void ring_set_avail_flags(struct ring *r, uint16_t flags)
{
    put16(r->gm, r->avail, flags);
}

void ring_set_avail_idx(struct ring *r, uint16_t idx)
{
    put16(r->gm, r->avail + 2, idx);
}

void ring_set_used_event(struct ring *r, uint16_t idx)
{
    put16(r->gm, r->avail + 4 + 2u * r->size, idx);
}
