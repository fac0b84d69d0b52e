#include "devices/pc/ps2_kbd.h"

#include <errno.h>
#include <string.h>

#include "base/compiler.h"

/*
 * A 101/102-key keyboard (IBM PS/2 Technical Reference, "Keyboards (101- and
 * 102-Key)"). Scan code sets 1 and 2; choosing set 3 is acknowledged and
 * ignored, as common keyboards do. Keys do not repeat by themselves: whoever
 * presses them repeats.
 */

/* Room for the longest answer is kept free of key codes. */
enum { KEY_ROOM = PS2_KBD_QUEUE - 4 };

enum {
    REPLY_ACK = 0xfa,
    REPLY_RESEND = 0xfe,
    REPLY_SELF_TEST = 0xaa,
    REPLY_ECHO = 0xee,
    CODE_BREAK = 0xf0,
    CODE_EXTENDED = 0xe0
};

enum {
    CMD_LEDS = 0xed,
    CMD_ECHO = 0xee,
    CMD_SET = 0xf0,
    CMD_ID = 0xf2,
    CMD_TYPEMATIC = 0xf3,
    CMD_ENABLE = 0xf4,
    CMD_DISABLE = 0xf5,
    CMD_DEFAULTS = 0xf6,
    CMD_ALL_KEYS_FIRST = 0xf7, /* to 0xfa: only set 3 cares */
    CMD_ALL_KEYS_LAST = 0xfa,
    CMD_RESEND = 0xfe,
    CMD_RESET = 0xff
};

#define TYPEMATIC_DEFAULT 0x2b /* 10.9 a second after 500 ms */

/* Scan code set 2 by set 1 (same keys, by their make codes). */
static const uint8_t set2_of_set1[] = {
    [0x01] = 0x76, [0x02] = 0x16, [0x03] = 0x1e, [0x04] = 0x26, [0x05] = 0x25,
    [0x06] = 0x2e, [0x07] = 0x36, [0x08] = 0x3d, [0x09] = 0x3e, [0x0a] = 0x46,
    [0x0b] = 0x45, [0x0c] = 0x4e, [0x0d] = 0x55, [0x0e] = 0x66, [0x0f] = 0x0d,
    [0x10] = 0x15, [0x11] = 0x1d, [0x12] = 0x24, [0x13] = 0x2d, [0x14] = 0x2c,
    [0x15] = 0x35, [0x16] = 0x3c, [0x17] = 0x43, [0x18] = 0x44, [0x19] = 0x4d,
    [0x1a] = 0x54, [0x1b] = 0x5b, [0x1c] = 0x5a, [0x1d] = 0x14, [0x1e] = 0x1c,
    [0x1f] = 0x1b, [0x20] = 0x23, [0x21] = 0x2b, [0x22] = 0x34, [0x23] = 0x33,
    [0x24] = 0x3b, [0x25] = 0x42, [0x26] = 0x4b, [0x27] = 0x4c, [0x28] = 0x52,
    [0x29] = 0x0e, [0x2a] = 0x12, [0x2b] = 0x5d, [0x2c] = 0x1a, [0x2d] = 0x22,
    [0x2e] = 0x21, [0x2f] = 0x2a, [0x30] = 0x32, [0x31] = 0x31, [0x32] = 0x3a,
    [0x33] = 0x41, [0x34] = 0x49, [0x35] = 0x4a, [0x36] = 0x59, [0x37] = 0x7c,
    [0x38] = 0x11, [0x39] = 0x29, [0x3a] = 0x58, [0x3b] = 0x05, [0x3c] = 0x06,
    [0x3d] = 0x04, [0x3e] = 0x0c, [0x3f] = 0x03, [0x40] = 0x0b, [0x41] = 0x83,
    [0x42] = 0x0a, [0x43] = 0x01, [0x44] = 0x09, [0x45] = 0x77, [0x46] = 0x7e,
    [0x47] = 0x6c, [0x48] = 0x75, [0x49] = 0x7d, [0x4a] = 0x7b, [0x4b] = 0x6b,
    [0x4c] = 0x73, [0x4d] = 0x74, [0x4e] = 0x79, [0x4f] = 0x69, [0x50] = 0x72,
    [0x51] = 0x7a, [0x52] = 0x70, [0x53] = 0x71, [0x54] = 0x84, [0x56] = 0x61,
    [0x57] = 0x78, [0x58] = 0x07, [0x5b] = 0x1f, [0x5c] = 0x27, [0x5d] = 0x2f,
};

uint8_t ps2_kbd_translate(uint8_t val)
{
    unsigned i;

    if (val == 0x00)
        return 0xff; /* overrun */
    if (val == 0x02)
        return 0x41; /* no key; the answer of "which set?" */
    for (i = 1; i < ARRAY_LEN(set2_of_set1); i++) {
        if (set2_of_set1[i] == val)
            return (uint8_t)i;
    }
    return val;
}

/* --- Queue -------------------------------------------------------------- */

static void kbd_push(struct ps2_kbd_state *k, uint8_t val)
{
    if (k->len == PS2_KBD_QUEUE)
        return;
    k->queue[(k->head + k->len) % PS2_KBD_QUEUE] = val;
    k->len++;
}

int ps2_kbd_pop(struct ps2_kbd_state *k)
{
    if (!k->len)
        return -1;
    k->last = k->queue[k->head];
    k->head = (uint8_t)((k->head + 1) % PS2_KBD_QUEUE);
    k->len--;
    return k->last;
}

void ps2_kbd_key(struct ps2_kbd_state *k, uint16_t code, bool down)
{
    uint8_t key = code & 0x7f;
    unsigned need = 3; /* prefix, break, key */

    if (!k->scanning || k->len + need > KEY_ROOM)
        return;
    if (k->set != 1 && (key >= sizeof(set2_of_set1) || !set2_of_set1[key]))
        return;
    if (code >> 8 == CODE_EXTENDED)
        kbd_push(k, CODE_EXTENDED);
    if (k->set == 1) {
        kbd_push(k, (uint8_t)(key | (down ? 0 : 0x80)));
        return;
    }
    if (!down)
        kbd_push(k, CODE_BREAK);
    kbd_push(k, set2_of_set1[key]);
}

/* --- Commands ----------------------------------------------------------- */

static void kbd_defaults(struct ps2_kbd_state *k)
{
    k->set = 2;
    k->typematic = TYPEMATIC_DEFAULT;
    k->len = 0;
}

void ps2_kbd_reset(struct ps2_kbd_state *k)
{
    memset(k, 0, sizeof(*k));
    kbd_defaults(k);
    k->scanning = 1;
}

static void kbd_parameter(struct ps2_kbd_state *k, uint8_t cmd, uint8_t val)
{
    kbd_push(k, REPLY_ACK);
    switch (cmd) {
    case CMD_LEDS: k->leds = val & 7; break;
    case CMD_TYPEMATIC: k->typematic = val; break;
    case CMD_SET:
        if (val == 0)
            kbd_push(k, k->set);
        else if (val < 3)
            k->set = val;
        break;
    default: break;
    }
}

static void kbd_command(struct ps2_kbd_state *k, uint8_t val)
{
    switch (val) {
    case CMD_LEDS:
    case CMD_SET:
    case CMD_TYPEMATIC: k->cmd = val; break;
    case CMD_ECHO: kbd_push(k, REPLY_ECHO); return;
    case CMD_ID:
        kbd_push(k, REPLY_ACK);
        kbd_push(k, 0xab);
        kbd_push(k, 0x83);
        return;
    case CMD_ENABLE:
        k->len = 0;
        k->scanning = 1;
        break;
    case CMD_DISABLE:
    case CMD_DEFAULTS:
        kbd_defaults(k);
        k->scanning = val == CMD_DEFAULTS;
        break;
    case CMD_RESEND: kbd_push(k, k->last); return;
    case CMD_RESET:
        ps2_kbd_reset(k);
        kbd_push(k, REPLY_ACK);
        kbd_push(k, REPLY_SELF_TEST);
        return;
    default:
        if (val < CMD_ALL_KEYS_FIRST || val > CMD_ALL_KEYS_LAST) {
            kbd_push(k, REPLY_RESEND);
            return;
        }
        break;
    }
    kbd_push(k, REPLY_ACK);
}

void ps2_kbd_write(struct ps2_kbd_state *k, uint8_t val)
{
    uint8_t cmd = k->cmd;

    k->cmd = 0;
    /* A command in place of a parameter starts over. */
    if (cmd && val < CMD_LEDS)
        kbd_parameter(k, cmd, val);
    else
        kbd_command(k, val);
}

int ps2_kbd_check(const struct ps2_kbd_state *k)
{
    return k->len <= PS2_KBD_QUEUE && k->head < PS2_KBD_QUEUE &&
                   (k->set == 1 || k->set == 2)
               ? 0
               : -EINVAL;
}
