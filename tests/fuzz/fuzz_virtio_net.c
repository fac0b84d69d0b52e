#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_net.h"

/*
 * A network card whose driver is the fuzzer: rings, frames and commands are
 * bytes of its input. Frames that are sent have a length in bounds; the filter
 * stays one that a snapshot could hold.
 *
 * Input: rounds of {what to do, argument, 2 bytes: place in units of 16, then
 * 16 bytes for there}, after a header of 12 bytes (features, queue size, where
 * the areas are).
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 12, ROUND = 20, RAM = 0x10000, MAX_ROUNDS = 64, QUEUES = 3 };

static struct {
    struct gmem gm;
    struct virtio_net vn;
    bool made, full;
} all;

static int be_send(void *opaque, const struct iovec *iov, int n)
{
    size_t len = 0;
    uint8_t sum = 0;

    (void)opaque;
    if (all.full)
        return -EAGAIN;
    assert(n >= 2 && iov[0].iov_len == NET_HEAD);
    for (int i = 1; i < n; i++) {
        const uint8_t *p = iov[i].iov_base;

        len += iov[i].iov_len;
        sum ^= (uint8_t)(p[0] ^ p[iov[i].iov_len - 1]);
    }
    (void)sum;
    assert(len >= NET_MIN_FRAME && len <= NET_MAX_FRAME);
    return 0;
}

static void make(void)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM},
        {.start = 0x20000, .size = 0x1000, .readonly = true},
    };
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    const struct virtio_env env = {.gm = &all.gm};
    const struct net_ops be = {be_send, NULL, NULL};
    struct err err;
    int rc = gmem_init(&all.gm, layout, 2, &err);

    assert(rc == 0);
    rc = virtio_net_init(&all.vn, &env, &be, mac, &err);
    assert(rc == 0);
    (void)rc;
    all.made = true;
}

static void start(const uint8_t *head)
{
    struct virtio_dev *vd = &all.vn.vd;

    lock_take(&vd->lock);
    virtio_set_status(vd, 0);
    virtio_set_driver_features(
        vd, 0,
        (uint32_t)vd->features &
            ~((uint32_t)head[0] << 24 | (uint32_t)head[2] << 8 | head[1]));
    virtio_set_driver_features(vd, 1, (uint32_t)(vd->features >> 32));
    virtio_set_status(vd, VIRTIO_STATUS_FEATURES_OK);
    for (unsigned q = 0; q < QUEUES; q++) {
        virtq_set_size(&vd->vq[q], (uint16_t)(1u << (head[2] & 7)));
        vd->vq[q].st.desc = head[3 + 3 * q] * 256u;
        vd->vq[q].st.avail = head[4 + 3 * q] * 256u;
        vd->vq[q].st.used = head[5 + 3 * q] * 256u;
        virtio_enable_queue(vd, q);
    }
    virtio_set_status(vd, VIRTIO_STATUS_FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
    lock_drop(&vd->lock);
}

/* Offer the chain at head, as a driver does. */
static void offer(struct virtq *vq, uint16_t head)
{
    uint8_t *avail = gmem_hva(&all.gm, vq->st.avail, 4);
    uint16_t idx;

    if (!avail || !vq->st.enabled)
        return;
    idx = get_le16(avail + 2);
    put_le16(avail + 4 + 2u * (idx & (vq->st.size - 1u)), head);
    put_le16(avail + 2, (uint16_t)(idx + 1));
}

static void receive(const uint8_t *in)
{
    static uint8_t buf[NET_HEAD + NET_MAX_FRAME];
    size_t len = NET_HEAD + NET_MIN_FRAME + get_le16(in) % 8192;

    memset(buf, 0, NET_HEAD + NET_MIN_FRAME);
    memcpy(buf, in + 2, 2); /* flags, gso_type */
    memcpy(buf + NET_HEAD, in + 4, 6);
    (void)!virtio_net_receive(&all.vn, buf, len);
}

static void do_round(const uint8_t *in)
{
    struct virtio_dev *vd = &all.vn.vd;
    unsigned q = (in[1] & 3) % QUEUES;

    if (gmem_write(&all.gm, get_le16(in + 2) % (RAM / 16) * 16u, in + 4, 16) <
        0)
        return;
    switch (in[0] & 7) {
    case 0: offer(&vd->vq[q], in[1] >> 2); break;
    case 1: virtio_kick(vd, q); break;
    case 2: receive(in + 4); break;
    case 3:
        lock_take(&vd->lock);
        virtio_reset_queue(vd, q);
        lock_drop(&vd->lock);
        break;
    case 4: all.full = in[1] & 4; break;
    case 5: virtio_net_writable(&all.vn); break;
    case 6: virtio_dev_loaded(vd); break;
    default:
        offer(&vd->vq[q], in[1] >> 2);
        virtio_kick(vd, q);
        break;
    }
    assert(virtio_net_state_desc.check(&all.vn.st) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER)
        return 0;
    if (!all.made)
        make();
    memset(all.gm.base, 0, RAM);
    all.full = false;
    start(data);
    data += HEADER;
    size -= HEADER;
    for (unsigned i = 0; size >= ROUND && i < MAX_ROUNDS; i++) {
        do_round(data);
        data += ROUND;
        size -= ROUND;
    }
    virtio_dev_run(&all.vn.vd);
    virtio_dev_reset(&all.vn.vd);
    return 0;
}
