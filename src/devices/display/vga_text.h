#ifndef HUSK_DEVICES_DISPLAY_VGA_TEXT_H
#define HUSK_DEVICES_DISPLAY_VGA_TEXT_H

#include <stddef.h>

#include "devices/display/vga.h"

/* The screen as text, for whoever has no display: programs, and tests. */
enum {
    VGA_TEXT_COLUMNS = 256, /* what the registers can say, cut to */
    VGA_TEXT_ROWS = 128,
    VGA_TEXT_LINE = VGA_TEXT_COLUMNS * 3 + 1 /* of UTF-8, with its final 0 */
};

struct vga_text {
    struct vga_shown shown; /* columns and rows cut to the above */
    /* Without the blanks at its end. Only if shown.kind is VGA_TEXT, and only
     * shown.rows of them. */
    char line[VGA_TEXT_ROWS][VGA_TEXT_LINE];
};

/* What is shown now, its characters by code page 437. Takes the lock. */
void vga_text_read(struct vga *v, struct vga_text *out);

/* A character of code page 437 as UTF-8 in out, which has room for 3 bytes;
 * returns how many. Those that have no shape are blanks. */
unsigned vga_text_utf8(uint8_t c, char *out);

#endif
