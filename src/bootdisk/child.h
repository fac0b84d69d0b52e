#ifndef HUSK_BOOTDISK_CHILD_H
#define HUSK_BOOTDISK_CHILD_H

#include <stdint.h>

#include "bootdisk/finder.h"

/*
 * What the process that looks and the one that has the disk share: a window
 * that reads go through, and the answer. The child sends a request and gets an
 * int32_t, 0 or -errno; then the window's first len bytes are the disk's. Its
 * exit status is 0 once the answer stands.
 */
enum { CHILD_WINDOW = 256 << 10, CHILD_SOCKET = 3, CHILD_MEMORY = 4 };

struct child_request {
    uint64_t off, len; /* len: 1..CHILD_WINDOW */
};

struct child_shared {
    uint64_t disk_bytes; /* the parent's */
    uint8_t window[CHILD_WINDOW];
    struct answer answer;
};

/* Of a program that bootdisk_look starts again as its child: argv[1]. */
#define CHILD_ROLE "--bootdisk-child"

/* In the environment of the child, so that a program whose main forgets the
 * role fails there instead of starting itself for ever. */
#define CHILD_MARK "HUSK_BOOTDISK_CHILD"

/* The whole child, with its socket and memory at the numbers above. Returns the
 * exit status, which has to be given to _exit. */
int child_main(void);

#endif
