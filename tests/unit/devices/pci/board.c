#include "tests/unit/devices/pci/board.h"

#include <string.h>

#include "tests/unit/test.h"

static void set_gsi(void *opaque, unsigned n, bool level)
{
    ((struct board *)opaque)->gsi[n] = level;
}

static void set_isa(void *opaque, unsigned n, bool level)
{
    ((struct board *)opaque)->isa[n] = level;
}

static void send_msi(void *opaque, uint64_t addr, uint32_t data)
{
    struct board *b = opaque;

    assert_true(b->nr_msi < sizeof(b->msi) / sizeof(b->msi[0]));
    b->msi[b->nr_msi].addr = addr;
    b->msi[b->nr_msi].data = data;
    b->nr_msi++;
}

static uint64_t byte_read(void *dev, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return *(uint8_t *)dev;
}

static void byte_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)off;
    (void)size;
    *(uint8_t *)dev = (uint8_t)val;
}

static const struct bus_ops byte_ops = {
    .read = byte_read, .write = byte_write, .min_size = 1, .max_size = 1};

void board_init(struct board *b)
{
    struct pci_host_config cfg = {
        .msi = {send_msi, b},
        .io = {BOARD_IO, BOARD_IO_SIZE},
        .mem32 = {BOARD_MEM, BOARD_MEM_SIZE},
        .cf9_ops = &byte_ops,
        .cf9_dev = &b->cf9,
    };
    struct err err;

    memset(b, 0, sizeof(*b));
    assert_int_equal(bus_new(&b->pio), 0);
    assert_int_equal(bus_new(&b->mmio), 0);
    assert_int_equal(bus_map(b->pio, 0x4d1, 1, &byte_ops, &b->elcr2, NULL), 0);
    cfg.pio = b->pio;
    cfg.mmio = b->mmio;
    for (unsigned i = 0; i < PCI_NR_LINKS; i++)
        cfg.gsi[i] = (struct irq){set_gsi, b, i};
    for (unsigned i = 0; i < PCI_NR_ISA_IRQS; i++)
        cfg.isa[i] = (struct irq){set_isa, b, i};
    assert_int_equal(pci_host_init(&b->host, &cfg, &err), 0);
}

void board_fini(struct board *b)
{
    pci_host_fini(&b->host);
    bus_free(b->mmio);
    bus_free(b->pio);
}

static void select_reg(struct board *b, unsigned slot, unsigned function,
                       unsigned off)
{
    bus_write(b->pio, 0xcf8, 4,
              0x80000000u | slot << 11 | function << 8 | (off & 0xfc));
}

uint32_t board_read(struct board *b, unsigned slot, unsigned function,
                    unsigned off, unsigned len)
{
    select_reg(b, slot, function, off);
    return (uint32_t)bus_read(b->pio, 0xcfc + (off & 3), len);
}

void board_write(struct board *b, unsigned slot, unsigned function,
                 unsigned off, unsigned len, uint32_t val)
{
    select_reg(b, slot, function, off);
    bus_write(b->pio, 0xcfc + (off & 3), len, val);
}

unsigned board_find_cap(struct board *b, unsigned slot, unsigned function,
                        unsigned cap, unsigned id)
{
    cap = cap ? board_read(b, slot, function, cap + 1, 1)
              : board_read(b, slot, function, PCI_CAP_PTR, 1);
    while (cap && board_read(b, slot, function, cap, 1) != id)
        cap = board_read(b, slot, function, cap + 1, 1);
    return cap;
}
