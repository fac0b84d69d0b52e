#include "devices/floppy/fdc.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "tests/unit/test.h"

enum { DISK = 1440 << 10, RAM = 0x30000, AT = 0x12000 };
enum { DOR = 0x3f2, MSR = 0x3f4, FIFO = 0x3f5, INPUT = 0x3f7 };

static struct {
    struct blk blk;
    uint8_t *data;
    struct gmem gm;
    struct bus *pio;
    struct lock lock;
    struct i8237 dma;
    struct fdc fdc;
    bool irq;
    int fail;
} t;

static int disk_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                      int n)
{
    (void)b;
    (void)n;
    memcpy(iov->iov_base, t.data + off, iov->iov_len);
    return t.fail;
}

static int disk_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                       int n, unsigned flags)
{
    (void)b;
    (void)n;
    (void)flags;
    if (t.fail == 0)
        memcpy(t.data + off, iov->iov_base, iov->iov_len);
    return t.fail;
}

static const struct blk_ops disk_ops = {
    .name = "test", .readv = disk_readv, .writev = disk_writev};

static void set_irq(void *opaque, unsigned n, bool level)
{
    (void)opaque;
    (void)n;
    t.irq = level;
}

static void map(uint64_t base, uint64_t size, const struct bus_ops *ops,
                void *dev)
{
    assert_int_equal(bus_map(t.pio, base, size, ops, dev, &t.lock), 0);
}

static int make(void **state)
{
    static const struct gmem_layout layout[] = {{.start = 0, .size = RAM}};
    struct fdc_config cfg = {.irq = {set_irq, NULL, 6}, .dma = &t.dma};
    struct err err;

    (void)state;
    memset(&t, 0, sizeof(t));
    t.data = malloc(DISK);
    assert_non_null(t.data);
    for (unsigned i = 0; i < DISK; i++)
        t.data[i] = (uint8_t)(i ^ i >> 9);
    t.blk.ops = &disk_ops;
    atomic_store(&t.blk.size, DISK);
    assert_int_equal(gmem_init(&t.gm, layout, 1, &err), 0);
    assert_int_equal(bus_new(&t.pio), 0);
    lock_init(&t.lock);
    cfg.drive[0].blk = &t.blk;
    cfg.drive[0].name = "floppy0";
    i8237_init(&t.dma, &t.gm);
    fdc_init(&t.fdc, &cfg);
    map(0, I8237_PORTS, &i8237_bus_ops, &t.dma);
    map(0xc0, I8237_HIGH_PORTS, &i8237_high_bus_ops, &t.dma);
    map(I8237_PAGE_PORT, I8237_PAGE_PORTS, &i8237_page_bus_ops, &t.dma);
    map(FDC_PORT, FDC_PORTS, &fdc_bus_ops, &t.fdc);
    map(FDC_INPUT_PORT, 1, &fdc_input_bus_ops, &t.fdc);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    bus_free(t.pio);
    gmem_fini(&t.gm);
    lock_fini(&t.lock);
    free(t.data);
    return 0;
}

/* --- What a driver does --- */

static void out(unsigned port, unsigned val)
{
    bus_write(t.pio, port, 1, val);
}

static unsigned in(unsigned port)
{
    return (unsigned)bus_read(t.pio, port, 1);
}

static void command(const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in(MSR)&0xc0, 0x80);
        out(FIFO, bytes[i]);
    }
}

#define COMMAND(...)                                                           \
    do {                                                                       \
        static const uint8_t bytes_[] = {__VA_ARGS__};                         \
        command(bytes_, sizeof(bytes_));                                       \
    } while (0)

/* Each byte must be offered, and none after the last. */
static void expect(const uint8_t *bytes, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(in(MSR)&0xd0, 0xd0);
        assert_int_equal(in(FIFO), bytes[i]);
    }
    assert_int_equal(in(MSR), 0x80);
}

#define EXPECT(...)                                                            \
    do {                                                                       \
        static const uint8_t bytes_[] = {__VA_ARGS__};                         \
        expect(bytes_, sizeof(bytes_));                                        \
    } while (0)

/* Out of reset, with interrupts, at 500 kbit/s. */
static void start(bool pio)
{
    out(DOR, 0x00);
    out(DOR, 0x1c);
    out(INPUT, 0);
    for (unsigned i = 0; i < 4; i++) {
        COMMAND(0x08);
        (void)in(FIFO);
        (void)in(FIFO);
    }
    out(FIFO, 0x03);
    out(FIFO, 0xaf);
    out(FIFO, pio ? 3 : 2);
}

static void program(unsigned mode, unsigned addr, unsigned bytes)
{
    out(0x0a, 6);
    out(0x0c, 0);
    out(0x04, addr & 0xff);
    out(0x04, addr >> 8 & 0xff);
    out(0x05, (bytes - 1) & 0xff);
    out(0x05, (bytes - 1) >> 8);
    out(0x81, addr >> 16);
    out(0x0b, mode);
}

static const uint8_t *ram(unsigned addr)
{
    return (const uint8_t *)gmem_hva(&t.gm, addr, 1);
}

static unsigned lba(unsigned c, unsigned h, unsigned r)
{
    return ((c * 2 + h) * 18 + r - 1) * 512;
}

/* --- Tests --- */

static void after_a_reset_each_drive_is_sensed(void **state)
{
    (void)state;
    assert_int_equal(in(MSR), 0);
    out(DOR, 0x0c);
    assert_true(t.irq);
    COMMAND(0x08);
    assert_false(t.irq);
    EXPECT(0xc0, 0);
    COMMAND(0x08);
    EXPECT(0xc1, 0);
    COMMAND(0x08);
    EXPECT(0xc2, 0);
    COMMAND(0x08);
    EXPECT(0xc3, 0);
    COMMAND(0x08);
    EXPECT(0x80);
    out(DOR, 0x08);
    assert_int_equal(in(MSR), 0);
}

static void interrupts_pass_the_gate_only(void **state)
{
    (void)state;
    out(DOR, 0x04);
    assert_false(t.irq);
    out(DOR, 0x0c);
    assert_true(t.irq);
}

static void a_step_clears_the_change_line(void **state)
{
    (void)state;
    start(false);
    assert_int_equal(in(INPUT)&0x80, 0x80);
    COMMAND(0x0f, 0, 5);
    assert_true(t.irq);
    COMMAND(0x08);
    EXPECT(0x20, 5);
    assert_int_equal(in(INPUT)&0x80, 0);
    COMMAND(0x04, 0);
    EXPECT(0x28);
    COMMAND(0x07, 0);
    COMMAND(0x08);
    EXPECT(0x20, 0);
    COMMAND(0x04, 0);
    EXPECT(0x38);
    COMMAND(0x07, 1); /* there is no second drive */
    COMMAND(0x08);
    EXPECT(0x71, 0);
    out(DOR, 0x1d);
    assert_int_equal(in(INPUT)&0x80, 0x80);
}

static void dma_reads_across_both_sides(void **state)
{
    (void)state;
    start(false);
    program(0x46, AT, 3 * 512);
    out(0x0a, 2);
    COMMAND(0xe6, 0, 3, 0, 17, 2, 18, 0x1b, 0xff);
    assert_true(t.irq);
    EXPECT(0x04, 0, 0, 3, 1, 2, 2);
    assert_memory_equal(ram(AT), t.data + lba(3, 0, 17), 1024);
    assert_memory_equal(ram(AT + 1024), t.data + lba(3, 1, 1), 512);
    assert_int_equal(*ram(AT + 1536), 0);
    assert_int_equal(in(0x08) & 0x0f, 4);
    assert_int_equal(in(0x08) & 0x0f, 0);
}

static void a_transfer_waits_for_its_channel(void **state)
{
    (void)state;
    start(false);
    t.irq = false;
    program(0x46, AT, 512);
    COMMAND(0xe6, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    assert_int_equal(in(MSR), 0x10);
    assert_int_equal(in(0x08) & 0x40, 0x40);
    assert_false(t.irq);
    out(0x0a, 2);
    assert_true(t.irq);
    EXPECT(0, 0, 0, 0, 0, 2, 2);
    assert_memory_equal(ram(AT), t.data, 512);
}

static void without_a_terminal_count_the_track_ends(void **state)
{
    (void)state;
    start(false);
    program(0x46, AT, 0x2000);
    out(0x0a, 2);
    COMMAND(0x46, 0, 0, 0, 17, 2, 18, 0x1b, 0xff);
    EXPECT(0x40, 0x80, 0, 1, 0, 1, 2);
}

static void dma_writes_and_fills_the_last_sector(void **state)
{
    uint8_t bytes[700];

    (void)state;
    memset(bytes, 0x5a, sizeof(bytes));
    assert_int_equal(gmem_write(&t.gm, AT, bytes, sizeof(bytes)), 0);
    start(false);
    program(0x4a, AT, sizeof(bytes));
    out(0x0a, 2);
    COMMAND(0xc5, 4, 79, 1, 17, 2, 18, 0x1b, 0xff);
    EXPECT(0x04, 0, 0, 80, 0, 1, 2);
    assert_memory_equal(t.data + lba(79, 1, 17), bytes, sizeof(bytes));
    for (unsigned i = sizeof(bytes); i < 1024; i++)
        assert_int_equal(t.data[lba(79, 1, 17) + i], 0);
}

static void pio_moves_byte_by_byte(void **state)
{
    (void)state;
    start(true);
    COMMAND(0x46, 0, 2, 0, 18, 2, 18, 0x1b, 0xff);
    assert_true(t.irq);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(in(MSR), 0xf0);
        assert_int_equal(in(FIFO), t.data[lba(2, 0, 18) + i]);
    }
    EXPECT(0x40, 0x80, 0, 3, 0, 1, 2);
    COMMAND(0x45, 0, 2, 0, 18, 2, 18, 0x1b, 0xff);
    for (unsigned i = 0; i < 512; i++) {
        assert_int_equal(in(MSR), 0xb0);
        out(FIFO, 0x77);
    }
    EXPECT(0x40, 0x80, 0, 3, 0, 1, 2);
    assert_int_equal(t.data[lba(2, 0, 18)], 0x77);
    assert_int_equal(t.data[lba(2, 0, 18) + 511], 0x77);
    assert_int_not_equal(t.data[lba(2, 1, 1) + 1], 0x77);
}

static void what_is_not_on_the_disk_is_not_found(void **state)
{
    (void)state;
    start(false);
    COMMAND(0x46, 0, 80, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(0x40, 0x04, 0, 80, 0, 1, 2);
    COMMAND(0x46, 0, 0, 0, 19, 2, 19, 0x1b, 0xff);
    EXPECT(0x40, 0x04, 0, 0, 0, 19, 2);
    COMMAND(0x46, 0, 0, 0, 0, 2, 18, 0x1b, 0xff);
    EXPECT(0x40, 0x04, 0, 0, 0, 0, 2);
    COMMAND(0x46, 1, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(0x41, 0x01, 0, 0, 0, 1, 2);
    COMMAND(0x4a, 0);
    EXPECT(0, 0, 0, 0, 0, 1, 2);
    out(INPUT, 2); /* no disk of 1.44 MB is written at 250 kbit/s */
    COMMAND(0x4a, 0);
    EXPECT(0x40, 0x01, 0, 0, 0, 1, 2);
}

static void a_protected_disk_is_not_written(void **state)
{
    (void)state;
    t.blk.flags = BLK_RDONLY;
    start(false);
    COMMAND(0x04, 0);
    EXPECT(0x78);
    COMMAND(0x45, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(0x40, 0x02, 0, 0, 0, 1, 2);
    COMMAND(0x4d, 0, 2, 18, 0x54, 0xf6);
    EXPECT(0x40, 0x02, 0, 0, 0, 1, 2);
}

static void a_failure_of_the_host_is_an_error_of_the_disk(void **state)
{
    (void)state;
    start(false);
    t.fail = -EIO;
    program(0x46, AT, 512);
    out(0x0a, 2);
    COMMAND(0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff);
    EXPECT(0x40, 0x20, 0x20, 0, 0, 1, 2);
}

static void the_controller_says_what_it_is(void **state)
{
    (void)state;
    start(false);
    COMMAND(0x10);
    EXPECT(0x90);
    COMMAND(0x18);
    EXPECT(0x80);
    COMMAND(0x13, 0, 0x57, 9);
    COMMAND(0x12, 0x84);
    COMMAND(0x94);
    EXPECT(0x10);
    COMMAND(0x0f, 0, 7);
    COMMAND(0x0e);
    EXPECT(7, 0, 0, 0, 0xaf, 2, 0, 0x84, 0x57, 9);
    out(MSR, 0x80); /* a reset by DSR; the lock keeps the configuration */
    assert_int_equal(t.fdc.st.config, 0x57);
    COMMAND(0x14);
    EXPECT(0);
    out(MSR, 0x80);
    assert_int_equal(t.fdc.st.config, 0);
}

static void only_sizes_of_disks_are_disks(void **state)
{
    (void)state;
    assert_null(fdc_format_of(1474561));
    assert_null(fdc_format_of(0));
    assert_int_equal(fdc_format_of(2949120)->sectors, 36);
    assert_int_equal(fdc_format_of(368640)->cylinders, 40);
}

static void forged_states_are_refused(void **state)
{
    struct fdc_state st;

    (void)state;
    start(false);
    st = t.fdc.st;
    assert_int_equal(fdc_state_desc.check(&st), 0);
    st.at = FDC_SECTOR;
    assert_int_equal(fdc_state_desc.check(&st), -EINVAL);
    st = t.fdc.st;
    st.unit = FDC_UNITS;
    assert_int_equal(fdc_state_desc.check(&st), -EINVAL);
    st = t.fdc.st;
    st.phase = FDC_RESULT;
    st.nr_result = 7;
    st.pos = 7;
    assert_int_equal(fdc_state_desc.check(&st), -EINVAL);
    st.phase = FDC_COMMAND;
    st.nr_command = 0;
    assert_int_equal(fdc_state_desc.check(&st), -EINVAL);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_a_reset_each_drive_is_sensed),
        TEST(interrupts_pass_the_gate_only),
        TEST(a_step_clears_the_change_line),
        TEST(dma_reads_across_both_sides),
        TEST(a_transfer_waits_for_its_channel),
        TEST(without_a_terminal_count_the_track_ends),
        TEST(dma_writes_and_fills_the_last_sector),
        TEST(pio_moves_byte_by_byte),
        TEST(what_is_not_on_the_disk_is_not_found),
        TEST(a_protected_disk_is_not_written),
        TEST(a_failure_of_the_host_is_an_error_of_the_disk),
        TEST(the_controller_says_what_it_is),
        TEST(only_sizes_of_disks_are_disks),
        TEST(forged_states_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
