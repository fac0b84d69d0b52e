#include "segment.h"

/*
 * The data segments: the whole area; a part of it, so that limits are met;
 * with a 32-bit stack pointer; and two that expand down, valid above their
 * limits.
 */
static const struct segment data_segments[] = {
    {.base = DIFF_DATA, .limit = 0x7fff},
    {.base = DIFF_DATA + 0x1000, .limit = 0x17ff},
    {.base = DIFF_DATA - 0x40, .limit = 0x307f, .big = true},
    {.base = DIFF_DATA - 0x8000, .limit = 0x9000, .expand_down = true},
    {.base = DIFF_DATA + 0x80000000,
     .limit = 0x80001,
     .expand_down = true,
     .big = true,
     .by_pages = true},
    {.base = DIFF_DATA, .limit = 0x7fff, .read_only = true},
};

_Static_assert(sizeof(data_segments) / sizeof(data_segments[0]) ==
                   NR_SEGMENTS - SEGMENT_DATA,
               "segment.h");
_Static_assert(SEGMENT_READ_ONLY == NR_SEGMENTS - 1, "segment.h");

struct segment segment_get(unsigned i)
{
    if (i >= SEGMENT_DATA)
        return data_segments[i - SEGMENT_DATA];
    return (struct segment){.base = DIFF_CODE + i * SEGMENT_CODE_STEP,
                            .limit = 0xffff,
                            .code = true};
}

uint64_t segment_descriptor(unsigned i)
{
    struct segment s = segment_get(i);
    uint64_t type = 0xf1u | (s.code ? 8u : 0) | (s.expand_down ? 4u : 0) |
                    (s.read_only ? 0 : 2u);

    return (s.limit & 0xffff) | (uint64_t)(s.base & 0xffffff) << 16 |
           type << 40 | (uint64_t)(s.limit >> 16 & 15) << 48 |
           (uint64_t)s.big << 54 | (uint64_t)s.by_pages << 55 |
           (uint64_t)(s.base >> 24) << 56;
}

uint32_t segment_base_of(uint64_t selector)
{
    unsigned i = (unsigned)selector >> 3;

    return selector & 4 && i < NR_SEGMENTS ? segment_get(i).base : 0;
}
