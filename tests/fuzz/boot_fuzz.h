#ifndef HUSK_TESTS_FUZZ_BOOT_FUZZ_H
#define HUSK_TESTS_FUZZ_BOOT_FUZZ_H

#include <assert.h>
#include <stdlib.h>

#include "machine/boot.h"

/*
 * A boot loader fed with a hostile image: it has a machine of 64 MiB to load
 * into, and must end without touching anything else. Accepted images must
 * leave an entry in RAM and well-formed flags.
 */
typedef int boot_fuzz_loader(struct bootmem *bm, const struct boot_source *src,
                             struct x86_state *st, struct err *err);

static inline void boot_fuzz(boot_fuzz_loader *load, const uint8_t *data,
                             size_t size)
{
    static struct gmem gm; /* mapping it takes longer than a run */
    static struct memlayout layout;
    static const uint8_t initrd[5000] = {1};
    const struct boot_source src = {.kernel = data,
                                    .kernel_len = size,
                                    .initrd = size & 1 ? initrd : NULL,
                                    .initrd_len = sizeof(initrd),
                                    .cmdline = "console=ttyS0",
                                    .rsdp = PC_TABLES};
    static struct x86_state st;
    struct bootmem bm;
    struct err err = {0};

    if (gm.nr_banks == 0 &&
        (memlayout_init(&layout, (uint64_t)64 << 20, 0, &err) < 0 ||
         gmem_init(&gm, layout.bank, layout.nr_banks, &err) < 0))
        abort();
    bootmem_init(&bm, &gm, &layout);
    x86_state_reset(&st, 0);
    if (load(&bm, &src, &st, &err) < 0) {
        assert(err.code < 0 && err.text[0] != '\0');
        return;
    }
    assert(gmem_bank(&gm, st.rip, 1));
    assert(st.rflags == X86_FLAGS_FIXED);
    gmem_clear(&gm);
}

#endif
