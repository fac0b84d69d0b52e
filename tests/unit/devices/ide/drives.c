#include "tests/unit/devices/ide/drives.h"

#include <string.h>

#include "base/endian.h"
#include "tests/unit/test.h"

enum { SLOT = 1 };

static void set_irq(void *opaque, unsigned n, bool level)
{
    struct drives *d = opaque;

    d->irq[n] = level;
}

static void on_stuck(void *opaque)
{
    struct drives *d = opaque;

    d->stuck_calls++;
}

static void map_ports(struct drives *d)
{
    static const uint16_t base[IDE_CHANNELS] = {PRIMARY, SECONDARY};

    for (unsigned i = 0; i < IDE_CHANNELS; i++) {
        assert_int_equal(bus_map(d->b.pio, base[i], IDE_PORTS, &ide_bus_ops,
                                 &d->ide.channel[i], &d->ide.lock),
                         0);
        assert_int_equal(bus_map(d->b.pio, base[i] + R_CONTROL, 1,
                                 &ide_control_bus_ops, &d->ide.channel[i],
                                 &d->ide.lock),
                         0);
    }
}

static void make_ram(struct drives *d)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM_BYTES},
        {.start = ROM_AT, .size = 0x1000, .readonly = true}};
    struct err err;

    assert_int_equal(gmem_init(&d->gm, layout, 2, &err), 0);
}

struct drives *drives_make(unsigned disk_flags)
{
    static struct drives d;
    static const struct pci_id bridge = {.vendor = 0x8086, .device = 0x7000};
    static struct pci_dev isa;
    struct ide_config cfg = {.gm = &d.gm, .stuck = on_stuck, .opaque = &d};
    struct err err;

    memset(&d, 0, sizeof(d));
    board_init(&d.b);
    make_ram(&d);
    assert_int_equal(loop_new(&d.loop, &err), 0);
    fake_blk_init(&d.disk, disk_flags);
    fake_blk_init(&d.cd, BLK_RDONLY);
    d.disk.cached = d.cd.cached = true;
    cfg.loop = d.loop;
    cfg.drive[0] =
        (struct ide_drive_config){IDE_DISK, "disk0", &d.disk.blk, "a serial"};
    cfg.drive[2] = (struct ide_drive_config){IDE_CDROM, "cd0", &d.cd.blk, NULL};
    for (unsigned i = 0; i < IDE_CHANNELS; i++)
        cfg.irq[i] = (struct irq){set_irq, &d, i};
    assert_int_equal(ide_init(&d.ide, &cfg, &err), 0);
    pci_dev_init(&isa, "isa", &bridge, NULL, NULL);
    assert_int_equal(pci_host_add(&d.b.host, &isa, SLOT, 0, &err), 0);
    assert_int_equal(ide_plug(&d.ide, &d.b.host, SLOT, 1, &err), 0);
    map_ports(&d);
    board_write(&d.b, SLOT, 1, PCI_BAR0 + 16, 4, BM);
    board_write(&d.b, SLOT, 1, PCI_COMMAND, 2,
                PCI_COMMAND_IO | PCI_COMMAND_MASTER);
    return &d;
}

void drives_end(struct drives *d)
{
    ide_drain(&d->ide);
    board_fini(&d->b);
    ide_fini(&d->ide);
    fake_blk_fini(&d->cd);
    fake_blk_fini(&d->disk);
    loop_free(d->loop);
    gmem_fini(&d->gm);
}

void out(struct drives *d, unsigned port, unsigned size, uint32_t val)
{
    bus_write(d->b.pio, port, size, val);
}

uint32_t in(struct drives *d, unsigned port, unsigned size)
{
    return (uint32_t)bus_read(d->b.pio, port, size);
}

void ata(struct drives *d, uint8_t cmd, uint32_t lba, uint8_t count)
{
    out(d, PRIMARY + R_DEVICE, 1, 0xe0 | (lba >> 24 & 15));
    out(d, PRIMARY + R_COUNT, 1, count);
    out(d, PRIMARY + R_LOW, 1, lba & 0xff);
    out(d, PRIMARY + R_MID, 1, lba >> 8 & 0xff);
    out(d, PRIMARY + R_HIGH, 1, lba >> 16 & 0xff);
    out(d, PRIMARY + R_STATUS, 1, cmd);
}

void ata_ext(struct drives *d, uint8_t cmd, uint64_t lba, uint16_t count)
{
    out(d, PRIMARY + R_DEVICE, 1, 0x40);
    out(d, PRIMARY + R_COUNT, 1, count >> 8);
    out(d, PRIMARY + R_LOW, 1, lba >> 24 & 0xff);
    out(d, PRIMARY + R_MID, 1, lba >> 32 & 0xff);
    out(d, PRIMARY + R_HIGH, 1, lba >> 40 & 0xff);
    out(d, PRIMARY + R_COUNT, 1, count & 0xff);
    out(d, PRIMARY + R_LOW, 1, lba & 0xff);
    out(d, PRIMARY + R_MID, 1, lba >> 8 & 0xff);
    out(d, PRIMARY + R_HIGH, 1, lba >> 16 & 0xff);
    out(d, PRIMARY + R_STATUS, 1, cmd);
}

void take(struct drives *d, unsigned base, void *buf, unsigned n)
{
    uint8_t *p = buf;

    for (unsigned i = 0; i < n; i += 2)
        put_le16(p + i, (uint16_t)in(d, base, 2));
}

void give(struct drives *d, unsigned base, const void *buf, unsigned n)
{
    const uint8_t *p = buf;

    for (unsigned i = 0; i < n; i += 2)
        out(d, base, 2, get_le16(p + i));
}

void packet(struct drives *d, const uint8_t cdb[12], uint8_t features,
            uint16_t limit)
{
    out(d, SECONDARY + R_DEVICE, 1, 0);
    out(d, SECONDARY + R_ERROR, 1, features);
    out(d, SECONDARY + R_MID, 1, limit & 0xff);
    out(d, SECONDARY + R_HIGH, 1, limit >> 8);
    out(d, SECONDARY + R_STATUS, 1, 0xa0);
    assert_int_equal(in(d, SECONDARY + R_STATUS, 1), S_GOOD | S_DRQ);
    assert_int_equal(in(d, SECONDARY + R_COUNT, 1), 1); /* wants a packet */
    give(d, SECONDARY, cdb, 12);
}

uint32_t sense(struct drives *d)
{
    const uint8_t cdb[12] = {0x03, 0, 0, 0, 18};
    uint8_t p[18];

    packet(d, cdb, 0, 0xfffe);
    take(d, SECONDARY, p, sizeof(p));
    assert_int_equal(p[0], 0x70);
    return (uint32_t)p[2] << 16 | (uint32_t)p[12] << 8 | p[13];
}

void put_prd(struct drives *d, uint32_t gpa, unsigned i, uint32_t addr,
             uint32_t len, bool last)
{
    uint8_t raw[8];

    put_le32(raw, addr);
    put_le32(raw + 4, (len & 0xffff) | (last ? 0x80000000u : 0));
    assert_int_equal(gmem_write(&d->gm, gpa + 8 * i, raw, sizeof(raw)), 0);
}

void bm_start(struct drives *d, unsigned channel, uint32_t gpa, bool to_memory)
{
    unsigned base = BM + 8 * channel;

    out(d, base, 1, 0);
    out(d, base + 2, 1, 6);
    out(d, base + 4, 4, gpa);
    out(d, base, 1, to_memory ? 9 : 1);
}
