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

/* The place in [min, end) that is nearest to the wanted end of it. Each round
 * steps over one claim in one direction, so it ends after nr rounds. */
static int search(const struct bootmem *bm, gpa_t min, gpa_t end,
                  const struct bootmem_want *w, gpa_t *out)
{
    gpa_t at = w->high ? (end - w->len) & ~GPAGE_MASK
                       : (min + GPAGE_MASK) & ~GPAGE_MASK;

    while (at >= min && at <= end - w->len) {
        const struct bootmem_claim *c = find(bm, at, at + w->len);

        if (!c) {
            *out = at;
            return 0;
        }
        if (w->high && c->start < min + w->len)
            return -ENOSPC;
        at = w->high ? (c->start - w->len) & ~GPAGE_MASK
                     : (c->end + GPAGE_MASK) & ~GPAGE_MASK;
    }
    return -ENOSPC;
}

/* The same in the part of [min, end) that lies in bank b. */
static int search_bank(const struct bootmem *bm, const struct gmem_bank *b,
                       const struct bootmem_want *w, gpa_t *out)
{
    gpa_t min = w->min > b->start ? w->min : b->start;
    gpa_t end = w->end < b->start + b->size ? w->end : b->start + b->size;

    if (min >= end || end - min < w->len)
        return -ENOSPC;
    return search(bm, min, end, w, out);
}

int bootmem_place(struct bootmem *bm, const struct bootmem_want *w, gpa_t *out,
                  struct err *err)
{
    const struct gmem *gm = bm->gm;
    gpa_t at = 0;

    assert(w->len > 0);
    for (unsigned n = 0; n < gm->nr_banks; n++) {
        unsigned i = w->high ? gm->nr_banks - 1 - n : n;

        if (bm->nr == BOOTMEM_MAX_CLAIMS ||
            search_bank(bm, &gm->bank[i], w, &at) < 0)
            continue;
        add(bm, at, at + w->len, w->what);
        *out = at;
        return 0;
    }
    return err_set(err, -ENOSPC,
                   "%s of %" PRIu64 " KiB does not fit into the guest's "
                   "memory: give it more with --memory",
                   w->what, (w->len + 1023) >> 10);
}

int bootmem_place_low(struct bootmem *bm, uint64_t len, const char *what,
                      gpa_t *out, struct err *err)
{
    const struct bootmem_want w = {
        .what = what, .len = len, .min = 0, .end = PC_4G};

    return bootmem_place(bm, &w, out, err);
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
