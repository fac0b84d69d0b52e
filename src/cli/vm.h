#ifndef HUSK_CLI_VM_H
#define HUSK_CLI_VM_H

#include <limits.h>

#include "cli/args.h"
#include "config/settings.h"
#include "vmfile/vmfile.h"

/* A VM that a verb works on: its file, its settings, its other disks. */
struct vm {
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    struct vmfile *vf;
    struct settings *settings; /* NULL: a plain image, or a damaged one */
    struct vm_disk {
        char path[PATH_MAX];
        char serial[VMCONF_DISK_SERIAL + 1]; /* "": none was chosen */
        bool ide;
        struct blk *blk;
        struct qcow2 *q; /* NULL: raw */
    } * disks;           /* the others */
    unsigned nr_disks;
};

/* With the flags of vmfile.h: settings that are damaged do not matter, and are
 * NULL; for those who save the disk. */
enum {
    VM_ANY_SETTINGS = 1 << 16,
    /* Let a VM from elsewhere use the files of the host that it names. */
    VM_TRUST = 1 << 17
};

/*
 * Open what a person called word. flags: VMFILE_*, VM_*. With VMFILE_WRITE the
 * other disks are opened, too, and what a crash left is put right. Waits a
 * moment for another husk that changes the VM, but not for one that runs it
 * (-EBUSY).
 */
MUST_CHECK int vm_open(struct vm *vm, const struct args *a, const char *word,
                       unsigned flags, struct err *err);
/* Flushes; -errno with err if that failed. */
MUST_CHECK int vm_close(struct vm *vm, struct err *err);
/* The same where something has failed already. */
void vm_drop(struct vm *vm);

/* Change the settings: f gets them as they are now, under their lock; what it
 * leaves is written if it returns 0. vm is open with VMFILE_WRITE (with or
 * without VMFILE_SETTINGS). */
typedef int vm_change_fn(void *opaque, struct settings *s, struct err *err);
MUST_CHECK int vm_change(struct vm *vm, vm_change_fn *f, void *opaque,
                         struct err *err);

/* Settings of a new VM of this name, with an identity; NULL with err. */
struct settings *vm_new_settings(const char *name, struct err *err);
/* Whether the VM has not run in this file yet: it is a copy, or from somebody
 * else, and then what it says of the host's files is not to be believed. */
bool vm_is_foreign(const struct vm *vm);
/* Write s into vf, which nobody else sees yet, with its file noted. */
MUST_CHECK int vm_settle(struct vmfile *vf, struct settings *s,
                         struct err *err);

/* Take "NAME@SNAP" apart: false if there is no '@' behind the last '/'. */
bool vm_split(const char *word, char name[PATH_MAX], const char **snap);

/* Ask a running VM. -ENOENT: it does not run, or takes no commands; else as
 * control_call, which waits for VM_ASK_MS, or for what only looks VM_LOOK_MS.
 * command is given away. */
enum { VM_ASK_MS = 120 * 1000, VM_LOOK_MS = 2000 };
MUST_CHECK int vm_ask(const struct args *a, const char *path, json_t *command,
                      unsigned timeout_ms, json_t **result, struct err *err);

/* Whether a person agrees. Without a terminal, and without --yes: no. */
bool vm_confirm(const struct args *a, const char *fmt, ...) PRINTF(2, 3);

#endif
