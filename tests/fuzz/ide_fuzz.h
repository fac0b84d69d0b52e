#ifndef HUSK_TESTS_FUZZ_IDE_FUZZ_H
#define HUSK_TESTS_FUZZ_IDE_FUZZ_H

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "devices/ide/ide_int.h"

/*
 * The IDE function with a disk, a CD-ROM drive and memory, for targets whose
 * input is what a driver does. Requests never reach beyond the images, and what
 * the function keeps is at any time what a saved state may be.
 */
enum {
    FUZZ_RAM = 0x20000,
    FUZZ_DISK = 0x40000, /* four times the buffer */
    FUZZ_PRIMARY = 0x1f0,
    FUZZ_SECONDARY = 0x170,
    FUZZ_CONTROL = 0x206,
    FUZZ_BM = 0xc000
};

struct fuzz_image {
    struct blk blk;
    uint8_t data[FUZZ_DISK];
};

static struct {
    struct gmem gm;
    struct bus *pio;
    struct loop *loop;
    struct fuzz_image disk, cd;
    int fail;
    bool cached;
    struct ide ide;
    bool made;
} all;

static int fuzz_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                      int n)
{
    struct fuzz_image *d = CONTAINER_OF(b, struct fuzz_image, blk);

    assert(n <= IDE_MAX_IOV);
    for (int i = 0; i < n; i++) {
        assert(off <= FUZZ_DISK && iov[i].iov_len <= FUZZ_DISK - off);
        memcpy(iov[i].iov_base, d->data + off, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return all.fail;
}

static int fuzz_readv_cached(struct blk *b, uint64_t off,
                             const struct iovec *iov, int n)
{
    return all.cached ? fuzz_readv(b, off, iov, n) : -EAGAIN;
}

static int fuzz_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                       int n, unsigned flags)
{
    struct fuzz_image *d = CONTAINER_OF(b, struct fuzz_image, blk);

    (void)flags;
    assert(b == &all.disk.blk && n <= IDE_MAX_IOV);
    for (int i = 0; i < n; i++) {
        assert(off <= FUZZ_DISK && iov[i].iov_len <= FUZZ_DISK - off);
        memcpy(d->data + off, iov[i].iov_base, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return all.fail;
}

static int fuzz_flush(struct blk *b)
{
    (void)b;
    return all.fail;
}

static void fuzz_limits(struct blk *b, struct blk_limits *l)
{
    (void)b;
    *l = (struct blk_limits){.physical_block = 512};
}

static const struct blk_ops fuzz_ops = {.name = "fuzz",
                                        .readv = fuzz_readv,
                                        .readv_cached = fuzz_readv_cached,
                                        .writev = fuzz_writev,
                                        .flush = fuzz_flush,
                                        .limits = fuzz_limits};

static void fuzz_map(void)
{
    static const uint16_t base[IDE_CHANNELS] = {FUZZ_PRIMARY, FUZZ_SECONDARY};
    int rc = bus_map(all.pio, FUZZ_BM, BM_PORTS, &ide_bm_bus_ops, &all.ide,
                     &all.ide.lock);

    for (unsigned i = 0; rc == 0 && i < IDE_CHANNELS; i++) {
        rc = bus_map(all.pio, base[i], IDE_PORTS, &ide_bus_ops,
                     &all.ide.channel[i], &all.ide.lock);
        if (rc == 0)
            rc = bus_map(all.pio, base[i] + FUZZ_CONTROL, 1,
                         &ide_control_bus_ops, &all.ide.channel[i],
                         &all.ide.lock);
    }
    assert(rc == 0);
    (void)rc;
}

/* Made once: starting the drives' threads takes longer than an input. */
static void fuzz_make(void)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = FUZZ_RAM},
        {.start = 0x40000, .size = 0x1000, .readonly = true},
    };
    struct ide_config cfg = {.gm = &all.gm};
    struct err err;
    int rc = gmem_init(&all.gm, layout, 2, &err);

    if (rc == 0)
        rc = loop_new(&all.loop, &err);
    if (rc == 0)
        rc = bus_new(&all.pio);
    assert(rc == 0);
    all.disk.blk.ops = all.cd.blk.ops = &fuzz_ops;
    all.cd.blk.flags = BLK_RDONLY;
    atomic_store(&all.disk.blk.size, FUZZ_DISK);
    atomic_store(&all.cd.blk.size, FUZZ_DISK);
    cfg.loop = all.loop;
    cfg.drive[0] =
        (struct ide_drive_config){IDE_DISK, "disk", &all.disk.blk, "fuzz"};
    cfg.drive[2] =
        (struct ide_drive_config){IDE_CDROM, "cd", &all.cd.blk, NULL};
    rc = ide_init(&all.ide, &cfg, &err);
    assert(rc == 0);
    (void)rc;
    fuzz_map();
    atomic_store(&all.ide.pci.master, true);
    all.made = true;
}

static void fuzz_change(struct blk *blk)
{
    struct blk *old;
    struct err err;
    int rc = ide_change_medium(&all.ide, 2, blk, true, &old, &err);

    assert(rc == 0);
    (void)rc;
}

/* As at power-on, with both images in place. */
static void fuzz_reset(void)
{
    if (!all.made)
        fuzz_make();
    all.fail = 0;
    all.cached = true;
    memset(all.gm.base, 0, FUZZ_RAM);
    fuzz_change(&all.cd.blk);
    ide_reset(&all.ide);
}

static void fuzz_check(void)
{
    lock_take(&all.ide.lock);
    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        const struct ide_channel *ch = &all.ide.channel[i];

        assert(ide_channel_state_desc.check(&ch->st) == 0);
        for (unsigned u = 0; u < IDE_UNITS; u++)
            assert(ide_drive_state_desc.check(&ch->drive[u].st) == 0);
    }
    lock_drop(&all.ide.lock);
}

#endif
