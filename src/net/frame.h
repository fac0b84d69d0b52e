#ifndef HUSK_NET_FRAME_H
#define HUSK_NET_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "net/net.h"

/*
 * Ethernet frames and what is in them (RFC 791, 8200, 9293), between cards,
 * which leave work to each other, and a user-mode stack, which takes only
 * complete frames, but of any length. Every byte is a guest's, or somebody's
 * in the network. All functions are over a buffer.
 */

/* The one's complement sum of the bytes, folded (RFC 1071), not inverted; of an
 * odd number, as if a zero followed. sum is that of what came before, an even
 * number of bytes. */
uint16_t frame_sum(const void *buf, size_t len, uint16_t sum);

/* A frame of a guest's: what its head asks for is done. -EINVAL: the head does
 * not fit the frame. */
MUST_CHECK int frame_finish(const struct net_head *h, uint8_t *frame,
                            size_t len);

/* If it opens a TCP connection: it takes segments of so many bytes. */
void frame_raise_mss(uint8_t *frame, size_t len, uint16_t mss);

/* Whether it has TCP in it whose segment is longer than a card sends at once,
 * and no fragment: then h says how to cut it up, and the frame has the sum of
 * the pseudo header only. Else h says nothing. */
bool frame_is_large(struct net_head *h, uint8_t *frame, size_t len);

/*
 * A packet of IPv4 that is longer than NET_MTU, cut in pieces: the next one
 * from *off (0 at first) goes to piece (of NET_MIN_FRAME + NET_MTU bytes).
 * Returns its length; 0: no more of it, or it must not be cut.
 */
size_t frame_fragment(const uint8_t *frame, size_t len, size_t *off,
                      uint8_t *piece);

#endif
