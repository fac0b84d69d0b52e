#ifndef HUSK_VMM_TTY_H
#define HUSK_VMM_TTY_H

#include <stdbool.h>
#include <termios.h>

/*
 * The person's terminal while it belongs to the guest: every key goes to it,
 * Ctrl-C too. One per process, on standard input.
 */
struct tty {
    bool raw;
    struct termios saved, ours;
};

/* The key that ends the guest: Ctrl-] as telnet has it. */
#define TTY_ESCAPE 0x1d

/* Whether standard input is a terminal that is ours to use (a background job
 * must not touch it). */
bool tty_is_ours(void);
/* Make it raw; does nothing if it is no terminal. */
void tty_raw(struct tty *tty);
/* The shell had it while we were stopped: make it raw again. */
void tty_again(const struct tty *tty);
/* As it was before. */
void tty_restore(struct tty *tty);

#endif
