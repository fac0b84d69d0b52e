#include "devices/virtio/virtio_blk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "state/reader.h"
#include "state/writer.h"
#include "tests/unit/devices/virtio/fake_blk.h"
#include "tests/unit/devices/virtio/vpci.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* 5.2.3, 5.2.6 */
enum {
    F_SEG_MAX = 2,
    F_RO = 5,
    F_BLK_SIZE = 6,
    F_FLUSH = 9,
    F_TOPOLOGY = 10,
    F_CONFIG_WCE = 11,
    F_MQ = 12,
    F_DISCARD = 13,
    F_WRITE_ZEROES = 14,
    T_IN = 0,
    T_OUT = 1,
    T_FLUSH = 4,
    T_GET_ID = 8,
    T_DISCARD = 11,
    T_WRITE_ZEROES = 13,
    OK = 0,
    IOERR = 1,
    UNSUPP = 2,
    NONE = 0xee /* the status byte before the device wrote it */
};

/* Where a request's parts are: request n of queue q has a page of its own. */
enum { AREA = 0x10000, PAGE = 0x1000, HDR = 0, STATUS = 0x20, DATA = 0x200 };

struct fixture {
    struct virtio_blk vb;
    struct fake_blk disk;
    struct vpci p;
    unsigned stuck_calls;
};

static void on_stuck(void *opaque)
{
    struct fixture *f = opaque;

    f->stuck_calls++;
}

#define ALL_FEATURES                                                           \
    (VIRTIO_COMMON_FEATURES | 1u << F_SEG_MAX | 1u << F_BLK_SIZE |             \
     1u << F_FLUSH | 1u << F_TOPOLOGY | 1u << F_CONFIG_WCE | 1u << F_MQ |      \
     1u << F_DISCARD | 1u << F_WRITE_ZEROES)

static void make_dev(struct fixture *f, unsigned threads)
{
    const struct virtio_env env = {.gm = &f->p.gm};
    const struct virtio_blk_config cfg = {.name = "disk0",
                                          .blk = &f->disk.blk,
                                          .serial = "a serial",
                                          .nr_queues = 2,
                                          .threads = threads,
                                          .stuck = on_stuck,
                                          .opaque = f};
    struct err err;

    assert_int_equal(virtio_blk_init(&f->vb, &env, &cfg, &err), 0);
}

static struct fixture *plug_with(unsigned flags, unsigned threads)
{
    static struct fixture f;

    memset(&f, 0, sizeof(f));
    fake_blk_init(&f.disk, flags);
    vpci_init(&f.p);
    make_dev(&f, threads);
    vpci_plug(&f.p, &f.vb.vd);
    return &f;
}

static struct fixture *plug(unsigned flags)
{
    return plug_with(flags, 4);
}

static struct fixture *make_with(unsigned flags, uint64_t features)
{
    struct fixture *f = plug(flags);

    vpci_start(&f->p, features, 2);
    return f;
}

static struct fixture *make(void)
{
    return make_with(0, ALL_FEATURES);
}

static void end(struct fixture *f)
{
    vpci_fini(&f->p);
    virtio_blk_fini(&f->vb);
    fake_blk_fini(&f->disk);
}

/* --- Requests --- */

static gpa_t area(unsigned q, unsigned n)
{
    return AREA + PAGE * (gpa_t)(2 * n + q);
}

static void put_header(struct fixture *f, gpa_t gpa, uint32_t type,
                       uint64_t sector)
{
    uint8_t hdr[16] = {0};

    put_le32(hdr, type);
    put_le64(hdr + 8, sector);
    assert_int_equal(gmem_write(&f->p.gm, gpa, hdr, sizeof(hdr)), 0);
}

static void put_byte(struct fixture *f, gpa_t gpa, uint8_t val)
{
    assert_int_equal(gmem_write(&f->p.gm, gpa, &val, 1), 0);
}

static uint8_t get_byte(struct fixture *f, gpa_t gpa)
{
    uint8_t val;

    assert_int_equal(gmem_read(&f->p.gm, gpa, &val, 1), 0);
    return val;
}

/* Offer request n: header, len bytes of data, status, with descriptors from
 * 3 * (n % 2) on, so two fit into a ring of 8. */
static void offer(struct fixture *f, unsigned q, unsigned n, uint32_t type,
                  uint64_t sector, uint32_t len)
{
    struct ring *r = &f->p.ring[q];
    uint16_t d = (uint16_t)(3 * n);
    uint16_t out = type == T_IN || type == T_GET_ID ? DESC_WRITE : 0;

    assert_true(n < 2);
    put_header(f, area(q, n) + HDR, type, sector);
    put_byte(f, area(q, n) + STATUS, NONE);
    ring_desc(r, d, area(q, n) + HDR, 16, DESC_NEXT, d + 1);
    if (len)
        ring_desc(r, d + 1, area(q, n) + DATA, len, DESC_NEXT | out, d + 2);
    else
        ring_desc(r, d, area(q, n) + HDR, 16, DESC_NEXT, d + 2);
    ring_desc(r, d + 2, area(q, n) + STATUS, 1, DESC_WRITE, 0);
    ring_offer(r, d);
}

static uint8_t status(struct fixture *f, unsigned q, unsigned n)
{
    return get_byte(f, area(q, n) + STATUS);
}

/* One request of queue 0 from beginning to end; its status. */
static uint8_t run(struct fixture *f, uint32_t type, uint64_t sector,
                   uint32_t len)
{
    uint32_t id, used;

    offer(f, 0, 0, type, sector, len);
    vpci_kick(&f->p, 0);
    virtio_blk_drain(&f->vb);
    assert_true(ring_take(&f->p.ring[0], &id, &used));
    assert_int_equal(id, 0);
    return status(f, 0, 0);
}

static void put_range(struct fixture *f, unsigned i, uint64_t sector,
                      uint32_t count, uint32_t flags)
{
    uint8_t raw[16];

    put_le64(raw, sector);
    put_le32(raw + 8, count);
    put_le32(raw + 12, flags);
    assert_int_equal(
        gmem_write(&f->p.gm, area(0, 0) + DATA + 16u * i, raw, sizeof(raw)), 0);
}

static void assert_disk_bytes(struct fixture *f, gpa_t gpa, uint64_t off,
                              unsigned len)
{
    for (unsigned i = 0; i < len; i++)
        assert_int_equal(get_byte(f, gpa + i), fake_blk_byte(off + i));
}

static bool needs_reset(struct fixture *f)
{
    return vpci_get(&f->p, C_STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET;
}

/* --- Reading and writing --- */

static void a_read_brings_the_bytes_of_the_disk(void **state)
{
    struct fixture *f = make();
    uint32_t id, len;

    (void)state;
    offer(f, 0, 0, T_IN, 3, 1024);
    vpci_kick(&f->p, 0);
    virtio_blk_drain(&f->vb);
    assert_true(ring_take(&f->p.ring[0], &id, &len));
    assert_int_equal(len, 1025);
    assert_int_equal(status(f, 0, 0), OK);
    assert_disk_bytes(f, area(0, 0) + DATA, 3 * 512, 1024);
    end(f);
}

static void a_write_reaches_the_disk(void **state)
{
    struct fixture *f = make();
    uint8_t data[512];

    (void)state;
    memset(data, 0x5a, sizeof(data));
    assert_int_equal(
        gmem_write(&f->p.gm, area(0, 0) + DATA, data, sizeof(data)), 0);
    assert_int_equal(run(f, T_OUT, 7, 512), OK);
    assert_memory_equal(f->disk.data + 7 * 512, data, sizeof(data));
    assert_int_equal(f->disk.data[7 * 512 - 1], fake_blk_byte(7 * 512 - 1));
    assert_int_equal(f->disk.data[8 * 512], fake_blk_byte(8 * 512));
    end(f);
}

/* 2.7.4: the device makes no assumption of how a message is cut. */
static void parts_may_be_cut_anywhere(void **state)
{
    struct fixture *f = make();
    struct ring *r = &f->p.ring[0];
    gpa_t a = area(0, 0);
    uint32_t id, len;

    (void)state;
    put_header(f, a, T_OUT, 2);
    put_header(f, a + 16, 0xabcdef01, 0); /* the first bytes of the data */
    put_byte(f, a + STATUS, NONE);
    ring_desc(r, 0, a, 5, DESC_NEXT, 1);
    ring_desc(r, 1, a + 5, 11 + 100, DESC_NEXT, 2);
    ring_desc(r, 2, a + 116, 412, DESC_NEXT, 3);
    ring_desc(r, 3, a + 0x800, 1, DESC_WRITE, 0);
    ring_offer(r, 0);
    vpci_kick(&f->p, 0);
    virtio_blk_drain(&f->vb);
    assert_int_equal(get_byte(f, a + 0x800), OK);
    assert_int_equal(get_le32(f->disk.data + 1024), 0xabcdef01);

    /* data and status in one buffer */
    put_header(f, a, T_IN, 9);
    ring_desc(r, 0, a, 16, DESC_NEXT, 1);
    ring_desc(r, 1, a + DATA, 300, DESC_NEXT | DESC_WRITE, 2);
    ring_desc(r, 2, a + DATA + 300, 213, DESC_WRITE, 0);
    put_byte(f, a + DATA + 512, NONE);
    ring_offer(r, 0);
    vpci_kick(&f->p, 0);
    virtio_blk_drain(&f->vb);
    assert_disk_bytes(f, a + DATA, 9 * 512, 512);
    assert_int_equal(get_byte(f, a + DATA + 512), OK);
    assert_true(ring_take(r, &id, &len) && ring_take(r, &id, &len));
    assert_int_equal(len, 513);
    end(f);
}

static void a_request_beyond_the_end_fails(void **state)
{
    static const uint64_t bad[] = {FAKE_BLK_SIZE / 512 - 1, FAKE_BLK_SIZE / 512,
                                   UINT64_MAX / 512, UINT64_MAX};
    struct fixture *f = make();

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(run(f, T_IN, bad[i], 1024), IOERR);
        assert_int_equal(run(f, T_OUT, bad[i], 1024), IOERR);
    }
    assert_int_equal(f->disk.nr_log, 0);
    assert_int_equal(run(f, T_IN, FAKE_BLK_SIZE / 512 - 2, 1024), OK);
    end(f);
}

static void data_are_whole_sectors(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(run(f, T_IN, 0, 511), IOERR);
    assert_int_equal(run(f, T_OUT, 0, 513), IOERR);
    assert_int_equal(run(f, T_IN, 0, 0), OK);
    end(f);
}

static void a_disk_may_be_read_only(void **state)
{
    struct fixture *f = plug(BLK_RDONLY);
    uint64_t features = vpci_features(&f->p);

    (void)state;
    assert_true(features & 1u << F_RO);
    assert_false(features & (1u << F_DISCARD | 1u << F_WRITE_ZEROES));
    vpci_start(&f->p, features, 2);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    assert_int_equal(run(f, T_OUT, 0, 512), IOERR);
    assert_int_equal(run(f, T_FLUSH, 0, 0), OK);
    put_range(f, 0, 0, 1, 0);
    assert_int_equal(run(f, T_DISCARD, 0, 16), UNSUPP);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 16), UNSUPP);
    end(f);
}

/* --- Other commands --- */

static void a_flush_flushes(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    assert_int_equal(run(f, T_FLUSH, 0, 0), OK);
    assert_int_equal(f->disk.nr_log, 2);
    assert_int_equal(f->disk.log[0].flags, 0);
    assert_int_equal(f->disk.log[1].op, FAKE_FLUSH);
    end(f);
}

static void without_flushes_writes_go_through(void **state)
{
    struct fixture *f = make_with(0, ALL_FEATURES & ~((uint64_t)1 << F_FLUSH));

    (void)state;
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    assert_int_equal(f->disk.log[0].flags, BLK_FUA);
    end(f);
}

static void the_cache_can_be_switched_off(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 32, 1), 1);
    bus_write(f->p.b.mmio, f->p.device.addr + 32, 1, 0);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 32, 1), 0);
    put_range(f, 0, 0, 1, 0);
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    put_range(f, 0, 0, 1, 0);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 16), OK);
    assert_int_equal(f->disk.log[0].flags, BLK_FUA);
    assert_int_equal(f->disk.log[1].flags, BLK_FUA);
    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 32, 1), 1);
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    assert_int_equal(f->disk.log[2].flags, 0);
    end(f);
}

static void the_id_is_the_serial_number(void **state)
{
    struct fixture *f = make();
    char id[20];

    (void)state;
    assert_int_equal(run(f, T_GET_ID, 0, 20), OK);
    assert_int_equal(gmem_read(&f->p.gm, area(0, 0) + DATA, id, sizeof(id)), 0);
    assert_string_equal(id, "a serial");
    assert_int_equal(id[19], 0);
    put_byte(f, area(0, 0) + DATA + 4, 0x77);
    assert_int_equal(run(f, T_GET_ID, 0, 4), OK);
    assert_int_equal(get_byte(f, area(0, 0) + DATA + 4), 0x77);
    end(f);
}

static void an_unknown_command_is_not_supported(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(run(f, 2, 0, 512), UNSUPP);
    assert_int_equal(run(f, 0x80000000, 0, 512), UNSUPP);
    assert_int_equal(f->disk.nr_log, 0);
    assert_false(needs_reset(f));
    end(f);
}

static void ranges_are_discarded_one_after_the_other(void **state)
{
    struct fixture *f = make();

    (void)state;
    put_range(f, 0, 4, 8, 0);
    put_range(f, 1, 100, 1, 0);
    put_range(f, 2, FAKE_BLK_SIZE / 512 - 1, 1, 0);
    assert_int_equal(run(f, T_DISCARD, 0, 48), OK);
    assert_int_equal(f->disk.nr_log, 3);
    assert_int_equal(f->disk.log[0].op, FAKE_DISCARD);
    assert_int_equal(f->disk.log[0].off, 4 * 512);
    assert_int_equal(f->disk.log[0].len, 8 * 512);
    assert_int_equal(f->disk.log[2].off, FAKE_BLK_SIZE - 512);
    end(f);
}

static void zeroes_are_written(void **state)
{
    static const uint8_t zeros[1024];
    struct fixture *f = make();

    (void)state;
    put_range(f, 0, 4, 2, 1);
    put_range(f, 1, 8, 2, 0);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 32), OK);
    assert_memory_equal(f->disk.data + 4 * 512, zeros, sizeof(zeros));
    assert_memory_equal(f->disk.data + 8 * 512, zeros, sizeof(zeros));
    assert_int_equal(f->disk.log[0].flags, BLK_UNMAP);
    assert_int_equal(f->disk.log[1].flags, 0);
    end(f);
}

static void wrong_ranges_do_nothing(void **state)
{
    struct fixture *f = make();

    (void)state;
    put_range(f, 0, 0, 1, 0);
    put_range(f, 1, FAKE_BLK_SIZE / 512, 1, 0);
    assert_int_equal(run(f, T_DISCARD, 0, 32), IOERR);
    put_range(f, 0, UINT64_MAX, 2, 0);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 16), IOERR);
    put_range(f, 0, 0, UINT32_MAX, 0);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 16), IOERR);
    put_range(f, 0, 0, 1, 1); /* unmap is for zeroes */
    assert_int_equal(run(f, T_DISCARD, 0, 16), UNSUPP);
    put_range(f, 0, 0, 1, 2);
    assert_int_equal(run(f, T_WRITE_ZEROES, 0, 16), UNSUPP);
    assert_int_equal(run(f, T_DISCARD, 0, 15), IOERR);
    assert_int_equal(run(f, T_DISCARD, 0, 0), IOERR);
    assert_int_equal(run(f, T_DISCARD, 0, 17 * 16), IOERR);
    assert_int_equal(f->disk.nr_log, 0);
    end(f);
}

/* --- Drivers that break rules --- */

static void a_request_needs_header_and_status(void **state)
{
    struct fixture *f = make();
    struct ring *r = &f->p.ring[0];

    (void)state;
    ring_desc(r, 0, area(0, 0), 15, DESC_NEXT, 1);
    ring_desc(r, 1, area(0, 0) + STATUS, 1, DESC_WRITE, 0);
    ring_offer(r, 0);
    vpci_kick(&f->p, 0);
    assert_true(needs_reset(f));

    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_false(needs_reset(f));
    put_header(f, area(0, 0), T_FLUSH, 0);
    ring_desc(r, 0, area(0, 0), 16, 0, 0);
    ring_offer(r, 0);
    vpci_kick(&f->p, 0);
    assert_true(needs_reset(f));
    assert_int_equal(f->disk.nr_log, 0);
    end(f);
}

static void a_chain_that_is_under_way_is_not_offered_again(void **state)
{
    struct fixture *f = make();

    (void)state;
    fake_blk_close_gate(&f->disk);
    offer(f, 0, 0, T_IN, 0, 512);
    vpci_kick(&f->p, 0);
    ring_offer(&f->p.ring[0], 0);
    vpci_kick(&f->p, 0);
    assert_true(needs_reset(f));
    fake_blk_open_gate(&f->disk);
    virtio_blk_drain(&f->vb);
    assert_int_equal(f->disk.nr_log, 1);
    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

static void one_may_be_offered_again_when_it_is_done(void **state)
{
    struct fixture *f = make();

    (void)state;
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(run(f, i % 3 ? T_IN : 2, 0, 512), i % 3 ? OK : UNSUPP);
    assert_false(needs_reset(f));
    end(f);
}

/* --- Several at a time --- */

static void requests_of_all_queues_are_under_way_together(void **state)
{
    struct fixture *f = make();

    (void)state;
    fake_blk_close_gate(&f->disk);
    for (unsigned i = 0; i < 4; i++) {
        offer(f, i % 2, i / 2, T_IN, i, 512);
        vpci_kick(&f->p, i % 2);
    }
    fake_blk_wait(&f->disk, 4);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), 0);
    fake_blk_open_gate(&f->disk);
    virtio_blk_drain(&f->vb);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), 2);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 2);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(status(f, i % 2, i / 2), OK);
        assert_disk_bytes(f, area(i % 2, i / 2) + DATA, 512 * i, 512);
    }
    end(f);
}

static void what_is_cached_is_read_within_the_notification(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->disk.cached = true;
    offer(f, 0, 0, T_IN, 5, 1024);
    vpci_kick(&f->p, 0);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), 1);
    assert_int_equal(status(f, 0, 0), OK);
    assert_disk_bytes(f, area(0, 0) + DATA, 5 * 512, 1024);
    fake_blk_fail(&f->disk, -EIO);
    assert_int_equal(run(f, T_IN, 5, 1024), IOERR);
    end(f);
}

/* Waits as long as a slow host; which is not asserted. */
static void a_write_that_waited_sends_others_to_the_pool(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    assert_int_equal(f->vb.now.hold, 0);
    f->disk.slow = true;
    assert_int_equal(run(f, T_OUT, 0, 512), OK);
    assert_true(f->vb.now.hold > 0);
    fake_blk_close_gate(&f->disk);
    offer(f, 0, 0, T_OUT, 0, 512);
    vpci_kick(&f->p, 0); /* returns: the pool waits at the gate */
    fake_blk_wait(&f->disk, 1);
    fake_blk_open_gate(&f->disk);
    virtio_blk_drain(&f->vb);
    assert_int_equal(status(f, 0, 0), OK);
    end(f);
}

static void each_queue_has_its_interrupt(void **state)
{
    struct fixture *f = plug(0);

    (void)state;
    vpci_use_msix(&f->p);
    vpci_start(&f->p, ALL_FEATURES & ~VIRTIO_F_EVENT_IDX, 2);
    offer(f, 1, 0, T_IN, 0, 512);
    vpci_kick(&f->p, 1);
    virtio_blk_drain(&f->vb);
    assert_int_equal(f->p.b.nr_msi, 1);
    assert_int_equal(f->p.b.msi[0].data, 0x42);
    offer(f, 0, 0, 2, 0, 512); /* answered within the notification */
    vpci_kick(&f->p, 0);
    assert_int_equal(f->p.b.nr_msi, 2);
    assert_int_equal(f->p.b.msi[1].data, 0x41);
    end(f);
}

/* --- Reset --- */

static void *open_gate_later(void *arg)
{
    struct fixture *f = arg;

    fake_blk_wait(&f->disk, 1);
    /* The reset may have begun to wait or not: it has to work either way. */
    fake_blk_open_gate(&f->disk);
    return NULL;
}

static void a_reset_waits_for_what_is_under_way(void **state)
{
    struct fixture *f = make();
    pthread_t t;

    (void)state;
    fake_blk_close_gate(&f->disk);
    offer(f, 0, 0, T_IN, 0, 512);
    vpci_kick(&f->p, 0);
    assert_int_equal(pthread_create(&t, NULL, open_gate_later, f), 0);
    vpci_set(&f->p, C_STATUS, 1, 0);
    /* From here on the memory is the guest's alone. */
    put_byte(f, area(0, 0) + DATA, 0x99);
    (void)pthread_join(t, NULL);
    virtio_blk_drain(&f->vb);
    assert_int_equal(f->disk.nr_log, 1);
    assert_int_equal(get_byte(f, area(0, 0) + DATA), 0x99);
    /* Answered before the reset, or never. */
    assert_int_equal(ring_used_idx(&f->p.ring[0]), status(f, 0, 0) != NONE);
    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

/* Threads of the pool that want to complete must not keep others from what the
 * reset waits for: all of them have something to complete, and more requests
 * wait than there are threads. */
static void a_reset_waits_for_more_than_the_pool_has_threads(void **state)
{
    struct fixture *f = plug_with(0, 2);

    (void)state;
    vpci_start(&f->p, ALL_FEATURES, 2);
    for (unsigned i = 0; i < 2000; i++) {
        for (unsigned n = 0; n < 4; n++) {
            offer(f, n % 2, n / 2, T_FLUSH, 0, 0);
            vpci_kick(&f->p, n % 2);
        }
        vpci_start(&f->p, ALL_FEATURES, 2);
    }
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

static void a_reset_of_one_queue_leaves_the_others(void **state)
{
    struct fixture *f = make();
    pthread_t t;

    (void)state;
    fake_blk_close_gate(&f->disk);
    offer(f, 0, 0, T_IN, 0, 512);
    offer(f, 1, 0, T_IN, 1, 512);
    vpci_kick(&f->p, 0);
    vpci_kick(&f->p, 1);
    assert_int_equal(pthread_create(&t, NULL, open_gate_later, f), 0);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 0);
    vpci_set(&f->p, C_QUEUE_RESET, 2, 1);
    (void)pthread_join(t, NULL);
    virtio_blk_drain(&f->vb);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), status(f, 0, 0) != NONE);
    assert_int_equal(status(f, 1, 0), OK);
    vpci_enable_queue(&f->p, 0);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

/* --- The host's errors --- */

static void an_error_of_the_host_is_the_guests(void **state)
{
    struct fixture *f = make();

    (void)state;
    fake_blk_fail(&f->disk, -EIO);
    assert_int_equal(run(f, T_IN, 0, 512), IOERR);
    assert_int_equal(run(f, T_OUT, 0, 512), IOERR);
    fake_blk_fail(&f->disk, 0);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    assert_int_equal(run(f, T_FLUSH, 0, 0), OK);
    assert_int_equal(f->stuck_calls, 0);
    end(f);
}

static void after_a_failed_flush_none_succeeds(void **state)
{
    struct fixture *f = make();

    (void)state;
    fake_blk_fail(&f->disk, -EIO);
    assert_int_equal(run(f, T_FLUSH, 0, 0), IOERR);
    fake_blk_fail(&f->disk, 0);
    assert_int_equal(run(f, T_FLUSH, 0, 0), IOERR);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_int_equal(run(f, T_FLUSH, 0, 0), OK);
    end(f);
}

static void fill_up(struct fixture *f)
{
    fake_blk_fail(&f->disk, -ENOSPC);
    offer(f, 0, 0, T_OUT, 0, 512);
    offer(f, 1, 0, T_OUT, 1, 512);
    vpci_kick(&f->p, 0);
    vpci_kick(&f->p, 1);
    virtio_blk_drain(&f->vb);
    assert_int_equal(virtio_blk_nr_stuck(&f->vb), 2);
    assert_int_equal(f->stuck_calls, 1);
}

static void a_full_host_keeps_requests(void **state)
{
    struct fixture *f = make();
    uint8_t data[512];

    (void)state;
    memset(data, 0x5a, sizeof(data));
    assert_int_equal(
        gmem_write(&f->p.gm, area(0, 0) + DATA, data, sizeof(data)), 0);
    fill_up(f);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), 0);
    virtio_blk_retry(&f->vb); /* still full */
    virtio_blk_drain(&f->vb);
    assert_int_equal(virtio_blk_nr_stuck(&f->vb), 2);
    assert_int_equal(f->stuck_calls, 1);
    fake_blk_fail(&f->disk, 0);
    virtio_blk_retry(&f->vb);
    virtio_blk_drain(&f->vb);
    assert_int_equal(virtio_blk_nr_stuck(&f->vb), 0);
    assert_int_equal(f->stuck_calls, 2);
    assert_int_equal(status(f, 0, 0), OK);
    assert_int_equal(status(f, 1, 0), OK);
    assert_memory_equal(f->disk.data, data, sizeof(data));
    end(f);
}

static void a_reset_gives_up_what_is_stuck(void **state)
{
    struct fixture *f = make();

    (void)state;
    fill_up(f);
    vpci_set(&f->p, C_STATUS, 1, 0);
    assert_int_equal(virtio_blk_nr_stuck(&f->vb), 0);
    assert_int_equal(f->stuck_calls, 2);
    assert_int_equal(status(f, 0, 0), NONE);
    fake_blk_fail(&f->disk, 0);
    virtio_blk_retry(&f->vb);
    virtio_blk_drain(&f->vb);
    assert_int_equal(f->disk.data[0], fake_blk_byte(0));
    end(f);
}

static void the_device_may_go_while_requests_are_stuck(void **state)
{
    struct fixture *f = make();

    (void)state;
    fill_up(f);
    end(f);
}

/* --- Size, configuration, state --- */

static uint64_t config(struct fixture *f, unsigned off, unsigned len)
{
    return bus_read(f->p.b.mmio, f->p.device.addr + off, len);
}

static void the_configuration_tells_limits(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(config(f, 0, 4), FAKE_BLK_SIZE / 512);
    assert_int_equal(config(f, 4, 4), 0);
    assert_int_equal(config(f, 12, 4), VIRTIO_BLK_QUEUE_SIZE - 2); /* seg_max */
    assert_int_equal(config(f, 20, 4), 512);
    assert_int_equal(config(f, 24, 1), 3);   /* 4096 = 512 << 3 */
    assert_int_equal(config(f, 26, 2), 8);   /* min_io_size */
    assert_int_equal(config(f, 28, 4), 128); /* opt_io_size */
    assert_int_equal(config(f, 34, 2), 2);   /* num_queues */
    assert_true(config(f, 36, 4) > 0);       /* max_discard_sectors */
    assert_int_equal(config(f, 40, 4), 16);  /* max_discard_seg */
    assert_int_equal(config(f, 44, 4), 16);  /* discard_sector_alignment */
    assert_true(config(f, 48, 4) > 0);
    assert_int_equal(config(f, 52, 4), 16);
    assert_int_equal(config(f, 56, 1), 1);
    assert_int_equal(config(f, 60, 4), 0); /* beyond its end */
    end(f);
}

static void growth_is_told(void **state)
{
    struct fixture *f = plug(0);
    struct err err;
    unsigned generation;

    (void)state;
    vpci_use_msix(&f->p);
    vpci_start(&f->p, ALL_FEATURES, 2);
    generation = vpci_get(&f->p, C_GENERATION, 1);
    assert_int_equal(run(f, T_IN, FAKE_BLK_SIZE / 512, 512), IOERR);
    f->p.b.nr_msi = 0;
    assert_int_equal(blk_resize(&f->disk.blk, 2 * FAKE_BLK_SIZE, &err), 0);
    assert_int_equal(config(f, 0, 4), FAKE_BLK_SIZE / 512);
    virtio_blk_resized(&f->vb);
    assert_int_equal(f->p.b.nr_msi, 1);
    assert_int_equal(f->p.b.msi[0].data, 0x40);
    assert_int_not_equal(vpci_get(&f->p, C_GENERATION, 1), generation);
    assert_int_equal(config(f, 0, 4), 2 * FAKE_BLK_SIZE / 512);
    assert_int_equal(run(f, T_IN, FAKE_BLK_SIZE / 512, 512), OK);
    end(f);
}

/* What the guest wrote is carried out by the machine that loads the state. */
static void stuck_requests_outlive_a_saved_state(void **state)
{
    struct fixture *f = make();
    struct virtio_blk_state saved;

    (void)state;
    fill_up(f);
    saved = f->vb.st;
    assert_int_equal(saved.taken[0][0], 1);
    assert_int_equal(saved.taken[1][0], 1);
    fake_blk_fail(&f->disk, 0);
    f->vb.st = saved;
    virtio_dev_loaded(&f->vb.vd);
    virtio_blk_drain(&f->vb);
    assert_int_equal(virtio_blk_nr_stuck(&f->vb), 0);
    assert_int_equal(status(f, 0, 0), OK);
    assert_int_equal(status(f, 1, 0), OK);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), 1);
    assert_int_equal(f->vb.st.taken[0][0], 0);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

static void a_forged_state_breaks_the_device_alone(void **state)
{
    struct fixture *f = make();

    (void)state;
    memset(f->vb.st.taken, 0xff, sizeof(f->vb.st.taken));
    virtio_dev_loaded(&f->vb.vd);
    virtio_blk_drain(&f->vb);
    assert_true(needs_reset(f));
    vpci_start(&f->p, ALL_FEATURES, 2);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

static void the_state_survives_a_round_trip(void **state)
{
    struct virtio_blk_state a = {.writeback = 1}, b = {0};
    struct state_writer w;
    struct state_reader r;
    struct err err;
    uint8_t *buf;
    size_t len;

    (void)state;
    a.taken[3][17] = 0x42;
    state_writer_init(&w);
    state_save(&w, &virtio_blk_state_desc, 0, &a);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(state_load(&r, &virtio_blk_state_desc, 0, &b, &err), 0);
    assert_memory_equal(&a, &b, sizeof(a));
    free(buf);
    a.writeback = 2;
    assert_int_equal(virtio_blk_state_desc.check(&a), -EINVAL);
}

/* --- Out of memory --- */

static void init_fails_whole_without_memory(void **state)
{
    static struct fixture f;
    const struct virtio_env env = {.gm = &f.p.gm};
    const struct virtio_blk_config cfg = {
        .name = "disk0", .blk = &f.disk.blk, .nr_queues = 1, .threads = 1};
    struct err err;
    int rc;

    (void)state;
    fake_blk_init(&f.disk, 0);
    for (unsigned n = 1; fail_alloc_at(n),
                  (rc = virtio_blk_init(&f.vb, &env, &cfg, &err)) == -ENOMEM;
         n++)
        assert_true(strlen(err.text) > 0);
    assert_int_equal(rc, 0);
    assert_false(fail_alloc_happened());
    fail_alloc_at(0);
    virtio_blk_fini(&f.vb);
    fake_blk_fini(&f.disk);
}

static void a_request_without_memory_fails(void **state)
{
    struct fixture *f = make();

    (void)state;
    fail_alloc_at(1);
    assert_int_equal(run(f, T_OUT, 0, 512), IOERR);
    assert_true(fail_alloc_happened());
    fail_alloc_at(1);
    assert_int_equal(run(f, T_FLUSH, 0, 0), IOERR);
    put_range(f, 0, 0, 1, 0);
    fail_alloc_at(1);
    assert_int_equal(run(f, T_DISCARD, 0, 16), IOERR);
    fail_alloc_at(0);
    assert_int_equal(f->disk.nr_log, 0);
    assert_int_equal(run(f, T_IN, 0, 512), OK);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_brings_the_bytes_of_the_disk),
        cmocka_unit_test(a_write_reaches_the_disk),
        cmocka_unit_test(parts_may_be_cut_anywhere),
        cmocka_unit_test(a_request_beyond_the_end_fails),
        cmocka_unit_test(data_are_whole_sectors),
        cmocka_unit_test(a_disk_may_be_read_only),
        cmocka_unit_test(a_flush_flushes),
        cmocka_unit_test(without_flushes_writes_go_through),
        cmocka_unit_test(the_cache_can_be_switched_off),
        cmocka_unit_test(the_id_is_the_serial_number),
        cmocka_unit_test(an_unknown_command_is_not_supported),
        cmocka_unit_test(ranges_are_discarded_one_after_the_other),
        cmocka_unit_test(zeroes_are_written),
        cmocka_unit_test(wrong_ranges_do_nothing),
        cmocka_unit_test(a_request_needs_header_and_status),
        cmocka_unit_test(a_chain_that_is_under_way_is_not_offered_again),
        cmocka_unit_test(one_may_be_offered_again_when_it_is_done),
        cmocka_unit_test(requests_of_all_queues_are_under_way_together),
        cmocka_unit_test(what_is_cached_is_read_within_the_notification),
        cmocka_unit_test(a_write_that_waited_sends_others_to_the_pool),
        cmocka_unit_test(each_queue_has_its_interrupt),
        cmocka_unit_test(a_reset_waits_for_what_is_under_way),
        cmocka_unit_test(a_reset_waits_for_more_than_the_pool_has_threads),
        cmocka_unit_test(a_reset_of_one_queue_leaves_the_others),
        cmocka_unit_test(an_error_of_the_host_is_the_guests),
        cmocka_unit_test(after_a_failed_flush_none_succeeds),
        cmocka_unit_test(a_full_host_keeps_requests),
        cmocka_unit_test(a_reset_gives_up_what_is_stuck),
        cmocka_unit_test(the_device_may_go_while_requests_are_stuck),
        cmocka_unit_test(the_configuration_tells_limits),
        cmocka_unit_test(growth_is_told),
        cmocka_unit_test(stuck_requests_outlive_a_saved_state),
        cmocka_unit_test(a_forged_state_breaks_the_device_alone),
        cmocka_unit_test(the_state_survives_a_round_trip),
        cmocka_unit_test(init_fails_whole_without_memory),
        cmocka_unit_test(a_request_without_memory_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
