/*
 * Frames of guests and of the network, and what a person says of ports. The
 * first byte chooses; frames then have a head of 12 bytes before them.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/vmconf.h"
#include "net/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_port(const uint8_t *data, size_t size)
{
    char *text = calloc(1, size + 1), printed[VMCONF_PORT_TEXT];
    struct vmconf_port p, again;
    uint8_t mac[6];
    struct err err;

    assert(text);
    memcpy(text, data, size);
    if (vmconf_parse_port(text, &p, &err) == 0) {
        vmconf_print_port(&p, printed);
        assert(vmconf_parse_port(printed, &again, &err) == 0);
        assert(vmconf_same_port(&p, &again) && p.guest == again.guest);
    }
    if (vmconf_parse_mac(text, mac) == 0)
        assert(size >= 17 && !(mac[0] & 1));
    free(text);
}

static void use_frame(const uint8_t *data, size_t size)
{
    uint8_t piece[NET_MIN_FRAME + NET_MTU];
    struct net_head h, large;
    uint8_t *frame;
    size_t off = 0, n, len = size - NET_HEAD;

    memcpy(&h, data, NET_HEAD);
    frame = malloc(len ? len : 1); /* of its own, so that ASan sees its end */
    assert(frame);
    memcpy(frame, data + NET_HEAD, len);
    (void)!frame_finish(&h, frame, len);
    frame_raise_mss(frame, len, 16000);
    if (frame_is_large(&large, frame, len))
        assert(frame_finish(&large, frame, len) == 0);
    for (unsigned i = 0; (n = frame_fragment(frame, len, &off, piece)); i++)
        assert(n <= sizeof(piece) && i < 65536 / 8);
    free(frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (data[0] & 1)
        use_port(data + 1, size - 1);
    else if (size > NET_HEAD)
        use_frame(data + 1, size - 1);
    return 0;
}
