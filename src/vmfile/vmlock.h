#ifndef HUSK_VMFILE_VMLOCK_H
#define HUSK_VMFILE_VMLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Who may use a VM file. All locks are advisory OFD locks (fcntl(2)) on single
 * bytes: they belong to an open file description, so closing the last
 * descriptor of it, or the process's end, releases them.
 *
 *   2^62 - 1      write-locked by the one husk that runs or changes the VM
 *   2^62 - 2      write-locked while the settings are changed, by whoever
 *   100 101 103   read-locked by it, too: QEMU's "I read, write, resize"
 *   201 203       and QEMU's "nobody else may write, resize"
 *   2^62 + ID     a snapshot: read-locked by each process that has mapped it,
 *                 write-locked by the one that deletes it
 *
 * Readers (info, list) take none. Where the owner record of slots.h is there,
 * it names the owner, on other hosts of a network file system, too; where the
 * file system keeps no locks, it is all there is to go by.
 */

/* Who holds a VM; strings are empty and numbers 0 if they are not known. */
struct vmlock_owner {
    char host[65];
    char boot_id[37];
    pid_t pid;
    uint64_t since; /* seconds since 1970 */
    char doing[17]; /* the verb: "run", "set" */
    bool local;     /* same host and boot as this process */
};

/*
 * Take the lock of the VM file open for reading and writing at fd, and write
 * the owner record if the file has a place for it. doing is the verb. Holds
 * until fd (and its duplicates) are closed or vmlock_drop. -EBUSY with err that
 * names the holder.
 */
MUST_CHECK int vmlock_take(int fd, const char *path, const char *doing,
                           struct err *err);
/* Erase the owner record and let go. */
void vmlock_drop(int fd);

/*
 * Whether somebody else holds the VM of the file open at fd (for reading will
 * do): 1 with *owner, or 0. -errno if it cannot be told.
 */
int vmlock_owner(int fd, struct vmlock_owner *owner);

/* Keep others from changing the settings, until fd is closed or dropped. Waits
 * for 5 seconds at most. -EBUSY with err. */
MUST_CHECK int vmlock_settings_take(int fd, const char *path, struct err *err);
void vmlock_settings_drop(int fd);

/* --- Snapshots ------------------------------------------------------------ */

/* Keep the snapshot's clusters as they are until fd is closed or vmpin_drop.
 * -EBUSY: it is being deleted. */
MUST_CHECK int vmpin_hold(int fd, uint32_t id);
/* To delete it. -EBUSY: it is mapped. */
MUST_CHECK int vmpin_take(int fd, uint32_t id);
void vmpin_drop(int fd, uint32_t id);
/* Whether another process holds the snapshot, or any snapshot. */
bool vmpin_is_held(int fd, uint32_t id);
bool vmpin_any_held(int fd);

#endif
