#ifndef HUSK_DEVICES_PC_FLASH_H
#define HUSK_DEVICES_PC_FLASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "devices/device.h"

/*
 * NOR flash, one byte wide, with Intel's command set (JESD68.01; CFI command
 * set 0001), as UEFI firmware keeps its variables in: in read mode it is
 * memory; written bytes are commands.
 */
enum { FLASH_SECTOR = 4096 };

struct flash_state {
    uint8_t command; /* what reads show, and the next write means */
    uint8_t second;  /* the command waits for its second write */
    uint8_t status;
};

/* Where changes go. 0, or -errno: the guest then sees that it failed. */
struct flash_backend {
    int (*store)(void *opaque, uint64_t off, const uint8_t *p, size_t len);
    void *opaque;
};

struct flash {
    struct flash_state st;
    struct lock lock;
    uint8_t *data; /* borrowed; size bytes */
    size_t size;
    struct flash_backend back;
};

extern const struct bus_ops flash_bus_ops;
extern const struct state_desc flash_state_desc;
extern const struct device_class flash_class;

/* data holds the contents, a multiple of FLASH_SECTOR, and may be NULL with
 * size 0; back->store may be NULL. */
void flash_init(struct flash *fl, uint8_t *data, size_t size,
                const struct flash_backend *back);
void flash_fini(struct flash *fl);
void flash_reset(struct flash *fl); /* lock held */

#endif
