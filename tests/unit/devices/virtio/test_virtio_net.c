#include "devices/virtio/virtio_net.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_net_int.h"
#include "tests/unit/devices/virtio/vpci.h"
#include "tests/unit/test.h"

enum { DATA = 0x10000, ANSWER = 0x1f000, SMALL = 60, DRIVER = 0x52 };
#define RX_FEATURES                                                            \
    (VIRTIO_COMMON_FEATURES | NET_F_CSUM | NET_F_GUEST_CSUM |                  \
     NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 | NET_F_HOST_TSO4 | NET_F_CTRL_VQ |   \
     NET_F_CTRL_RX | NET_F_CTRL_MAC_ADDR | NET_F_CTRL_GUEST_OFFLOADS |         \
     NET_F_STATUS | NET_F_MAC)

static const uint8_t mac[6] = {DRIVER, 0x54, 0, 1, 2, 3};

struct fixture {
    struct virtio_net vn;
    struct vpci p;
    unsigned sent, ready, refuse;
    struct net_head head;
    size_t len;
    uint8_t bytes[64];
};

static int be_send(void *opaque, const struct iovec *iov, int n)
{
    struct fixture *f = opaque;

    if (f->refuse) {
        f->refuse--;
        return -EAGAIN;
    }
    f->sent++;
    f->len = 0;
    assert_int_equal(iov[0].iov_len, NET_HEAD);
    memcpy(&f->head, iov[0].iov_base, NET_HEAD);
    for (int i = 1; i < n; i++) {
        size_t room = sizeof(f->bytes) - f->len;

        if (f->len < sizeof(f->bytes))
            memcpy(f->bytes + f->len, iov[i].iov_base,
                   iov[i].iov_len < room ? iov[i].iov_len : room);
        f->len += iov[i].iov_len;
    }
    return 0;
}

static void be_ready(void *opaque)
{
    struct fixture *f = opaque;

    f->ready++;
}

static struct fixture *make(uint64_t features)
{
    static struct fixture f;
    const struct net_ops be = {be_send, be_ready, &f};
    struct virtio_env env = {.gm = &f.p.gm};
    struct err err;

    memset(&f, 0, sizeof(f));
    vpci_init(&f.p);
    assert_int_equal(virtio_net_init(&f.vn, &env, &be, mac, &err), 0);
    vpci_plug(&f.p, &f.vn.vd);
    vpci_start(&f.p, features, 3);
    return &f;
}

static void end(struct fixture *f)
{
    vpci_fini(&f->p);
    virtio_net_fini(&f->vn);
}

/* Offer a frame of len bytes with this head, in two buffers. */
static void offer_tx(struct fixture *f, const struct net_head *h, uint32_t len)
{
    assert_int_equal(gmem_write(&f->p.gm, DATA, h, NET_HEAD), 0);
    assert_int_equal(gmem_write(&f->p.gm, DATA + NET_HEAD, "frame", 5), 0);
    ring_desc(&f->p.ring[NET_TXQ], 0, DATA, NET_HEAD + 4, DESC_NEXT, 1);
    ring_desc(&f->p.ring[NET_TXQ], 1, DATA + NET_HEAD + 4, len - 4, 0, 0);
    ring_offer(&f->p.ring[NET_TXQ], 0);
    vpci_kick(&f->p, NET_TXQ);
}

static void frames_of_the_guest_are_sent(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    const struct net_head h = {0};
    uint32_t id, len;

    (void)state;
    offer_tx(f, &h, SMALL);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->len, SMALL);
    assert_memory_equal(f->bytes, "frame", 5);
    assert_true(ring_take(&f->p.ring[NET_TXQ], &id, &len));
    assert_int_equal(len, 0);
    end(f);
}

static void only_what_was_negotiated_is_left_to_us(void **state)
{
    struct net_head h = {.flags = 0xff, .gso_type = NET_GSO_TCP4 | NET_GSO_ECN};
    struct fixture *f = make(RX_FEATURES | NET_F_MRG_RXBUF);

    (void)state;
    offer_tx(f, &h, SMALL);
    assert_int_equal(f->sent, 1);
    assert_int_equal(f->head.flags, NET_CSUM | NET_TAKES_GSO4 | NET_TAKES_GSO6);
    assert_int_equal(f->head.gso_type, NET_GSO_TCP4);
    h.gso_type = NET_GSO_TCP6; /* HOST_TSO6 was not taken */
    offer_tx(f, &h, SMALL);
    h.gso_type = 7;
    offer_tx(f, &h, SMALL);
    h = (struct net_head){.gso_type = NET_GSO_TCP4}; /* without a checksum */
    offer_tx(f, &h, SMALL);
    assert_int_equal(f->sent, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[NET_TXQ]), 4);
    end(f);
}

static void what_is_no_frame_is_dropped(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    const struct net_head h = {0};

    (void)state;
    offer_tx(f, &h, NET_MIN_FRAME - 1);
    ring_desc(&f->p.ring[NET_TXQ], 2, DATA, NET_HEAD + 0x10020, 0, 0);
    ring_offer(&f->p.ring[NET_TXQ], 2);
    ring_desc(&f->p.ring[NET_TXQ], 3, DATA, 3, 0, 0);
    ring_offer(&f->p.ring[NET_TXQ], 3);
    vpci_kick(&f->p, NET_TXQ);
    assert_int_equal(f->sent, 0);
    assert_int_equal(ring_used_idx(&f->p.ring[NET_TXQ]), 3);
    end(f);
}

static void a_full_back_end_is_waited_for(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    const struct net_head h = {0};

    (void)state;
    f->refuse = 1;
    offer_tx(f, &h, SMALL);
    assert_int_equal(f->sent, 0);
    assert_int_equal(ring_used_idx(&f->p.ring[NET_TXQ]), 0);
    vpci_kick(&f->p, NET_TXQ);
    assert_int_equal(f->sent, 0);
    virtio_net_writable(&f->vn);
    virtio_dev_run(&f->vn.vd);
    assert_int_equal(f->sent, 1);
    assert_int_equal(ring_used_idx(&f->p.ring[NET_TXQ]), 1);
    end(f);
}

/* len bytes for the guest, to its address. */
static bool receive(struct fixture *f, const struct net_head *h, size_t len)
{
    static uint8_t buf[NET_HEAD + NET_MAX_FRAME];

    memcpy(buf, h, NET_HEAD);
    for (size_t i = 0; i < len; i++)
        buf[NET_HEAD + i] = (uint8_t)(i * 3);
    memcpy(buf + NET_HEAD, mac, 6);
    return virtio_net_receive(&f->vn, buf, NET_HEAD + len);
}

static void offer_rx(struct fixture *f, unsigned nr, uint32_t size)
{
    for (unsigned i = 0; i < nr; i++) {
        ring_desc(&f->p.ring[NET_RXQ], i, DATA + i * size, size, DESC_WRITE, 0);
        ring_offer(&f->p.ring[NET_RXQ], (uint16_t)i);
    }
}

static void a_frame_fills_one_buffer(void **state)
{
    const struct net_head h = {.flags = NET_CSUM_VALID};
    struct fixture *f = make(RX_FEATURES);
    uint8_t got[NET_HEAD + 6];
    uint32_t id, len;

    (void)state;
    offer_rx(f, 1, 2000);
    assert_true(receive(f, &h, SMALL));
    assert_true(ring_take(&f->p.ring[NET_RXQ], &id, &len));
    assert_int_equal(len, NET_HEAD + SMALL);
    assert_int_equal(gmem_read(&f->p.gm, DATA, got, sizeof(got)), 0);
    assert_int_equal(got[0], NET_CSUM_VALID);
    assert_int_equal(get_le16(got + 10), 1);
    assert_memory_equal(got + NET_HEAD, mac, 6);
    end(f);
}

static void a_long_frame_fills_many_at_once(void **state)
{
    const struct net_head h = {.flags = NET_CSUM, .gso_type = NET_GSO_TCP4};
    struct fixture *f = make(RX_FEATURES | NET_F_MRG_RXBUF);
    uint8_t got[2];
    uint32_t id, len;

    (void)state;
    offer_rx(f, 3, 1000);
    assert_false(receive(f, &h, 3500)); /* not half of it */
    assert_int_equal(ring_used_idx(&f->p.ring[NET_RXQ]), 0);
    assert_int_equal(f->ready, 0);
    ring_desc(&f->p.ring[NET_RXQ], 3, DATA + 3000, 1000, DESC_WRITE, 0);
    ring_offer(&f->p.ring[NET_RXQ], 3);
    vpci_kick(&f->p, NET_RXQ);
    assert_int_equal(f->ready, 1);
    assert_true(receive(f, &h, 3500));
    assert_int_equal(ring_used_idx(&f->p.ring[NET_RXQ]), 4);
    for (unsigned i = 0; i < 4; i++) {
        assert_true(ring_take(&f->p.ring[NET_RXQ], &id, &len));
        assert_int_equal(id, i);
        assert_int_equal(len, i < 3 ? 1000 : 512);
    }
    assert_int_equal(gmem_read(&f->p.gm, DATA + 10, got, 2), 0);
    assert_int_equal(get_le16(got), 4);
    end(f);
}

static void what_the_driver_cannot_take_is_dropped(void **state)
{
    struct fixture *f =
        make(RX_FEATURES & ~(NET_F_GUEST_TSO4 | NET_F_GUEST_CSUM));
    struct net_head h = {.flags = NET_CSUM, .gso_type = NET_GSO_TCP4};
    uint8_t got;

    (void)state;
    offer_rx(f, 2, 100);
    assert_true(receive(f, &h, SMALL));
    h = (struct net_head){.flags = NET_CSUM};
    assert_true(receive(f, &h, SMALL));
    h = (struct net_head){0};
    assert_true(receive(f, &h, 200)); /* no buffer is as long */
    assert_int_equal(ring_used_idx(&f->p.ring[NET_RXQ]), 0);
    h.flags = NET_CSUM_VALID;
    assert_true(receive(f, &h, SMALL));
    assert_int_equal(ring_used_idx(&f->p.ring[NET_RXQ]), 1);
    assert_int_equal(gmem_read(&f->p.gm, DATA, &got, 1), 0);
    assert_int_equal(got, 0);
    end(f);
}

static void a_frame_waits_no_longer_than_the_driver(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    const struct net_head h = {0};

    (void)state;
    assert_false(receive(f, &h, SMALL));
    virtio_dev_reset(&f->vn.vd);
    assert_int_equal(f->ready, 1);
    assert_true(receive(f, &h, SMALL)); /* nobody listens */
    end(f);
}

static void a_buffer_without_room_for_a_head_breaks_the_card(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    const struct net_head h = {0};

    (void)state;
    offer_rx(f, 1, NET_HEAD - 1);
    assert_true(receive(f, &h, SMALL));
    assert_true(f->vn.vd.st.status & VIRTIO_STATUS_NEEDS_RESET);
    end(f);
}

/* The answer to a command of len bytes. */
static uint8_t control(struct fixture *f, const void *command, uint32_t len)
{
    struct ring *r = &f->p.ring[NET_CTRLQ];
    uint8_t answer = 0xee;

    assert_int_equal(gmem_write(&f->p.gm, DATA, command, len), 0);
    assert_int_equal(gmem_write(&f->p.gm, ANSWER, &answer, 1), 0);
    ring_desc(r, 0, DATA, len, DESC_NEXT, 1);
    ring_desc(r, 1, ANSWER, 1, DESC_WRITE, 0);
    ring_offer(r, 0);
    vpci_kick(&f->p, NET_CTRLQ);
    assert_int_equal(gmem_read(&f->p.gm, ANSWER, &answer, 1), 0);
    return answer;
}

static void the_driver_chooses_its_frames(void **state)
{
    static const uint8_t table[] = {1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0,
                                    9, 1, 0, 0, 0, 3, 0, 0, 0, 0, 7};
    static const uint8_t uni[] = {2, 0, 0, 0, 0, 9},
                         multi[] = {3, 0, 0, 0, 0, 7};
    static const uint8_t other[] = {2, 0, 0, 0, 0, 8},
                         group[] = {3, 0, 0, 0, 0, 6};
    struct fixture *f = make(RX_FEATURES);

    (void)state;
    assert_true(virtio_net_wants(&f->vn, other)); /* until it says so */
    assert_int_equal(control(f, "\0\0\0", 3), 0);
    assert_false(virtio_net_wants(&f->vn, other));
    assert_true(virtio_net_wants(&f->vn, mac));
    assert_false(virtio_net_wants(&f->vn, multi));
    assert_int_equal(control(f, table, sizeof(table)), 0);
    assert_true(virtio_net_wants(&f->vn, uni));
    assert_true(virtio_net_wants(&f->vn, multi));
    assert_false(virtio_net_wants(&f->vn, group));
    assert_int_equal(control(f, "\0\1\1", 3), 0);
    assert_true(virtio_net_wants(&f->vn, group));
    assert_int_equal(control(f, "\1\1\x52\1\2\3\4\5", 8), 0);
    assert_false(virtio_net_wants(&f->vn, mac));
    virtio_dev_reset(&f->vn.vd);
    assert_true(virtio_net_wants(&f->vn, mac));
    end(f);
}

static void a_table_that_is_too_long_means_all(void **state)
{
    static const uint8_t other[] = {2, 9, 9, 9, 9, 9};
    uint8_t table[10 + 6 * (NET_MAC_TABLE + 1)] = {1, 0, NET_MAC_TABLE + 1};
    struct fixture *f = make(RX_FEATURES);

    (void)state;
    assert_int_equal(control(f, "\0\0\0", 3), 0);
    assert_int_equal(control(f, table, sizeof(table)), 0);
    assert_true(virtio_net_wants(&f->vn, other));
    assert_int_equal(virtio_net_state_desc.check(&f->vn.st), 0);
    end(f);
}

static void wrong_commands_are_refused(void **state)
{
    struct fixture *f = make(RX_FEATURES);

    (void)state;
    assert_int_equal(control(f, "\0", 1), 1);
    assert_int_equal(control(f, "\0\0", 2), 1);
    assert_int_equal(control(f, "\0\7\0", 3), 1);
    assert_int_equal(control(f, "\1\1\1\0\0\0\0\0", 8), 1); /* a group's */
    assert_int_equal(control(f, "\1\0\xff\xff\xff\xff", 6), 1);
    assert_int_equal(control(f, "\1\0\0\0\0\0", 6), 1);
    assert_int_equal(control(f, "\4\0\1\0", 4), 1);
    assert_int_equal(control(f, "\5\0\2\0\0\0\0\0\0\0", 10), 0);
    assert_int_equal(f->vn.st.offloads, NET_F_GUEST_CSUM);
    assert_int_equal(control(f, "\5\0\0\0\1\0\0\0\0\0", 10), 1);
    end(f);
}

static void the_cable_can_be_out(void **state)
{
    struct fixture *f = make(RX_FEATURES);
    uint8_t status[2] = {0};

    (void)state;
    virtio_config_read(&f->vn.vd, 6, status, 2);
    assert_int_equal(status[0], 1);
    virtio_net_set_link(&f->vn, false);
    virtio_config_read(&f->vn.vd, 6, status, 2);
    assert_int_equal(status[0], 0);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_the_guest_are_sent),
        cmocka_unit_test(only_what_was_negotiated_is_left_to_us),
        cmocka_unit_test(what_is_no_frame_is_dropped),
        cmocka_unit_test(a_full_back_end_is_waited_for),
        cmocka_unit_test(a_frame_fills_one_buffer),
        cmocka_unit_test(a_long_frame_fills_many_at_once),
        cmocka_unit_test(what_the_driver_cannot_take_is_dropped),
        cmocka_unit_test(a_frame_waits_no_longer_than_the_driver),
        cmocka_unit_test(a_buffer_without_room_for_a_head_breaks_the_card),
        cmocka_unit_test(the_driver_chooses_its_frames),
        cmocka_unit_test(a_table_that_is_too_long_means_all),
        cmocka_unit_test(wrong_commands_are_refused),
        cmocka_unit_test(the_cable_can_be_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
