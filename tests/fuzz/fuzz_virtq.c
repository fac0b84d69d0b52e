#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtq.h"

/*
 * A virtqueue in memory that the fuzzer fills: whatever a driver writes, the
 * device sees only buffers in RAM, of bounded number, and never loops.
 *
 * Input: a header of 8 bytes (features, size, places of the three areas, index
 * to offer), then the first bytes of guest memory. An even first byte puts the
 * index into the available ring; the places are in units of 64 bytes.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 8, RAM = 0x8000, ROM = 0x10000, ROUNDS = 64 };

static void init_ram(struct gmem *gm)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = RAM},
        {.start = RAM, .size = 0x1000},
        {.start = ROM, .size = 0x1000, .readonly = true},
    };
    struct err err;
    int rc = gmem_init(gm, layout, 3, &err);

    assert(rc == 0);
    (void)rc;
}

static void check_chain(const struct gmem *gm, const struct virtq_chain *c)
{
    uint64_t out = 0;
    uint64_t in = 0;

    assert(c->nr_out + c->nr_in <= VIRTQ_MAX_SEGS);
    for (unsigned i = 0; i < c->nr_out + c->nr_in; i++) {
        const struct gmem_bank *b = gmem_bank(gm, c->gpa[i], c->iov[i].iov_len);

        assert(b && c->iov[i].iov_len > 0);
        assert(c->iov[i].iov_base == b->hva + (c->gpa[i] - b->start));
        if (i < c->nr_out)
            out += c->iov[i].iov_len;
        else
            in += c->iov[i].iov_len;
        assert(i < c->nr_out || !b->readonly);
    }
    assert(out == c->out_bytes && in == c->in_bytes);
}

/* What a device does with a chain. */
static void use_chain(struct virtq *vq, const struct virtq_chain *c)
{
    uint8_t buf[512];
    size_t len = virtq_chain_read(c, c->out_bytes / 2, buf, sizeof(buf));

    memset(buf + len, 0x5a, sizeof(buf) - len);
    virtq_push(vq, c, virtq_chain_write(c, 0, buf, sizeof(buf)));
}

static void run(struct virtq *vq)
{
    static struct virtq_chain chain;

    for (unsigned i = 0; i < ROUNDS; i++) {
        int rc = virtq_pop(vq, &chain);

        if (rc <= 0) {
            assert(rc == 0 || vq->broken);
            break;
        }
        check_chain(vq->gm, &chain);
        if (i == 1) {
            virtq_unpop(vq);
            continue;
        }
        use_chain(vq, &chain);
        (void)virtq_should_notify(vq);
    }
    virtq_disable_kicks(vq);
    (void)virtq_enable_kicks(vq);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gmem gm;
    struct virtq vq;

    if (size < HEADER)
        return 0;
    if (!gm.nr_banks)
        init_ram(&gm);
    memset(gm.base, 0, gm.size);
    virtq_init(&vq, "fuzz", &gm, VIRTQ_MAX_SIZE);
    virtq_set_size(&vq, (uint16_t)(1u << (data[1] & 15)));
    vq.st.desc = data[2] * 64u;
    vq.st.avail = data[3] * 64u;
    vq.st.used = data[4] * 64u + (data[5] & 3);
    size -= HEADER;
    if (gmem_load(&gm, 0, data + HEADER, size < RAM ? size : RAM) < 0)
        return 0;
    if (!(data[0] & 1))
        put_le16(gm.base + vq.st.avail + 2, get_le16(data + 6));
    if (virtq_enable(&vq, data[0] & 2, data[0] & 4) == 0)
        run(&vq);
    return 0;
}
