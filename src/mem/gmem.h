#ifndef HUSK_MEM_GMEM_H
#define HUSK_MEM_GMEM_H

#include <stdatomic.h>
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
 * Banks are fixed before the first vCPU runs, except those of the shadow area
 * below. Fields are readable by the engines, which translate addresses on their
 * hottest path; everybody else uses the functions.
 */
enum { GMEM_MAX_BANKS = 8 };

/* The shadow area: so many slots, each of which shows ROM or RAM. */
enum { GMEM_SHADOW_SLOTS = 16, GMEM_SLOT_SIZE = 16 << 10 };
#define GMEM_SHADOW_SIZE ((uint64_t)GMEM_SHADOW_SLOTS * GMEM_SLOT_SIZE)

enum gmem_shadow_mode {
    GMEM_SHADOW_ROM,    /* as after power-on: writes are dropped */
    GMEM_SHADOW_RAM_RO, /* RAM, writes are dropped */
    GMEM_SHADOW_RAM,
    GMEM_SHADOW_ROM_WT, /* ROM is read, writes reach the RAM behind it */
    GMEM_SHADOW_MODES
};

struct gmem_bank {
    gpa_t start;
    uint64_t size;
    uint8_t *hva;      /* host address of start */
    uint64_t page_idx; /* RAM page number of start, counted over all banks */
    bool readonly;     /* ROM: guest writes are dropped, */
    uint8_t *behind;   /* or go here instead (host address for start) */
};

/*
 * Memory whose ROM can be replaced by RAM while the guest runs. Each slot
 * points at one of its banks, which never change: whoever holds a bank may go
 * on with it, and finds the one from before or the one from after a change.
 */
struct gmem_shadow {
    gpa_t start;
    struct gmem_bank bank[GMEM_SHADOW_MODES][GMEM_SHADOW_SLOTS];
    const struct gmem_bank *_Atomic slot[GMEM_SHADOW_SLOTS];
};

/*
 * Memory of a device that the guest places where it likes, below 4 GiB and
 * aligned to its size, or nowhere. Each place has a bank of its own, which
 * never changes, as in the shadow area. Banks of RAM and ROM hide it.
 */
struct gmem_device {
    uint64_t size; /* bytes, a power of two */
    uint8_t *hva;
    const struct gmem_bank *_Atomic at; /* NULL = nowhere */
    struct gmem_bank bank[];            /* 4 GiB / size */
};

#define GMEM_NOWHERE UINT64_MAX

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
    /* Told after addresses came to mean something else: an engine forgets what
     * it knows of them, on the calling CPU before its next instruction. moved:
     * memory is at another address than before; else only what the CPUs make
     * of theirs changed (A20). */
    void (*remapped)(void *opaque, bool moved);
    struct gmem_shadow *shadow; /* NULL = there is none */
    struct gmem_device *device; /* NULL = there is none */
    _Atomic uint64_t masked;    /* bits that gmem_a20 clears */
};

/* Where a bank shall be. */
struct gmem_layout {
    gpa_t start;
    uint64_t size;
    bool readonly;
    bool shadow; /* the shadow area, of GMEM_SHADOW_SIZE bytes: one at most */
    bool device; /* a device's memory, nowhere at first: start is not looked at,
                    size is a power of two up to 1 GiB; one at most */
};

/*
 * Map one memfd and place its parts as given (page-aligned, ascending, not
 * overlapping). Untouched memory costs nothing. -ENOMEM, -EINVAL with err.
 * Caller frees with gmem_fini.
 */
MUST_CHECK int gmem_init(struct gmem *gm, const struct gmem_layout *layout,
                         unsigned nr, struct err *err);
void gmem_fini(struct gmem *gm);

/* The same as gmem_bank for an address in the shadow area. */
static inline const struct gmem_bank *
gmem_shadow_bank(const struct gmem_shadow *sh, gpa_t gpa, uint64_t len)
{
    const struct gmem_bank *b = atomic_load_explicit(
        &sh->slot[(gpa - sh->start) / GMEM_SLOT_SIZE], memory_order_acquire);

    return len <= b->size - (gpa - b->start) ? b : NULL;
}

/* The same for the device's memory. */
static inline const struct gmem_bank *
gmem_device_bank(const struct gmem_device *dev, gpa_t gpa, uint64_t len)
{
    const struct gmem_bank *b =
        atomic_load_explicit(&dev->at, memory_order_acquire);

    if (!b || gpa < b->start || gpa - b->start >= b->size)
        return NULL;
    return len <= b->size - (gpa - b->start) ? b : NULL;
}

/*
 * What CPUs, not devices, do to each physical address before they use it: an
 * AND with this, which clears bit 20 while the A20 gate is closed. Any thread.
 */
static inline uint64_t gmem_a20(const struct gmem *gm)
{
    return ~atomic_load_explicit(&gm->masked, memory_order_relaxed);
}

/* The bank that holds all of [gpa, gpa + len), or NULL. Any thread. */
static inline const struct gmem_bank *gmem_bank(const struct gmem *gm,
                                                gpa_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < gm->nr_banks; i++) {
        const struct gmem_bank *b = &gm->bank[i];

        if (gpa >= b->start && gpa - b->start < b->size)
            return len <= b->size - (gpa - b->start) ? b : NULL;
    }
    if (gm->shadow && gpa >= gm->shadow->start &&
        gpa - gm->shadow->start < GMEM_SHADOW_SIZE)
        return gmem_shadow_bank(gm->shadow, gpa, len);
    return gm->device ? gmem_device_bank(gm->device, gpa, len) : NULL;
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
/* Let a slot of the shadow area show something else. Any thread. */
void gmem_shadow_set(struct gmem *gm, unsigned slot,
                     enum gmem_shadow_mode mode);
/* Fill the area's ROM, off bytes behind its start, which no address may show at
 * the moment: for loaders, while no CPU runs. The range must lie inside. */
void gmem_shadow_load(struct gmem *gm, uint64_t off, const void *src,
                      size_t len);
/* Move the device's memory to gpa (a multiple of its size, below 4 GiB), or
 * GMEM_NOWHERE. Any thread, but not two at a time. */
void gmem_device_move(struct gmem *gm, gpa_t gpa);
/* Open or close the A20 gate. Any thread. */
void gmem_set_a20(struct gmem *gm, bool open);
/* Make all RAM, and ROM, read as zero again and give it back to the host
 * (reset). */
void gmem_clear(struct gmem *gm);

#endif
