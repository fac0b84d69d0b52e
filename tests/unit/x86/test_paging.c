#include "x86/paging.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

/* Tables from 0x1000 up in 1 MiB of RAM; the page under test is 0x50000. */
enum {
    RAM = 0x100000,
    ROOT = 0x1000,
    PDPT = 0x2000,
    PD = 0x3000,
    PT = 0x4000,
    FRAME = 0x50000,
    PTE_ALL = 0x67, /* P, W, U, A, D */
    PTE_NEW = 0x07  /* P, W, U */
};

#define GVA ((gva_t)0x40201234) /* indices 0, 1, 1, 1 */
#define NX  ((uint64_t)1 << 63)

struct machine {
    struct x86_state st;
    struct gmem gm;
    uint64_t ram[RAM / 8];
};

static void put64(struct machine *m, gpa_t gpa, uint64_t val)
{
    m->ram[gpa / 8] = val;
}

static uint64_t get64(const struct machine *m, gpa_t gpa)
{
    return m->ram[gpa / 8];
}

static void put32(struct machine *m, gpa_t gpa, uint32_t val)
{
    memcpy((char *)m->ram + gpa, &val, 4);
}

static uint32_t get32(const struct machine *m, gpa_t gpa)
{
    uint32_t val;

    memcpy(&val, (const char *)m->ram + gpa, 4);
    return val;
}

static struct machine *new_machine(void)
{
    struct machine *m = calloc(1, sizeof(*m));

    assert_non_null(m);
    m->gm.bank[0] = (struct gmem_bank){.size = RAM, .hva = (uint8_t *)m->ram};
    m->gm.nr_banks = 1;
    m->st.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP;
    m->st.cr3 = ROOT;
    return m;
}

static struct machine *new_long(uint64_t bits)
{
    struct machine *m = new_machine();

    m->st.cr4 = X86_CR4_PAE;
    m->st.msr.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
    put64(m, ROOT, PDPT | bits);
    put64(m, PDPT + 8, PD | bits);
    put64(m, PD + 8, PT | bits);
    put64(m, PT + 8, FRAME | bits);
    return m;
}

static struct machine *new_pae(uint64_t bits)
{
    struct machine *m = new_machine();

    m->st.cr4 = X86_CR4_PAE;
    m->st.msr.efer = X86_EFER_NXE;
    put64(m, ROOT + 8, PD | 1);
    put64(m, PD + 8, PT | bits);
    put64(m, PT + 8, FRAME | bits);
    assert_int_equal(x86_load_pdptes(&m->st, &m->gm), 0);
    return m;
}

/* 32-bit: directory index 0x100, table index 0x201. */
static struct machine *new_legacy(uint32_t bits)
{
    struct machine *m = new_machine();

    put32(m, ROOT + 0x100 * 4, PT | bits);
    put32(m, PT + 0x201 * 4, FRAME | bits);
    return m;
}

static void expect_ok(struct machine *m, enum x86_access access,
                      enum x86_priv priv, gpa_t gpa)
{
    struct x86_walk w;
    uint32_t error;

    assert_int_equal(x86_walk(&m->st, &m->gm, GVA, access, priv, &w, &error),
                     0);
    assert_int_equal(w.gpa, gpa);
}

static void expect_fault(struct machine *m, enum x86_access access,
                         enum x86_priv priv, uint32_t want)
{
    struct x86_walk w;
    uint32_t error;

    assert_int_equal(x86_walk(&m->st, &m->gm, GVA, access, priv, &w, &error),
                     -1);
    assert_int_equal(error, want);
}

static void without_paging_addresses_are_physical(void **state)
{
    struct machine *m = new_machine();
    struct x86_walk w;
    uint32_t error;

    (void)state;
    m->st.cr0 = X86_CR0_PE;
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_WRITE, X86_PRIV_USER, &w, &error), 0);
    assert_int_equal(w.gpa, GVA);
    assert_true(w.user && w.writable && w.exec && w.dirty);
    free(m);
}

static void each_format_translates(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    free(m);
    m = new_pae(PTE_ALL);
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    free(m);
    m = new_legacy(PTE_ALL);
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    free(m);
}

static void a_walk_reports_the_rights_of_all_levels(void **state)
{
    struct machine *m = new_long(PTE_ALL);
    struct x86_walk w;
    uint32_t error;

    (void)state;
    put64(m, PD + 8, (PT | PTE_ALL | NX) & ~(uint64_t)2);
    put64(m, PT + 8, FRAME | PTE_ALL | 0x100);
    m->st.cr4 |= X86_CR4_PGE;
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_READ, X86_PRIV_USER, &w, &error), 0);
    assert_true(w.user && w.dirty && w.global);
    assert_false(w.writable);
    assert_false(w.exec);
    assert_int_equal(w.page_shift, 12);
    free(m);
}

static void reading_sets_accessed_at_every_level(void **state)
{
    struct machine *m = new_long(PTE_NEW);
    struct x86_walk w;
    uint32_t error;

    (void)state;
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_READ, X86_PRIV_USER, &w, &error), 0);
    assert_false(w.dirty);
    assert_int_equal(get64(m, ROOT), PDPT | 0x27);
    assert_int_equal(get64(m, PDPT + 8), PD | 0x27);
    assert_int_equal(get64(m, PD + 8), PT | 0x27);
    assert_int_equal(get64(m, PT + 8), FRAME | 0x27);
    free(m);
}

static void writing_sets_dirty_in_the_leaf_only(void **state)
{
    struct machine *m = new_long(PTE_NEW);
    struct x86_walk w;
    uint32_t error;

    (void)state;
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_WRITE, X86_PRIV_USER, &w, &error), 0);
    assert_true(w.dirty);
    assert_int_equal(get64(m, PD + 8), PT | 0x27);
    assert_int_equal(get64(m, PT + 8), FRAME | 0x67);
    free(m);
}

static void
accessed_bits_of_32_bit_entries_leave_the_neighbour_alone(void **state)
{
    struct machine *m = new_legacy(PTE_NEW);

    (void)state;
    put32(m, PT + 0x202 * 4, 0x12345678);
    put32(m, PT + 0x200 * 4, 0x87654321);
    expect_ok(m, X86_WRITE, X86_PRIV_USER, FRAME | 0x234);
    assert_int_equal(get32(m, ROOT + 0x100 * 4), PT | 0x27);
    assert_int_equal(get32(m, PT + 0x201 * 4), FRAME | 0x67);
    assert_int_equal(get32(m, PT + 0x202 * 4), 0x12345678);
    assert_int_equal(get32(m, PT + 0x200 * 4), 0x87654321);
    free(m);
}

static void a_refused_access_sets_nothing(void **state)
{
    struct machine *m = new_long(PTE_NEW);

    (void)state;
    put64(m, PT + 8, FRAME | 5); /* P, U */
    expect_fault(m, X86_WRITE, X86_PRIV_USER, X86_PF_P | X86_PF_W | X86_PF_U);
    assert_int_equal(get64(m, ROOT), PDPT | 0x07);
    assert_int_equal(get64(m, PT + 8), FRAME | 5);
    free(m);
}

static void a_probe_sets_nothing_and_checks_nothing(void **state)
{
    struct machine *m = new_long(PTE_NEW);
    struct x86_walk w;

    (void)state;
    put64(m, PT + 8, FRAME | 1 | NX);
    assert_int_equal(x86_probe(&m->st, &m->gm, GVA, &w), 0);
    assert_int_equal(w.gpa, FRAME | 0x234);
    assert_int_equal(get64(m, PT + 8), FRAME | 1 | NX);
    put64(m, PT + 8, 0);
    assert_int_equal(x86_probe(&m->st, &m->gm, GVA, &w), -1);
    free(m);
}

static void tables_in_rom_are_not_written(void **state)
{
    struct machine *m = new_long(PTE_NEW);

    (void)state;
    m->gm.bank[0].readonly = true;
    expect_ok(m, X86_WRITE, X86_PRIV_USER, FRAME | 0x234);
    assert_int_equal(get64(m, PT + 8), FRAME | PTE_NEW);
    free(m);
}

static void a_missing_entry_at_any_level_faults_without_p(void **state)
{
    static const gpa_t entries[] = {ROOT, PDPT + 8, PD + 8, PT + 8};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct machine *m = new_long(PTE_ALL);

        put64(m, entries[i], FRAME | 0x66);
        expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_U);
        expect_fault(m, X86_WRITE, X86_PRIV_SUPER, X86_PF_W);
        expect_fault(m, X86_FETCH, X86_PRIV_USER, X86_PF_U | X86_PF_I);
        free(m);
    }
}

static void tables_outside_of_memory_have_reserved_bits(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    m->st.cr3 = 0x7ffff000;
    expect_fault(m, X86_READ, X86_PRIV_SUPER, X86_PF_P | X86_PF_RSVD);
    free(m);
}

static void address_bits_above_48_are_reserved_at_every_level(void **state)
{
    static const gpa_t entries[] = {ROOT, PDPT + 8, PD + 8, PT + 8};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct machine *m = new_long(PTE_ALL);

        put64(m, entries[i], get64(m, entries[i]) | (uint64_t)1 << 48);
        expect_fault(m, X86_READ, X86_PRIV_SUPER, X86_PF_P | X86_PF_RSVD);
        put64(m, entries[i],
              (get64(m, entries[i]) & ~((uint64_t)1 << 48)) | (uint64_t)0x7ff
                                                                  << 52);
        expect_ok(m, X86_READ, X86_PRIV_SUPER, FRAME | 0x234);
        free(m);
    }
}

static void pae_reserves_the_ignored_bits_too(void **state)
{
    struct machine *m = new_pae(PTE_ALL);

    (void)state;
    put64(m, PT + 8, FRAME | PTE_ALL | (uint64_t)1 << 52);
    expect_fault(m, X86_READ, X86_PRIV_SUPER, X86_PF_P | X86_PF_RSVD);
    free(m);
}

static void nx_is_reserved_while_efer_nxe_is_clear(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    put64(m, PT + 8, FRAME | PTE_ALL | NX);
    expect_fault(m, X86_FETCH, X86_PRIV_USER, X86_PF_P | X86_PF_U | X86_PF_I);
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    m->st.msr.efer &= ~(uint64_t)X86_EFER_NXE;
    expect_fault(m, X86_FETCH, X86_PRIV_USER,
                 X86_PF_P | X86_PF_U | X86_PF_RSVD);
    free(m);
}

static void a_large_root_entry_is_reserved(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    put64(m, ROOT, PDPT | PTE_ALL | 0x80);
    expect_fault(m, X86_READ, X86_PRIV_SUPER, X86_PF_P | X86_PF_RSVD);
    free(m);
}

static void large_pages_translate_and_reserve_their_low_bits(void **state)
{
    struct machine *m = new_long(PTE_ALL);
    struct x86_walk w;
    uint32_t error;

    (void)state;
    put64(m, PD + 8, 0x12200000 | PTE_ALL | 0x80 | 0x1000); /* PAT */
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_READ, X86_PRIV_USER, &w, &error), 0);
    assert_int_equal(w.gpa, 0x12201234);
    assert_int_equal(w.page_shift, 21);
    put64(m, PD + 8, 0x12202000 | PTE_ALL | 0x80);
    expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_P | X86_PF_U | X86_PF_RSVD);
    put64(m, PDPT + 8, 0x1c0000000 | PTE_ALL | 0x80);
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_READ, X86_PRIV_USER, &w, &error), 0);
    assert_int_equal(w.gpa, 0x1c0201234);
    assert_int_equal(w.page_shift, 30);
    put64(m, PDPT + 8, 0x1d0000000 | PTE_ALL | 0x80);
    expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_P | X86_PF_U | X86_PF_RSVD);
    free(m);
}

static void four_mib_pages_need_pse_and_hold_40_address_bits(void **state)
{
    struct machine *m = new_legacy(PTE_ALL);
    struct x86_walk w;
    uint32_t error;

    (void)state;
    /* Without PSE the entry names a table: at 0x4000, PS ignored. */
    put32(m, ROOT + 0x100 * 4, PT | PTE_ALL | 0x80);
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    m->st.cr4 |= X86_CR4_PSE;
    put32(m, ROOT + 0x100 * 4, 0x00c00000 | PTE_ALL | 0x80 | 5 << 13);
    assert_int_equal(
        x86_walk(&m->st, &m->gm, GVA, X86_READ, X86_PRIV_USER, &w, &error), 0);
    assert_int_equal(w.gpa, 0x500e01234);
    assert_int_equal(w.page_shift, 22);
    put32(m, ROOT + 0x100 * 4, 0x00e00000 | PTE_ALL | 0x80);
    expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_P | X86_PF_U | X86_PF_RSVD);
    free(m);
}

static void user_code_needs_u_at_every_level(void **state)
{
    static const gpa_t entries[] = {ROOT, PDPT + 8, PD + 8, PT + 8};

    (void)state;
    for (unsigned i = 0; i < 4; i++) {
        struct machine *m = new_long(PTE_ALL);

        put64(m, entries[i], get64(m, entries[i]) & ~(uint64_t)4);
        expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_P | X86_PF_U);
        expect_ok(m, X86_READ, X86_PRIV_SUPER, FRAME | 0x234);
        free(m);
    }
}

static void wp_binds_the_supervisor_to_read_only_pages(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    put64(m, PDPT + 8, PD | (PTE_ALL & ~2));
    expect_fault(m, X86_WRITE, X86_PRIV_SUPER, X86_PF_P | X86_PF_W);
    expect_fault(m, X86_WRITE, X86_PRIV_USER, X86_PF_P | X86_PF_W | X86_PF_U);
    m->st.cr0 &= ~(uint64_t)X86_CR0_WP;
    expect_ok(m, X86_WRITE, X86_PRIV_SUPER, FRAME | 0x234);
    expect_fault(m, X86_WRITE, X86_PRIV_USER, X86_PF_P | X86_PF_W | X86_PF_U);
    free(m);
}

static void smep_forbids_fetches_from_user_pages(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    expect_ok(m, X86_FETCH, X86_PRIV_SUPER, FRAME | 0x234);
    m->st.cr4 |= X86_CR4_SMEP;
    expect_fault(m, X86_FETCH, X86_PRIV_SUPER, X86_PF_P | X86_PF_I);
    expect_fault(m, X86_FETCH, X86_PRIV_SUPER_AC, X86_PF_P | X86_PF_I);
    expect_ok(m, X86_FETCH, X86_PRIV_USER, FRAME | 0x234);
    expect_ok(m, X86_READ, X86_PRIV_SUPER, FRAME | 0x234);
    free(m);
}

static void smap_forbids_data_accesses_unless_ac_is_set(void **state)
{
    struct machine *m = new_long(PTE_ALL);

    (void)state;
    m->st.cr4 |= X86_CR4_SMAP;
    expect_fault(m, X86_READ, X86_PRIV_SUPER, X86_PF_P);
    expect_fault(m, X86_WRITE, X86_PRIV_IMPLICIT, X86_PF_P | X86_PF_W);
    expect_ok(m, X86_WRITE, X86_PRIV_SUPER_AC, FRAME | 0x234);
    expect_ok(m, X86_FETCH, X86_PRIV_SUPER, FRAME | 0x234);
    expect_ok(m, X86_WRITE, X86_PRIV_USER, FRAME | 0x234);
    free(m);
}

static void the_fetch_bit_is_only_reported_with_nx_or_smep(void **state)
{
    struct machine *m = new_legacy(PTE_ALL);

    (void)state;
    put32(m, PT + 0x201 * 4, 0);
    expect_fault(m, X86_FETCH, X86_PRIV_SUPER, 0);
    m->st.cr4 |= X86_CR4_SMEP;
    expect_fault(m, X86_FETCH, X86_PRIV_SUPER, X86_PF_I);
    free(m);
}

static void pdptes_are_latched(void **state)
{
    struct machine *m = new_pae(PTE_ALL);

    (void)state;
    put64(m, ROOT + 8, 0);
    expect_ok(m, X86_READ, X86_PRIV_USER, FRAME | 0x234);
    assert_int_equal(x86_load_pdptes(&m->st, &m->gm), 0);
    expect_fault(m, X86_READ, X86_PRIV_USER, X86_PF_U);
    free(m);
}

static void a_bad_pdpte_leaves_all_four_as_they_were(void **state)
{
    static const uint64_t bad[] = {
        2, 4, 0x20, 0x40, 0x80, 0x100, (uint64_t)1 << 48, NX};
    struct machine *m = new_pae(PTE_ALL);

    (void)state;
    for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
        put64(m, ROOT, 0x7000 | 1);
        put64(m, ROOT + 24, PD | 1 | bad[i]);
        assert_int_equal(x86_load_pdptes(&m->st, &m->gm), -1);
        assert_int_equal(m->st.pdpte[0], 0);
        assert_int_equal(m->st.pdpte[1], PD | 1);
        put64(m, ROOT + 24, PD | bad[i]); /* not present: anything goes */
        put64(m, ROOT, 0);
        assert_int_equal(x86_load_pdptes(&m->st, &m->gm), 0);
    }
    free(m);
}

static void the_a20_gate_masks_every_address(void **state)
{
    struct machine *m = new_machine();
    struct x86_walk w;
    uint32_t error;

    (void)state;
    gmem_set_a20(&m->gm, false);
    m->st.cr0 = 0;
    assert_int_equal(x86_walk(&m->st, &m->gm, 0x10fff0, X86_READ,
                              X86_PRIV_SUPER, &w, &error),
                     0);
    assert_true(w.gpa == 0xfff0);
    assert_int_equal(x86_probe(&m->st, &m->gm, 0x30fff0, &w), 0);
    assert_true(w.gpa == 0x20fff0);
    /* 32-bit tables, which are read through the mask, too */
    m->st.cr0 = X86_CR0_PE | X86_CR0_PG;
    m->st.cr3 = 0x100000 | ROOT;
    m->st.cr4 = 0;
    m->st.msr.efer = 0;
    put32(m, ROOT, 0x100000 | PT | PTE_NEW);
    put32(m, PT, 0x100000 | FRAME | PTE_NEW);
    assert_int_equal(
        x86_walk(&m->st, &m->gm, 0x123, X86_WRITE, X86_PRIV_SUPER, &w, &error),
        0);
    assert_true(w.gpa == (FRAME | 0x123));
    gmem_set_a20(&m->gm, true);
    assert_int_equal(x86_probe(&m->st, &m->gm, 0x123, &w), 0);
    assert_true(w.gpa == 0xfffff123); /* no RAM there: all ones */
    free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_paging_addresses_are_physical),
        cmocka_unit_test(each_format_translates),
        cmocka_unit_test(a_walk_reports_the_rights_of_all_levels),
        cmocka_unit_test(reading_sets_accessed_at_every_level),
        cmocka_unit_test(writing_sets_dirty_in_the_leaf_only),
        cmocka_unit_test(
            accessed_bits_of_32_bit_entries_leave_the_neighbour_alone),
        cmocka_unit_test(a_refused_access_sets_nothing),
        cmocka_unit_test(a_probe_sets_nothing_and_checks_nothing),
        cmocka_unit_test(tables_in_rom_are_not_written),
        cmocka_unit_test(a_missing_entry_at_any_level_faults_without_p),
        cmocka_unit_test(tables_outside_of_memory_have_reserved_bits),
        cmocka_unit_test(address_bits_above_48_are_reserved_at_every_level),
        cmocka_unit_test(pae_reserves_the_ignored_bits_too),
        cmocka_unit_test(nx_is_reserved_while_efer_nxe_is_clear),
        cmocka_unit_test(a_large_root_entry_is_reserved),
        cmocka_unit_test(large_pages_translate_and_reserve_their_low_bits),
        cmocka_unit_test(four_mib_pages_need_pse_and_hold_40_address_bits),
        cmocka_unit_test(user_code_needs_u_at_every_level),
        cmocka_unit_test(wp_binds_the_supervisor_to_read_only_pages),
        cmocka_unit_test(smep_forbids_fetches_from_user_pages),
        cmocka_unit_test(smap_forbids_data_accesses_unless_ac_is_set),
        cmocka_unit_test(the_fetch_bit_is_only_reported_with_nx_or_smep),
        cmocka_unit_test(pdptes_are_latched),
        cmocka_unit_test(a_bad_pdpte_leaves_all_four_as_they_were),
        cmocka_unit_test(the_a20_gate_masks_every_address),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
