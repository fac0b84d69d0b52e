#ifndef HUSK_NET_JAIL_H
#define HUSK_NET_JAIL_H

#include "base/compiler.h"

/*
 * What the process of the network gives up before it sees the first frame: new
 * privileges, core dumps, writing to files, other processes, memory without
 * bound, and all system calls that are not in the list of jail.c. -errno.
 */
MUST_CHECK int jail_enter(void);

#endif
