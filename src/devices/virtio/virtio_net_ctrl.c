/*
 * The control queue (virtio 1.2, 5.1.6.5): which frames the driver wants, its
 * address, and what is left undone for it. A command is a class, a number and
 * data; the answer is one byte.
 */
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_net_int.h"

enum {
    CLASS_RX = 0,
    RX_PROMISC = 0,
    RX_ALLMULTI = 1,
    CLASS_MAC = 1,
    MAC_TABLE_SET = 0,
    MAC_ADDR_SET = 1,
    CLASS_OFFLOADS = 5,
    OFFLOADS_SET = 0,
    ACK_OK = 0,
    ACK_ERR = 1,
    HEAD = 2,
    SHARE = 16 /* commands in one turn */
};

/* --- Filter -----------------------------------------------------------------
 */

static bool in_table(const uint8_t *table, unsigned nr, const uint8_t *address)
{
    for (unsigned i = 0; i < nr; i++)
        if (memcmp(table + (size_t)i * NET_MAC_BYTES, address, NET_MAC_BYTES) ==
            0)
            return true;
    return false;
}

bool virtio_net_wants(const struct virtio_net *vn, const uint8_t *address)
{
    static const uint8_t all[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct virtio_net_state *st = &vn->st;
    const uint8_t *multi = st->table + (size_t)st->nr_uni * NET_MAC_BYTES;

    if (st->promisc || memcmp(address, all, sizeof(all)) == 0)
        return true;
    if (address[0] & 1)
        return st->allmulti || st->all_multi ||
               in_table(multi, st->nr_multi, address);
    return st->all_uni || memcmp(address, st->mac, NET_MAC_BYTES) == 0 ||
           in_table(st->table, st->nr_uni, address);
}

/* --- Commands ---------------------------------------------------------------
 */

static bool set_mode(struct virtio_net *vn, uint8_t command,
                     const struct virtq_chain *c)
{
    uint8_t on;

    if (c->out_bytes != HEAD + 1 || virtq_chain_read(c, HEAD, &on, 1) != 1)
        return false;
    switch (command) {
    case RX_PROMISC: vn->st.promisc = on != 0; return true;
    case RX_ALLMULTI: vn->st.allmulti = on != 0; return true;
    default: return false;
    }
}

/* A list of nr addresses at *off, of which as many go into the table as there
 * is room. False if the command ends before it does. */
static bool take_list(struct virtio_net_state *st, const struct virtq_chain *c,
                      uint64_t *off, unsigned used, uint8_t *nr, uint8_t *all)
{
    uint8_t count[4];
    uint64_t n;

    if (virtq_chain_read(c, *off, count, sizeof(count)) != sizeof(count))
        return false;
    n = get_le32(count);
    *off += sizeof(count);
    if (n * NET_MAC_BYTES > c->out_bytes - *off)
        return false;
    *all = n > NET_MAC_TABLE - used;
    *nr = *all ? 0 : (uint8_t)n;
    (void)virtq_chain_read(c, *off, st->table + (size_t)used * NET_MAC_BYTES,
                           (size_t)*nr * NET_MAC_BYTES);
    *off += n * NET_MAC_BYTES;
    return true;
}

static bool set_table(struct virtio_net *vn, const struct virtq_chain *c)
{
    struct virtio_net_state st = vn->st;
    uint64_t off = HEAD;

    if (!take_list(&st, c, &off, 0, &st.nr_uni, &st.all_uni) ||
        !take_list(&st, c, &off, st.nr_uni, &st.nr_multi, &st.all_multi) ||
        off != c->out_bytes)
        return false;
    vn->st = st;
    return true;
}

static bool set_address(struct virtio_net *vn, const struct virtq_chain *c)
{
    uint8_t mac[NET_MAC_BYTES];

    if (c->out_bytes != HEAD + NET_MAC_BYTES ||
        virtq_chain_read(c, HEAD, mac, sizeof(mac)) != sizeof(mac) ||
        mac[0] & 1)
        return false;
    memcpy(vn->st.mac, mac, sizeof(mac));
    return true;
}

static bool set_offloads(struct virtio_net *vn, const struct virtq_chain *c)
{
    uint8_t buf[8];
    uint64_t bits;

    if (c->out_bytes != HEAD + sizeof(buf) ||
        virtq_chain_read(c, HEAD, buf, sizeof(buf)) != sizeof(buf))
        return false;
    bits = get_le64(buf);
    if (bits & ~(NET_OFFLOADS & vn->vd.st.driver_features))
        return false;
    vn->st.offloads = bits;
    return true;
}

static bool carry_out(struct virtio_net *vn, const struct virtq_chain *c)
{
    uint64_t f = vn->vd.st.driver_features;
    uint8_t head[HEAD];

    if (virtq_chain_read(c, 0, head, HEAD) != HEAD)
        return false;
    if (head[0] == CLASS_RX && f & NET_F_CTRL_RX)
        return set_mode(vn, head[1], c);
    if (head[0] == CLASS_MAC && head[1] == MAC_TABLE_SET && f & NET_F_CTRL_RX)
        return set_table(vn, c);
    if (head[0] == CLASS_MAC && head[1] == MAC_ADDR_SET &&
        f & NET_F_CTRL_MAC_ADDR)
        return set_address(vn, c);
    if (head[0] == CLASS_OFFLOADS && head[1] == OFFLOADS_SET &&
        f & NET_F_CTRL_GUEST_OFFLOADS)
        return set_offloads(vn, c);
    return false;
}

bool virtio_net_control(struct virtio_net *vn)
{
    struct virtq *vq = &vn->vd.vq[NET_CTRLQ];
    struct virtq_chain c;

    virtq_disable_kicks(vq);
    for (unsigned i = 0; i < SHARE; i++) {
        uint8_t ack;

        if (!virtio_pop(&vn->vd, NET_CTRLQ, &c))
            break;
        ack = carry_out(vn, &c) ? ACK_OK : ACK_ERR;
        virtq_push(vq, &c, virtq_chain_write(&c, 0, &ack, 1));
    }
    virtio_notify(&vn->vd, NET_CTRLQ);
    return virtq_enable_kicks(vq);
}
