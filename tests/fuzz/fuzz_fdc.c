#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "devices/floppy/fdc.h"

/*
 * Input: rounds of 12 bytes: what to do, where, a value, and up to 9 bytes of a
 * command. Two drives, of which one is protected; requests never reach beyond
 * their images, and what the devices keep is at any time what a saved state may
 * be.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUND = 12, MAX_ROUNDS = 256, RAM = 0x20000, DISK = 360 << 10 };

struct image {
    struct blk blk;
    uint8_t data[DISK];
};

static struct {
    struct gmem gm;
    struct bus *pio;
    struct image disk[FDC_DRIVES];
    struct lock lock;
    struct i8237 dma;
    struct fdc fdc;
    int fail;
    bool made;
} all;

static int image_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                       int n)
{
    struct image *d = CONTAINER_OF(b, struct image, blk);

    assert(n == 1 && iov->iov_len == FDC_SECTOR && off <= DISK - FDC_SECTOR);
    memcpy(iov->iov_base, d->data + off, FDC_SECTOR);
    return all.fail;
}

static int image_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                        int n, unsigned flags)
{
    struct image *d = CONTAINER_OF(b, struct image, blk);

    (void)flags;
    assert(b == &all.disk[0].blk);
    assert(n == 1 && iov->iov_len == FDC_SECTOR && off <= DISK - FDC_SECTOR);
    memcpy(d->data + off, iov->iov_base, FDC_SECTOR);
    return all.fail;
}

static const struct blk_ops image_ops = {
    .name = "fuzz", .readv = image_readv, .writev = image_writev};

static void map(uint64_t base, uint64_t size, const struct bus_ops *ops,
                void *dev)
{
    int rc = bus_map(all.pio, base, size, ops, dev, &all.lock);

    assert(rc == 0);
    (void)rc;
}

static void make(void)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM},
        {.start = 0x40000, .size = 0x1000, .readonly = true},
    };
    struct fdc_config cfg = {.dma = &all.dma};
    struct err err;
    int rc = gmem_init(&all.gm, layout, 2, &err);

    if (rc == 0)
        rc = bus_new(&all.pio);
    assert(rc == 0);
    (void)rc;
    lock_init(&all.lock);
    for (unsigned i = 0; i < FDC_DRIVES; i++) {
        all.disk[i].blk.ops = &image_ops;
        all.disk[i].blk.flags = i ? BLK_RDONLY : 0;
        atomic_store(&all.disk[i].blk.size, DISK);
        cfg.drive[i].blk = &all.disk[i].blk;
        cfg.drive[i].name = "fuzz";
    }
    i8237_init(&all.dma, &all.gm);
    fdc_init(&all.fdc, &cfg);
    map(0, I8237_PORTS, &i8237_bus_ops, &all.dma);
    map(0xc0, I8237_HIGH_PORTS, &i8237_high_bus_ops, &all.dma);
    map(I8237_PAGE_PORT, I8237_PAGE_PORTS, &i8237_page_bus_ops, &all.dma);
    map(FDC_PORT, FDC_PORTS, &fdc_bus_ops, &all.fdc);
    map(FDC_INPUT_PORT, 1, &fdc_input_bus_ops, &all.fdc);
    all.made = true;
}

static void reset(void)
{
    lock_take(&all.lock);
    fdc_class.reset(&all.fdc);
    i8237_class.reset(&all.dma);
    lock_drop(&all.lock);
}

/* What was saved is loaded again, whatever is under way. */
static void reload(void)
{
    lock_take(&all.lock);
    fdc_class.loaded(&all.fdc, 0);
    lock_drop(&all.lock);
}

static unsigned port_of(unsigned where)
{
    switch (where >> 5) {
    case 0:
    case 1: return where & 15;
    case 2: return 0xc0 + (where & 31);
    case 3: return 0x80 + (where & 15);
    default: return FDC_PORT + (where & 7);
    }
}

static void do_round(const uint8_t *in)
{
    unsigned port = port_of(in[1]);

    switch (in[0] & 15) {
    case 0:
    case 1:
    case 2: bus_write(all.pio, port, 1, in[2]); break;
    case 3:
    case 4: (void)bus_read(all.pio, port, 1u << in[2] % 3); break;
    case 5:
        for (unsigned i = 0; i < 600; i++)
            bus_write(all.pio, FDC_PORT + 5, 1, in[2] + i);
        break;
    case 6:
        for (unsigned i = 0; i < 600; i++)
            (void)bus_read(all.pio, FDC_PORT + 5, 1);
        break;
    case 7: reload(); break;
    case 8: all.fail = in[2] & 1 ? -EIO : in[2] & 2 ? -ENOSPC : 0; break;
    case 9: reset(); break;
    default:
        for (unsigned i = 0; i < 1u + in[2] % 9; i++)
            bus_write(all.pio, FDC_PORT + 5, 1, in[3 + i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!all.made)
        make();
    all.fail = 0;
    reset();
    for (unsigned i = 0; size >= ROUND && i < MAX_ROUNDS; i++) {
        do_round(data);
        lock_take(&all.lock);
        assert(fdc_state_desc.check(&all.fdc.st) == 0);
        lock_drop(&all.lock);
        data += ROUND;
        size -= ROUND;
    }
    return 0;
}
