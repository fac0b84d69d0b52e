#include "devices/pc/debug_port.h"

/* Bochs' debug console port and the exit port of kernel test suites. */

enum { DEBUGCON_PRESENT = 0xe9 };

static uint64_t debugcon_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return DEBUGCON_PRESENT;
}

static void debugcon_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    const struct debugcon *d = dev;

    (void)off;
    (void)size;
    if (d->write)
        d->write(d->opaque, (uint8_t)val);
}

const struct bus_ops debugcon_bus_ops = {.read = debugcon_read,
                                         .write = debugcon_write,
                                         .min_size = 1,
                                         .max_size = 1};

static uint64_t debug_exit_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0;
}

static void debug_exit_write(void *dev, uint64_t off, unsigned size,
                             uint64_t val)
{
    const struct debug_exit *d = dev;

    (void)off;
    (void)size;
    if (d->exit)
        d->exit(d->opaque, (uint32_t)val);
}

const struct bus_ops debug_exit_bus_ops = {.read = debug_exit_read,
                                           .write = debug_exit_write,
                                           .min_size = 1,
                                           .max_size = 4};
