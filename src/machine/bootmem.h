#ifndef HUSK_MACHINE_BOOTMEM_H
#define HUSK_MACHINE_BOOTMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "machine/memlayout.h"
#include "mem/gmem.h"

/*
 * Who has which part of guest memory while a boot loader fills it. An image
 * names its own addresses, so every part is claimed before it is written: a
 * part outside RAM, or over another one, is refused. Memory starts zeroed,
 * and what is claimed once is written once, so unwritten claims stay zero.
 */
enum { BOOTMEM_MAX_CLAIMS = 128 };

struct bootmem {
    const struct gmem *gm;
    const struct memlayout *layout;
    struct bootmem_claim {
        gpa_t start, end;
        const char *what; /* static text for error sentences */
    } claim[BOOTMEM_MAX_CLAIMS];
    unsigned nr;
};

/* Claims the firmware's own areas. Borrows gm and layout. */
void bootmem_init(struct bootmem *bm, const struct gmem *gm,
                  const struct memlayout *layout);

/*
 * Claim [gpa, gpa + len). -EINVAL with err, naming what, if it is not RAM or
 * overlaps another claim. len 0 claims nothing.
 */
MUST_CHECK int bootmem_claim(struct bootmem *bm, gpa_t gpa, uint64_t len,
                             const char *what, struct err *err);

/* What is to be placed, and where it may go: a page-aligned address of free RAM
 * in [min, end), the highest or the lowest one. */
struct bootmem_want {
    const char *what; /* as for bootmem_claim */
    uint64_t len;     /* > 0 */
    gpa_t min, end;
    bool high;
};

/* Find such a place and claim it. -ENOSPC with err if there is none. */
MUST_CHECK int bootmem_place(struct bootmem *bm, const struct bootmem_want *w,
                             gpa_t *out, struct err *err);

/* The lowest place below 4 GiB, for what a loader adds of its own. */
MUST_CHECK int bootmem_place_low(struct bootmem *bm, uint64_t len,
                                 const char *what, gpa_t *out, struct err *err);

/* gmem_load with a sentence; the caller has claimed the range. */
MUST_CHECK int bootmem_load(struct bootmem *bm, gpa_t gpa, const void *src,
                            size_t len, const char *what, struct err *err);

#endif
