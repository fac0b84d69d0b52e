#include "net/frame.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"

enum {
    ETH = 14,
    ETH_TYPE = 12,
    TYPE_IP4 = 0x0800,
    TYPE_IP6 = 0x86dd,
    /* IPv4 */
    IP4_MIN = 20,
    IP4_LEN = 2,
    IP4_FRAG = 6,
    IP4_PROTO = 9,
    IP4_SUM = 10,
    IP4_ADDRS = 12,
    IP4_MORE = 0x2000,
    IP4_OFFSET = 0x1fff,
    /* IPv6 */
    IP6_HEAD = 40,
    IP6_LEN = 4,
    IP6_NEXT = 6,
    IP6_ADDRS = 8,
    /* TCP */
    PROTO_TCP = 6,
    TCP_MIN = 20,
    TCP_OFF = 12,
    TCP_FLAGS = 13,
    TCP_SYN = 2,
    TCP_SUM = 16,
    OPT_END = 0,
    OPT_NOP = 1,
    OPT_MSS = 2
};

static uint16_t fold(uint64_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t frame_sum(const void *buf, size_t len, uint16_t sum)
{
    const uint8_t *p = buf;
    uint64_t all = sum;
    uint8_t last[2] = {0};

    /* In the host's byte order: the sum is the same, swapped (RFC 1071, 2). */
    all = (uint64_t)((sum & 0xff) << 8 | sum >> 8);
    for (; len >= 4; p += 4, len -= 4)
        all += get_le32(p);
    if (len >= 2) {
        all += get_le16(p);
        p += 2;
        len -= 2;
    }
    if (len) {
        last[0] = *p;
        all += get_le16(last);
    }
    sum = fold(all);
    return (uint16_t)((sum & 0xff) << 8 | sum >> 8);
}

/* --- What is in it ----------------------------------------------------------
 */

struct tcp {
    bool ip6;
    size_t ip, tcp; /* where their headers are */
    size_t end;     /* behind the data: a frame may be padded */
    size_t head;    /* bytes of the TCP header */
};

/* The addresses, the protocol and the length (RFC 9293, 3.1; RFC 8200, 8.1). */
static uint16_t pseudo_sum(const uint8_t *frame, const struct tcp *t)
{
    uint32_t len = (uint32_t)(t->end - t->tcp);
    uint64_t sum = (uint64_t)PROTO_TCP + (len >> 16) + (len & 0xffff);

    if (t->ip6)
        sum += frame_sum(frame + t->ip + IP6_ADDRS, 32, 0);
    else
        sum += frame_sum(frame + t->ip + IP4_ADDRS, 8, 0);
    return fold(sum);
}

static bool find_ip4(const uint8_t *f, size_t len, struct tcp *t)
{
    const uint8_t *ip = f + t->ip;
    size_t head, total;

    if (len < t->ip + IP4_MIN || ip[0] >> 4 != 4)
        return false;
    head = (size_t)(ip[0] & 15) * 4;
    total = get_be16(ip + IP4_LEN);
    if (head < IP4_MIN || total < head || total > len - t->ip ||
        ip[IP4_PROTO] != PROTO_TCP ||
        get_be16(ip + IP4_FRAG) & (IP4_MORE | IP4_OFFSET))
        return false;
    t->tcp = t->ip + head;
    t->end = t->ip + total;
    return true;
}

/* Without extension headers: the stacks at hand use none with TCP. */
static bool find_ip6(const uint8_t *f, size_t len, struct tcp *t)
{
    const uint8_t *ip = f + t->ip;
    size_t total;

    if (len < t->ip + IP6_HEAD || ip[0] >> 4 != 6 || ip[IP6_NEXT] != PROTO_TCP)
        return false;
    total = IP6_HEAD + (size_t)get_be16(ip + IP6_LEN);
    if (total > len - t->ip)
        return false;
    t->ip6 = true;
    t->tcp = t->ip + IP6_HEAD;
    t->end = t->ip + total;
    return true;
}

static bool find_tcp(const uint8_t *f, size_t len, struct tcp *t)
{
    uint16_t type;

    *t = (struct tcp){.ip = ETH};
    if (len < ETH)
        return false;
    type = get_be16(f + ETH_TYPE);
    if (type == TYPE_IP4 ? !find_ip4(f, len, t)
                         : type != TYPE_IP6 || !find_ip6(f, len, t))
        return false;
    if (t->end - t->tcp < TCP_MIN)
        return false;
    t->head = (size_t)(f[t->tcp + TCP_OFF] >> 4) * 4;
    return t->head >= TCP_MIN && t->head <= t->end - t->tcp;
}

/* --- From a guest -----------------------------------------------------------
 */

int frame_finish(const struct net_head *h, uint8_t *frame, size_t len)
{
    size_t at = (size_t)h->csum_start + h->csum_offset;
    uint16_t sum;

    if (!(h->flags & NET_CSUM))
        return h->gso_type == NET_GSO_NONE ? 0 : -EINVAL;
    if (h->csum_start >= len || at + 2 > len)
        return -EINVAL;
    sum = (uint16_t)~frame_sum(frame + h->csum_start, len - h->csum_start, 0);
    /* Zero means "none" in UDP, and is the same number (RFC 768). */
    put_be16(frame + at, sum ? sum : 0xffff);
    return 0;
}

void frame_raise_mss(uint8_t *frame, size_t len, uint16_t mss)
{
    struct tcp t;
    uint8_t *p, *end;

    if (!find_tcp(frame, len, &t) || !(frame[t.tcp + TCP_FLAGS] & TCP_SYN))
        return;
    p = frame + t.tcp + TCP_MIN;
    end = frame + t.tcp + t.head;
    while (p < end && *p != OPT_END) {
        uint64_t sum;

        if (*p == OPT_NOP) {
            p++;
            continue;
        }
        if (end - p < 2 || p[1] < 2 || p[1] > end - p)
            return;
        if (p[0] == OPT_MSS && p[1] == 4) {
            put_be16(p + 2, mss);
            put_be16(frame + t.tcp + TCP_SUM, 0);
            sum =
                frame_sum(frame + t.tcp, t.end - t.tcp, pseudo_sum(frame, &t));
            put_be16(frame + t.tcp + TCP_SUM, (uint16_t)~sum);
            return;
        }
        p += p[1];
    }
}

/* --- To a guest -------------------------------------------------------------
 */

bool frame_is_large(struct net_head *h, uint8_t *frame, size_t len)
{
    struct tcp t;

    *h = (struct net_head){.flags = NET_CSUM_VALID};
    if (len <= ETH + NET_MTU || !find_tcp(frame, len, &t))
        return false;
    *h = (struct net_head){
        .flags = NET_CSUM,
        .gso_type = t.ip6 ? NET_GSO_TCP6 : NET_GSO_TCP4,
        .head_len = (uint16_t)(t.tcp + t.head),
        .gso_size = (uint16_t)(NET_MTU - (t.tcp - t.ip) - t.head),
        .csum_start = (uint16_t)t.tcp,
        .csum_offset = TCP_SUM,
    };
    put_be16(frame + t.tcp + TCP_SUM, pseudo_sum(frame, &t));
    return true;
}

size_t frame_fragment(const uint8_t *frame, size_t len, size_t *off,
                      uint8_t *piece)
{
    const uint8_t *ip = frame + ETH;
    size_t head, data, room, n;
    uint16_t frag;

    if (len < ETH + IP4_MIN || get_be16(frame + ETH_TYPE) != TYPE_IP4)
        return 0;
    head = (size_t)(ip[0] & 15) * 4;
    data = get_be16(ip + IP4_LEN);
    frag = get_be16(ip + IP4_FRAG);
    if (head < IP4_MIN || data < head || data > len - ETH)
        return 0;
    data -= head;
    if (*off >= data)
        return 0;
    room = (NET_MTU - head) & ~(size_t)7;
    n = data - *off < room ? data - *off : room;
    memcpy(piece, frame, ETH + head);
    memcpy(piece + ETH + head, ip + head + *off, n);
    ip = piece + ETH;
    put_be16(piece + ETH + IP4_LEN, (uint16_t)(head + n));
    frag = (uint16_t)((frag & (IP4_MORE | IP4_OFFSET)) + *off / 8);
    if (*off + n < data)
        frag |= IP4_MORE;
    put_be16(piece + ETH + IP4_FRAG, frag);
    put_be16(piece + ETH + IP4_SUM, 0);
    put_be16(piece + ETH + IP4_SUM, (uint16_t)~frame_sum(ip, head, 0));
    *off += n;
    return ETH + head + n;
}
