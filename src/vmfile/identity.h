#ifndef HUSK_VMFILE_IDENTITY_H
#define HUSK_VMFILE_IDENTITY_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Which file a VM was last seen in, as a line of text that its settings keep:
 * a copy of the file carries the line of its original, and so is known for a
 * copy. "INODE DEVICE FSID HANDLE", in hexadecimal: the handle
 * (name_to_handle_at(2)) tells a file from an earlier one with its inode
 * number, and is 0 where there is none. A device may have another number after
 * a reboot, a file system keeps its id: one of the two is enough.
 */
enum { IDENTITY_MAX = 400 };

MUST_CHECK int identity_of(int fd, char line[IDENTITY_MAX], struct err *err);
/* Whether both lines are those of one file. False for what is no such line. */
bool identity_same(const char *a, const char *b);

enum { IDENTITY_UUID = 37, IDENTITY_MAC = 18 };
/* Random: a version-4 UUID (RFC 4122, 4.4), and an address with QEMU's prefix
 * 52:54:00, which is locally administered. */
MUST_CHECK int identity_uuid(char uuid[IDENTITY_UUID], struct err *err);
MUST_CHECK int identity_mac(char mac[IDENTITY_MAC], struct err *err);

#endif
