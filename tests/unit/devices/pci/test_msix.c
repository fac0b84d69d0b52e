#include "devices/pci/pci.h"

#include "tests/unit/devices/pci/board.h"
#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/test.h"

enum { SLOT = 3, NR = 3, PBA = 2048 };

#define BAR 0xc1000000u
#define MSG 0xfee00000u

struct fixture {
    struct board b;
    struct pci_dev dev;
    unsigned cap;
};

static void control(struct fixture *f, uint32_t val)
{
    board_write(&f->b, SLOT, 0, f->cap + 2, 2, val);
}

static void write_entry(struct fixture *f, unsigned vector, unsigned word,
                        uint32_t val)
{
    bus_write(f->b.mmio, BAR + 16 * vector + 4 * word, 4, val);
}

static uint64_t pending(struct fixture *f)
{
    return bus_read(f->b.mmio, BAR + PBA, 8);
}

/* A function with MSI-X on, as a driver leaves it: vector v sends 0x40 + v to
 * MSG, nothing is masked. */
static struct fixture *make(void)
{
    static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};
    static struct fixture f;
    struct err err;

    board_init(&f.b);
    pci_dev_init(&f.dev, "dev", &id, NULL, NULL);
    pci_dev_use_intx(&f.dev, 1);
    pci_dev_add_msix(&f.dev, 1, NR);
    assert_int_equal(pci_host_add(&f.b.host, &f.dev, SLOT, 0, &err), 0);
    f.cap = board_find_cap(&f.b, SLOT, 0, 0, PCI_CAP_MSIX);
    assert_int_not_equal(f.cap, 0);
    board_write(&f.b, SLOT, 0, PCI_BAR0 + 4, 4, BAR);
    board_write(&f.b, SLOT, 0, PCI_COMMAND, 2,
                PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    for (unsigned v = 0; v < NR; v++) {
        write_entry(&f, v, 0, MSG);
        write_entry(&f, v, 1, 0);
        write_entry(&f, v, 2, 0x40 + v);
        write_entry(&f, v, 3, 0);
    }
    control(&f, PCI_MSIX_ENABLE);
    return &f;
}

static void end(struct fixture *f)
{
    board_fini(&f->b);
    pci_dev_fini(&f->dev);
}

static void the_capability_tells_where_the_tables_are(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, SLOT, 0, f->cap + 2, 2),
                     PCI_MSIX_ENABLE | (NR - 1));
    assert_int_equal(board_read(&f->b, SLOT, 0, f->cap + 4, 4), 1);
    assert_int_equal(board_read(&f->b, SLOT, 0, f->cap + 8, 4), PBA | 1);
    end(f);
}

static void a_vector_sends_its_message(void **state)
{
    struct fixture *f = make();

    (void)state;
    write_entry(f, 2, 1, 0x12345678);
    pci_msix_notify(&f->dev, 2);
    assert_int_equal(f->b.nr_msi, 1);
    assert_int_equal(f->b.msi[0].addr, 0x12345678fee00000);
    assert_int_equal(f->b.msi[0].data, 0x42);
    assert_int_equal(pending(f), 0);
    end(f);
}

static void entries_are_masked_after_reset(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_host_reset(&f->b.host);
    board_write(&f->b, SLOT, 0, PCI_BAR0 + 4, 4, BAR);
    board_write(&f->b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    for (unsigned v = 0; v < NR; v++)
        assert_int_equal(bus_read(f->b.mmio, BAR + 16 * v + 12, 4), 1);
    end(f);
}

static void a_masked_vector_waits(void **state)
{
    struct fixture *f = make();

    (void)state;
    write_entry(f, 1, 3, 1);
    pci_msix_notify(&f->dev, 1);
    pci_msix_notify(&f->dev, 1);
    assert_int_equal(f->b.nr_msi, 0);
    assert_int_equal(pending(f), 2);
    write_entry(f, 1, 3, 0);
    assert_int_equal(f->b.nr_msi, 1);
    assert_int_equal(f->b.msi[0].data, 0x41);
    assert_int_equal(pending(f), 0);
    end(f);
}

static void the_function_mask_holds_all_back(void **state)
{
    struct fixture *f = make();

    (void)state;
    control(f, PCI_MSIX_ENABLE | PCI_MSIX_FUNCTION_MASK);
    pci_msix_notify(&f->dev, 0);
    pci_msix_notify(&f->dev, 2);
    assert_int_equal(f->b.nr_msi, 0);
    assert_int_equal(pending(f), 5);
    write_entry(f, 2, 3, 1);
    control(f, PCI_MSIX_ENABLE);
    assert_int_equal(f->b.nr_msi, 1); /* the other has its own mask */
    assert_int_equal(pending(f), 4);
    end(f);
}

static void a_function_that_is_no_master_sends_nothing(void **state)
{
    struct fixture *f = make();

    (void)state;
    board_write(&f->b, SLOT, 0, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    pci_msix_notify(&f->dev, 0);
    assert_int_equal(f->b.nr_msi, 0);
    board_write(&f->b, SLOT, 0, PCI_COMMAND, 2,
                PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    assert_int_equal(f->b.nr_msi, 1);
    end(f);
}

static void nothing_is_sent_or_kept_while_disabled(void **state)
{
    struct fixture *f = make();

    (void)state;
    control(f, 0);
    assert_false(pci_msix_enabled(&f->dev));
    pci_msix_notify(&f->dev, 0);
    control(f, PCI_MSIX_ENABLE);
    assert_int_equal(f->b.nr_msi, 0);
    assert_int_equal(pending(f), 0);
    end(f);
}

static void a_vector_that_is_not_there_is_ignored(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_msix_notify(&f->dev, NR);
    pci_msix_notify(&f->dev, 0xffff);
    assert_int_equal(f->b.nr_msi, 0);
    end(f);
}

static void msix_silences_the_wire(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_intx_set(&f->dev, true);
    assert_false(f->b.gsi[SLOT & 3]);
    control(f, 0);
    assert_true(f->b.gsi[SLOT & 3]);
    end(f);
}

static void the_table_takes_8_byte_accesses(void **state)
{
    struct fixture *f = make();

    (void)state;
    bus_write(f->b.mmio, BAR, 8, 0x1122334455667788);
    assert_int_equal(bus_read(f->b.mmio, BAR, 8), 0x1122334455667788);
    assert_int_equal(bus_read(f->b.mmio, BAR + 4, 4), 0x11223344);
    end(f);
}

static void what_is_behind_the_table_takes_nothing(void **state)
{
    struct fixture *f = make();

    (void)state;
    for (uint64_t off = 16 * NR; off < 4096; off += 4)
        bus_write(f->b.mmio, BAR + off, 4, 0xffffffff);
    for (uint64_t off = 16 * NR; off < 4096; off += 4)
        assert_int_equal(bus_read(f->b.mmio, BAR + off, 4), 0);
    assert_int_equal(f->dev.msix.st.table[4 * NR], 0);
    end(f);
}

static void a_forged_pending_bit_beyond_the_table_is_ignored(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->dev.msix.st.pending = UINT64_MAX;
    pci_dev_loaded(&f->dev);
    assert_int_equal(f->b.nr_msi, NR);
    end(f);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&pci_msix_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_capability_tells_where_the_tables_are),
        cmocka_unit_test(a_vector_sends_its_message),
        cmocka_unit_test(entries_are_masked_after_reset),
        cmocka_unit_test(a_masked_vector_waits),
        cmocka_unit_test(the_function_mask_holds_all_back),
        cmocka_unit_test(a_function_that_is_no_master_sends_nothing),
        cmocka_unit_test(nothing_is_sent_or_kept_while_disabled),
        cmocka_unit_test(a_vector_that_is_not_there_is_ignored),
        cmocka_unit_test(msix_silences_the_wire),
        cmocka_unit_test(the_table_takes_8_byte_accesses),
        cmocka_unit_test(what_is_behind_the_table_takes_nothing),
        cmocka_unit_test(a_forged_pending_bit_beyond_the_table_is_ignored),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
