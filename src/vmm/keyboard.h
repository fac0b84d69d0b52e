#ifndef HUSK_VMM_KEYBOARD_H
#define HUSK_VMM_KEYBOARD_H

#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "devices/pc/i8042.h"
#include "event/loop.h"

/*
 * Keys that somebody presses from outside, on the guest's keyboard: they go
 * down, stay there for a moment, and come up, one combination after the other,
 * as fast as a quick typist. On the loop's thread.
 */
enum {
    KEYBOARD_MAX_KEYS = 4,     /* of a combination: ctrl-alt-delete */
    KEYBOARD_MAX_QUEUED = 1024 /* combinations that wait */
};

/* Keys by their codes for i8042_key. */
struct keyboard_combo {
    uint16_t code[KEYBOARD_MAX_KEYS];
    uint8_t nr;
};

struct keyboard {
    struct i8042 *kbd;
    struct timer timer;
    struct keyboard_combo queue[KEYBOARD_MAX_QUEUED];
    unsigned head, nr;
    bool down; /* the keys of the first are */
};

/* loop and kbd are borrowed. */
void keyboard_init(struct keyboard *k, struct i8042 *kbd, struct loop *loop);
/* What still waits is forgotten. */
void keyboard_fini(struct keyboard *k);

/*
 * Press keys: combinations with blanks between, each of names with hyphens
 * between, as QEMU's sendkey has them ("ctrl-alt-delete", "f12", "ret", "a").
 * All or none of them: -EINVAL (no such key, too many in one combination) or
 * -EAGAIN (too many wait) with err.
 */
MUST_CHECK int keyboard_press(struct keyboard *k, const char *keys,
                              struct err *err);
/* Type text, on a keyboard as it is sold in the USA: ASCII, with \n as Enter
 * and \t as Tab. -EINVAL (another character), -EAGAIN. */
MUST_CHECK int keyboard_type(struct keyboard *k, const char *text,
                             struct err *err);

/* One combination of len bytes of text. -EINVAL: it is none. */
MUST_CHECK int keyboard_parse(const char *text, size_t len,
                              struct keyboard_combo *c);

#endif
