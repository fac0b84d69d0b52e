#ifndef HUSK_VMM_STUCK_H
#define HUSK_VMM_STUCK_H

#include <stdbool.h>

#include "event/loop.h"
#include "machine/pc.h"

/*
 * A machine whose disk's host is full: it is paused, its requests are tried
 * again every second, and it goes on when none is left. Nothing is lost.
 * On the loop's thread, but for stuck_changed.
 */
struct stuck {
    struct pc *pc;
    struct timer timer;
    bool waits; /* and has the machine paused */
};

void stuck_init(struct stuck *s, struct loop *loop);
void stuck_fini(struct stuck *s);
/* The shape of pc_config.disk_stuck; any thread. */
void stuck_changed(struct stuck *s);
/* Try again now. */
void stuck_retry(struct stuck *s);

#endif
