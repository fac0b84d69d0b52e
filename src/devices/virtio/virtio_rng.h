#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_RNG_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_RNG_H

#include "devices/virtio/virtio.h"

/* Entropy device (virtio 1.2, 5.4): fills buffers from the host's pool. */
struct virtio_rng {
    struct virtio_dev vd;
};

MUST_CHECK int virtio_rng_init(struct virtio_rng *rng,
                               const struct virtio_env *env, struct err *err);
void virtio_rng_fini(struct virtio_rng *rng);

#endif
