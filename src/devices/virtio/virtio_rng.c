#include "devices/virtio/virtio_rng.h"

#include <errno.h>
#include <sys/random.h>

#include "base/log.h"

/*
 * One queue of buffers to fill. The device may write less than a buffer holds
 * (virtio 1.2, 5.4.6.2), so a guest cannot keep the vCPU's thread in here.
 */

enum { RNG_QUEUE = 0, RNG_QUEUE_SIZE = 8, RNG_MAX_BYTES = 1024 };

/* Fill one chain; false if the host failed. */
static bool fill(struct virtq *vq, const struct virtq_chain *chain)
{
    uint8_t buf[RNG_MAX_BYTES];
    size_t len = sizeof(buf);
    ssize_t got;

    if (len > chain->in_bytes)
        len = (size_t)chain->in_bytes;
    do
        got = getrandom(buf, len, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return false;
    virtq_push(vq, chain, virtq_chain_write(chain, 0, buf, (size_t)got));
    return true;
}

static bool rng_queue(struct virtio_dev *vd, unsigned q)
{
    struct virtq *vq = &vd->vq[q];
    struct virtq_chain chain;

    virtq_disable_kicks(vq);
    for (unsigned i = 0; i < RNG_QUEUE_SIZE; i++) {
        if (!virtio_pop(vd, q, &chain))
            break;
        if (!fill(vq, &chain)) {
            log_err(vd->type->name, "the host gives no random bytes");
            virtio_break(vd);
            break;
        }
    }
    virtio_notify(vd, q);
    return virtq_enable_kicks(vq);
}

static const struct virtio_type rng_type = {
    .name = "virtio-rng",
    .id = VIRTIO_ID_RNG,
    .pci_class = 0x00ff00, /* unclassified: PCI code and ID, 1.1 */
    .nr_queues = 1,
    .queue_size = RNG_QUEUE_SIZE,
    .inline_kick = true,
    .queue = rng_queue,
};

int virtio_rng_init(struct virtio_rng *rng, const struct virtio_env *env,
                    struct err *err)
{
    return virtio_dev_init(&rng->vd, &rng_type, env, 0, err);
}

void virtio_rng_fini(struct virtio_rng *rng)
{
    virtio_dev_fini(&rng->vd);
}
