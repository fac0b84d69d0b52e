#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/endian.h"
#include "devices/pc/flash.h"
#include "devices/pc/fw_cfg.h"

/*
 * The registers that firmware talks to: the configuration device with its DMA,
 * and the flash with UEFI's variables.
 *
 * Input: 64 bytes of guest memory at 0, then commands of 6 bytes: kind, offset,
 * four bytes of value.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RAM = 0x2000, ROM = 0x4000, HEAD = 64, COMMAND = 6, MAX = 512 };

struct machine {
    struct gmem gm;
    struct fw_cfg fw;
    struct flash fl;
    uint8_t data[2 * FLASH_SECTOR];
};

static void init(struct machine *m, const uint8_t *head)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM},
        {.start = ROM, .size = 0x1000, .readonly = true},
    };
    static const struct flash_backend none;
    struct err err;
    int rc = gmem_init(&m->gm, layout, 2, &err);

    assert(rc == 0);
    rc = gmem_write(&m->gm, 0, head, HEAD);
    assert(rc == 0);
    fw_cfg_init(&m->fw, &m->gm, RAM, 1);
    rc = fw_cfg_add_file(&m->fw, "etc/file", "contents", 8);
    assert(rc == 0);
    (void)rc;
    memset(m->data, 0xff, sizeof(m->data));
    flash_init(&m->fl, m->data, sizeof(m->data), &none);
}

/* As the bus does: only offsets and sizes that the device takes. */
static void command(struct machine *m, const uint8_t *c)
{
    uint32_t val = get_le32(c + 2);
    uint64_t off = (uint64_t)c[1] * 64 % (sizeof(m->data) - 8);

    switch (c[0] % 6) {
    case 0: fw_cfg_bus_ops.write(&m->fw, 0, 2, val & 0xffff); break;
    case 1: (void)fw_cfg_bus_ops.read(&m->fw, 1, 1); break;
    case 2: fw_cfg_dma_bus_ops.write(&m->fw, c[1] & 4, 4, val); break;
    case 3: (void)fw_cfg_dma_bus_ops.read(&m->fw, c[1] & 4, 4); break;
    case 4: flash_bus_ops.write(&m->fl, off, 1u << (c[1] & 3), val); break;
    default: (void)flash_bus_ops.read(&m->fl, off, 8); break;
    }
    assert(flash_state_desc.check(&m->fl.st) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;

    if (size < HEAD)
        return 0;
    init(&m, data);
    for (size_t at = HEAD, n = 0; at + COMMAND <= size && n < MAX;
         at += COMMAND, n++)
        command(&m, data + at);
    flash_fini(&m.fl);
    fw_cfg_fini(&m.fw);
    gmem_fini(&m.gm);
    return 0;
}
