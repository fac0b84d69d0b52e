#include "bus/bus.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "bus/irq.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* A device that keeps a record of what it was asked. */
struct rec {
    struct {
        bool write;
        uint64_t off, val;
        unsigned size;
    } call[16];
    unsigned nr;
    struct lock lock;
    bool locked; /* whether its lock was held in the last call */
};

static void record(struct rec *r, bool write, uint64_t off, unsigned size,
                   uint64_t val)
{
    assert_true(r->nr < 16);
    r->call[r->nr].write = write;
    r->call[r->nr].off = off;
    r->call[r->nr].size = size;
    r->call[r->nr].val = val;
    r->nr++;
    r->locked = pthread_mutex_trylock(&r->lock.m) == EBUSY;
    if (!r->locked)
        (void)pthread_mutex_unlock(&r->lock.m);
}

/* Every byte reads as its offset, with rubbish above what was asked for. */
static uint64_t rec_read(void *dev, uint64_t off, unsigned size)
{
    record(dev, false, off, size, 0);
    if (size == 8)
        return 0x0706050403020100 + off * 0x0101010101010101;
    return 0xbad0000000000000 | (0x03020100 + off * 0x01010101);
}

static void rec_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    record(dev, true, off, size, val);
}

static const struct bus_ops any_ops = {.read = rec_read, .write = rec_write};
static const struct bus_ops byte_ops = {
    .read = rec_read, .write = rec_write, .min_size = 1, .max_size = 1};
static const struct bus_ops word_ops = {
    .read = rec_read, .write = rec_write, .min_size = 4, .max_size = 4};
static const struct bus_ops deaf_ops = {.min_size = 1, .max_size = 4};

static struct bus *new_bus(void)
{
    struct bus *bus = NULL;

    assert_int_equal(bus_new(&bus), 0);
    return bus;
}

static void rec_init(struct rec *r)
{
    memset(r, 0, sizeof(*r));
    lock_init(&r->lock);
}

static void check_call(const struct rec *r, unsigned i, uint64_t off,
                       unsigned size)
{
    assert_true(i < r->nr);
    assert_true(r->call[i].off == off);
    assert_int_equal(r->call[i].size, size);
}

/* --- Shapes of accesses --------------------------------------------------- */

static void nobody_reads_as_all_ones(void **state)
{
    struct bus *bus = new_bus();

    (void)state;
    assert_int_equal(bus_read(bus, 0x80, 1), 0xff);
    assert_int_equal(bus_read(bus, 0x80, 2), 0xffff);
    assert_true(bus_read(bus, 0x80, 4) == 0xffffffff);
    assert_true(bus_read(bus, 0x80, 8) == UINT64_MAX);
    assert_true(bus_read(bus, UINT64_MAX, 8) == UINT64_MAX);
    bus_write(bus, 0x80, 4, 1);
    bus_free(bus);
}

static void a_device_without_functions_is_like_nobody(void **state)
{
    struct bus *bus = new_bus();

    (void)state;
    assert_int_equal(bus_map(bus, 0, 4, &deaf_ops, NULL, NULL), 0);
    assert_true(bus_read(bus, 0, 4) == 0xffffffff);
    bus_write(bus, 0, 4, 1);
    bus_free(bus);
}

static void an_aligned_access_is_one_call(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0x1000, 0x100, &any_ops, &r, NULL), 0);
    assert_true(bus_read(bus, 0x1010, 8) == 0x1716151413121110);
    assert_int_equal(bus_read(bus, 0x1012, 2), 0x1312);
    bus_write(bus, 0x10ff, 1, 0x1234);
    assert_int_equal(r.nr, 3);
    check_call(&r, 0, 0x10, 8);
    check_call(&r, 1, 0x12, 2);
    check_call(&r, 2, 0xff, 1);
    assert_true(r.call[2].write && r.call[2].val == 0x34);
    bus_free(bus);
}

static void a_wide_access_is_split_into_ascending_parts(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0, 16, &byte_ops, &r, NULL), 0);
    assert_int_equal(bus_read(bus, 4, 4), 0x07060504);
    bus_write(bus, 1, 2, 0xabcd);
    assert_int_equal(r.nr, 6);
    for (unsigned i = 0; i < 4; i++)
        check_call(&r, i, 4 + i, 1);
    check_call(&r, 4, 1, 1);
    check_call(&r, 5, 2, 1);
    assert_true(r.call[4].val == 0xcd && r.call[5].val == 0xab);
    bus_free(bus);
}

static void a_narrow_read_takes_its_part_of_the_unit(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0x100, 14, &word_ops, &r, NULL), 0);
    assert_int_equal(bus_read(bus, 0x106, 1), 6);
    check_call(&r, 0, 4, 4);
    assert_int_equal(bus_read(bus, 0x106, 2), 0x0706);
    assert_true(bus_read(bus, 0x100, 8) == 0x0706050403020100);
    r.nr = 0;
    bus_write(bus, 0x106, 2, 0); /* ignored */
    assert_int_equal(r.nr, 0);
    bus_write(bus, 0x102, 4, 0x11223344); /* two narrow parts */
    assert_int_equal(r.nr, 0);
    /* The unit would reach behind the range. */
    assert_int_equal(bus_read(bus, 0x10c, 2), 0xffff);
    assert_int_equal(r.nr, 0);
    bus_free(bus);
}

static void an_unaligned_access_is_split_into_aligned_parts(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0x1001, 0x100, &any_ops, &r, NULL), 0);
    /* Offset 3: aligned is what the device sees. */
    assert_true(bus_read(bus, 0x1004, 8) == 0x0a09080706050403);
    assert_int_equal(r.nr, 4);
    check_call(&r, 0, 3, 1);
    check_call(&r, 1, 4, 4);
    check_call(&r, 2, 8, 2);
    check_call(&r, 3, 10, 1);
    bus_free(bus);
}

static void an_access_may_cross_ranges_and_holes(void **state)
{
    struct bus *bus = new_bus();
    struct rec a, b;

    (void)state;
    rec_init(&a);
    rec_init(&b);
    assert_int_equal(bus_map(bus, 0x10, 2, &byte_ops, &a, NULL), 0);
    assert_int_equal(bus_map(bus, 0x14, 2, &byte_ops, &b, NULL), 0);
    /* 0x10 0x11 are a, 0x12 0x13 nobody, 0x14 0x15 b, then nobody. */
    assert_true(bus_read(bus, 0x10, 8) == 0xffff0100ffff0100);
    assert_true(bus_read(bus, 0x0f, 4) == 0xff0100ff);
    assert_int_equal(a.nr, 4);
    assert_int_equal(b.nr, 2);
    bus_write(bus, 0x11, 4, 0x44332211);
    assert_int_equal(a.nr, 5);
    check_call(&a, 4, 1, 1);
    assert_int_equal(a.call[4].val, 0x11);
    check_call(&b, 2, 0, 1);
    assert_int_equal(b.call[2].val, 0x44);
    bus_free(bus);
}

static void the_devices_lock_is_held_around_calls(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0, 8, &any_ops, &r, &r.lock), 0);
    (void)bus_read(bus, 0, 1);
    assert_true(r.locked);
    bus_write(bus, 0, 1, 0);
    assert_true(r.locked);
    bus_unmap(bus, 0);
    assert_int_equal(bus_map(bus, 0, 8, &any_ops, &r, NULL), 0);
    (void)bus_read(bus, 0, 1);
    assert_false(r.locked);
    bus_free(bus);
}

/* --- The map -------------------------------------------------------------- */

static void ranges_that_overlap_are_refused(void **state)
{
    static const struct {
        uint64_t base, size;
        int rc;
    } tries[] = {
        {0x100, 0x10, -EEXIST},
        {0x10f, 1, -EEXIST},
        {0xff, 2, -EEXIST},
        {0, 0x1000, -EEXIST},
        {0x104, 4, -EEXIST},
        {0x110, 0x10, 0},
        {0xf0, 0x10, 0},
        {0, 0, -EINVAL},
        {UINT64_MAX, 1, 0},
        {UINT64_MAX, 2, -EINVAL},
        {0x1000, UINT64_MAX, -EINVAL},
    };
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0x100, 0x10, &any_ops, &r, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(tries); i++)
        assert_int_equal(
            bus_map(bus, tries[i].base, tries[i].size, &any_ops, &r, NULL),
            tries[i].rc);
    assert_int_equal(bus_read(bus, UINT64_MAX, 1), 0);
    bus_free(bus);
}

static void many_ranges_are_all_found(void **state)
{
    struct bus *bus = new_bus();
    struct rec r[64];

    (void)state;
    for (unsigned i = 0; i < 64; i++) {
        unsigned at = i * 37 % 64; /* in no order */

        rec_init(&r[at]);
        assert_int_equal(
            bus_map(bus, at * 0x20ull, 0x10, &byte_ops, &r[at], NULL), 0);
    }
    for (unsigned i = 0; i < 64; i++) {
        assert_int_equal(bus_read(bus, i * 0x20ull + 15, 1), 15);
        assert_int_equal(bus_read(bus, i * 0x20ull + 16, 1), 0xff);
        assert_int_equal(r[i].nr, 1);
    }
    for (unsigned i = 0; i < 64; i += 2)
        bus_unmap(bus, i * 0x20ull);
    bus_unmap(bus, 0x2000);
    bus_unmap(bus, 0x21); /* inside of a range, not its base */
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(bus_read(bus, i * 0x20ull, 1), i % 2 ? 0 : 0xff);
    bus_free(bus);
}

static void mapping_without_memory_changes_nothing(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;
    int rc = -1;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(bus, 0, 1, &any_ops, &r, NULL), 0);
    for (unsigned n = 1; n < 10; n++) {
        fail_alloc_at(n);
        rc = bus_map(bus, 0x10, 1, &any_ops, &r, NULL);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
        assert_int_equal(bus_read(bus, 0, 1), 0);
        assert_int_equal(bus_read(bus, 0x10, 1), 0xff);
    }
    fail_alloc_at(0);
    assert_int_equal(rc, 0);
    bus_free(bus);
    fail_alloc_at(1);
    assert_int_equal(bus_new(&bus), -ENOMEM);
    fail_alloc_at(2);
    assert_int_equal(bus_new(&bus), -ENOMEM);
    fail_alloc_at(0);
    bus_free(NULL);
}

static void unmapping_needs_no_memory(void **state)
{
    struct bus *bus = new_bus();
    struct rec r;

    (void)state;
    rec_init(&r);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < round; i++)
            assert_int_equal(bus_map(bus, i, 1, &any_ops, &r, NULL), 0);
        for (unsigned i = 0; i < round; i++) {
            fail_alloc_at(1);
            bus_unmap(bus, (i * 7) % 20 < round ? (i * 7) % 20 : i);
            assert_int_equal(fail_alloc_count(), 0);
        }
        for (unsigned i = 0; i < round; i++)
            bus_unmap(bus, i);
        fail_alloc_at(0);
    }
    bus_free(bus);
}

/* --- Threads -------------------------------------------------------------- */

/* A device whose read waits until the test lets it go on. */
struct gate {
    struct bus *bus;
    atomic_bool entered, open, left, unmapped;
    struct lock lock;
    uint64_t own_base;
    atomic_uint calls;
};

static void wait_for(atomic_bool *flag)
{
    while (!atomic_load(flag))
        (void)usleep(50);
}

static uint64_t gate_read(void *dev, uint64_t off, unsigned size)
{
    struct gate *g = dev;

    (void)off;
    (void)size;
    (void)atomic_fetch_add(&g->calls, 1);
    atomic_store(&g->entered, true);
    wait_for(&g->open);
    atomic_store(&g->left, true);
    return 0x42;
}

static const struct bus_ops gate_ops = {.read = gate_read};

static void *read_gate(void *opaque)
{
    struct gate *g = opaque;

    assert_int_equal(bus_read(g->bus, 0x10, 1), 0x42);
    return NULL;
}

static void *unmap_gate(void *opaque)
{
    struct gate *g = opaque;

    bus_unmap(g->bus, 0x10);
    assert_true(atomic_load(&g->left));
    atomic_store(&g->unmapped, true);
    return NULL;
}

static void unmapping_waits_for_accesses_to_the_range(void **state)
{
    struct gate g = {.bus = new_bus()};
    struct rec r;
    pthread_t reader, unmapper;

    (void)state;
    rec_init(&r);
    assert_int_equal(bus_map(g.bus, 0x10, 1, &gate_ops, &g, NULL), 0);
    assert_int_equal(bus_map(g.bus, 0x20, 1, &any_ops, &r, NULL), 0);
    assert_int_equal(pthread_create(&reader, NULL, read_gate, &g), 0);
    wait_for(&g.entered);
    /* Other ranges come, work and go meanwhile. */
    bus_unmap(g.bus, 0x20);
    assert_int_equal(pthread_create(&unmapper, NULL, unmap_gate, &g), 0);
    (void)usleep(1000); /* let it get as far as it can, mostly */
    assert_int_equal(bus_map(g.bus, 0x20, 1, &any_ops, &r, NULL), 0);
    assert_int_equal(bus_read(g.bus, 0x20, 1), 0);
    assert_false(atomic_load(&g.unmapped));
    atomic_store(&g.open, true);
    assert_int_equal(pthread_join(reader, NULL), 0);
    assert_int_equal(pthread_join(unmapper, NULL), 0);
    assert_true(atomic_load(&g.unmapped));
    bus_free(g.bus);
}

/* A device that unmaps itself, and is used afterwards in the same call. */
static uint64_t self_read(void *dev, uint64_t off, unsigned size)
{
    struct gate *g = dev;

    (void)off;
    (void)size;
    (void)atomic_fetch_add(&g->calls, 1);
    atomic_store(&g->entered, true);
    wait_for(&g->open);
    bus_unmap(g->bus, g->own_base);
    assert_int_equal(bus_read(g->bus, g->own_base, 1), 0xff);
    return 0x42;
}

static const struct bus_ops self_ops = {.read = self_read, .max_size = 1};

static void a_device_may_unmap_itself(void **state)
{
    struct gate g = {.bus = new_bus(), .open = true};

    (void)state;
    lock_init(&g.lock);
    assert_int_equal(bus_map(g.bus, 0, 4, &self_ops, &g, NULL), 0);
    /* Of the four parts the first unmaps it, so that the others find nobody. */
    assert_true(bus_read(g.bus, 0, 4) == 0xffffff42);
    assert_int_equal(bus_map(g.bus, 0, 4, &self_ops, &g, &g.lock), 0);
    assert_int_equal(bus_read(g.bus, 0, 1), 0x42);
    assert_int_equal(bus_read(g.bus, 0, 1), 0xff);
    assert_int_equal(atomic_load(&g.calls), 2);
    bus_free(g.bus);
}

static void *read_self(void *opaque)
{
    struct gate *g = opaque;
    uint64_t val = bus_read(g->bus, 0, 1);

    assert_true(val == 0x42 || val == 0xff);
    return NULL;
}

/* The others wait for the lock that the access which unmaps is holding. */
static void
a_device_may_unmap_itself_while_others_wait_for_its_lock(void **state)
{
    struct gate g = {.bus = new_bus()};
    pthread_t thread[3];

    (void)state;
    lock_init(&g.lock);
    assert_int_equal(bus_map(g.bus, 0, 4, &self_ops, &g, &g.lock), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, read_self, &g), 0);
    wait_for(&g.entered);
    (void)usleep(2000); /* let the others reach the lock, mostly */
    atomic_store(&g.open, true);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(atomic_load(&g.calls), 1);
    bus_free(g.bus);
}

static uint64_t count_read(void *dev, uint64_t off, unsigned size)
{
    struct gate *g = dev;

    (void)size;
    (void)atomic_fetch_add(&g->calls, 1);
    return off;
}

static const struct bus_ops count_ops = {.read = count_read, .max_size = 1};

/* What a configuration write does: it moves another range, under its lock. */
static void move_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct gate *g = dev;

    (void)off;
    (void)size;
    bus_unmap(g->bus, g->own_base);
    g->own_base = 0x1000 + (val & 7) * 0x100;
    assert_int_equal(bus_map(g->bus, g->own_base, 0x100, &count_ops, g, NULL),
                     0);
}

static const struct bus_ops move_ops = {.write = move_write};

static void *move_many(void *opaque)
{
    struct gate *g = opaque;

    for (unsigned i = 0; i < 2000; i++)
        bus_write(g->bus, 0x10, 4, i);
    return NULL;
}

static void *read_many(void *opaque)
{
    struct gate *g = opaque;

    for (unsigned i = 0; i < 8000; i++) {
        uint64_t val = bus_read(g->bus, 0x1000 + i % 0x800, 1);

        assert_true(val == 0xff || val == i % 0x100);
    }
    return NULL;
}

static void ranges_move_while_threads_use_them(void **state)
{
    struct gate g = {.bus = new_bus(), .own_base = 0x1000};
    pthread_t thread[4];

    (void)state;
    lock_init(&g.lock);
    assert_int_equal(bus_map(g.bus, 0x10, 4, &move_ops, &g, &g.lock), 0);
    assert_int_equal(bus_map(g.bus, g.own_base, 0x100, &count_ops, &g, NULL),
                     0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&thread[i], NULL, i % 2 ? move_many : read_many, &g),
            0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    bus_free(g.bus);
}

/* --- Wires ---------------------------------------------------------------- */

static void set_level(void *opaque, unsigned n, bool level)
{
    ((bool *)opaque)[n] = level;
}

static void send_msi(void *opaque, uint64_t addr, uint32_t data)
{
    *(uint64_t *)opaque = addr + data;
}

/* A port of which words are read 256 at most at once. */
static bool fifo_read_many(void *dev, uint64_t off, unsigned size, void *dst,
                           unsigned n)
{
    struct rec *r = dev;

    record(r, false, off, size, n);
    if (n > 256)
        return false;
    memset(dst, 0x5a, (size_t)n * size);
    return true;
}

static bool fifo_write_many(void *dev, uint64_t off, unsigned size,
                            const void *src, unsigned n)
{
    const uint8_t *p = src;

    record(dev, true, off, size, (uint64_t)n << 8 | p[n * size - 1]);
    return true;
}

static const struct bus_ops fifo_ops = {.read = rec_read,
                                        .write = rec_write,
                                        .min_size = 1,
                                        .max_size = 4,
                                        .read_many = fifo_read_many,
                                        .write_many = fifo_write_many};

static void many_accesses_are_one_call_or_as_many(void **state)
{
    struct bus *bus = new_bus();
    uint8_t buf[16] = {0};
    struct rec fifo, plain;

    (void)state;
    rec_init(&fifo);
    rec_init(&plain);
    assert_int_equal(bus_map(bus, 0x100, 8, &fifo_ops, &fifo, &fifo.lock), 0);
    assert_int_equal(bus_map(bus, 0x200, 8, &any_ops, &plain, NULL), 0);
    bus_read_many(bus, 0x100, 2, buf, 8);
    assert_int_equal(fifo.nr, 1);
    assert_true(fifo.call[0].val == 8 && fifo.locked);
    assert_int_equal(buf[15], 0x5a);
    buf[15] = 0x77;
    bus_write_many(bus, 0x104, 4, buf, 4);
    assert_int_equal(fifo.nr, 2);
    assert_true(fifo.call[1].off == 4 && fifo.call[1].val == 0x477);
    /* What the device does not take so is split, as any access. */
    bus_read_many(bus, 0x101, 2, buf, 1);
    check_call(&fifo, 2, 1, 1);
    check_call(&fifo, 3, 2, 1);
    bus_read_many(bus, 0x202, 2, buf, 3);
    assert_int_equal(plain.nr, 3);
    assert_memory_equal(buf, "\2\3\2\3\2\3", 6);
    bus_write_many(bus, 0x200, 1, "ab", 2);
    assert_int_equal(plain.call[4].val, 'b');
    bus_read_many(bus, 0x300, 2, buf, 2);
    assert_memory_equal(buf, "\xff\xff\xff\xff", 4);
    bus_free(bus);
}

static void wires_lead_somewhere_or_nowhere(void **state)
{
    const struct irq loose = {.set = NULL};
    const struct msi_sink no_sink = {.send = NULL};
    bool level[4] = {false};
    uint64_t sum = 0;
    const struct irq wire = {.set = set_level, .opaque = level, .n = 2};
    const struct msi_sink sink = {.send = send_msi, .opaque = &sum};

    (void)state;
    irq_set(&loose, true);
    msi_send(&no_sink, 1, 2);
    irq_set(&wire, true);
    assert_true(level[2] && !level[1]);
    msi_send(&sink, 0xfee00000, 0x31);
    assert_true(sum == 0xfee00031);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reads_as_all_ones),
        cmocka_unit_test(a_device_without_functions_is_like_nobody),
        cmocka_unit_test(an_aligned_access_is_one_call),
        cmocka_unit_test(a_wide_access_is_split_into_ascending_parts),
        cmocka_unit_test(a_narrow_read_takes_its_part_of_the_unit),
        cmocka_unit_test(an_unaligned_access_is_split_into_aligned_parts),
        cmocka_unit_test(an_access_may_cross_ranges_and_holes),
        cmocka_unit_test(the_devices_lock_is_held_around_calls),
        cmocka_unit_test(ranges_that_overlap_are_refused),
        cmocka_unit_test(many_ranges_are_all_found),
        cmocka_unit_test(mapping_without_memory_changes_nothing),
        cmocka_unit_test(unmapping_needs_no_memory),
        cmocka_unit_test(unmapping_waits_for_accesses_to_the_range),
        cmocka_unit_test(a_device_may_unmap_itself),
        cmocka_unit_test(
            a_device_may_unmap_itself_while_others_wait_for_its_lock),
        cmocka_unit_test(ranges_move_while_threads_use_them),
        cmocka_unit_test(many_accesses_are_one_call_or_as_many),
        cmocka_unit_test(wires_lead_somewhere_or_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
