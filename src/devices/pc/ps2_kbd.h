#ifndef HUSK_DEVICES_PC_PS2_KBD_H
#define HUSK_DEVICES_PC_PS2_KBD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * PS/2 keyboard (IBM PS/2 Technical Reference, "Keyboards (101- and
 * 102-Key)"), as its controller sees it: a queue of bytes out, commands in.
 * Part of i8042's state and under its lock.
 */
enum { PS2_KBD_QUEUE = 16 };

struct ps2_kbd_state {
    uint8_t queue[PS2_KBD_QUEUE];
    uint8_t head, len;
    uint8_t cmd; /* waits for its parameter, or 0 */
    uint8_t scanning;
    uint8_t set; /* scan code set 1..3 */
    uint8_t leds, typematic;
    uint8_t last; /* for RESEND */
};

void ps2_kbd_reset(struct ps2_kbd_state *k);
/* A byte from the controller. */
void ps2_kbd_write(struct ps2_kbd_state *k, uint8_t val);
/* Next byte for the controller, or -1. */
int ps2_kbd_pop(struct ps2_kbd_state *k);
/* As i8042_key. */
void ps2_kbd_key(struct ps2_kbd_state *k, uint16_t code, bool down);
/* Scan code set 2 byte to set 1, as the controller translates. */
uint8_t ps2_kbd_translate(uint8_t val);
/* 0, or -EINVAL for a state that no keyboard can have. */
int ps2_kbd_check(const struct ps2_kbd_state *k);

#endif
