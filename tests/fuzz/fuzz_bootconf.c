/*
 * Configurations of boot loaders: the whole text of a case (boot_case.h) is the
 * input, so scripts of GRUB, its environment, BLS files and extlinux.conf are
 * all of it. What is chosen must be files of the case.
 */
#include <assert.h>

#include "bootdisk/extlinux.h"
#include "bootdisk/grub.h"
#include "tests/unit/bootdisk/boot_case.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ARENA = 8 << 20 };

static void use(struct boot_case *c, bool grub)
{
    const struct bootfiles files = {&case_ops, c, c->kind};
    struct bootentry choice;
    struct arena arena;
    struct err err = {0};
    int rc;

    arena_init(&arena, ARENA);
    rc = (grub ? grub_choose : extlinux_choose)(
        &files, c->config_part, c->config, &arena, &choice, &err);
    if (rc < 0) {
        assert(err.code == rc && err.text[0]);
    } else {
        assert(case_find(c, choice.kernel_part, choice.kernel));
        assert(choice.nr_initrds <= BOOTENTRY_MAX_INITRDS);
        for (unsigned i = 0; i < choice.nr_initrds; i++)
            assert(case_find(c, choice.initrd[i].part, choice.initrd[i].path));
        assert(choice.cmdline && choice.title);
    }
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct boot_case c;

    if (size > 1 << 16)
        return 0;
    case_parse(&c, (const char *)data, size);
    if (c.config && *c.config == '/') {
        use(&c, true);
        use(&c, false);
    }
    case_free(&c);
    return 0;
}
