#include "devices/pci/pci.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/devices/pci/board.h"
#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/test.h"

static const struct pci_id id = {.vendor = 0x1234,
                                 .device = 0x5678,
                                 .subsys_vendor = 0x9abc,
                                 .subsys = 0xdef0,
                                 .class_code = 0x020304,
                                 .revision = 7};

struct fixture {
    struct board b;
    struct pci_dev dev[3];
};

static struct fixture *make(void)
{
    static struct fixture f;

    board_init(&f.b);
    for (unsigned i = 0; i < 3; i++)
        pci_dev_init(&f.dev[i], "dev", &id, NULL, NULL);
    return &f;
}

static void end(struct fixture *f)
{
    board_fini(&f->b);
    for (unsigned i = 0; i < 3; i++)
        pci_dev_fini(&f->dev[i]);
}

static void add(struct fixture *f, unsigned i, unsigned slot, unsigned function)
{
    struct err err;

    assert_int_equal(pci_host_add(&f->b.host, &f->dev[i], slot, function, &err),
                     0);
}

static void an_empty_slot_reads_as_all_ones(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, 9, 0, 0, 4), 0xffffffff);
    assert_int_equal(board_read(&f->b, 9, 0, 0, 2), 0xffff);
    board_write(&f->b, 9, 0, 4, 2, 7); /* to nobody */
    end(f);
}

static void another_bus_reads_as_all_ones(void **state)
{
    struct fixture *f = make();

    (void)state;
    add(f, 0, 3, 0);
    bus_write(f->b.pio, 0xcf8, 4, 0x80000000u | 1 << 16 | 3 << 11);
    assert_int_equal(bus_read(f->b.pio, 0xcfc, 4), 0xffffffff);
    end(f);
}

static void data_needs_the_enable_bit(void **state)
{
    struct fixture *f = make();

    (void)state;
    add(f, 0, 3, 0);
    bus_write(f->b.pio, 0xcf8, 4, 3 << 11);
    assert_int_equal(bus_read(f->b.pio, 0xcfc, 4), 0xffffffff);
    end(f);
}

/* The check that operating systems use to find mechanism 1. */
static void the_address_register_takes_4_byte_writes_only(void **state)
{
    struct fixture *f = make();

    (void)state;
    bus_write(f->b.pio, 0xcf8, 4, 0x80000000u);
    bus_write(f->b.pio, 0xcfb, 1, 0x01);
    bus_write(f->b.pio, 0xcf8, 2, 0x1234);
    assert_int_equal(bus_read(f->b.pio, 0xcf8, 4), 0x80000000u);
    assert_int_equal(bus_read(f->b.pio, 0xcf8, 1), 0xff);
    end(f);
}

static void the_address_register_drops_reserved_bits(void **state)
{
    struct fixture *f = make();

    (void)state;
    bus_write(f->b.pio, 0xcf8, 4, 0xffffffffu);
    assert_int_equal(bus_read(f->b.pio, 0xcf8, 4), 0x80fffffcu);
    end(f);
}

static void bytes_at_0xcf9_reach_the_reset_port(void **state)
{
    struct fixture *f = make();

    (void)state;
    bus_write(f->b.pio, 0xcf9, 1, 0x06);
    assert_int_equal(f->b.cf9, 0x06);
    assert_int_equal(bus_read(f->b.pio, 0xcf9, 1), 0x06);
    assert_int_equal(bus_read(f->b.pio, 0xcf8, 4), 0);
    end(f);
}

static void every_width_reads_the_same_header(void **state)
{
    struct fixture *f = make();

    (void)state;
    add(f, 0, 3, 0);
    assert_int_equal(board_read(&f->b, 3, 0, 0, 4), 0x56781234);
    assert_int_equal(board_read(&f->b, 3, 0, 2, 2), 0x5678);
    assert_int_equal(board_read(&f->b, 3, 0, 3, 1), 0x56);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_REVISION, 4), 0x02030407);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_SUBSYS_VENDOR, 4), 0xdef09abc);
    end(f);
}

static void a_second_function_makes_the_slot_multi_function(void **state)
{
    struct fixture *f = make();

    (void)state;
    add(f, 0, 3, 0);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_HEADER_TYPE, 1), 0);
    add(f, 1, 3, 5);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_HEADER_TYPE, 1), 0x80);
    pci_host_reset(&f->b.host);
    assert_int_equal(board_read(&f->b, 3, 0, PCI_HEADER_TYPE, 1), 0x80);
    end(f);
}

static void a_taken_place_is_refused(void **state)
{
    struct fixture *f = make();
    struct err err;

    (void)state;
    add(f, 0, 3, 0);
    assert_int_equal(pci_host_add(&f->b.host, &f->dev[1], 3, 0, &err), -EEXIST);
    end(f);
}

static void a_pin_arrives_at_its_gsi(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    add(f, 0, 6, 0);
    pci_intx_set(&f->dev[0], true);
    assert_true(f->b.gsi[2]);
    assert_false(f->b.gsi[0] || f->b.gsi[1] || f->b.gsi[3]);
    pci_intx_set(&f->dev[0], false);
    assert_false(f->b.gsi[2]);
    end(f);
}

static void a_shared_link_stays_up_for_the_second_device(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    pci_dev_use_intx(&f->dev[1], 2);
    add(f, 0, 6, 0);
    add(f, 1, 5, 0);
    pci_intx_set(&f->dev[0], true);
    pci_intx_set(&f->dev[0], true);
    pci_intx_set(&f->dev[1], true);
    pci_intx_set(&f->dev[0], false);
    assert_true(f->b.gsi[2]);
    pci_intx_set(&f->dev[1], false);
    assert_false(f->b.gsi[2]);
    end(f);
}

static void a_raised_link_follows_its_route(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    add(f, 0, 4, 0);
    pci_intx_set(&f->dev[0], true);
    for (unsigned i = 0; i < PCI_NR_ISA_IRQS; i++)
        assert_false(f->b.isa[i]);
    pci_host_route(&f->b.host, 0, 11);
    assert_true(f->b.isa[11]);
    pci_host_route(&f->b.host, 0, 10);
    assert_true(f->b.isa[10]);
    assert_false(f->b.isa[11]);
    pci_host_route(&f->b.host, 0, 0x80 | 10);
    assert_false(f->b.isa[10]);
    end(f);
}

static void reserved_routes_lead_nowhere(void **state)
{
    static const uint8_t reserved[] = {0, 1, 2, 8, 13};
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    add(f, 0, 4, 0);
    pci_intx_set(&f->dev[0], true);
    for (size_t i = 0; i < sizeof(reserved); i++) {
        pci_host_route(&f->b.host, 0, reserved[i]);
        assert_false(f->b.isa[reserved[i]]);
    }
    end(f);
}

static void two_links_share_an_isa_irq(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    pci_dev_use_intx(&f->dev[1], 1);
    add(f, 0, 4, 0);
    add(f, 1, 5, 0);
    pci_host_route(&f->b.host, 0, 10);
    pci_host_route(&f->b.host, 1, 10);
    pci_intx_set(&f->dev[0], true);
    pci_intx_set(&f->dev[1], true);
    pci_intx_set(&f->dev[0], false);
    assert_true(f->b.isa[10]);
    pci_intx_set(&f->dev[1], false);
    assert_false(f->b.isa[10]);
    end(f);
}

static void the_command_register_silences_the_wire(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    add(f, 0, 4, 0);
    pci_intx_set(&f->dev[0], true);
    board_write(&f->b, 4, 0, PCI_COMMAND, 2, PCI_COMMAND_INTX_OFF);
    assert_false(f->b.gsi[0]);
    /* but the status still tells that the function asks */
    assert_int_equal(board_read(&f->b, 4, 0, PCI_STATUS, 2) & PCI_STATUS_INTX,
                     PCI_STATUS_INTX);
    board_write(&f->b, 4, 0, PCI_COMMAND, 2, 0);
    assert_true(f->b.gsi[0]);
    end(f);
}

static void reset_lowers_wires(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_dev_use_intx(&f->dev[0], 1);
    add(f, 0, 4, 0);
    pci_intx_set(&f->dev[0], true);
    pci_host_reset(&f->b.host);
    assert_false(f->b.gsi[0]);
    assert_int_equal(board_read(&f->b, 4, 0, PCI_STATUS, 2) & PCI_STATUS_INTX,
                     0);
    end(f);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&pci_host_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_slot_reads_as_all_ones),
        cmocka_unit_test(another_bus_reads_as_all_ones),
        cmocka_unit_test(data_needs_the_enable_bit),
        cmocka_unit_test(the_address_register_takes_4_byte_writes_only),
        cmocka_unit_test(the_address_register_drops_reserved_bits),
        cmocka_unit_test(bytes_at_0xcf9_reach_the_reset_port),
        cmocka_unit_test(every_width_reads_the_same_header),
        cmocka_unit_test(a_second_function_makes_the_slot_multi_function),
        cmocka_unit_test(a_taken_place_is_refused),
        cmocka_unit_test(a_pin_arrives_at_its_gsi),
        cmocka_unit_test(a_shared_link_stays_up_for_the_second_device),
        cmocka_unit_test(a_raised_link_follows_its_route),
        cmocka_unit_test(reserved_routes_lead_nowhere),
        cmocka_unit_test(two_links_share_an_isa_irq),
        cmocka_unit_test(the_command_register_silences_the_wire),
        cmocka_unit_test(reset_lowers_wires),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
