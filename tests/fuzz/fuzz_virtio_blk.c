#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_blk.h"

/*
 * A block device whose driver is the fuzzer: rings and requests are bytes of
 * its input. Requests never reach beyond the disk or into what is not RAM, and
 * a reset always ends what is under way.
 *
 * Input: rounds of {what to do, argument, 2 bytes: place in units of 16, then
 * 16 bytes for there}, after a header of 8 bytes (features, queue size, where
 * the areas are).
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 8, ROUND = 20, RAM = 0x10000, DISK = 8192, MAX_ROUNDS = 64 };

struct disk {
    struct blk blk;
    uint8_t data[DISK];
    int fail;
};

static int disk_readv(struct blk *b, uint64_t off, const struct iovec *iov,
                      int n)
{
    struct disk *d = CONTAINER_OF(b, struct disk, blk);

    for (int i = 0; i < n; i++) {
        assert(off <= DISK && iov[i].iov_len <= DISK - off);
        memcpy(iov[i].iov_base, d->data + off, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return d->fail;
}

static int disk_writev(struct blk *b, uint64_t off, const struct iovec *iov,
                       int n, unsigned flags)
{
    struct disk *d = CONTAINER_OF(b, struct disk, blk);

    (void)flags;
    for (int i = 0; i < n; i++) {
        assert(off <= DISK && iov[i].iov_len <= DISK - off);
        memcpy(d->data + off, iov[i].iov_base, iov[i].iov_len);
        off += iov[i].iov_len;
    }
    return d->fail;
}

static int disk_zero(struct blk *b, uint64_t off, uint64_t len, unsigned flags)
{
    struct disk *d = CONTAINER_OF(b, struct disk, blk);

    (void)flags;
    memset(d->data + off, 0, len);
    return d->fail;
}

static int disk_discard(struct blk *b, uint64_t off, uint64_t len)
{
    assert(off <= DISK && len <= DISK - off);
    return CONTAINER_OF(b, struct disk, blk)->fail;
}

static int disk_flush(struct blk *b)
{
    return CONTAINER_OF(b, struct disk, blk)->fail;
}

static void disk_limits(struct blk *b, struct blk_limits *l)
{
    (void)b;
    *l = (struct blk_limits){.physical_block = 512};
}

static const struct blk_ops disk_ops = {.name = "fuzz",
                                        .readv = disk_readv,
                                        .readv_cached = disk_readv,
                                        .writev = disk_writev,
                                        .zero = disk_zero,
                                        .discard = disk_discard,
                                        .flush = disk_flush,
                                        .limits = disk_limits};

/* Made once: starting the pool's threads takes longer than a round. */
static struct {
    struct gmem gm;
    struct disk disk;
    struct virtio_blk vb;
    bool made;
} all;

static void make(void)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM},
        {.start = 0x20000, .size = 0x1000, .readonly = true},
    };
    const struct virtio_env env = {.gm = &all.gm};
    const struct virtio_blk_config cfg = {.name = "fuzz",
                                          .blk = &all.disk.blk,
                                          .serial = "fuzz",
                                          .nr_queues = 2,
                                          .threads = 2};
    struct err err;
    int rc = gmem_init(&all.gm, layout, 2, &err);

    assert(rc == 0);
    all.disk.blk.ops = &disk_ops;
    atomic_store(&all.disk.blk.size, DISK);
    rc = virtio_blk_init(&all.vb, &env, &cfg, &err);
    assert(rc == 0);
    (void)rc;
    all.made = true;
}

static void start(const uint8_t *head)
{
    struct virtio_dev *vd = &all.vb.vd;

    lock_take(&vd->lock);
    virtio_set_status(vd, 0);
    virtio_set_driver_features(
        vd, 0, (uint32_t)vd->features ^ (uint32_t)head[0] << 24);
    virtio_set_driver_features(vd, 1, (uint32_t)(vd->features >> 32));
    virtio_set_status(vd, VIRTIO_STATUS_FEATURES_OK);
    for (unsigned q = 0; q < 2; q++) {
        virtq_set_size(&vd->vq[q], (uint16_t)(1u << (head[1] & 7)));
        vd->vq[q].st.desc = head[2 + 3 * q] * 256u;
        vd->vq[q].st.avail = head[3 + 3 * q] * 256u;
        vd->vq[q].st.used = head[4 + 3 * q] * 256u;
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

static void do_round(const uint8_t *in)
{
    struct virtio_dev *vd = &all.vb.vd;
    unsigned q = in[1] & 1;

    if (gmem_write(&all.gm, get_le16(in + 2) % (RAM / 16) * 16u, in + 4, 16) <
        0)
        return;
    switch (in[0] & 7) {
    case 0: offer(&vd->vq[q], in[1] >> 1); break;
    case 1: virtio_kick(vd, q); break;
    case 2: virtio_blk_drain(&all.vb); break;
    case 3:
        lock_take(&vd->lock);
        virtio_reset_queue(vd, q);
        lock_drop(&vd->lock);
        break;
    case 4: all.disk.fail = in[1] & 2 ? -ENOSPC : in[1] & 4 ? -EIO : 0; break;
    case 5: virtio_blk_retry(&all.vb); break;
    case 6: virtio_dev_loaded(vd); break;
    default:
        offer(&vd->vq[q], in[1] >> 1);
        virtio_kick(vd, q);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER)
        return 0;
    if (!all.made)
        make();
    memset(all.gm.base, 0, RAM);
    all.disk.fail = 0;
    start(data);
    data += HEADER;
    size -= HEADER;
    for (unsigned i = 0; size >= ROUND && i < MAX_ROUNDS; i++) {
        do_round(data);
        data += ROUND;
        size -= ROUND;
    }
    virtio_dev_run(&all.vb.vd);
    virtio_dev_reset(&all.vb.vd);
    assert(virtio_blk_nr_stuck(&all.vb) == 0);
    return 0;
}
