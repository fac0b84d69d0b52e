#include "devices/virtio/virtio_console.h"

#include <string.h>

#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/devices/virtio/vpci.h"
#include "tests/unit/test.h"

enum { RXQ = 0, TXQ = 1, DATA = 0x10000, BIG = 100000 };

struct fixture {
    struct virtio_console c;
    struct vpci p;
    char out[2 * BIG];
    size_t out_len;
    size_t room; /* what the back end still takes */
    unsigned ready;
};

static size_t be_write(void *opaque, const void *buf, size_t len)
{
    struct fixture *f = opaque;

    if (len > f->room)
        len = f->room;
    assert_true(f->out_len + len <= sizeof(f->out));
    memcpy(f->out + f->out_len, buf, len);
    f->out_len += len;
    f->room -= len;
    return len;
}

static void be_rx_ready(void *opaque)
{
    ((struct fixture *)opaque)->ready++;
}

static struct fixture *make_sized(uint16_t cols, uint16_t rows)
{
    static struct fixture f;
    struct virtio_env env = {.gm = &f.p.gm};
    struct console_backend be = {be_write, be_rx_ready, &f};
    struct err err;

    memset(&f, 0, sizeof(f));
    f.room = SIZE_MAX;
    vpci_init(&f.p);
    assert_int_equal(virtio_console_init(&f.c, &env, &be, cols, rows, &err), 0);
    vpci_plug(&f.p, &f.c.vd);
    return &f;
}

static struct fixture *make(void)
{
    struct fixture *f = make_sized(0, 0);

    vpci_start(&f->p, VIRTIO_COMMON_FEATURES, 2);
    return f;
}

static void end(struct fixture *f)
{
    vpci_fini(&f->p);
    virtio_console_fini(&f->c);
}

static void transmit(struct fixture *f, uint16_t i, const char *text)
{
    gpa_t gpa = DATA + 4096u * i;

    assert_int_equal(gmem_write(&f->p.gm, gpa, text, strlen(text)), 0);
    ring_desc(&f->p.ring[TXQ], i, gpa, (uint32_t)strlen(text), 0, 0);
    ring_offer(&f->p.ring[TXQ], i);
    vpci_kick(&f->p, TXQ);
}

static void offer_rx(struct fixture *f, uint16_t i, uint32_t len)
{
    ring_desc(&f->p.ring[RXQ], i, DATA + 4096u * i, len, DESC_WRITE, 0);
    ring_offer(&f->p.ring[RXQ], i);
    vpci_kick(&f->p, RXQ);
}

static void assert_out(const struct fixture *f, const char *text)
{
    assert_int_equal(f->out_len, strlen(text));
    assert_memory_equal(f->out, text, strlen(text));
}

/* -- Output --- */

static void output_reaches_the_back_end(void **state)
{
    struct fixture *f = make();

    (void)state;
    transmit(f, 0, "hello, ");
    transmit(f, 1, "world");
    assert_out(f, "hello, world");
    assert_int_equal(ring_used_idx(&f->p.ring[TXQ]), 2);
    end(f);
}

static void a_full_back_end_keeps_the_rest_waiting(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->room = 3;
    transmit(f, 0, "hello");
    transmit(f, 1, "world");
    assert_out(f, "hel");
    assert_int_equal(ring_used_idx(&f->p.ring[TXQ]), 0);
    f->room = 4;
    virtio_console_writable(&f->c);
    virtio_dev_run(&f->c.vd);
    assert_out(f, "hellowo");
    assert_int_equal(ring_used_idx(&f->p.ring[TXQ]), 1);
    f->room = SIZE_MAX;
    virtio_console_writable(&f->c);
    virtio_dev_run(&f->c.vd);
    assert_out(f, "helloworld");
    assert_int_equal(ring_used_idx(&f->p.ring[TXQ]), 2);
    end(f);
}

static void a_chain_that_shrinks_while_it_waits_is_done(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->room = 4;
    transmit(f, 0, "hello");
    ring_desc(&f->p.ring[TXQ], 0, DATA, 2, 0, 0);
    f->room = SIZE_MAX;
    virtio_console_writable(&f->c);
    virtio_dev_run(&f->c.vd);
    assert_out(f, "hell");
    assert_int_equal(ring_used_idx(&f->p.ring[TXQ]), 1);
    transmit(f, 1, "!");
    assert_out(f, "hell!");
    end(f);
}

static void long_output_comes_in_turns(void **state)
{
    struct fixture *f = make();
    unsigned turns = 0;

    (void)state;
    ring_desc(&f->p.ring[TXQ], 0, DATA, BIG, 0, 0);
    ring_offer(&f->p.ring[TXQ], 0);
    vpci_kick(&f->p, TXQ);
    while (ring_used_idx(&f->p.ring[TXQ]) == 0) {
        assert_true(++turns < 100);
        virtio_dev_run(&f->c.vd);
    }
    assert_true(turns > 0);
    assert_int_equal(f->out_len, BIG);
    end(f);
}

static void a_reset_forgets_what_was_half_out(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->room = 3;
    transmit(f, 0, "hello");
    vpci_start(&f->p, VIRTIO_COMMON_FEATURES, 2);
    f->room = SIZE_MAX;
    transmit(f, 0, "again");
    assert_out(f, "helagain");
    end(f);
}

static void a_loaded_port_goes_on_within_a_chain(void **state)
{
    struct fixture *f = make();

    (void)state;
    f->room = 3;
    transmit(f, 0, "hello");
    f->room = SIZE_MAX;
    virtio_pci_class.loaded(&f->p.vp, 0);
    virtio_dev_run(&f->c.vd);
    assert_out(f, "hello");
    end(f);
}

/* -- Input --- */

static void input_fills_the_guests_buffers(void **state)
{
    struct fixture *f = make();
    uint32_t id, len;
    char buf[5];

    (void)state;
    offer_rx(f, 0, 3);
    offer_rx(f, 1, 8);
    assert_int_equal(virtio_console_receive(&f->c, "hello", 5), 5);
    assert_true(ring_take(&f->p.ring[RXQ], &id, &len));
    assert_int_equal(len, 3);
    assert_true(ring_take(&f->p.ring[RXQ], &id, &len));
    assert_int_equal(id, 1);
    assert_int_equal(len, 2);
    assert_int_equal(gmem_read(&f->p.gm, DATA, buf, 3), 0);
    assert_int_equal(gmem_read(&f->p.gm, DATA + 4096, buf + 3, 2), 0);
    assert_memory_equal(buf, "hello", 5);
    assert_true(f->p.b.gsi[VPCI_SLOT & 3]);
    end(f);
}

static void input_waits_for_buffers(void **state)
{
    struct fixture *f = make();

    (void)state;
    offer_rx(f, 0, 3);
    f->ready = 0;
    assert_int_equal(virtio_console_receive(&f->c, "hello", 5), 3);
    assert_int_equal(f->ready, 0);
    offer_rx(f, 1, 8);
    assert_int_equal(f->ready, 1);
    assert_int_equal(virtio_console_receive(&f->c, "lo", 2), 2);
    offer_rx(f, 2, 8); /* nobody waits */
    assert_int_equal(f->ready, 1);
    end(f);
}

static void input_waits_for_a_driver(void **state)
{
    struct fixture *f = make_sized(0, 0);

    (void)state;
    assert_int_equal(virtio_console_receive(&f->c, "hello", 5), 0);
    vpci_start(&f->p, VIRTIO_COMMON_FEATURES, 2);
    assert_int_equal(f->ready, 0);
    offer_rx(f, 0, 8);
    assert_int_equal(f->ready, 1);
    end(f);
}

static void an_input_buffer_to_read_breaks_the_device(void **state)
{
    struct fixture *f = make();

    (void)state;
    ring_desc(&f->p.ring[RXQ], 0, DATA, 16, 0, 0);
    ring_offer(&f->p.ring[RXQ], 0);
    assert_int_equal(virtio_console_receive(&f->c, "hello", 5), 0);
    assert_true(vpci_get(&f->p, C_STATUS, 1) & VIRTIO_STATUS_NEEDS_RESET);
    end(f);
}

/* -- Configuration --- */

static void the_size_is_offered_when_known(void **state)
{
    struct fixture *f = make_sized(0, 0);

    (void)state;
    assert_int_equal(vpci_features(&f->p) & 1, 0);
    end(f);
    f = make_sized(80, 25);
    assert_int_equal(vpci_features(&f->p) & 3, 1); /* and no multiport */
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr, 4), 25 << 16 | 80);
    end(f);
}

static void a_new_size_is_told(void **state)
{
    struct fixture *f = make_sized(80, 25);

    (void)state;
    vpci_start(&f->p, VIRTIO_COMMON_FEATURES | 1, 2);
    virtio_console_resize(&f->c, 132, 50);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.isr.addr, 1), 2);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr, 2), 132);
    assert_int_equal(bus_read(f->p.b.mmio, f->p.device.addr + 2, 2), 50);
    end(f);
}

static void an_emergency_write_needs_no_driver(void **state)
{
    struct fixture *f = make_sized(0, 0);

    (void)state;
    bus_write(f->p.b.mmio, f->p.device.addr + 8, 4, 'x');
    assert_out(f, "x");
    bus_write(f->p.b.mmio, f->p.device.addr, 4, 'y'); /* read-only */
    assert_out(f, "x");
    end(f);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&console_port_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_reaches_the_back_end),
        cmocka_unit_test(a_full_back_end_keeps_the_rest_waiting),
        cmocka_unit_test(a_chain_that_shrinks_while_it_waits_is_done),
        cmocka_unit_test(long_output_comes_in_turns),
        cmocka_unit_test(a_reset_forgets_what_was_half_out),
        cmocka_unit_test(a_loaded_port_goes_on_within_a_chain),
        cmocka_unit_test(input_fills_the_guests_buffers),
        cmocka_unit_test(input_waits_for_buffers),
        cmocka_unit_test(input_waits_for_a_driver),
        cmocka_unit_test(an_input_buffer_to_read_breaks_the_device),
        cmocka_unit_test(the_size_is_offered_when_known),
        cmocka_unit_test(a_new_size_is_told),
        cmocka_unit_test(an_emergency_write_needs_no_driver),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
