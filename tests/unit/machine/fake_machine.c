#include "tests/unit/machine/fake_machine.h"

#include <string.h>

#include "tests/unit/test.h"

void fake_machine_init(struct fake_machine *m, uint64_t mib)
{
    memset(m, 0, sizeof(*m));
    assert_int_equal(memlayout_init(&m->layout, mib << 20, 0, &m->err), 0);
    assert_int_equal(
        gmem_init(&m->gm, m->layout.bank, m->layout.nr_banks, &m->err), 0);
    bootmem_init(&m->bm, &m->gm, &m->layout);
    x86_state_reset(&m->st, 0);
}

void fake_machine_fini(struct fake_machine *m)
{
    gmem_fini(&m->gm);
}

uint32_t fake_machine_get32(const struct fake_machine *m, gpa_t gpa)
{
    uint32_t val = 0;

    assert_int_equal(gmem_read(&m->gm, gpa, &val, sizeof(val)), 0);
    return val;
}

uint64_t fake_machine_get64(const struct fake_machine *m, gpa_t gpa)
{
    uint64_t val = 0;

    assert_int_equal(gmem_read(&m->gm, gpa, &val, sizeof(val)), 0);
    return val;
}
