#include "devices/pci/pci.h"

#include <errno.h>

#include "devices/pci/i440fx.h"
#include "tests/unit/devices/pci/board.h"
#include "tests/unit/test.h"

enum { NR = 2 };

struct fixture {
    struct board b;
    struct i440fx fx;
    struct pci_dev dev[NR];
};

static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0x5a;
}

static const struct bus_ops bar_ops = {.read = bar_read};

static void add_bar(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
                    uint64_t size)
{
    struct pci_bar bar = {.kind = kind, .size = size, .ops = &bar_ops};

    pci_dev_add_bar(d, index, &bar);
}

static struct fixture *make(uint64_t big)
{
    static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};
    static struct fixture f;
    struct err err;

    board_init(&f.b);
    assert_int_equal(i440fx_init(&f.fx, &f.b.host, NULL, 0x600, &err), 0);
    for (unsigned i = 0; i < NR; i++) {
        pci_dev_init(&f.dev[i], "dev", &id, NULL, NULL);
        pci_dev_use_intx(&f.dev[i], 1);
        add_bar(&f.dev[i], 0, PCI_BAR_MEM32, 0x1000);
        add_bar(&f.dev[i], 1, PCI_BAR_PIO, 0x20);
        add_bar(&f.dev[i], 4, PCI_BAR_MEM64, big);
        assert_int_equal(pci_host_add(&f.b.host, &f.dev[i], 3 + 2 * i, 0, &err),
                         0);
    }
    return &f;
}

static void end(struct fixture *f)
{
    board_fini(&f->b);
    i440fx_fini(&f->fx);
    for (unsigned i = 0; i < NR; i++)
        pci_dev_fini(&f->dev[i]);
}

static bool in_window(const struct pci_bar *bar)
{
    if (bar->kind == PCI_BAR_PIO)
        return bar->mapped >= BOARD_IO &&
               bar->mapped + bar->size <= BOARD_IO + BOARD_IO_SIZE;
    return bar->mapped >= BOARD_MEM &&
           bar->mapped + bar->size <= BOARD_MEM + BOARD_MEM_SIZE;
}

static void every_bar_is_mapped_in_its_window(void **state)
{
    struct fixture *f = make(0x4000);
    struct err err;

    (void)state;
    assert_int_equal(pci_assign_resources(&f->b.host, &err), 0);
    for (unsigned i = 0; i < NR; i++)
        for (unsigned j = 0; j < PCI_NR_BARS; j++)
            if (f->dev[i].bar[j].kind != PCI_BAR_NONE)
                assert_true(in_window(&f->dev[i].bar[j]));
    assert_int_equal(bus_read(f->b.mmio, f->dev[1].bar[4].mapped, 1), 0x5a);
    end(f);
}

static void assigning_again_after_a_reset_gives_the_same(void **state)
{
    struct fixture *f = make(0x4000);
    struct err err;
    uint64_t before;

    (void)state;
    assert_int_equal(pci_assign_resources(&f->b.host, &err), 0);
    before = f->dev[1].bar[0].mapped;
    pci_host_reset(&f->b.host);
    assert_int_equal(f->dev[1].bar[0].mapped, PCI_BAR_UNMAPPED);
    assert_int_equal(pci_assign_resources(&f->b.host, &err), 0);
    assert_int_equal(f->dev[1].bar[0].mapped, before);
    end(f);
}

static void a_full_window_is_an_error(void **state)
{
    struct fixture *f = make(BOARD_MEM_SIZE);
    struct err err;

    (void)state;
    assert_int_equal(pci_assign_resources(&f->b.host, &err), -ENOSPC);
    end(f);
}

static void the_wire_of_each_device_has_its_line_and_is_level(void **state)
{
    struct fixture *f = make(0x4000);
    struct err err;

    (void)state;
    assert_int_equal(pci_assign_resources(&f->b.host, &err), 0);
    /* slots 3 and 5: links D and B */
    assert_int_equal(board_read(&f->b, 3, 0, PCI_INT_LINE, 2), 0x010b);
    assert_int_equal(board_read(&f->b, 5, 0, PCI_INT_LINE, 2), 0x010a);
    assert_int_equal(f->b.elcr2, 0x0c);
    pci_intx_set(&f->dev[0], true);
    assert_true(f->b.isa[11]);
    assert_true(f->b.gsi[3]);
    pci_intx_set(&f->dev[1], true);
    assert_true(f->b.isa[10]);
    assert_true(f->b.gsi[1]);
    end(f);
}

static void mastering_is_left_to_drivers(void **state)
{
    struct fixture *f = make(0x4000);
    struct err err;

    (void)state;
    assert_int_equal(pci_assign_resources(&f->b.host, &err), 0);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_COMMAND, 2),
                     PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bar_is_mapped_in_its_window),
        cmocka_unit_test(assigning_again_after_a_reset_gives_the_same),
        cmocka_unit_test(a_full_window_is_an_error),
        cmocka_unit_test(the_wire_of_each_device_has_its_line_and_is_level),
        cmocka_unit_test(mastering_is_left_to_drivers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
