#ifndef HUSK_DIFF_SEGMENT_H
#define HUSK_DIFF_SEGMENT_H

#include "case.h"

/*
 * Segments with bases, limits and 16-bit defaults, in a local descriptor table
 * that both sides have: natively through modify_ldt(2).
 */
enum {
    SEGMENT_CODES = 22, /* 16-bit code: each covers half of its 64 KiB */
    SEGMENT_CODE_STEP = 0x8000,
    SEGMENT_DATA = SEGMENT_CODES, /* the first data segment */
    SEGMENT_READ_ONLY = SEGMENT_DATA + 5,
    NR_SEGMENTS
};

struct segment {
    uint32_t base;
    uint32_t limit; /* bytes, or pages if by_pages */
    bool code, expand_down, read_only, big, by_pages;
};

struct segment segment_get(unsigned i);
/* Its descriptor, with the bits that Linux sets. */
uint64_t segment_descriptor(unsigned i);
/* The base that a selector stands for: 0 for flat and null ones. */
uint32_t segment_base_of(uint64_t selector);

static inline uint16_t segment_selector(unsigned i)
{
    return (uint16_t)(i << 3 | 7);
}

#endif
