#include "devices/pc/reset_port.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Reset control register (82371SB, 4.2.7): bit 1 chooses a hard reset,
 * bit 2 starts it. Both kinds reset the whole machine here. */
#define SYS_RST 0x02u
#define RST_CPU 0x04u

static uint64_t reset_port_read(void *dev, uint64_t off, unsigned size)
{
    const struct reset_port *r = dev;

    (void)off;
    (void)size;
    return r->st.val;
}

static void reset_port_write(void *dev, uint64_t off, unsigned size,
                             uint64_t val)
{
    struct reset_port *r = dev;
    bool start = (val & RST_CPU) && !(r->st.val & RST_CPU);

    (void)off;
    (void)size;
    r->st.val = val & (SYS_RST | RST_CPU);
    if (start && r->reset)
        r->reset(r->opaque);
}

const struct bus_ops reset_port_bus_ops = {.read = reset_port_read,
                                           .write = reset_port_write,
                                           .min_size = 1,
                                           .max_size = 1};

void reset_port_reset(struct reset_port *r)
{
    r->st.val = 0;
}

void reset_port_init(struct reset_port *r, void (*reset)(void *opaque),
                     void *opaque)
{
    memset(r, 0, sizeof(*r));
    r->reset = reset;
    r->opaque = opaque;
}

static const struct state_field reset_port_fields[] = {
    STATE_FIELD(1, STATE_U8, struct reset_port_state, val),
};

static int reset_port_check(const void *state)
{
    const struct reset_port_state *st = state;

    return st->val & ~(SYS_RST | RST_CPU) ? -EINVAL : 0;
}

const struct state_desc reset_port_state_desc = {
    .name = "reset_port",
    .version = 1,
    STATE_LAYOUT(struct reset_port_state, reset_port_fields),
    .check = reset_port_check,
};

static void reset_port_class_reset(void *dev)
{
    reset_port_reset(dev);
}

const struct device_class reset_port_class = {
    .state = &reset_port_state_desc,
    .state_off = offsetof(struct reset_port, st),
    .reset = reset_port_class_reset,
};
