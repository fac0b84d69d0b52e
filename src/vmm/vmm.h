#ifndef HUSK_VMM_VMM_H
#define HUSK_VMM_VMM_H

#include "base/compiler.h"
#include "base/err.h"
#include "block/blk.h"
#include "config/vmconf.h"
#include "machine/pc.h"

/* Exit statuses of a run, as --help and husk(1) list them. An end by signal N
 * is 128 + N; with --debug-exit the guest chooses an odd one. */
enum vmm_exit {
    VMM_EXIT_OK = 0,     /* power-off, reset with --no-reboot, or Ctrl-] */
    VMM_EXIT_FAILED = 1, /* the host or the engine failed */
    VMM_EXIT_USAGE = 2,  /* bad usage or bad input; nothing has run */
    VMM_EXIT_TRIPLE = 12 /* triple fault with --no-reboot */
};

/* A disk that the caller has opened: stays his, until vmm_run has returned. */
struct vmm_disk {
    struct blk *blk;
    const char *path;   /* for messages, and to notice that the file is replaced
                           or shrinks; NULL = it has none */
    const char *serial; /* the guest sees 20 bytes at most; NULL = none */
    bool ide;           /* on IDE, not on virtio */
};

/*
 * What a VM's file can do while its machine runs, as it is asked for at the
 * control socket. Called on the loop's thread; 0, or -errno with err. For
 * create and lend nothing is under way on any disk, everything is flushed, and
 * the CPUs wait for them to return.
 */
struct vmm_snapshots {
    /* name and text as they were given (NULL = not). */
    int (*create)(void *opaque, const char *name, const char *text,
                  struct err *err);
    /* 1: it goes when the last process that reads it ends. */
    int (*remove)(void *opaque, const char *name, struct err *err);
    /* A snapshot for who reads the disk as it is now; id has room for
     * VMM_SNAPSHOT_ID bytes. */
    int (*lend)(void *opaque, char *id, struct err *err);
    /* Delete those that nobody reads any more. */
    int (*reclaim)(void *opaque, struct err *err);
    void *opaque;
};

enum { VMM_SNAPSHOT_ID = 64 };

/* What shall run; all of it is borrowed. */
struct vmm_config {
    const struct vmconf *conf;
    const struct vmm_disk *disks; /* come before those of conf */
    unsigned nr_disks;
    const char *control; /* path of the control socket, if conf names none;
                            NULL = there is none */
    const struct vmm_snapshots *snapshots; /* NULL = there are none */
    const struct pc_vars *vars; /* as in pc_config, if conf names no file */
};

/*
 * Run one machine in this process until it ends. Returns 0 with *status, or
 * -errno with err if it did not start or a reset failed; everything that was
 * opened or created is closed and removed again (but files with output).
 * Blocks signals and ignores SIGPIPE for the process.
 */
MUST_CHECK int vmm_run(const struct vmm_config *cfg, int *status,
                       struct err *err);

#endif
