#include "devices/virtio/virtio_rng.h"

#include <string.h>

#include "tests/unit/devices/virtio/vpci.h"
#include "tests/unit/test.h"

enum { DATA = 0x10000 };

struct fixture {
    struct virtio_rng rng;
    struct vpci p;
};

static struct fixture *make(void)
{
    static struct fixture f;
    struct virtio_env env = {.gm = &f.p.gm};
    struct err err;

    vpci_init(&f.p);
    assert_int_equal(virtio_rng_init(&f.rng, &env, &err), 0);
    vpci_plug(&f.p, &f.rng.vd);
    vpci_start(&f.p, VIRTIO_COMMON_FEATURES, 1);
    return &f;
}

static void end(struct fixture *f)
{
    vpci_fini(&f->p);
    virtio_rng_fini(&f->rng);
}

static void buffers_are_filled(void **state)
{
    struct fixture *f = make();
    uint8_t buf[96], zeros[64] = {0};
    uint32_t id, len;

    (void)state;
    ring_desc(&f->p.ring[0], 2, DATA, 64, DESC_WRITE, 0);
    ring_offer(&f->p.ring[0], 2);
    vpci_kick(&f->p, 0);
    assert_true(ring_take(&f->p.ring[0], &id, &len));
    assert_int_equal(id, 2);
    assert_int_equal(len, 64);
    assert_int_equal(gmem_read(&f->p.gm, DATA, buf, sizeof(buf)), 0);
    assert_memory_not_equal(buf, zeros, 64);
    assert_memory_equal(buf + 64, zeros, 32);
    end(f);
}

static void every_waiting_buffer_is_filled_by_one_kick(void **state)
{
    struct fixture *f = make();

    (void)state;
    for (uint16_t i = 0; i < VPCI_RING_SIZE; i++) {
        ring_desc(&f->p.ring[0], i, DATA + 64u * i, 64, DESC_WRITE, 0);
        ring_offer(&f->p.ring[0], i);
    }
    vpci_kick(&f->p, 0);
    assert_int_equal(ring_used_idx(&f->p.ring[0]), VPCI_RING_SIZE);
    end(f);
}

static void a_large_buffer_is_filled_in_part(void **state)
{
    struct fixture *f = make();
    uint32_t id, len;

    (void)state;
    ring_desc(&f->p.ring[0], 0, DATA, 0x10000, DESC_WRITE, 0);
    ring_offer(&f->p.ring[0], 0);
    vpci_kick(&f->p, 0);
    assert_true(ring_take(&f->p.ring[0], &id, &len));
    assert_in_range(len, 1, 0xffff);
    end(f);
}

static void a_buffer_to_read_gets_nothing(void **state)
{
    struct fixture *f = make();
    uint32_t id, len;

    (void)state;
    ring_desc(&f->p.ring[0], 0, DATA, 64, 0, 0);
    ring_offer(&f->p.ring[0], 0);
    vpci_kick(&f->p, 0);
    assert_true(ring_take(&f->p.ring[0], &id, &len));
    assert_int_equal(len, 0);
    end(f);
}

static void a_kick_is_asked_for_after_each_batch(void **state)
{
    struct fixture *f = make();

    (void)state;
    for (uint16_t i = 0; i < 3; i++) {
        ring_desc(&f->p.ring[0], 0, DATA, 64, DESC_WRITE, 0);
        assert_int_equal(ring_avail_event(&f->p.ring[0]), i);
        ring_offer(&f->p.ring[0], 0);
        vpci_kick(&f->p, 0);
    }
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffers_are_filled),
        cmocka_unit_test(every_waiting_buffer_is_filled_by_one_kick),
        cmocka_unit_test(a_large_buffer_is_filled_in_part),
        cmocka_unit_test(a_buffer_to_read_gets_nothing),
        cmocka_unit_test(a_kick_is_asked_for_after_each_batch),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
