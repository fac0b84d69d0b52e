#ifndef HUSK_GDB_PACKET_H
#define HUSK_GDB_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Packets of a debugger and to it (GDB remote protocol, E): taken
 * apart byte by byte, scanned, and put together. Nothing here knows commands.
 * All bytes are hostile: no packet grows past GDB_PACKET_MAX.
 */
enum { GDB_PACKET_MAX = 4096 };

/* --- Receiving ---------------------------------------------------------- */

enum gdb_rx_event {
    GDB_RX_NONE,
    GDB_RX_PACKET, /* rx->buf, rx->len is a packet's contents */
    GDB_RX_BAD,    /* its checksum is wrong, or it is too long */
    GDB_RX_NACK,
    GDB_RX_INTERRUPT /* Ctrl-C */
};

struct gdb_rx {
    char buf[GDB_PACKET_MAX + 1]; /* ends with a NUL that len leaves out */
    size_t len;
    unsigned state; /* all zero is the start */
    uint8_t sum, want;
    bool too_long;
};

/* Take one more byte. */
enum gdb_rx_event gdb_rx_byte(struct gdb_rx *rx, uint8_t byte);

/* --- Scanning ----------------------------------------------------------- */

/* What is left of a packet. */
struct gdb_scan {
    const char *p, *end;
};

/* Each returns whether it found what it looks for, and then goes past it. */
bool gdb_scan_char(struct gdb_scan *s, char c);
bool gdb_scan_word(struct gdb_scan *s, const char *word);
/* 1 to 16 hex digits. */
bool gdb_scan_hex(struct gdb_scan *s, uint64_t *val);
/* Exactly len bytes as hex pairs. */
bool gdb_scan_bytes(struct gdb_scan *s, void *dst, size_t len);
/* Exactly len bytes as escaped binary data, up to the packet's end. */
bool gdb_scan_binary(struct gdb_scan *s, void *dst, size_t len);
static inline bool gdb_scan_end(const struct gdb_scan *s)
{
    return s->p == s->end;
}

/* --- Replying ----------------------------------------------------------- */

/* A reply under construction. What does not fit makes it too_long. */
struct gdb_reply {
    char buf[GDB_PACKET_MAX + 4]; /* "$", contents, "#xx" */
    size_t len;
    bool too_long;
};

void gdb_reply_start(struct gdb_reply *r);
void gdb_reply_str(struct gdb_reply *r, const char *s);
void gdb_reply_num(struct gdb_reply *r, uint64_t val); /* shortest hex */
void gdb_reply_hex(struct gdb_reply *r, const void *src, size_t len);
/* Binary data with its special characters escaped. */
void gdb_reply_binary(struct gdb_reply *r, const void *src, size_t len);
/* "E" and two digits of a positive errno. Replaces what was there. */
void gdb_reply_error(struct gdb_reply *r, int err);
/* Append the checksum: buf and len are now what goes to the wire. */
void gdb_reply_end(struct gdb_reply *r);

#endif
