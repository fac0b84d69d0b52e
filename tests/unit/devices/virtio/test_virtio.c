#include "devices/virtio/virtio.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/devices/virtio/driver.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { RING = 0x1000, DATA = 0x10000, SIZE = 8, NR_QUEUES = 2 };

#define MY_FEATURE ((uint64_t)1 << 3)
#define STARTED    (VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK)
#define ALL_COMMON VIRTIO_COMMON_FEATURES

struct fixture {
    struct virtio_dev vd; /* first */
    struct gmem gm;
    struct ring r;
    unsigned started, resets, queue_resets, loads;
    unsigned calls[NR_QUEUES];
    unsigned used[NR_QUEUES];
    unsigned config_changes;
    bool again, no_dma;
    struct loop *stop; /* stopped by the next call of queue */
};

static struct fixture *of(struct virtio_dev *vd)
{
    return (struct fixture *)(void *)vd;
}

static void started(struct virtio_dev *vd)
{
    of(vd)->started++;
}

static bool queue(struct virtio_dev *vd, unsigned q)
{
    struct fixture *f = of(vd);
    struct virtq_chain chain;

    f->calls[q]++;
    while (virtio_pop(vd, q, &chain))
        virtq_push(&vd->vq[q], &chain, 0);
    virtio_notify(vd, q);
    if (f->stop)
        loop_stop(f->stop, 0);
    if (!f->again)
        return false;
    f->again = false;
    return true;
}

static void queue_reset(struct virtio_dev *vd, unsigned q)
{
    (void)q;
    of(vd)->queue_resets++;
}

static void reset(struct virtio_dev *vd)
{
    of(vd)->resets++;
}

static void loaded(struct virtio_dev *vd)
{
    of(vd)->loads++;
}

static void used(void *opaque, unsigned q)
{
    ((struct fixture *)opaque)->used[q]++;
}

static void config_changed(void *opaque)
{
    ((struct fixture *)opaque)->config_changes++;
}

static bool can_dma(void *opaque)
{
    return !((struct fixture *)opaque)->no_dma;
}

static void config_read(struct virtio_dev *vd, uint32_t off, void *dst,
                        unsigned len)
{
    (void)vd;
    memset(dst, (int)(0x10 + off), len);
}

static const struct virtio_type type = {
    .name = "test",
    .id = 1,
    .features = MY_FEATURE,
    .nr_queues = NR_QUEUES,
    .queue_size = SIZE,
    .config_size = 6,
    .config_read = config_read,
    .started = started,
    .queue = queue,
    .queue_reset = queue_reset,
    .reset = reset,
    .loaded = loaded,
};

static const struct virtio_type inline_type = {
    .name = "inline",
    .id = 2,
    .nr_queues = NR_QUEUES,
    .queue_size = SIZE,
    .inline_kick = true,
    .queue = queue,
};

static struct fixture *make_with(const struct virtio_type *t, struct loop *loop)
{
    static struct fixture f;
    struct virtio_env env = {.gm = &f.gm, .loop = loop};
    struct err err;

    memset(&f, 0, sizeof(f));
    ram_init(&f.gm);
    assert_int_equal(virtio_dev_init(&f.vd, t, &env, 0, &err), 0);
    f.vd.transport = (struct virtio_transport){.used = used,
                                               .config_changed = config_changed,
                                               .can_dma = can_dma,
                                               .opaque = &f};
    return &f;
}

static struct fixture *make(void)
{
    return make_with(&type, NULL);
}

static void end(struct fixture *f)
{
    virtio_dev_fini(&f->vd);
    gmem_fini(&f->gm);
}

static void set_status(struct fixture *f, unsigned status)
{
    lock_take(&f->vd.lock);
    virtio_set_status(&f->vd, (uint8_t)status);
    lock_drop(&f->vd.lock);
}

static void accept_features(struct fixture *f, uint64_t features)
{
    virtio_set_driver_features(&f->vd, 0, (uint32_t)features);
    virtio_set_driver_features(&f->vd, 1, (uint32_t)(features >> 32));
    set_status(f, VIRTIO_STATUS_FEATURES_OK);
}

static void enable(struct fixture *f, unsigned q)
{
    struct virtq_state *st = &f->vd.vq[q].st;

    ring_init(&f->r, &f->gm, RING, SIZE);
    st->desc = f->r.desc;
    st->avail = f->r.avail;
    st->used = f->r.used;
    lock_take(&f->vd.lock);
    virtio_enable_queue(&f->vd, q);
    lock_drop(&f->vd.lock);
}

static struct fixture *start(struct fixture *f)
{
    accept_features(f, ALL_COMMON);
    enable(f, 1);
    set_status(f, STARTED);
    virtio_dev_run(&f->vd);
    f->calls[1] = 0;
    return f;
}

static void offer(struct fixture *f)
{
    ring_desc(&f->r, 0, DATA, 16, 0, 0);
    ring_offer(&f->r, 0);
}

/* -- Negotiation --- */

static void common_features_are_always_offered(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(virtio_get_features(&f->vd, 0), 0x30000008);
    assert_int_equal(virtio_get_features(&f->vd, 1), 0x101);
    assert_int_equal(virtio_get_features(&f->vd, 2), 0);
    end(f);
}

static void features_that_were_not_offered_are_refused(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, VIRTIO_F_VERSION_1 | 1);
    assert_int_equal(f->vd.st.status & VIRTIO_STATUS_FEATURES_OK, 0);
    end(f);
}

static void legacy_drivers_are_refused(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, MY_FEATURE);
    assert_int_equal(f->vd.st.status & VIRTIO_STATUS_FEATURES_OK, 0);
    end(f);
}

static void features_are_fixed_once_accepted(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, VIRTIO_F_VERSION_1 | MY_FEATURE);
    assert_int_equal(f->vd.st.status, VIRTIO_STATUS_FEATURES_OK);
    virtio_set_driver_features(&f->vd, 0, 0);
    assert_int_equal(virtio_get_driver_features(&f->vd, 0), MY_FEATURE);
    end(f);
}

static void driver_ok_needs_features_ok(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_status(f, VIRTIO_STATUS_DRIVER | VIRTIO_STATUS_DRIVER_OK);
    assert_int_equal(f->vd.st.status, VIRTIO_STATUS_DRIVER);
    assert_int_equal(f->started, 0);
    end(f);
}

static void status_bits_are_only_cleared_by_a_reset(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_status(f, VIRTIO_STATUS_ACKNOWLEDGE);
    set_status(f, VIRTIO_STATUS_DRIVER);
    assert_int_equal(f->vd.st.status, 3);
    set_status(f, 0);
    assert_int_equal(f->vd.st.status, 0);
    assert_int_equal(f->resets, 1);
    end(f);
}

static void the_driver_cannot_set_needs_reset(void **state)
{
    struct fixture *f = make();

    (void)state;
    set_status(f, 0xff & ~(unsigned)VIRTIO_STATUS_DRIVER_OK);
    assert_int_equal(f->vd.st.status & VIRTIO_STATUS_NEEDS_RESET, 0);
    end(f);
}

/* -- Queues --- */

static void a_queue_runs_when_it_is_kicked(void **state)
{
    struct fixture *f = start(make());
    uint32_t id, len;

    (void)state;
    offer(f);
    virtio_kick(&f->vd, 1);
    assert_int_equal(f->calls[1], 0); /* not on this thread */
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 1);
    assert_int_equal(f->calls[0], 0);
    assert_true(ring_take(&f->r, &id, &len));
    assert_int_equal(f->used[1], 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 1);
    end(f);
}

static void an_inline_queue_runs_at_once(void **state)
{
    struct fixture *f = start(make_with(&inline_type, NULL));

    (void)state;
    offer(f);
    virtio_kick(&f->vd, 1);
    assert_int_equal(f->calls[1], 1);
    end(f);
}

static void buffers_offered_before_driver_ok_are_found(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, ALL_COMMON);
    enable(f, 1);
    offer(f);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 0);
    set_status(f, STARTED);
    assert_int_equal(f->started, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 1);
    end(f);
}

static void a_device_without_the_right_to_dma_waits(void **state)
{
    struct fixture *f = start(make());

    (void)state;
    f->no_dma = true;
    offer(f);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 0);
    f->no_dma = false;
    virtio_requeue_all(&f->vd);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 1);
    end(f);
}

static void a_device_that_wants_more_is_called_again(void **state)
{
    struct fixture *f = start(make());

    (void)state;
    f->again = true;
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    virtio_dev_run(&f->vd);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 2);
    end(f);
}

static void a_kick_of_a_queue_that_is_not_there_is_ignored(void **state)
{
    struct fixture *f = start(make());

    (void)state;
    virtio_kick(&f->vd, NR_QUEUES);
    virtio_kick(&f->vd, 0xffff);
    virtio_kick(&f->vd, 0); /* not enabled */
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[0], 0);
    end(f);
}

static void queues_need_accepted_features(void **state)
{
    struct fixture *f = make();

    (void)state;
    enable(f, 1);
    assert_int_equal(f->vd.vq[1].st.enabled, 0);
    end(f);
}

static void a_reset_queue_can_be_used_again(void **state)
{
    struct fixture *f = start(make());

    (void)state;
    offer(f);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    virtio_reset_queue(&f->vd, 1);
    assert_int_equal(f->queue_resets, 1);
    assert_int_equal(f->vd.vq[1].st.enabled, 0);
    enable(f, 1);
    offer(f);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(ring_used_idx(&f->r), 1);
    end(f);
}

static void queue_reset_must_be_negotiated(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, VIRTIO_F_VERSION_1);
    enable(f, 1);
    virtio_reset_queue(&f->vd, 1);
    assert_int_equal(f->vd.vq[1].st.enabled, 1);
    end(f);
}

/* -- Broken drivers --- */

static void a_broken_rule_needs_a_reset(void **state)
{
    struct fixture *f = start(make());

    (void)state;
    ring_offer(&f->r, SIZE); /* no such descriptor */
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_true(f->vd.st.status & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(f->config_changes, 1);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(f->calls[1], 1);
    set_status(f, 0);
    start(f);
    offer(f);
    virtio_kick(&f->vd, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(ring_used_idx(&f->r), 1);
    end(f);
}

static void a_queue_outside_of_ram_needs_a_reset(void **state)
{
    struct fixture *f = make();

    (void)state;
    accept_features(f, ALL_COMMON);
    f->vd.vq[0].st.desc = HOLE;
    virtio_enable_queue(&f->vd, 0);
    assert_int_equal(f->vd.vq[0].st.enabled, 0);
    assert_true(f->vd.st.status & VIRTIO_STATUS_NEEDS_RESET);
    assert_int_equal(f->config_changes, 0); /* no driver runs */
    end(f);
}

/* -- Configuration --- */

static void configuration_ends_where_it_says(void **state)
{
    struct fixture *f = make();
    uint8_t buf[4];

    (void)state;
    virtio_config_read(&f->vd, 2, buf, 4);
    assert_memory_equal(buf, "\x12\x12\x12\x12", 4);
    virtio_config_read(&f->vd, 4, buf, 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    virtio_config_read(&f->vd, UINT64_MAX - 1, buf, 4);
    assert_memory_equal(buf, "\0\0\0\0", 4);
    virtio_config_write(&f->vd, 0, buf, 4); /* the type takes none */
    end(f);
}

static void a_change_moves_the_generation(void **state)
{
    struct fixture *f = start(make());
    uint8_t before = f->vd.st.generation;

    (void)state;
    virtio_config_changed(&f->vd);
    assert_int_equal(f->vd.st.generation, before + 1);
    assert_int_equal(f->config_changes, 1);
    end(f);
}

/* -- Saved state --- */

static void a_loaded_device_goes_on(void **state)
{
    struct fixture *f = start(make());
    struct virtio_dev_state dev = f->vd.st;
    struct virtq_state vq;

    (void)state;
    offer(f);
    vq = f->vd.vq[1].st;
    virtio_dev_reset(&f->vd);
    assert_int_equal(virtio_dev_state_desc.check(&dev), 0);
    f->vd.st = dev;
    f->vd.vq[1].st = vq;
    virtio_dev_loaded(&f->vd);
    assert_int_equal(f->loads, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(ring_used_idx(&f->r), 1);
    end(f);
}

static void a_forged_device_is_broken(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->vd.st.status = STARTED;
    f->vd.st.driver_features = UINT64_MAX;
    virtio_dev_loaded(&f->vd);
    assert_true(f->vd.st.status & VIRTIO_STATUS_NEEDS_RESET);

    virtio_dev_reset(&f->vd);
    f->vd.st.status = STARTED;
    f->vd.st.driver_features = VIRTIO_F_VERSION_1;
    f->vd.vq[0].st.enabled = 1;
    f->vd.vq[0].st.desc = HOLE;
    virtio_dev_loaded(&f->vd);
    assert_true(f->vd.st.status & VIRTIO_STATUS_NEEDS_RESET);
    assert_false(virtio_queue_is_live(&f->vd, 0));
    end(f);
}

static void unknown_status_bits_are_refused(void **state)
{
    struct virtio_dev_state st = {.status = 0x20};

    (void)state;
    assert_int_equal(virtio_dev_state_desc.check(&st), -EINVAL);
}

/* -- With a loop --- */

static void *kick_thread(void *opaque)
{
    struct fixture *f = opaque;

    virtio_kick(&f->vd, 1);
    return NULL;
}

static void a_kick_reaches_the_loop(void **state)
{
    struct loop *loop;
    struct fixture *f;
    pthread_t thread;
    struct err err;

    (void)state;
    assert_int_equal(loop_new(&loop, &err), 0);
    f = make_with(&type, loop);
    accept_features(f, ALL_COMMON);
    enable(f, 1);
    offer(f);
    set_status(f, STARTED);
    f->stop = loop;
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(f->calls[1], 1);
    assert_int_equal(pthread_create(&thread, NULL, kick_thread, f), 0);
    assert_int_equal(loop_run(loop), 0);
    assert_int_equal(f->calls[1], 2);
    assert_int_equal(pthread_join(thread, NULL), 0);
    end(f);
    loop_free(loop);
}

static void init_fails_when_the_loop_has_no_memory(void **state)
{
    static struct fixture f;
    struct virtio_env env = {.gm = &f.gm};
    struct err err;

    (void)state;
    assert_int_equal(loop_new(&env.loop, &err), 0);
    for (unsigned n = 1;; n++) {
        int rc;

        fail_alloc_at(n);
        rc = virtio_dev_init(&f.vd, &type, &env, 0, &err);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
    }
    assert_false(fail_alloc_happened());
    fail_alloc_at(0);
    virtio_dev_fini(&f.vd);
    loop_free(env.loop);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&virtio_dev_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(common_features_are_always_offered),
        cmocka_unit_test(features_that_were_not_offered_are_refused),
        cmocka_unit_test(legacy_drivers_are_refused),
        cmocka_unit_test(features_are_fixed_once_accepted),
        cmocka_unit_test(driver_ok_needs_features_ok),
        cmocka_unit_test(status_bits_are_only_cleared_by_a_reset),
        cmocka_unit_test(the_driver_cannot_set_needs_reset),
        cmocka_unit_test(a_queue_runs_when_it_is_kicked),
        cmocka_unit_test(an_inline_queue_runs_at_once),
        cmocka_unit_test(buffers_offered_before_driver_ok_are_found),
        cmocka_unit_test(a_device_without_the_right_to_dma_waits),
        cmocka_unit_test(a_device_that_wants_more_is_called_again),
        cmocka_unit_test(a_kick_of_a_queue_that_is_not_there_is_ignored),
        cmocka_unit_test(queues_need_accepted_features),
        cmocka_unit_test(a_reset_queue_can_be_used_again),
        cmocka_unit_test(queue_reset_must_be_negotiated),
        cmocka_unit_test(a_broken_rule_needs_a_reset),
        cmocka_unit_test(a_queue_outside_of_ram_needs_a_reset),
        cmocka_unit_test(configuration_ends_where_it_says),
        cmocka_unit_test(a_change_moves_the_generation),
        cmocka_unit_test(a_loaded_device_goes_on),
        cmocka_unit_test(a_forged_device_is_broken),
        cmocka_unit_test(unknown_status_bits_are_refused),
        cmocka_unit_test(a_kick_reaches_the_loop),
        cmocka_unit_test(init_fails_when_the_loop_has_no_memory),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
