/*
 * Guest memory: one memfd, mapped shared, so that other mappings of it (the
 * translator's, later a snapshot's) see the same bytes. Pages come into being
 * when they are first touched.
 *
 * The mapping lies between two guard areas: an access through an address that
 * was computed wrongly near either end faults instead of reaching something
 * else of this process.
 */
#include "mem/gmem.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/checked.h"

enum { GMEM_GUARD = 64 << 10, GMEM_ALIGN = 2 << 20 };

/* The whole reservation before the mapping: guard areas, and slack to begin
 * on a 2-MiB boundary so that the host can use large pages. */
#define GMEM_SLACK ((size_t)GMEM_ALIGN + 2 * (size_t)GMEM_GUARD)

/* Where a device's memory can be, and how large it is at most. */
#define DEVICE_END ((uint64_t)1 << 32)
#define DEVICE_MAX ((uint64_t)1 << 30)

#define A20_BIT ((uint64_t)1 << 20)

static bool is_device_size(uint64_t size)
{
    return size >= GPAGE_SIZE && size <= DEVICE_MAX && !(size & (size - 1));
}

/* Refuse a layout that is not sorted, aligned and disjoint; *total is its
 * size. */
static int check_layout(const struct gmem_layout *layout, unsigned nr,
                        uint64_t *total, struct err *err)
{
    uint64_t end = 0;

    *total = 0;
    if (nr == 0 || nr > GMEM_MAX_BANKS)
        return err_set(err, -EINVAL,
                       "lay out guest memory: %u banks are not 1 to %d", nr,
                       GMEM_MAX_BANKS);
    for (unsigned i = 0; i < nr; i++) {
        const struct gmem_layout *l = &layout[i];

        if (l->device) {
            if (!is_device_size(l->size) || !add_ok(*total, l->size, total))
                return err_set(err, -EINVAL,
                               "lay out guest memory: %#llx bytes are no "
                               "memory of a device",
                               (unsigned long long)l->size);
            continue;
        }
        if (l->shadow && l->size != GMEM_SHADOW_SIZE)
            return err_set(err, -EINVAL,
                           "lay out guest memory: %#llx bytes are no shadow "
                           "area",
                           (unsigned long long)l->size);
        if (l->size == 0 || !is_aligned(l->start | l->size, GPAGE_SIZE) ||
            l->start < end || !add_ok(l->start, l->size, &end) ||
            !add_ok(*total, l->shadow ? 2 * l->size : l->size, total))
            return err_set(err, -EINVAL,
                           "lay out guest memory: bank %u (%#llx bytes at "
                           "%#llx) is empty, not whole pages or not behind "
                           "the one before",
                           i, (unsigned long long)l->size,
                           (unsigned long long)l->start);
    }
    return 0;
}

/* More than this the host could never back, whatever else it gives up. */
static int check_host(uint64_t total, struct err *err)
{
    struct sysinfo si;
    uint64_t host;

    if (sysinfo(&si) < 0)
        return err_sys(err, "ask for the host's memory size");
    host = ((uint64_t)si.totalram + si.totalswap) * si.mem_unit;
    if (total > host)
        return err_set(err, -ENOMEM,
                       "create guest memory of %llu MiB: the host has only "
                       "%llu MiB of memory and swap",
                       (unsigned long long)(total >> 20),
                       (unsigned long long)(host >> 20));
    return 0;
}

/* Map fd between guard areas; *base is aligned to 2 MiB. */
static int map_guarded(int fd, size_t size, uint8_t **base, struct err *err)
{
    size_t reserved = size + GMEM_SLACK;
    uint8_t *area = mmap(NULL, reserved, PROT_NONE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uintptr_t start;
    uint8_t *p;

    if (area == MAP_FAILED)
        return err_sys(err, "reserve addresses for guest memory");
    start =
        align_down((uintptr_t)area + GMEM_GUARD + GMEM_ALIGN - 1, GMEM_ALIGN);
    p = area + (start - (uintptr_t)area);
    if (mmap(p, size, PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_NORESERVE | MAP_FIXED, fd, 0) == MAP_FAILED) {
        int rc = err_sys(err, "map guest memory of %zu MiB", size >> 20);

        (void)munmap(area, reserved);
        return rc;
    }
    /* Keep one guard on either side, give the slack back. */
    (void)munmap(area, (size_t)(p - GMEM_GUARD - area));
    (void)munmap(p + size + GMEM_GUARD,
                 (size_t)(area + reserved - (p + size + GMEM_GUARD)));
    *base = p;
    return 0;
}

static struct gmem_bank bank_at(const struct gmem *gm, gpa_t start,
                                uint64_t size, uint64_t off)
{
    return (struct gmem_bank){.start = start,
                              .size = size,
                              .hva = gm->base + off,
                              .page_idx = off >> GPAGE_SHIFT};
}

/* RAM first, then as much ROM. No byte is at two addresses at a time, which
 * engines rely on. */
static void place_shadow(struct gmem *gm, gpa_t start, uint64_t off)
{
    struct gmem_shadow *sh = gm->shadow;

    sh->start = start;
    for (unsigned i = 0; i < GMEM_SHADOW_SLOTS; i++) {
        uint64_t at = (uint64_t)i * GMEM_SLOT_SIZE;
        struct gmem_bank ram =
            bank_at(gm, start + at, GMEM_SLOT_SIZE, off + at);
        struct gmem_bank rom = bank_at(gm, start + at, GMEM_SLOT_SIZE,
                                       off + GMEM_SHADOW_SIZE + at);

        sh->bank[GMEM_SHADOW_RAM][i] = ram;
        ram.readonly = rom.readonly = true;
        sh->bank[GMEM_SHADOW_RAM_RO][i] = ram;
        sh->bank[GMEM_SHADOW_ROM][i] = rom;
        rom.behind = ram.hva;
        sh->bank[GMEM_SHADOW_ROM_WT][i] = rom;
        atomic_init(&sh->slot[i], &sh->bank[GMEM_SHADOW_ROM][i]);
    }
}

static void place_device(struct gmem *gm, uint64_t off)
{
    struct gmem_device *dev = gm->device;

    dev->hva = gm->base + off;
    for (uint64_t i = 0; i < DEVICE_END / dev->size; i++)
        dev->bank[i] = bank_at(gm, i * dev->size, dev->size, off);
}

static void place_banks(struct gmem *gm, const struct gmem_layout *layout,
                        unsigned nr)
{
    uint64_t off = 0;

    for (unsigned i = 0; i < nr; i++) {
        const struct gmem_layout *l = &layout[i];

        if (l->shadow) {
            place_shadow(gm, l->start, off);
            off += 2 * GMEM_SHADOW_SIZE;
            continue;
        }
        if (l->device) {
            place_device(gm, off);
            off += l->size;
            continue;
        }
        gm->bank[gm->nr_banks] = bank_at(gm, l->start, l->size, off);
        gm->bank[gm->nr_banks++].readonly = l->readonly;
        off += l->size;
    }
    gm->nr_pages = off >> GPAGE_SHIFT;
}

/* Room for the shadow area's banks, if there shall be one. */
static int make_shadow(const struct gmem_layout *layout, unsigned nr,
                       struct gmem_shadow **out, struct err *err)
{
    unsigned wanted = 0;

    *out = NULL;
    for (unsigned i = 0; i < nr; i++)
        wanted += layout[i].shadow;
    if (wanted == 0)
        return 0;
    if (wanted > 1)
        return err_set(err, -EINVAL,
                       "lay out guest memory: %u shadow areas are too many",
                       wanted);
    *out = calloc(1, sizeof(**out));
    if (!*out)
        return err_set(err, -ENOMEM, "lay out guest memory: out of memory");
    return 0;
}

/* The same for a device's memory. */
static int make_device(const struct gmem_layout *layout, unsigned nr,
                       struct gmem_device **out, struct err *err)
{
    uint64_t size = 0;
    unsigned wanted = 0;

    *out = NULL;
    for (unsigned i = 0; i < nr; i++)
        if (layout[i].device) {
            size = layout[i].size;
            wanted++;
        }
    if (wanted == 0)
        return 0;
    if (wanted > 1)
        return err_set(err, -EINVAL,
                       "lay out guest memory: %u memories of devices are too "
                       "many",
                       wanted);
    *out =
        calloc(1, sizeof(**out) + DEVICE_END / size * sizeof(struct gmem_bank));
    if (!*out)
        return err_set(err, -ENOMEM, "lay out guest memory: out of memory");
    (*out)->size = size;
    return 0;
}

int gmem_init(struct gmem *gm, const struct gmem_layout *layout, unsigned nr,
              struct err *err)
{
    struct gmem_device *device = NULL;
    struct gmem_shadow *shadow = NULL;
    uint64_t total = 0;
    uint8_t *base = NULL;
    int fd;
    int rc = check_layout(layout, nr, &total, err);

    if (rc < 0)
        return rc;
    rc = check_host(total, err);
    if (rc < 0)
        return rc;
    rc = make_shadow(layout, nr, &shadow, err);
    if (rc < 0)
        return rc;
    rc = make_device(layout, nr, &device, err);
    if (rc < 0)
        goto free_shadow;
    fd = memfd_create("guest memory", MFD_CLOEXEC);
    if (fd < 0) {
        rc = err_sys(err, "create guest memory");
        goto free_device;
    }
    if (ftruncate(fd, (off_t)total) < 0) {
        rc = err_sys(err, "size guest memory to %llu MiB",
                     (unsigned long long)(total >> 20));
        goto close_fd;
    }
    rc = map_guarded(fd, total, &base, err);
    if (rc < 0)
        goto close_fd;
    *gm = (struct gmem){.fd = fd,
                        .base = base,
                        .size = total,
                        .shadow = shadow,
                        .device = device};
    place_banks(gm, layout, nr);
    return 0;

close_fd:
    (void)close(fd);
free_device:
    free(device);
free_shadow:
    free(shadow);
    return rc;
}

void gmem_fini(struct gmem *gm)
{
    (void)munmap(gm->base - GMEM_GUARD, gm->size + 2 * (size_t)GMEM_GUARD);
    (void)close(gm->fd);
    free(gm->shadow);
    free(gm->device);
    *gm = (struct gmem){.fd = -1};
}

/*
 * The bank that gpa lies in, with *run the bytes up to its end or len if that
 * is less. Ranges are walked bank by bank: a few steps.
 */
static const struct gmem_bank *bank_run(const struct gmem *gm, gpa_t gpa,
                                        uint64_t len, uint64_t *run)
{
    const struct gmem_bank *b = gmem_bank(gm, gpa, 0);

    if (!b)
        return NULL;
    *run = b->size - (gpa - b->start);
    if (*run > len)
        *run = len;
    return b;
}

/* Whether all of [gpa, gpa + len) is RAM, and writable if that is asked. */
static bool is_ram(const struct gmem *gm, gpa_t gpa, uint64_t len,
                   bool writable)
{
    while (len > 0) {
        uint64_t run = 0;
        const struct gmem_bank *b = bank_run(gm, gpa, len, &run);

        if (!b || (writable && b->readonly && !b->behind))
            return false;
        gpa += run;
        len -= run;
    }
    return true;
}

int gmem_read(const struct gmem *gm, gpa_t gpa, void *dst, size_t len)
{
    uint8_t *to = dst;

    if (!is_ram(gm, gpa, len, false))
        return -EFAULT;
    while (len > 0) {
        uint64_t run = 0;
        const struct gmem_bank *b = bank_run(gm, gpa, len, &run);

        memcpy(to, b->hva + (gpa - b->start), run);
        gpa += run;
        to += run;
        len -= run;
    }
    return 0;
}

static int copy_in(const struct gmem *gm, gpa_t gpa, const void *src,
                   size_t len, bool rom_too)
{
    const uint8_t *from = src;
    gpa_t at = gpa;
    size_t left = len;

    if (!is_ram(gm, gpa, len, !rom_too))
        return -EFAULT;
    while (left > 0) {
        uint64_t run = 0;
        const struct gmem_bank *b = bank_run(gm, at, left, &run);
        uint8_t *to = b->behind && !rom_too ? b->behind : b->hva;

        memcpy(to + (at - b->start), from, run);
        at += run;
        from += run;
        left -= run;
    }
    if (len > 0)
        gmem_written(gm, gpa, len);
    return 0;
}

int gmem_write(const struct gmem *gm, gpa_t gpa, const void *src, size_t len)
{
    return copy_in(gm, gpa, src, len, false);
}

int gmem_load(const struct gmem *gm, gpa_t gpa, const void *src, size_t len)
{
    return copy_in(gm, gpa, src, len, true);
}

void gmem_clear(struct gmem *gm)
{
    /* Drops the pages from every mapping at once; a host whose memfds cannot
     * do that gets zeroes the slow way. */
    if (fallocate(gm->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
                  (off_t)gm->size) < 0)
        memset(gm->base, 0, gm->size);
    for (unsigned i = 0; i < gm->nr_banks; i++)
        gmem_written(gm, gm->bank[i].start, gm->bank[i].size);
    if (gm->shadow)
        gmem_written(gm, gm->shadow->start, GMEM_SHADOW_SIZE);
    if (gm->device && atomic_load(&gm->device->at))
        gmem_written(gm, atomic_load(&gm->device->at)->start, gm->device->size);
}

/* --- Shadow area ---------------------------------------------------------- */

void gmem_shadow_set(struct gmem *gm, unsigned slot, enum gmem_shadow_mode mode)
{
    struct gmem_shadow *sh = gm->shadow;
    const struct gmem_bank *b = &sh->bank[mode][slot];

    assert(slot < GMEM_SHADOW_SLOTS && mode < GMEM_SHADOW_MODES);
    if (atomic_exchange(&sh->slot[slot], b) != b && gm->remapped)
        gm->remapped(gm->written_opaque, true);
}

void gmem_shadow_load(struct gmem *gm, uint64_t off, const void *src,
                      size_t len)
{
    assert(range_ok(off, len, GMEM_SHADOW_SIZE));
    memcpy(gm->shadow->bank[GMEM_SHADOW_ROM][0].hva + off, src, len);
}

/* --- A device's memory, A20 ----------------------------------------------- */

void gmem_device_move(struct gmem *gm, gpa_t gpa)
{
    struct gmem_device *dev = gm->device;
    const struct gmem_bank *b = NULL;

    if (gpa != GMEM_NOWHERE) {
        assert(gpa < DEVICE_END && !(gpa & (dev->size - 1)));
        b = &dev->bank[gpa / dev->size];
    }
    if (atomic_exchange(&dev->at, b) != b && gm->remapped)
        gm->remapped(gm->written_opaque, true);
}

void gmem_set_a20(struct gmem *gm, bool open)
{
    uint64_t bits = open ? 0 : A20_BIT;

    if (atomic_exchange(&gm->masked, bits) != bits && gm->remapped)
        gm->remapped(gm->written_opaque, false);
}
