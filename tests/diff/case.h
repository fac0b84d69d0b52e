#ifndef HUSK_DIFF_CASE_H
#define HUSK_DIFF_CASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A case is a piece of user code with the registers and the memory that it
 * starts from; a result is what came of it. Both are the same for the real CPU
 * and for an engine, so that comparing them needs no knowledge of either.
 *
 * Every case ends in an exception: its own fault, or the int3 that fills the
 * code slot around it. The address space is the same on both sides.
 */

/* Code: read and execute. One slot per case of a batch; the pitch is no power
 * of two, so that some cases cross a page. */
#define DIFF_CODE       0x10000000u
#define DIFF_SLOT_PITCH 688u
#define DIFF_SLOT_START 48u /* int3 before the code, for jumps backwards */
#define DIFF_CODE_MAX   (DIFF_SLOT_PITCH - DIFF_SLOT_START - 48u)

/* Data: the pages of the image below, with unmapped pages before, between and
 * after them. None is executable. */
#define DIFF_DATA       0x20000000u
#define DIFF_DATA_END   (DIFF_DATA + 0x8000u)
#define DIFF_PAGE       4096u
#define DIFF_NR_PAGES   5u
#define DIFF_IMAGE_SIZE (DIFF_NR_PAGES * DIFF_PAGE)

/* Page i of the image is mapped at DIFF_DATA + diff_page_off[i]. */
static const struct diff_page {
    uint32_t off;
    bool writable;
} diff_page[DIFF_NR_PAGES] = {
    {0x1000, true},  {0x2000, true}, /* A, B; 0 and 0x3000 are unmapped */
    {0x4000, false}, {0x5000, true}, /* C, D */
    {0x6000, false},                 /* E */
};

/* Selectors of user code and data, as Linux has them. */
#define DIFF_CS64 0x33u
#define DIFF_CS32 0x23u
#define DIFF_DS   0x2bu

/* The XSAVE components that both sides load and compare: x87, SSE, AVX. */
#define DIFF_XSAVE_MASK 7u
#define DIFF_XSAVE_SIZE 832u

/* Registers before and after. kernel.S knows the offsets. */
struct diff_regs {
    uint64_t gpr[16]; /* in the order of their numbers */
    uint64_t rip, rflags;
    uint64_t cs, ss, ds, es;
    uint64_t fs_base, gs_base;
    uint64_t vector, error, cr2; /* after only */
    uint64_t fs, gs;             /* selectors */
    uint64_t unused[3];
    _Alignas(64) uint8_t xsave[DIFF_XSAVE_SIZE];
};

_Static_assert(sizeof(struct diff_regs) == 1088, "kernel.S");
_Static_assert(offsetof(struct diff_regs, xsave) == 256, "kernel.S");

/* What the image holds, where it is not the background. */
enum { DIFF_MAX_PATCHES = 6, DIFF_PATCH_BYTES = 1536 };

struct diff_patch {
    uint16_t off, len;
};

/* Arithmetic flags that are undefined before the instruction at an offset of
 * the code: engines may have anything there. */
enum { DIFF_MAX_MARKS = 64 };

struct diff_mark {
    uint16_t off, undefined;
};

enum diff_kind { DIFF_ONE, DIFF_SEQUENCE };

struct diff_case {
    uint64_t number;
    uint8_t kind; /* enum diff_kind */
    uint8_t bits; /* 64, 32 or 16 */
    uint16_t code_len;
    uint16_t mnemonic; /* ZydisMnemonic of the (first) instruction */
    uint16_t nr_patches, patch_bytes, nr_marks;
    struct diff_mark mark[DIFF_MAX_MARKS];
    struct diff_patch patch[DIFF_MAX_PATCHES];
    uint8_t patch_data[DIFF_PATCH_BYTES];
    uint8_t code[DIFF_CODE_MAX];
    struct diff_regs in;
};

enum diff_status {
    DIFF_DONE,
    DIFF_TIMEOUT, /* ran too long and was stopped */
    DIFF_LOST     /* took its process with it */
};

#define DIFF_LINE     64u
#define DIFF_NR_LINES (DIFF_IMAGE_SIZE / DIFF_LINE)

enum { DIFF_MAX_CHANGED = 20 };

struct diff_result {
    uint8_t status;      /* enum diff_status */
    bool warm_differs;   /* a second run of the same case ended otherwise */
    uint16_t nr_changed; /* lines of the image; the first ones are kept */
    uint64_t changed_hash;
    struct {
        uint16_t line;
        uint8_t byte[DIFF_LINE];
    } changed[DIFF_MAX_CHANGED];
    struct diff_regs out;
};

/* Where the code of the case in a slot starts. */
static inline uint32_t diff_code_addr(unsigned slot)
{
    return DIFF_CODE + slot * DIFF_SLOT_PITCH + DIFF_SLOT_START;
}

#endif
