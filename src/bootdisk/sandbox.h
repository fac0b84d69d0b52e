#ifndef HUSK_BOOTDISK_SANDBOX_H
#define HUSK_BOOTDISK_SANDBOX_H

#include "base/compiler.h"

/*
 * Give up everything but memory, computing, and one descriptor, keep, on which
 * send and recv work: no files, no other descriptors, no new programs or
 * processes, limited memory and time. There is no way back. Any other system
 * call kills the process by SIGSYS.
 *
 * 0, or -errno: the process must end then. Only for a process with one thread.
 */
MUST_CHECK int sandbox_enter(int keep);

enum { SANDBOX_CPU_SECONDS = 10, SANDBOX_MEMORY_MB = 1024 };

#endif
