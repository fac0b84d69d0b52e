#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/devices/virtio/vpci.h"
#include "tests/unit/test.h"

enum { NR_QUEUES = 2, DATA = 0x10000 };

#define FEATURES VIRTIO_COMMON_FEATURES

struct fixture {
    struct virtio_dev vd; /* first */
    struct vpci p;
    uint8_t config[8];
    unsigned calls;
};

static bool queue(struct virtio_dev *vd, unsigned q)
{
    struct virtq_chain chain;

    ((struct fixture *)(void *)vd)->calls++;
    while (virtio_pop(vd, q, &chain))
        virtq_push(&vd->vq[q], &chain, 0);
    virtio_notify(vd, q);
    return virtq_enable_kicks(&vd->vq[q]);
}

static void config_read(struct virtio_dev *vd, uint32_t off, void *dst,
                        unsigned len)
{
    memcpy(dst, ((struct fixture *)(void *)vd)->config + off, len);
}

static void config_write(struct virtio_dev *vd, uint32_t off, const void *src,
                         unsigned len)
{
    memcpy(((struct fixture *)(void *)vd)->config + off, src, len);
}

static const struct virtio_type type = {
    .name = "test",
    .id = 2,
    .pci_class = 0x018000,
    .nr_queues = NR_QUEUES,
    .queue_size = 64,
    .config_size = 8,
    .config_read = config_read,
    .config_write = config_write,
    .queue = queue,
};

static struct fixture *make(void)
{
    static struct fixture f;
    struct virtio_env env = {.gm = &f.p.gm};
    struct err err;

    memset(&f, 0, sizeof(f));
    vpci_init(&f.p);
    assert_int_equal(virtio_dev_init(&f.vd, &type, &env, 0, &err), 0);
    vpci_plug(&f.p, &f.vd);
    return &f;
}

static void end(struct fixture *f)
{
    vpci_fini(&f->p);
    virtio_dev_fini(&f->vd);
}

static uint32_t cfg(struct fixture *f, unsigned off, unsigned len)
{
    return board_read(&f->p.b, VPCI_SLOT, 0, off, len);
}

static void set_cfg(struct fixture *f, unsigned off, unsigned len, uint32_t val)
{
    board_write(&f->p.b, VPCI_SLOT, 0, off, len, val);
}

static void offer(struct fixture *f, unsigned q)
{
    ring_desc(&f->p.ring[q], 0, DATA, 16, 0, 0);
    ring_offer(&f->p.ring[q], 0);
}

static bool wire(const struct fixture *f)
{
    return f->p.b.gsi[VPCI_SLOT & 3];
}

/* -- Identity and layout --- */

static void the_device_is_not_transitional(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(cfg(f, PCI_VENDOR_ID, 4), 0x10421af4);
    assert_int_equal(cfg(f, PCI_REVISION, 4), 0x01800001);
    assert_true(cfg(f, PCI_SUBSYS_ID, 2) >= 0x40);
    end(f);
}

static void all_capabilities_are_there(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(f->p.common.len, 0x3c);
    assert_int_equal(f->p.notify.len, NR_QUEUES * 4);
    assert_int_equal(f->p.notify_multiplier, 4);
    assert_int_equal(f->p.isr.len, 1);
    assert_int_equal(f->p.device.len, 8);
    assert_int_not_equal(f->p.window.cap, 0);
    end(f);
}

/* -- Common registers --- */

static void registers_of_a_queue_that_is_not_there_read_as_zero(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_set(&f->p, C_QUEUE_SELECT, 2, NR_QUEUES);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_SIZE, 2), 0);
    vpci_set(&f->p, C_QUEUE_SIZE, 2, 4);
    vpci_set(&f->p, C_QUEUE_ENABLE, 2, 1);
    vpci_set(&f->p, C_QUEUE_RESET, 2, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_ENABLE, 2), 0);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 0xffff);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_SIZE, 2), 0);
    end(f);
}

static void a_queue_begins_with_its_largest_size(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(vpci_get(&f->p, C_NR_QUEUES, 2), NR_QUEUES);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_SIZE, 2), 64);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_NOTIFY_OFF, 2), 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_VECTOR, 2), 0xffff);
    end(f);
}

static void areas_read_back(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 1);
    vpci_set(&f->p, C_QUEUE_DESC, 4, 0x11223344);
    vpci_set(&f->p, C_QUEUE_DESC + 4, 4, 0x55667788);
    vpci_set(&f->p, C_QUEUE_USED + 4, 4, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_DESC, 4), 0x11223344);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_DESC + 4, 4), 0x55667788);
    assert_int_equal(f->vd.vq[1].st.used, 0x100000000);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.common.addr + C_QUEUE_DESC, 8),
                     0x5566778811223344);
    end(f);
}

static void writes_of_a_wrong_width_are_ignored(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_set(&f->p, C_QUEUE_SELECT, 1, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_SELECT, 2), 0);
    vpci_set(&f->p, C_STATUS, 2, 1);
    assert_int_equal(vpci_get(&f->p, C_STATUS, 1), 0);
    vpci_set(&f->p, C_QUEUE_DESC, 2, 0x1000);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_DESC, 4), 0);
    end(f);
}

static void an_enabled_queue_does_not_move(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, 1);
    vpci_set(&f->p, C_QUEUE_DESC, 4, 0x20000);
    vpci_set(&f->p, C_QUEUE_SIZE, 2, 2);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_DESC, 4), f->p.ring[0].desc);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_SIZE, 2), VPCI_RING_SIZE);
    vpci_set(&f->p, C_QUEUE_ENABLE, 2, 0);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_ENABLE, 2), 1);
    end(f);
}

static void every_access_of_the_bar_is_safe(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    for (uint64_t off = 0; off < 0x4000; off++) {
        for (unsigned size = 1; size <= 8; size *= 2) {
            (void)bus_read(f->p.b.mmio, f->p.common.addr + off, size);
            bus_write(f->p.b.mmio, f->p.common.addr + off, size, UINT64_MAX);
        }
    }
    virtio_dev_run(&f->vd);
    end(f);
}

/* -- Running --- */

static void the_offered_features_have_version_1(void **state)
{
    struct fixture *f = make();

    (void)state;
    assert_int_equal(vpci_features(&f->p), FEATURES);
    vpci_set(&f->p, C_FEATURE_SELECT, 4, 2);
    assert_int_equal(vpci_get(&f->p, C_FEATURE, 4), 0);
    end(f);
}

static void unacceptable_features_clear_features_ok(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_negotiate(&f->p, FEATURES | 1);
    assert_int_equal(vpci_get(&f->p, C_STATUS, 1),
                     VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER);
    end(f);
}

static void used_buffers_raise_the_wire_until_isr_is_read(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 1);
    assert_true(wire(f));
    assert_int_equal(bus_read(f->p.b.mmio, f->p.isr.addr, 1), 1);
    assert_false(wire(f));
    assert_int_equal(bus_read(f->p.b.mmio, f->p.isr.addr, 1), 0);
    end(f);
}

static void used_buffers_send_the_queues_message(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_use_msix(&f->p);
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(f->p.b.nr_msi, 1);
    assert_int_equal(f->p.b.msi[0].data, 0x42);
    assert_false(wire(f));
    end(f);
}

static void a_queue_without_a_vector_is_silent(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_use_msix(&f->p);
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 1);
    vpci_set(&f->p, C_QUEUE_VECTOR, 2, VIRTIO_NO_VECTOR);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 1);
    assert_int_equal(f->p.b.nr_msi, 0);
    assert_false(wire(f));
    end(f);
}

static void a_vector_that_is_not_there_reads_back_as_none(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_set(&f->p, C_CONFIG_VECTOR, 2, NR_QUEUES);
    assert_int_equal(vpci_get(&f->p, C_CONFIG_VECTOR, 2), NR_QUEUES);
    vpci_set(&f->p, C_CONFIG_VECTOR, 2, NR_QUEUES + 1);
    assert_int_equal(vpci_get(&f->p, C_CONFIG_VECTOR, 2), 0xffff);
    vpci_set(&f->p, C_QUEUE_VECTOR, 2, NR_QUEUES + 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_VECTOR, 2), 0xffff);
    end(f);
}

static void a_broken_rule_is_told_as_a_configuration_change(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    ring_offer(&f->p.ring[0], VPCI_RING_SIZE);
    vpci_kick(&f->p, 0);
    assert_true(vpci_get(&f->p, C_STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET);
    assert_true(wire(f));
    assert_int_equal(bus_read(f->p.b.mmio, f->p.isr.addr, 1), 2);
    end(f);
}

static void a_reset_begins_anew(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_use_msix(&f->p);
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    vpci_set(&f->p, C_STATUS, 1, 0);
    assert_int_equal(vpci_get(&f->p, C_STATUS, 1), 0);
    assert_int_equal(vpci_get(&f->p, C_CONFIG_VECTOR, 2), 0xffff);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_ENABLE, 2), 0);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_DESC, 4), 0);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_VECTOR, 2), 0xffff);
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(f->p.b.nr_msi, 1);
    end(f);
}

static void a_reset_lowers_the_wire(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_true(wire(f));
    vpci_set(&f->p, C_STATUS, 1, 0);
    assert_false(wire(f));
    end(f);
}

static void a_queue_is_reset_alone(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 1);
    vpci_set(&f->p, C_QUEUE_RESET, 2, 1);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_RESET, 2), 0);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_ENABLE, 2), 0);
    vpci_set(&f->p, C_QUEUE_SELECT, 2, 0);
    assert_int_equal(vpci_get(&f->p, C_QUEUE_ENABLE, 2), 1);
    vpci_enable_queue(&f->p, 1);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 1);
    end(f);
}

static void without_mastering_guest_memory_is_left_alone(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    set_cfg(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 0);
    set_cfg(f, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    virtio_dev_run(&f->vd);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 1);
    end(f);
}

static void device_configuration_is_read_and_written(void **state)
{
    struct fixture *f = make();

    (void)state;
    bus_write(f->p.b.mmio, f->p.device.addr + 4, 4, 0x44332211);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 5, 1), 0x22);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr, 8),
                     0x4433221100000000);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 8, 4), 0);
    end(f);
}

/* -- The window in configuration space (4.1.4.9) --- */

static void aim(struct fixture *f, uint32_t off, uint32_t len)
{
    unsigned cap = f->p.window.cap;

    set_cfg(f, cap + 4, 1, 4);
    set_cfg(f, cap + 8, 4, off);
    set_cfg(f, cap + 12, 4, len);
}

static void the_window_reads_registers(void **state)
{
    struct fixture *f = make();

    (void)state;
    aim(f, C_NR_QUEUES, 2);
    assert_int_equal(cfg(f, f->p.window.cap + 16, 2), NR_QUEUES);
    end(f);
}

static void the_window_writes_registers(void **state)
{
    struct fixture *f = make();

    (void)state;
    aim(f, C_STATUS, 1);
    set_cfg(f, f->p.window.cap + 16, 1, VIRTIO_STATUS_ACKNOWLEDGE);
    assert_int_equal(vpci_get(&f->p, C_STATUS, 1), VIRTIO_STATUS_ACKNOWLEDGE);
    end(f);
}

static void the_window_can_notify(void **state)
{
    struct fixture *f = make();

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    aim(f, 0x3000 + 4, 2);
    set_cfg(f, f->p.window.cap + 16, 2, 1);
    virtio_dev_run(&f->vd);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 1);
    end(f);
}

static void the_window_refuses_bad_aims(void **state)
{
    static const struct {
        uint32_t off, len;
    } bad[] = {
        {C_STATUS, 0},   {C_STATUS, 3},         {0x4000, 4},
        {0xfffffffc, 4}, {C_QUEUE_DESC + 2, 4}, {0, 0xffffffff},
    };
    struct fixture *f = make();

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        aim(f, bad[i].off, bad[i].len);
        set_cfg(f, f->p.window.cap + 16, 4, 0xffffffff);
        (void)cfg(f, f->p.window.cap + 16, 4);
    }
    aim(f, C_STATUS, 1);
    set_cfg(f, f->p.window.cap + 4, 1, 1); /* another BAR */
    set_cfg(f, f->p.window.cap + 16, 1, 1);
    assert_int_equal(vpci_get(&f->p, C_STATUS, 1), 0);
    end(f);
}

/* -- Saved state --- */

static void a_loaded_device_interrupts_again(void **state)
{
    struct fixture *f = make();
    struct virtio_pci_state vp;
    struct virtio_dev_state vd;
    struct virtq_state vq[NR_QUEUES];
    struct pci_dev_state pci;

    (void)state;
    vpci_start(&f->p, FEATURES, NR_QUEUES);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_true(wire(f));
    vp = f->p.vp.st;
    vd = f->vd.st;
    pci = f->p.vp.pci.st;
    for (unsigned q = 0; q < NR_QUEUES; q++)
        vq[q] = f->vd.vq[q].st;

    pci_host_reset(&f->p.b.host);
    virtio_pci_reset(&f->p.vp);
    assert_false(wire(f));

    assert_int_equal(virtio_pci_state_desc.check(&vp), 0);
    f->p.vp.st = vp;
    f->vd.st = vd;
    f->p.vp.pci.st = pci;
    for (unsigned q = 0; q < NR_QUEUES; q++)
        f->vd.vq[q].st = vq[q];
    pci_dev_class.loaded(&f->p.vp.pci, 0);
    virtio_pci_class.loaded(&f->p.vp, 0);
    assert_true(wire(f));
    assert_int_equal(bus_read(f->p.b.mmio, f->p.isr.addr, 1), 1);
    ring_set_used_event(&f->p.ring[1], 1);
    offer(f, 1);
    vpci_kick(&f->p, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[1]), 2);
    assert_true(wire(f));
    end(f);
}

static void the_place_on_the_bus_may_be_taken(void **state)
{
    struct fixture *f = make();
    struct virtio_pci vp;
    struct err err;

    (void)state;
    assert_int_equal(
        virtio_pci_init(&vp, &f->vd, &f->p.b.host, VPCI_SLOT, 0, &err),
        -EEXIST);
    assert_ptr_equal(f->vd.transport.opaque, &f->p.vp);
    end(f);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&virtio_pci_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_device_is_not_transitional),
        cmocka_unit_test(all_capabilities_are_there),
        cmocka_unit_test(registers_of_a_queue_that_is_not_there_read_as_zero),
        cmocka_unit_test(a_queue_begins_with_its_largest_size),
        cmocka_unit_test(areas_read_back),
        cmocka_unit_test(writes_of_a_wrong_width_are_ignored),
        cmocka_unit_test(an_enabled_queue_does_not_move),
        cmocka_unit_test(every_access_of_the_bar_is_safe),
        cmocka_unit_test(the_offered_features_have_version_1),
        cmocka_unit_test(unacceptable_features_clear_features_ok),
        cmocka_unit_test(used_buffers_raise_the_wire_until_isr_is_read),
        cmocka_unit_test(used_buffers_send_the_queues_message),
        cmocka_unit_test(a_queue_without_a_vector_is_silent),
        cmocka_unit_test(a_vector_that_is_not_there_reads_back_as_none),
        cmocka_unit_test(a_broken_rule_is_told_as_a_configuration_change),
        cmocka_unit_test(a_reset_begins_anew),
        cmocka_unit_test(a_reset_lowers_the_wire),
        cmocka_unit_test(a_queue_is_reset_alone),
        cmocka_unit_test(without_mastering_guest_memory_is_left_alone),
        cmocka_unit_test(device_configuration_is_read_and_written),
        cmocka_unit_test(the_window_reads_registers),
        cmocka_unit_test(the_window_writes_registers),
        cmocka_unit_test(the_window_can_notify),
        cmocka_unit_test(the_window_refuses_bad_aims),
        cmocka_unit_test(a_loaded_device_interrupts_again),
        cmocka_unit_test(the_place_on_the_bus_may_be_taken),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
