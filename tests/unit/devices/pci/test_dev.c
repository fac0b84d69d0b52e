#include "devices/pci/dev.h"

#include <string.h>

#include "tests/unit/devices/pci/board.h"
#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SLOT = 3, MEM32 = 0, IO = 1, MEM64 = 2 };

#define A 0xc1000000u
#define B 0xc2000000u

struct fixture {
    struct board b;
    struct pci_dev dev;
};

/* Each BAR answers with its own byte. */
static uint64_t bar_read(void *dev, uint64_t off, unsigned size)
{
    (void)off;
    (void)size;
    return (uint64_t)(uintptr_t)dev;
}

static void bar_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)dev;
    (void)off;
    (void)size;
    (void)val;
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

static void add_bar(struct pci_dev *d, unsigned index, enum pci_bar_kind kind,
                    uint64_t size)
{
    struct pci_bar bar = {.kind = kind,
                          .size = size,
                          .ops = &bar_ops,
                          .opaque = (void *)(uintptr_t)(index + 1)};

    pci_dev_add_bar(d, index, &bar);
}

static struct fixture *make(void)
{
    static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};
    static struct fixture f;
    struct err err;

    board_init(&f.b);
    pci_dev_init(&f.dev, "dev", &id, NULL, NULL);
    add_bar(&f.dev, MEM32, PCI_BAR_MEM32, 0x1000);
    add_bar(&f.dev, IO, PCI_BAR_PIO, 0x20);
    add_bar(&f.dev, MEM64, PCI_BAR_MEM64, 0x4000);
    assert_int_equal(pci_host_add(&f.b.host, &f.dev, SLOT, 0, &err), 0);
    return &f;
}

static void end(struct fixture *f)
{
    board_fini(&f->b);
    pci_dev_fini(&f->dev);
}

static uint32_t rd(struct fixture *f, unsigned off, unsigned len)
{
    return board_read(&f->b, SLOT, 0, off, len);
}

static void wr(struct fixture *f, unsigned off, unsigned len, uint32_t val)
{
    board_write(&f->b, SLOT, 0, off, len, val);
}

static void set_bar(struct fixture *f, unsigned index, uint32_t val)
{
    wr(f, PCI_BAR0 + 4 * index, 4, val);
}

static uint64_t at(struct fixture *f, uint64_t addr)
{
    return bus_read(f->b.mmio, addr, 1);
}

static void identity_cannot_be_written(void **state)
{
    struct fixture *f = make();

    (void)state;
    wr(f, 0, 4, 0);
    wr(f, PCI_REVISION, 4, 0xffffffff);
    assert_int_equal(rd(f, 0, 4), 0x56781234);
    assert_int_equal(rd(f, PCI_REVISION, 4), 0);
    end(f);
}

static void all_ones_read_back_as_the_size(void **state)
{
    struct fixture *f = make();

    (void)state;
    for (unsigned i = 0; i < PCI_NR_BARS; i++)
        set_bar(f, i, 0xffffffff);
    assert_int_equal(rd(f, PCI_BAR0, 4), 0xfffff000);
    assert_int_equal(rd(f, PCI_BAR0 + 4, 4), 0xffffffe1);
    assert_int_equal(rd(f, PCI_BAR0 + 8, 4), 0xffffc00c);
    assert_int_equal(rd(f, PCI_BAR0 + 12, 4), 0xffffffff);
    assert_int_equal(rd(f, PCI_BAR0 + 16, 4), 0);
    end(f);
}

static void memory_answers_only_while_decoded(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, MEM32, A);
    assert_int_equal(at(f, A), 0xff);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(at(f, A), MEM32 + 1);
    assert_int_equal(at(f, A + 0xfff), MEM32 + 1);
    assert_int_equal(at(f, A + 0x1000), 0xff);
    wr(f, PCI_COMMAND, 2, 0);
    assert_int_equal(at(f, A), 0xff);
    end(f);
}

static void a_bar_moves_while_decoded(void **state)
{
    struct fixture *f = make();

    (void)state;
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    set_bar(f, MEM32, A);
    set_bar(f, MEM32, B);
    assert_int_equal(at(f, A), 0xff);
    assert_int_equal(at(f, B), MEM32 + 1);
    end(f);
}

static void io_is_decoded_by_its_own_bit(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, IO, 0xc100);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(bus_read(f->b.pio, 0xc100, 1), 0xff);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(bus_read(f->b.pio, 0xc11f, 1), IO + 1);
    assert_int_equal(bus_read(f->b.pio, 0xc120, 1), 0xff);
    end(f);
}

static void a_64_bit_bar_lies_above_4_gib(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, MEM64, 0x10000000);
    set_bar(f, MEM64 + 1, 0x8);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(at(f, 0x810000000), MEM64 + 1);
    assert_int_equal(at(f, 0x10000000), 0xff);
    end(f);
}

/* Sizing with decoding on must not put the BAR at the top of memory. */
static void the_ends_of_the_space_are_no_place(void **state)
{
    struct fixture *f = make();

    (void)state;
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
    assert_int_equal(f->dev.bar[MEM32].mapped, PCI_BAR_UNMAPPED);
    for (unsigned i = 0; i < PCI_NR_BARS; i++)
        set_bar(f, i, 0xffffffff);
    for (unsigned i = 0; i < PCI_NR_BARS; i++)
        assert_int_equal(f->dev.bar[i].mapped, PCI_BAR_UNMAPPED);
    end(f);
}

static void two_bars_at_one_place_leave_the_first(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, MEM32, A);
    set_bar(f, MEM64, A);
    set_bar(f, MEM64 + 1, 0);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(at(f, A), MEM32 + 1);
    set_bar(f, MEM32, B); /* now there is room for the other */
    assert_int_equal(at(f, A), MEM64 + 1);
    assert_int_equal(at(f, B), MEM32 + 1);
    end(f);
}

static void a_bar_cannot_hide_the_configuration_ports(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, IO, 0xce0);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_IO);
    assert_int_equal(f->dev.bar[IO].mapped, PCI_BAR_UNMAPPED);
    assert_int_equal(rd(f, 0, 4), 0x56781234);
    end(f);
}

static void a_bar_that_cannot_be_mapped_is_absent(void **state)
{
    struct fixture *f = make();

    (void)state;
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    fail_alloc_at(1);
    set_bar(f, MEM32, A);
    fail_alloc_at(0);
    assert_int_equal(at(f, A), 0xff);
    set_bar(f, MEM32, B);
    assert_int_equal(at(f, B), MEM32 + 1);
    end(f);
}

static void reset_takes_the_bars_away(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_bar(f, MEM32, A);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_true(pci_dev_is_master(&f->dev));
    pci_host_reset(&f->b.host);
    assert_int_equal(at(f, A), 0xff);
    assert_int_equal(rd(f, PCI_BAR0, 4), 0);
    assert_false(pci_dev_is_master(&f->dev));
    end(f);
}

static void a_loaded_state_moves_the_bars(void **state)
{
    struct fixture *f = make();
    struct pci_dev_state saved;

    (void)state;
    set_bar(f, MEM32, A);
    wr(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    saved = f->dev.st;
    pci_host_reset(&f->b.host);
    f->dev.st = saved;
    pci_dev_loaded(&f->dev);
    assert_int_equal(at(f, A), MEM32 + 1);
    end(f);
}

static void a_forged_state_changes_no_fixed_bit(void **state)
{
    struct fixture *f = make();

    (void)state;
    memset(f->dev.st.config, 0xff, sizeof(f->dev.st.config));
    pci_dev_loaded(&f->dev);
    assert_int_equal(rd(f, 0, 4), 0x56781234);
    assert_int_equal(rd(f, PCI_CAP_PTR, 1), 0);
    assert_int_equal(rd(f, PCI_BAR0 + 4, 4), 0xffffffe1);
    assert_int_equal(rd(f, PCI_INT_LINE, 1), 0xff);
    end(f);
}

static void capabilities_form_a_list(void **state)
{
    static const uint8_t one[] = {PCI_CAP_VENDOR, 0, 5, 1, 2};
    static const uint8_t two[] = {PCI_CAP_VENDOR, 0, 3};
    static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};
    struct fixture *f = make();
    struct pci_dev d;
    struct err err;
    unsigned first, second;

    (void)state;
    pci_dev_init(&d, "caps", &id, NULL, NULL);
    first = pci_dev_add_cap(&d, one, sizeof(one));
    second = pci_dev_add_cap(&d, two, sizeof(two));
    assert_int_equal(second, first + 8); /* aligned to 4 */
    assert_int_equal(pci_host_add(&f->b.host, &d, 4, 0, &err), 0);
    assert_int_equal(board_read(&f->b, 4, 0, PCI_STATUS, 2), PCI_STATUS_CAPS);
    assert_int_equal(board_find_cap(&f->b, 4, 0, 0, PCI_CAP_VENDOR), second);
    assert_int_equal(board_find_cap(&f->b, 4, 0, second, PCI_CAP_VENDOR),
                     first);
    assert_int_equal(board_find_cap(&f->b, 4, 0, first, PCI_CAP_VENDOR), 0);
    end(f);
    pci_dev_fini(&d);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&pci_dev_state_desc);
}

static uint64_t where;

static void note_move(void *opaque, uint64_t addr)
{
    (void)opaque;
    where = addr;
}

static uint64_t read_rom(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)size;
    return 0x40 + off;
}

static const struct bus_ops rom_ops = {.read = read_rom, .max_size = 1};

/* A function with memory of its own and an expansion ROM. */
static void make_card(struct board *b, struct pci_dev *d)
{
    static const struct pci_id id = {.vendor = 1, .device = 2};
    const struct pci_bar mem = {.kind = PCI_BAR_MEM32,
                                .size = 0x10000,
                                .prefetch = true,
                                .moved = note_move};
    const struct pci_bar rom = {
        .kind = PCI_BAR_ROM, .size = 0x8000, .ops = &rom_ops};
    struct err err;

    board_init(b);
    pci_dev_init(d, "card", &id, NULL, NULL);
    pci_dev_add_bar(d, 0, &mem);
    pci_dev_add_bar(d, PCI_ROM_BAR, &rom);
    assert_int_equal(pci_host_add(&b->host, d, SLOT, 0, &err), 0);
    where = 0;
}

static void memory_is_told_where_it_is(void **state)
{
    static struct board b;
    static struct pci_dev d;

    (void)state;
    make_card(&b, &d);
    assert_int_equal(board_read(&b, SLOT, 0, PCI_BAR0, 4), PCI_BAR_PREFETCH);
    board_write(&b, SLOT, 0, PCI_BAR0, 4, 0xe0001234);
    assert_true(where == 0);
    board_write(&b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_true(where == 0xe0000000);
    assert_int_equal(bus_read(b.mmio, 0xe0000000, 1), 0xff);
    board_write(&b, SLOT, 0, PCI_BAR0, 4, 0xe0010000);
    assert_true(where == 0xe0010000);
    pci_host_reset(&b.host);
    assert_true(where == PCI_BAR_UNMAPPED);
    board_fini(&b);
    pci_dev_fini(&d);
}

static void an_absent_function_is_not_found(void **state)
{
    static struct board b;
    static struct pci_dev d;
    struct err err;

    (void)state;
    make_card(&b, &d);
    d.absent = true;
    assert_int_equal(board_read(&b, SLOT, 0, 0, 4), 0xffffffff);
    board_write(&b, SLOT, 0, PCI_BAR0, 4, 0xe0000000);
    assert_int_equal(pci_assign_resources(&b.host, &err), 0);
    assert_true(where == 0);
    d.absent = false;
    assert_int_equal(board_read(&b, SLOT, 0, 0, 4), 0x00020001);
    assert_int_equal(board_read(&b, SLOT, 0, PCI_BAR0, 4), PCI_BAR_PREFETCH);
    board_fini(&b);
    pci_dev_fini(&d);
}

static void an_expansion_rom_answers_when_enabled(void **state)
{
    static struct board b;
    static struct pci_dev d;

    (void)state;
    make_card(&b, &d);
    board_write(&b, SLOT, 0, PCI_ROM, 4, 0xffffffff);
    assert_int_equal(board_read(&b, SLOT, 0, PCI_ROM, 4), 0xffff8001);
    board_write(&b, SLOT, 0, PCI_ROM, 4, 0xe0008000);
    board_write(&b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    assert_int_equal(bus_read(b.mmio, 0xe0008001, 1), 0xff);
    board_write(&b, SLOT, 0, PCI_ROM, 4, 0xe0008001);
    assert_int_equal(bus_read(b.mmio, 0xe0008001, 1), 0x41);
    board_write(&b, SLOT, 0, PCI_COMMAND, 2, 0);
    assert_int_equal(bus_read(b.mmio, 0xe0008001, 1), 0xff);
    board_fini(&b);
    pci_dev_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(identity_cannot_be_written),
        cmocka_unit_test(all_ones_read_back_as_the_size),
        cmocka_unit_test(memory_answers_only_while_decoded),
        cmocka_unit_test(a_bar_moves_while_decoded),
        cmocka_unit_test(io_is_decoded_by_its_own_bit),
        cmocka_unit_test(a_64_bit_bar_lies_above_4_gib),
        cmocka_unit_test(the_ends_of_the_space_are_no_place),
        cmocka_unit_test(two_bars_at_one_place_leave_the_first),
        cmocka_unit_test(a_bar_cannot_hide_the_configuration_ports),
        cmocka_unit_test(a_bar_that_cannot_be_mapped_is_absent),
        cmocka_unit_test(reset_takes_the_bars_away),
        cmocka_unit_test(a_loaded_state_moves_the_bars),
        cmocka_unit_test(a_forged_state_changes_no_fixed_bit),
        cmocka_unit_test(capabilities_form_a_list),
        cmocka_unit_test(the_state_is_saved_whole),
        cmocka_unit_test(memory_is_told_where_it_is),
        cmocka_unit_test(an_expansion_rom_answers_when_enabled),
        cmocka_unit_test(an_absent_function_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
