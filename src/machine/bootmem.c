#include "machine/bootmem.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static void add(struct bootmem *bm, gpa_t start, gpa_t end, const char *what)
{
    assert(bm->nr < BOOTMEM_MAX_CLAIMS);
    bm->claim[bm->nr++] = (struct bootmem_claim){start, end, what};
}

void bootmem_init(struct bootmem *bm, const struct gmem *gm,
                  const struct memlayout *layout)
{
    memset(bm, 0, sizeof(*bm));
    bm->gm = gm;
    bm->layout = layout;
    /* The interrupt vectors and the BIOS data area up to 0x500 */
    add(bm, 0, GPAGE_SIZE, "the BIOS data area");
    add(bm, PC_EBDA, PC_LOW_END, "the extended BIOS data area");
    add(bm, PC_TABLES, PC_TABLES_END, "the ACPI tables");
}

/* A claim that meets [start, end), or NULL. */
static const struct bootmem_claim *find(const struct bootmem *bm, gpa_t start,
                                        gpa_t end)
{
    for (unsigned i = 0; i < bm->nr; i++)
        if (start < bm->claim[i].end && bm->claim[i].start < end)
            return &bm->claim[i];
    return NULL;
}

int bootmem_claim(struct bootmem *bm, gpa_t gpa, uint64_t len, const char *what,
                  struct err *err)
{
    const struct bootmem_claim *c;

    if (len == 0)
        return 0;
    if (!gmem_bank(bm->gm, gpa, len))
        return err_set(err, -EINVAL,
                       "%s of %" PRIu64 " bytes at 0x%" PRIx64
                       " does not lie in the guest's memory",
                       what, len, gpa);
    c = find(bm, gpa, gpa + len);
    if (c)
        return err_set(err, -EINVAL, "%s at 0x%" PRIx64 " overlaps %s", what,
                       gpa, c->what);
    if (bm->nr == BOOTMEM_MAX_CLAIMS)
        return err_set(err, -EINVAL, "%s is one part too many", what);
    add(bm, gpa, gpa + len, what);
    return 0;
}

/* The place nearest to the wanted end that is free, or -ENOSPC. Each round
 * steps over one claim in one direction, so it ends after nr rounds. */
static int search(const struct bootmem *bm, gpa_t min, gpa_t end, uint64_t len,
                  bool high, gpa_t *out)
{
    gpa_t at =
        high ? (end - len) & ~GPAGE_MASK : (min + GPAGE_MASK) & ~GPAGE_MASK;

    while (at >= min && at <= end - len) {
        const struct bootmem_claim *c = find(bm, at, at + len);

        if (!c) {
            *out = at;
            return 0;
        }
        if (high && c->start < min + len)
            return -ENOSPC;
        at = high ? (c->start - len) & ~GPAGE_MASK
                  : (c->end + GPAGE_MASK) & ~GPAGE_MASK;
    }
    return -ENOSPC;
}

static int place(struct bootmem *bm, gpa_t min, gpa_t end, uint64_t len,
                 const char *what, bool high, gpa_t *out, struct err *err)
{
    const struct gmem *gm = bm->gm;

    assert(len > 0);
    for (unsigned n = 0; n < gm->nr_banks; n++) {
        const struct gmem_bank *b = &gm->bank[high ? gm->nr_banks - 1 - n : n];
        gpa_t from = min > b->start ? min : b->start;
        gpa_t to = end < b->start + b->size ? end : b->start + b->size;
        gpa_t at = 0;

        if (from >= to || to - from < len ||
            search(bm, from, to, len, high, &at) < 0)
            continue;
        if (bm->nr == BOOTMEM_MAX_CLAIMS)
            break;
        add(bm, at, at + len, what);
        *out = at;
        return 0;
    }
    return err_set(err, -ENOSPC,
                   "%s of %" PRIu64 " KiB does not fit into the guest's "
                   "memory: give it more with --memory",
                   what, (len + 1023) >> 10);
}

int bootmem_place_low(struct bootmem *bm, gpa_t min, gpa_t end, uint64_t len,
                      const char *what, gpa_t *out, struct err *err)
{
    return place(bm, min, end, len, what, false, out, err);
}

int bootmem_place_high(struct bootmem *bm, gpa_t min, gpa_t end, uint64_t len,
                       const char *what, gpa_t *out, struct err *err)
{
    return place(bm, min, end, len, what, true, out, err);
}

int bootmem_load(struct bootmem *bm, gpa_t gpa, const void *src, size_t len,
                 const char *what, struct err *err)
{
    if (len > 0 && gmem_load(bm->gm, gpa, src, len) < 0)
        return err_set(err, -EINVAL,
                       "%s at 0x%" PRIx64 " does not lie in the guest's memory",
                       what, gpa);
    return 0;
}
