#ifndef HUSK_DEVICES_PC_I8237_H
#define HUSK_DEVICES_PC_I8237_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bus/bus.h"
#include "devices/device.h"
#include "mem/gmem.h"

/*
 * The pair of DMA controllers of a PC/AT (8237A data sheet; 82371AB, 4.2):
 * channels 0 to 3 move bytes, 5 to 7 move words, 4 is where the first
 * controller is tied to the second.
 *
 * A device that raises its request is told when its channel will move data, and
 * then moves as much as it likes. It is told within the register write, so the
 * pair and the devices on it share one lock, which the caller of everything
 * below holds, but of init.
 */
enum {
    I8237_CHANNELS = 8,
    I8237_PORTS = 16,      /* at 0x00 */
    I8237_HIGH_PORTS = 32, /* at 0xc0 */
    I8237_PAGE_PORT = 0x81,
    I8237_PAGE_PORTS = 15
};

struct i8237_state {
    uint16_t base_addr[I8237_CHANNELS], base_count[I8237_CHANNELS];
    uint16_t addr[I8237_CHANNELS], count[I8237_CHANNELS];
    uint8_t mode[I8237_CHANNELS];
    uint8_t page[I8237_PAGE_PORTS + 1]; /* by port, from 0x80 on */
    uint8_t command[2], mask[2];
    uint8_t done[2];    /* terminal counts, until the status is read */
    uint8_t request[2]; /* of devices */
    bool high[2];       /* the next byte of a 16-bit register is its high one */
};

struct i8237 {
    struct i8237_state st;
    struct gmem *gm;
    struct i8237_user {
        void (*ready)(void *opaque); /* NULL = nobody is on the channel */
        void *opaque;
    } user[I8237_CHANNELS];
};

/* dev: struct i8237. */
extern const struct bus_ops i8237_bus_ops, i8237_high_bus_ops,
    i8237_page_bus_ops;
extern const struct state_desc i8237_state_desc;
extern const struct device_class i8237_class;

void i8237_init(struct i8237 *dma, struct gmem *gm);
/* channel is 0 to 7, but not 4. */
void i8237_connect(struct i8237 *dma, unsigned channel,
                   void (*ready)(void *opaque), void *opaque);

/* Whether the device wants to move data. If the channel will, it is told
 * before this returns. */
void i8237_request(struct i8237 *dma, unsigned channel, bool level);

/*
 * Move up to len bytes (of a word channel: an even number) between buf and
 * memory; returns how many. 0: the channel does not move any now. *end: it has
 * counted to its end, and would move more only after it is programmed again, or
 * has programmed itself. What the channel was not programmed for is counted and
 * not moved; buf then gets zeroes, as it does where there is no memory.
 */
size_t i8237_move(struct i8237 *dma, unsigned channel, void *buf, size_t len,
                  bool to_memory, bool *end);

#endif
