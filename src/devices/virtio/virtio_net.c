#include "devices/virtio/virtio_net.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_net_int.h"

enum {
    NR_QUEUES = 3,
    QUEUE_SIZE = 256,
    TX_SHARE = 256, /* frames in one turn */
    /* Buffers of one received frame: Linux's have at least 1526 bytes. */
    MAX_BUFFERS = 64,
    LINK_UP = 1
};

/* 5.1.4 */
struct net_config {
    uint8_t mac[NET_MAC_BYTES];
    uint16_t status;
    uint16_t max_pairs;
    uint16_t mtu;
};

enum { CONFIG_BYTES = offsetof(struct net_config, max_pairs) };

static const struct state_field virtio_net_fields[] = {
    STATE_FIELD(1, STATE_U64, struct virtio_net_state, offloads),
    STATE_FIELD(2, STATE_BYTES, struct virtio_net_state, mac),
    STATE_FIELD(3, STATE_U8, struct virtio_net_state, promisc),
    STATE_FIELD(4, STATE_U8, struct virtio_net_state, allmulti),
    STATE_FIELD(5, STATE_U8, struct virtio_net_state, all_uni),
    STATE_FIELD(6, STATE_U8, struct virtio_net_state, all_multi),
    STATE_FIELD(7, STATE_U8, struct virtio_net_state, nr_uni),
    STATE_FIELD(8, STATE_U8, struct virtio_net_state, nr_multi),
    STATE_FIELD(9, STATE_BYTES, struct virtio_net_state, table),
};

static int virtio_net_check(const void *state)
{
    const struct virtio_net_state *st = state;

    return st->nr_uni + st->nr_multi > NET_MAC_TABLE ||
                   st->offloads & ~NET_OFFLOADS
               ? -EINVAL
               : 0;
}

const struct state_desc virtio_net_state_desc = {
    .name = "virtio-net",
    .version = 1,
    STATE_LAYOUT(struct virtio_net_state, virtio_net_fields),
    .check = virtio_net_check,
};

const struct device_class virtio_net_class = {
    .state = &virtio_net_state_desc,
    .state_off = offsetof(struct virtio_net, st),
};

static struct virtio_net *net_of(struct virtio_dev *vd)
{
    return CONTAINER_OF(vd, struct virtio_net, vd);
}

/* -- From the guest --- */

/* What the driver may leave to us is what it has negotiated. False: the frame
 * is none. */
static bool check_head(const struct virtio_net *vn, struct net_head *h)
{
    uint64_t f = vn->vd.st.driver_features, off = vn->st.offloads;

    h->flags &= NET_CSUM;
    h->gso_type &= (uint8_t)~NET_GSO_ECN;
    if (h->flags && !(f & NET_F_CSUM))
        return false;
    switch (h->gso_type) {
    case NET_GSO_NONE: break;
    case NET_GSO_TCP4:
        if (!(f & NET_F_HOST_TSO4) || !h->flags)
            return false;
        break;
    case NET_GSO_TCP6:
        if (!(f & NET_F_HOST_TSO6) || !h->flags)
            return false;
        break;
    default: return false;
    }
    /* Large frames lie in many buffers. */
    if (!(f & NET_F_MRG_RXBUF))
        return true;
    if (off & NET_F_GUEST_TSO4)
        h->flags |= NET_TAKES_GSO4;
    if (off & NET_F_GUEST_TSO6)
        h->flags |= NET_TAKES_GSO6;
    return true;
}

/* The bytes behind the head, as the guest has them. */
static int skip_head(const struct virtq_chain *c, struct iovec *iov)
{
    size_t skip = NET_HEAD;
    int n = 0;

    for (unsigned i = 0; i < c->nr_out; i++) {
        size_t part = skip < c->iov[i].iov_len ? skip : c->iov[i].iov_len;

        skip -= part;
        if (part == c->iov[i].iov_len)
            continue;
        iov[n].iov_base = (uint8_t *)c->iov[i].iov_base + part;
        iov[n++].iov_len = c->iov[i].iov_len - part;
    }
    return n;
}

/* -EAGAIN: it must wait. What is no frame is dropped, as on a wire. */
static int send_chain(struct virtio_net *vn, const struct virtq_chain *c)
{
    struct iovec iov[VIRTQ_MAX_SEGS + 1];
    struct net_head h;
    int n;

    if (c->out_bytes < NET_HEAD + NET_MIN_FRAME ||
        c->out_bytes > NET_HEAD + NET_MAX_FRAME ||
        virtq_chain_read(c, 0, &h, sizeof(h)) != sizeof(h) ||
        !check_head(vn, &h))
        return 0;
    iov[0] = (struct iovec){&h, sizeof(h)};
    n = skip_head(c, iov + 1);
    return vn->be.send ? vn->be.send(vn->be.opaque, iov, n + 1) : 0;
}

static bool run_tx(struct virtio_net *vn)
{
    struct virtq *vq = &vn->vd.vq[NET_TXQ];
    struct virtq_chain c;
    unsigned i;

    if (vn->tx_blocked)
        return false;
    virtq_disable_kicks(vq);
    for (i = 0; i < TX_SHARE; i++) {
        if (!virtio_pop(&vn->vd, NET_TXQ, &c))
            break;
        if (send_chain(vn, &c) == -EAGAIN) {
            virtq_unpop(vq);
            vn->tx_blocked = true;
            break;
        }
        virtq_push(vq, &c, 0);
    }
    virtio_notify(&vn->vd, NET_TXQ);
    if (vn->tx_blocked)
        return false;
    return i == TX_SHARE || virtq_enable_kicks(vq);
}

void virtio_net_writable(struct virtio_net *vn)
{
    lock_take(&vn->vd.lock);
    vn->tx_blocked = false;
    lock_drop(&vn->vd.lock);
    virtio_requeue(&vn->vd, NET_TXQ);
}

/* -- To the guest --- */

/* What of a back end's head the driver has asked for. False: the frame cannot
 * be had like this. */
static bool adapt_head(const struct virtio_net *vn, struct net_head *h)
{
    uint64_t off = vn->st.offloads;

    if (h->gso_type == NET_GSO_TCP4 && !(off & NET_F_GUEST_TSO4))
        return false;
    if (h->gso_type == NET_GSO_TCP6 && !(off & NET_F_GUEST_TSO6))
        return false;
    if (h->flags & NET_CSUM && !(off & NET_F_GUEST_CSUM))
        return false;
    if (!(off & NET_F_GUEST_CSUM))
        h->flags = 0;
    return true;
}

static void give_back(struct virtio_net *vn, unsigned nr)
{
    while (nr--)
        virtq_unpop(&vn->vd.vq[NET_RXQ]);
}

/* The next buffer, or false: then ready is owed. */
static bool next_buffer(struct virtio_net *vn, struct virtq_chain *c)
{
    struct virtq *vq = &vn->vd.vq[NET_RXQ];

    while (!virtio_pop(&vn->vd, NET_RXQ, c)) {
        if (vq->broken || !virtq_enable_kicks(vq)) {
            vn->rx_starved = true;
            return false;
        }
    }
    return true;
}

/* Into as many buffers as it takes, which the driver sees all at once
 * (5.1.6.4); h goes over the frame's own head. Returns false if they are too
 * few now. */
static bool fill_buffers(struct virtio_net *vn, struct net_head *h,
                         const uint8_t *buf, size_t len)
{
    bool many = (vn->vd.st.driver_features & NET_F_MRG_RXBUF) != 0;
    struct virtq *vq = &vn->vd.vq[NET_RXQ];
    size_t off = 0;
    unsigned nr = 0;

    while (off < len) {
        struct virtq_chain *c = nr ? &vn->chain : &vn->first;
        size_t part;

        /* What no buffers can hold is dropped. */
        if (nr == (many ? MAX_BUFFERS : 1)) {
            give_back(vn, nr);
            return true;
        }
        if (!next_buffer(vn, c)) {
            give_back(vn, nr);
            return false;
        }
        if (c->in_bytes < NET_HEAD) { /* 5.1.6.3.1 */
            virtio_break(&vn->vd);
            return true;
        }
        part = virtq_chain_write(c, 0, buf + off, len - off);
        virtq_put(vq, nr++, c, part);
        off += part;
    }
    h->nr_buffers = (uint16_t)nr;
    (void)virtq_chain_write(&vn->first, 0, h, NET_HEAD);
    virtq_publish(vq, nr);
    return true;
}

static bool receive_locked(struct virtio_net *vn, const uint8_t *buf,
                           size_t len)
{
    struct net_head h;

    /* Nobody listens: gone, as on a wire. */
    if (!virtio_queue_is_live(&vn->vd, NET_RXQ))
        return true;
    memcpy(&h, buf, sizeof(h));
    if (!virtio_net_wants(vn, buf + NET_HEAD) || !adapt_head(vn, &h))
        return true;
    return fill_buffers(vn, &h, buf, len);
}

bool virtio_net_receive(struct virtio_net *vn, const void *buf, size_t len)
{
    bool taken;

    assert(len >= NET_HEAD + NET_MIN_FRAME && len <= NET_HEAD + NET_MAX_FRAME);
    lock_take(&vn->vd.lock);
    taken = receive_locked(vn, buf, len);
    virtio_notify(&vn->vd, NET_RXQ);
    lock_drop(&vn->vd.lock);
    return taken;
}

static void run_rx(struct virtio_net *vn)
{
    if (!vn->rx_starved)
        return;
    vn->rx_starved = false;
    virtq_disable_kicks(&vn->vd.vq[NET_RXQ]);
    if (vn->be.ready)
        vn->be.ready(vn->be.opaque);
}

/* -- The device --- */

static bool net_queue(struct virtio_dev *vd, unsigned q)
{
    struct virtio_net *vn = net_of(vd);

    switch (q) {
    case NET_TXQ: return run_tx(vn);
    case NET_CTRLQ: return virtio_net_control(vn);
    default: run_rx(vn); return false;
    }
}

static void net_queue_reset(struct virtio_dev *vd, unsigned q)
{
    struct virtio_net *vn = net_of(vd);

    /* A frame that waits for buffers is not to wait for ever. */
    if (q == NET_RXQ)
        run_rx(vn);
}

static void net_reset(struct virtio_dev *vd)
{
    struct virtio_net *vn = net_of(vd);

    memset(&vn->st, 0, sizeof(vn->st));
    memcpy(vn->st.mac, vn->mac, sizeof(vn->mac));
    vn->st.promisc = 1; /* until the driver says which it wants */
    run_rx(vn);
}

static void net_started(struct virtio_dev *vd)
{
    net_of(vd)->st.offloads = vd->st.driver_features & NET_OFFLOADS;
}

static void net_loaded(struct virtio_dev *vd)
{
    struct virtio_net *vn = net_of(vd);

    vn->tx_blocked = false;
    vn->rx_starved = true;
}

static void net_config_read(struct virtio_dev *vd, uint32_t off, void *dst,
                            unsigned len)
{
    const struct virtio_net *vn = net_of(vd);
    struct net_config cfg = {.status = vn->link_up ? LINK_UP : 0};

    memcpy(cfg.mac, vn->st.mac, sizeof(cfg.mac));
    memcpy(dst, (const uint8_t *)&cfg + off, len);
}

static const struct virtio_type net_type = {
    .name = "virtio-net",
    .id = VIRTIO_ID_NET,
    .pci_class = 0x020000, /* Ethernet controller */
    .features = NET_F_CSUM | NET_F_GUEST_CSUM | NET_F_CTRL_GUEST_OFFLOADS |
                NET_F_MAC | NET_F_GUEST_TSO4 | NET_F_GUEST_TSO6 |
                NET_F_HOST_TSO4 | NET_F_HOST_TSO6 | NET_F_MRG_RXBUF |
                NET_F_STATUS | NET_F_CTRL_VQ | NET_F_CTRL_RX |
                NET_F_CTRL_MAC_ADDR,
    .nr_queues = NR_QUEUES,
    .queue_size = QUEUE_SIZE,
    .config_size = CONFIG_BYTES,
    .inline_kick = true,
    .config_read = net_config_read,
    .started = net_started,
    .queue = net_queue,
    .queue_reset = net_queue_reset,
    .reset = net_reset,
    .loaded = net_loaded,
};

int virtio_net_init(struct virtio_net *vn, const struct virtio_env *env,
                    const struct net_ops *be, const uint8_t mac[NET_MAC_BYTES],
                    struct err *err)
{
    memset(vn, 0, sizeof(*vn));
    vn->be = *be;
    vn->link_up = true;
    memcpy(vn->mac, mac, sizeof(vn->mac));
    memcpy(vn->st.mac, mac, sizeof(vn->st.mac));
    vn->st.promisc = 1;
    return virtio_dev_init(&vn->vd, &net_type, env, 0, err);
}

void virtio_net_fini(struct virtio_net *vn)
{
    virtio_dev_fini(&vn->vd);
}

void virtio_net_set_link(struct virtio_net *vn, bool up)
{
    lock_take(&vn->vd.lock);
    if (vn->link_up != up) {
        vn->link_up = up;
        virtio_config_changed(&vn->vd);
    }
    lock_drop(&vn->vd.lock);
}
