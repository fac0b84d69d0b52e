#ifndef HUSK_VMM_CONSOLE_H
#define HUSK_VMM_CONSOLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "event/loop.h"
#include "vmm/sink.h"

/*
 * The host's end of a character device: the person's terminal (stdio), a
 * file, or a Unix socket that serves one client at a time. Output may come
 * before it is opened and waits then.
 *
 * Threads: console_write and console_resume are called by devices on any
 * thread; all else on the loop's.
 */
struct console_guest {
    /* Offer input; returns how many bytes the guest took. If fewer than len,
     * console_resume is called when it takes more. NULL = output only. */
    size_t (*receive)(void *opaque, const uint8_t *buf, size_t len);
    /* Ctrl-] was typed on a terminal. */
    void (*escape)(void *opaque);
    void *opaque;
};

enum { CONSOLE_INPUT = 1024 };

struct console {
    const char *name; /* of the option: "serial" */
    struct loop *loop;
    struct sink out;
    struct console_guest guest;
    struct timer resume;
    int in;        /* input descriptor, or -1 */
    bool in_owned; /* and ours to close */
    bool in_watched;
    bool in_polled; /* a file or /dev/null, which epoll refuses: always ready */
    bool terminal;
    int listener; /* -1 = not a socket */
    const char *path;
    size_t pending; /* bytes of input that the guest has not taken */
    uint8_t input[CONSOLE_INPUT];
};

/* Closed, output goes nowhere. -ENOMEM. */
MUST_CHECK int console_init(struct console *c, const char *name,
                            struct loop *loop);
/* Write out the rest, close, remove the socket. The loop has ended. */
void console_fini(struct console *c);

/* Open where ("stdio", "unix:PATH" or a file; borrowed) and connect it to
 * guest. -errno with err. */
MUST_CHECK int console_open(struct console *c, const char *where,
                            const struct console_guest *guest, struct err *err);

/* The shapes of a device's back end; console is a struct console. */
void console_write(void *console, const uint8_t *buf, size_t len);
void console_resume(void *console);

#endif
