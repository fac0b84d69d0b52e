#ifndef HUSK_MEM_GMEM_H
#define HUSK_MEM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/* Guest physical address, in bytes: not a host pointer, not a bank offset. */
typedef uint64_t gpa_t;
/* Guest virtual (linear) address. */
typedef uint64_t gva_t;

#define GPAGE_SHIFT 12
#define GPAGE_SIZE  ((uint64_t)1 << GPAGE_SHIFT)
#define GPAGE_MASK  (GPAGE_SIZE - 1)

/*
 * Guest memory: banks of RAM (or ROM) in one memfd mapping, at ascending,
 * page-aligned guest physical addresses. Everything else is MMIO or nothing.
 * Banks are fixed before the first vCPU runs. Fields are readable by the
 * engines, which translate addresses on their hottest path; everybody else
 * uses the functions.
 */
enum { GMEM_MAX_BANKS = 8 };

struct gmem_bank {
    gpa_t start;
    uint64_t size;
    uint8_t *hva;      /* host address of start */
    uint64_t page_idx; /* RAM page number of start, counted over all banks */
    bool readonly;     /* ROM: guest writes are dropped */
};

struct gmem {
    struct gmem_bank bank[GMEM_MAX_BANKS];
    unsigned nr_banks;
    uint64_t nr_pages; /* RAM pages of all banks together */
    int fd;            /* the memfd behind all banks */
    uint8_t *base;     /* its whole mapping */
    size_t size;
    /* Told after each write that did not come from translated code (device
     * DMA, loaders), so that an engine drops stale code. NULL = nobody. */
    void (*written)(void *opaque, gpa_t gpa, uint64_t len);
    void *written_opaque;
};

/* Where a bank shall be. */
struct gmem_layout {
    gpa_t start;
    uint64_t size;
    bool readonly;
};

/*
 * Map one memfd and place its parts as given (page-aligned, ascending, not
 * overlapping). Untouched memory costs nothing. -ENOMEM, -EINVAL with err.
 * Caller frees with gmem_fini.
 */
MUST_CHECK int gmem_init(struct gmem *gm, const struct gmem_layout *layout,
                         unsigned nr, struct err *err);
void gmem_fini(struct gmem *gm);

/* The bank that holds all of [gpa, gpa + len), or NULL. Any thread. */
static inline const struct gmem_bank *gmem_bank(const struct gmem *gm,
                                                gpa_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < gm->nr_banks; i++) {
        const struct gmem_bank *b = &gm->bank[i];

        if (gpa >= b->start && gpa - b->start < b->size)
            return len <= b->size - (gpa - b->start) ? b : NULL;
    }
    return NULL;
}

/*
 * Host address of [gpa, gpa + len) if it lies in one bank, else NULL. Readers
 * may use it freely (the guest may change the bytes meanwhile: copy once).
 * Whoever writes through it calls gmem_written afterwards and must not write
 * to a readonly bank.
 */
static inline void *gmem_hva(const struct gmem *gm, gpa_t gpa, uint64_t len)
{
    const struct gmem_bank *b = gmem_bank(gm, gpa, len);

    return b ? b->hva + (gpa - b->start) : NULL;
}

static inline void gmem_written(const struct gmem *gm, gpa_t gpa, uint64_t len)
{
    if (gm->written)
        gm->written(gm->written_opaque, gpa, len);
}

/*
 * Copy len bytes of guest RAM at gpa into dst. The range may cross banks that
 * touch. Returns 0, or -EFAULT if any byte lies outside RAM; dst is then
 * untouched. Any thread, no lock.
 */
MUST_CHECK int gmem_read(const struct gmem *gm, gpa_t gpa, void *dst,
                         size_t len);
/* The other direction. Writes into a readonly bank are -EFAULT here; loaders
 * use gmem_load. Calls the written hook. */
MUST_CHECK int gmem_write(const struct gmem *gm, gpa_t gpa, const void *src,
                          size_t len);
/* As gmem_write, but fills ROM too: for the machine's own loaders. */
MUST_CHECK int gmem_load(const struct gmem *gm, gpa_t gpa, const void *src,
                         size_t len);
/* Make all RAM read as zero again and give it back to the host (reset). */
void gmem_clear(struct gmem *gm);

#endif
