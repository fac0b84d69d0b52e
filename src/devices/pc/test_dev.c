#include "devices/pc/test_dev.h"

#include <string.h>

void test_dev_init(struct test_dev *t)
{
    lock_init(&t->lock);
}

void test_dev_fini(struct test_dev *t)
{
    lock_fini(&t->lock);
}

static uint64_t get(const uint8_t *p, unsigned size)
{
    uint64_t val = 0;

    memcpy(&val, p, size);
    return val;
}

static uint64_t word_read(void *dev, uint64_t off, unsigned size)
{
    const struct test_dev *t = dev;

    return get(t->word + off, size);
}

static void word_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct test_dev *t = dev;

    memcpy(t->word + off, &val, size);
}

const struct bus_ops test_dev_word_bus_ops = {
    .read = word_read, .write = word_write, .min_size = 1, .max_size = 4};

static uint64_t line_read(void *dev, uint64_t off, unsigned size)
{
    (void)dev;
    (void)off;
    (void)size;
    return 0;
}

static void line_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    const struct test_dev *t = dev;

    (void)size;
    irq_set(&t->line[off], val != 0);
}

const struct bus_ops test_dev_line_bus_ops = {
    .read = line_read, .write = line_write, .min_size = 1, .max_size = 4};

static uint64_t mem_read(void *dev, uint64_t off, unsigned size)
{
    const struct test_dev *t = dev;

    return get(t->mem + off, size);
}

static void mem_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct test_dev *t = dev;

    memcpy(t->mem + off, &val, size);
}

const struct bus_ops test_dev_mem_bus_ops = {
    .read = mem_read, .write = mem_write, .min_size = 1, .max_size = 8};
