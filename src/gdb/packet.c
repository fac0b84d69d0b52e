#include "gdb/packet.h"

#include <errno.h>
#include <string.h>

enum rx_state { RX_IDLE, RX_DATA, RX_SUM_HIGH, RX_SUM_LOW };

#define CTRL_C     0x03u
#define ESCAPE_XOR 0x20

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* --- Receiving ---------------------------------------------------------- */

static void rx_begin(struct gdb_rx *rx)
{
    rx->state = RX_DATA;
    rx->len = 0;
    rx->sum = 0;
    rx->too_long = false;
}

static enum gdb_rx_event rx_idle(struct gdb_rx *rx, uint8_t byte)
{
    if (byte == '$')
        rx_begin(rx);
    else if (byte == '-')
        return GDB_RX_NACK;
    else if (byte == CTRL_C)
        return GDB_RX_INTERRUPT;
    return GDB_RX_NONE; /* '+' and noise */
}

static void rx_data(struct gdb_rx *rx, uint8_t byte)
{
    if (byte == '#') {
        rx->state = RX_SUM_HIGH;
        return;
    }
    if (byte == '$') { /* never in contents: the last packet was cut off */
        rx_begin(rx);
        return;
    }
    rx->sum = (uint8_t)(rx->sum + byte);
    if (rx->len < GDB_PACKET_MAX)
        rx->buf[rx->len++] = (char)byte;
    else
        rx->too_long = true;
}

static enum gdb_rx_event rx_done(struct gdb_rx *rx, int low)
{
    rx->state = RX_IDLE;
    rx->buf[rx->len] = '\0';
    if (low < 0 || rx->too_long || rx->sum != (uint8_t)(rx->want | low))
        return GDB_RX_BAD;
    return GDB_RX_PACKET;
}

enum gdb_rx_event gdb_rx_byte(struct gdb_rx *rx, uint8_t byte)
{
    int digit = hex_digit((char)byte);

    switch (rx->state) {
    case RX_DATA: rx_data(rx, byte); return GDB_RX_NONE;
    case RX_SUM_HIGH:
        if (digit < 0)
            return rx_done(rx, -1);
        rx->want = (uint8_t)(digit << 4);
        rx->state = RX_SUM_LOW;
        return GDB_RX_NONE;
    case RX_SUM_LOW: return rx_done(rx, digit);
    default: return rx_idle(rx, byte);
    }
}

/* --- Scanning ----------------------------------------------------------- */

bool gdb_scan_char(struct gdb_scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

bool gdb_scan_word(struct gdb_scan *s, const char *word)
{
    size_t len = strlen(word);

    if ((size_t)(s->end - s->p) < len || memcmp(s->p, word, len) != 0)
        return false;
    s->p += len;
    return true;
}

bool gdb_scan_hex(struct gdb_scan *s, uint64_t *val)
{
    uint64_t v = 0;
    unsigned n = 0;

    while (n < 16 && s->p + n < s->end && hex_digit(s->p[n]) >= 0)
        v = v << 4 | (uint64_t)hex_digit(s->p[n++]);
    if (n == 0)
        return false;
    s->p += n;
    *val = v;
    return true;
}

bool gdb_scan_bytes(struct gdb_scan *s, void *dst, size_t len)
{
    uint8_t *out = dst;
    size_t i;

    if ((size_t)(s->end - s->p) / 2 < len)
        return false;
    for (i = 0; i < len; i++) {
        int high = hex_digit(s->p[2 * i]), low = hex_digit(s->p[2 * i + 1]);

        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    s->p += 2 * len;
    return true;
}

bool gdb_scan_binary(struct gdb_scan *s, void *dst, size_t len)
{
    uint8_t *out = dst;
    size_t i;

    for (i = 0; i < len; i++) {
        bool escaped = gdb_scan_char(s, '}');

        if (s->p == s->end)
            return false;
        out[i] = (uint8_t)(*s->p++ ^ (escaped ? ESCAPE_XOR : 0));
    }
    return gdb_scan_end(s);
}

/* --- Replying ----------------------------------------------------------- */

static void reply_char(struct gdb_reply *r, char c)
{
    if (r->len <= GDB_PACKET_MAX) /* "$" and as many as a packet may have */
        r->buf[r->len++] = c;
    else
        r->too_long = true;
}

static void reply_byte(struct gdb_reply *r, uint8_t byte)
{
    static const char digits[] = "0123456789abcdef";

    reply_char(r, digits[byte >> 4]);
    reply_char(r, digits[byte & 15]);
}

void gdb_reply_start(struct gdb_reply *r)
{
    r->len = 0;
    r->too_long = false;
    reply_char(r, '$');
}

void gdb_reply_str(struct gdb_reply *r, const char *s)
{
    while (*s)
        reply_char(r, *s++);
}

void gdb_reply_num(struct gdb_reply *r, uint64_t val)
{
    int shift = 56;

    while (shift > 0 && val >> shift == 0)
        shift -= 8;
    for (; shift >= 0; shift -= 8)
        reply_byte(r, (uint8_t)(val >> shift));
}

void gdb_reply_hex(struct gdb_reply *r, const void *src, size_t len)
{
    const uint8_t *in = src;
    size_t i;

    for (i = 0; i < len; i++)
        reply_byte(r, in[i]);
}

void gdb_reply_binary(struct gdb_reply *r, const void *src, size_t len)
{
    const char *in = src;
    size_t i;

    for (i = 0; i < len; i++) {
        bool special =
            in[i] == '$' || in[i] == '#' || in[i] == '}' || in[i] == '*';

        if (special)
            reply_char(r, '}');
        reply_char(r, (char)(in[i] ^ (special ? ESCAPE_XOR : 0)));
    }
}

void gdb_reply_error(struct gdb_reply *r, int err)
{
    gdb_reply_start(r);
    reply_char(r, 'E');
    reply_byte(r, (uint8_t)err);
}

void gdb_reply_end(struct gdb_reply *r)
{
    static const char digits[] = "0123456789abcdef";
    uint8_t sum = 0;
    size_t i;

    if (r->too_long)
        gdb_reply_error(r, E2BIG);
    for (i = 1; i < r->len; i++)
        sum = (uint8_t)(sum + (uint8_t)r->buf[i]);
    r->buf[r->len++] = '#';
    r->buf[r->len++] = digits[sum >> 4];
    r->buf[r->len++] = digits[sum & 15];
}
