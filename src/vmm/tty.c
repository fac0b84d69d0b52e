#include "vmm/tty.h"

#include <unistd.h>

bool tty_is_ours(void)
{
    return isatty(STDIN_FILENO) && tcgetpgrp(STDIN_FILENO) == getpgrp();
}

/* Output processing stays on: our own messages end with a bare newline. */
void tty_raw(struct tty *tty)
{
    struct termios t;

    tty->raw = false;
    if (!tty_is_ours() || tcgetattr(STDIN_FILENO, &tty->saved) < 0)
        return;
    t = tty->saved;
    t.c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR |
                             ICRNL | IXON);
    t.c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
    t.c_cflag &= ~(tcflag_t)(CSIZE | PARENB);
    t.c_cflag |= CS8;
    t.c_cc[VMIN] = 1;
    t.c_cc[VTIME] = 0;
    tty->ours = t;
    tty->raw = tcsetattr(STDIN_FILENO, TCSANOW, &t) == 0;
}

void tty_again(const struct tty *tty)
{
    if (tty->raw && tty_is_ours())
        (void)tcsetattr(STDIN_FILENO, TCSANOW, &tty->ours);
}

/* TCSADRAIN: what the guest wrote last is shown by its rules. */
void tty_restore(struct tty *tty)
{
    if (tty->raw)
        (void)tcsetattr(STDIN_FILENO, TCSADRAIN, &tty->saved);
    tty->raw = false;
}
