#ifndef HUSK_MACHINE_BOOT_LINUX_H
#define HUSK_MACHINE_BOOT_LINUX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/* What the setup header of a bzImage says (Linux: Documentation/arch/x86/
 * boot.rst). Borrows the image. */
struct linux_image {
    const uint8_t *header; /* 0x1f1..header_end of the file */
    size_t header_len;
    const uint8_t *kernel; /* the protected-mode part */
    size_t kernel_len;
    uint16_t version; /* of the protocol, 0x020c = 2.12 */
    bool entry64;
    uint64_t pref_address;
    uint64_t init_size;   /* RAM that it needs from pref_address on */
    uint32_t initrd_max;  /* highest address of an initrd byte */
    uint32_t cmdline_max; /* longest command line, without the final 0 */
};

/* Does it carry the magic of a Linux setup header? */
bool boot_linux_probe(const uint8_t *buf, size_t len);

/* Parse and check the header; -EINVAL with err if it is damaged, truncated or
 * older than 2.06 (the last protocols without a command line size). */
MUST_CHECK int boot_linux_parse(struct linux_image *img, const uint8_t *buf,
                                size_t len, struct err *err);

#endif
