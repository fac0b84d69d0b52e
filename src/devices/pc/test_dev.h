#ifndef HUSK_DEVICES_PC_TEST_DEV_H
#define HUSK_DEVICES_PC_TEST_DEV_H

#include <stdint.h>

#include "base/lock.h"
#include "bus/bus.h"
#include "bus/irq.h"

/*
 * What kernel test suites expect beside the exit port, at the addresses of
 * QEMU's pc-testdev: a register and a page range that keep what is written to
 * them, so that every kind of access by port and by MMIO can be tried, and
 * interrupt lines at will. Not saved: no guest sleeps over it.
 */
enum {
    TEST_DEV_WORD_PORT = 0xe0, /* 4 ports */
    TEST_DEV_LINE_PORT = 0x2000,
    TEST_DEV_LINES = 24, /* as many ports: n is high after a write but of 0 */
    TEST_DEV_MEM_SIZE = 0x10000
};
#define TEST_DEV_MEM_BASE 0xff000000u

struct test_dev {
    struct lock lock; /* of the bus, around the rest */
    struct irq line[TEST_DEV_LINES];
    uint8_t word[4];
    uint8_t mem[TEST_DEV_MEM_SIZE];
};

/* The caller fills line. */
void test_dev_init(struct test_dev *t);
void test_dev_fini(struct test_dev *t);

extern const struct bus_ops test_dev_word_bus_ops;
extern const struct bus_ops test_dev_line_bus_ops;
extern const struct bus_ops test_dev_mem_bus_ops;

#endif
