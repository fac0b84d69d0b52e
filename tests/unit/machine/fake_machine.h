#ifndef HUSK_TESTS_UNIT_MACHINE_FAKE_MACHINE_H
#define HUSK_TESTS_UNIT_MACHINE_FAKE_MACHINE_H

#include <stdint.h>

#include "machine/boot.h"

/* Memory of a PC without the PC: what boot loaders fill. */
struct fake_machine {
    struct memlayout layout;
    struct gmem gm;
    struct bootmem bm;
    struct x86_state st;
    struct err err;
};

/* With mib MiB, cleared. Asserts. */
void fake_machine_init(struct fake_machine *m, uint64_t mib);
void fake_machine_fini(struct fake_machine *m);

/* What is at gpa. Asserts that it is RAM. */
uint32_t fake_machine_get32(const struct fake_machine *m, gpa_t gpa);
uint64_t fake_machine_get64(const struct fake_machine *m, gpa_t gpa);

#endif
