#include "devices/pci/i440fx.h"

#include "tests/unit/devices/pci/board.h"
#include "tests/unit/test.h"

struct fixture {
    struct board b;
    struct i440fx fx;
    struct pci_dev dev;
};

static struct fixture *make(void)
{
    static const struct pci_id id = {.vendor = 0x1234, .device = 0x5678};
    static struct fixture f;
    struct err err;

    board_init(&f.b);
    assert_int_equal(i440fx_init(&f.fx, &f.b.host, NULL, 0xb000, &err), 0);
    pci_dev_init(&f.dev, "dev", &id, NULL, NULL);
    pci_dev_use_intx(&f.dev, 1);
    assert_int_equal(pci_host_add(&f.b.host, &f.dev, 4, 0, &err), 0);
    return &f;
}

static void end(struct fixture *f)
{
    board_fini(&f->b);
    i440fx_fini(&f->fx);
    pci_dev_fini(&f->dev);
}

static void the_functions_are_where_guests_look(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, 0, 0, 0, 4), 0x12378086);
    assert_int_equal(board_read(&f->b, 1, 0, 0, 4), 0x70008086);
    assert_int_equal(board_read(&f->b, 1, 3, 0, 4), 0x71138086);
    assert_int_equal(board_read(&f->b, 0, 0, PCI_REVISION, 4) >> 8, 0x060000);
    assert_int_equal(board_read(&f->b, 1, 0, PCI_REVISION, 4) >> 8, 0x060100);
    assert_int_equal(board_read(&f->b, 1, 0, PCI_HEADER_TYPE, 1), 0x80);
    end(f);
}

static enum gmem_shadow_mode mode_at(const struct gmem *gm, gpa_t gpa)
{
    const struct gmem_bank *b = gmem_bank(gm, gpa, 1);
    const struct gmem_shadow *sh = gm->shadow;

    for (unsigned m = 0; m < GMEM_SHADOW_MODES; m++)
        if (b == &sh->bank[m][(gpa - sh->start) / GMEM_SLOT_SIZE])
            return (enum gmem_shadow_mode)m;
    return GMEM_SHADOW_MODES;
}

static void the_bridge_chooses_what_is_below_1_mib(void **state)
{
    static const struct gmem_layout area = {
        .start = 0xc0000, .size = GMEM_SHADOW_SIZE, .shadow = true};
    struct fixture *f = make();
    struct gmem gm;
    struct err err;

    (void)state;
    assert_int_equal(gmem_init(&gm, &area, 1, &err), 0);
    f->fx.gm = &gm;
    board_write(&f->b, 0, 0, 0x59, 1, 0xff); /* PAM0: 0xf0000 */
    assert_int_equal(board_read(&f->b, 0, 0, 0x59, 1), 0x30);
    assert_int_equal(mode_at(&gm, 0xf0000), GMEM_SHADOW_RAM);
    assert_int_equal(mode_at(&gm, 0xfffff), GMEM_SHADOW_RAM);
    assert_int_equal(mode_at(&gm, 0xeffff), GMEM_SHADOW_ROM);
    board_write(&f->b, 0, 0, 0x5c, 4, 0x00001023); /* PAM3, PAM4 */
    assert_int_equal(mode_at(&gm, 0xd0000), GMEM_SHADOW_RAM);
    assert_int_equal(mode_at(&gm, 0xd4000), GMEM_SHADOW_ROM_WT);
    assert_int_equal(mode_at(&gm, 0xd8000), GMEM_SHADOW_ROM);
    assert_int_equal(mode_at(&gm, 0xdc000), GMEM_SHADOW_RAM_RO);
    pci_host_reset(&f->b.host);
    assert_int_equal(mode_at(&gm, 0xf0000), GMEM_SHADOW_ROM);
    end(f);
    gmem_fini(&gm);
}

static void firmware_finds_smis_set_up(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, 1, 3, 0x58, 4), 0x02000000);
    end(f);
}

static void routes_are_off_after_reset(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, 1, 0, 0x60, 4), 0x80808080);
    board_write(&f->b, 1, 0, 0x60, 1, 11);
    pci_intx_set(&f->dev, true);
    assert_true(f->b.isa[11]);
    pci_host_reset(&f->b.host);
    assert_int_equal(board_read(&f->b, 1, 0, 0x60, 4), 0x80808080);
    pci_intx_set(&f->dev, true);
    assert_false(f->b.isa[11]);
    end(f);
}

static void a_route_register_moves_the_wire(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_intx_set(&f->dev, true); /* slot 4, INTA#: PIRQA */
    board_write(&f->b, 1, 0, 0x60, 4, 0x80808005);
    assert_true(f->b.isa[5]);
    board_write(&f->b, 1, 0, 0x60, 1, 0x8a);
    assert_false(f->b.isa[5]);
    assert_false(f->b.isa[10]);
    end(f);
}

static void a_route_has_no_reserved_bits(void **state)
{
    struct fixture *f = make();

    (void)state;
    board_write(&f->b, 1, 0, 0x60, 4, 0xffffffff);
    assert_int_equal(board_read(&f->b, 1, 0, 0x60, 4), 0x8f8f8f8f);
    end(f);
}

static void a_loaded_route_is_followed(void **state)
{
    struct fixture *f = make();

    (void)state;
    pci_intx_set(&f->dev, true);
    f->fx.isa_bridge.st.config[0x60] = 9;
    pci_dev_loaded(&f->fx.isa_bridge);
    assert_true(f->b.isa[9]);
    end(f);
}

static void pmbase_shows_the_acpi_block(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(board_read(&f->b, 1, 3, 0x40, 4), 0xb001);
    assert_int_equal(board_read(&f->b, 1, 3, 0x80, 1), 1);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_functions_are_where_guests_look),
        cmocka_unit_test(routes_are_off_after_reset),
        cmocka_unit_test(the_bridge_chooses_what_is_below_1_mib),
        cmocka_unit_test(firmware_finds_smis_set_up),
        cmocka_unit_test(a_route_register_moves_the_wire),
        cmocka_unit_test(a_route_has_no_reserved_bits),
        cmocka_unit_test(a_loaded_route_is_followed),
        cmocka_unit_test(pmbase_shows_the_acpi_block),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
