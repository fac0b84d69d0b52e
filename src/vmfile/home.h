#ifndef HUSK_VMFILE_HOME_H
#define HUSK_VMFILE_HOME_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Where VM files live. A VM is named by NAME, which is the file NAME.husk in
 * the home folder, or by a path: anything with a slash in it, or that ends in
 * .husk or .qcow2. Files that are there at the same time as others do something
 * to them are found before or after it, never half: all of it is done by
 * renaming within a file system, and is on stable storage when the call
 * returns.
 *
 *   NAME.husk           VMs
 *   trash/NAME@TIME...  what was deleted; TIME is UTC, 20260131T235959Z; a
 *                       further disk has its name behind that and a '+'
 *   run/BOOT-ID/        control sockets of running VMs
 */
struct home {
    char dir[PATH_MAX]; /* absolute */
};

enum { HOME_NAME_MAX = 64 };

/* dir, else $HUSK_HOME, else $XDG_DATA_HOME/husk, else ~/.local/share/husk.
 * Nothing is created. */
MUST_CHECK int home_init(struct home *h, const char *dir, struct err *err);
/* Create the folder (mode 700), and those above it. */
MUST_CHECK int home_create(const struct home *h, struct err *err);

bool home_is_path(const char *word);
/* 1 to HOME_NAME_MAX letters, digits, '.', '_', '-'; begins with a letter or a
 * digit and does not end in .husk or .qcow2. -EINVAL with err. */
MUST_CHECK int home_check_name(const char *name, struct err *err);
/* The path of what a person called NAME or a path, whether there is such a
 * file or not. -EINVAL with err. */
MUST_CHECK int home_path(const struct home *h, const char *word,
                         char path[PATH_MAX], struct err *err);
/* The VM's name: the file's, without folder and .husk or .qcow2. */
void home_name(const char *path, char name[NAME_MAX + 1]);

/* Call f for each VM in the home folder, sorted by name, until it returns
 * non-zero, which is then returned. -errno with err. */
typedef int home_each_fn(void *opaque, const char *path, const char *name);
MUST_CHECK int home_each(const struct home *h, home_each_fn *f, void *opaque,
                         struct err *err);

/* Give the file at from the new name to; never over another file (-EEXIST).
 * Both folders are flushed. */
MUST_CHECK int home_rename(const char *from, const char *to, struct err *err);

/* --- Trash ---------------------------------------------------------------- */

struct home_trashed {
    char path[PATH_MAX];
    char name[HOME_NAME_MAX + 1];
    uint64_t deleted; /* seconds since 1970 */
};

/* Move the file at path to the trash, where it is trashed. -EXDEV: it is on
 * another file system. */
MUST_CHECK int home_trash(const struct home *h, const char *path,
                          char trashed[PATH_MAX], struct err *err);
/*
 * What goes with a VM: TRASHED+FILE beside it in the trash. Move the file at
 * path there; back into the folder dir (-EEXIST, before any is moved, if one of
 * them is there); or remove them for ever. trashed is the VM's path.
 */
MUST_CHECK int home_trash_beside(const char *trashed, const char *path,
                                 struct err *err);
MUST_CHECK int home_recover_beside(const char *trashed, const char *dir,
                                   struct err *err);
MUST_CHECK int home_purge_beside(const char *trashed, struct err *err);
/* What is in the trash, oldest first. */
typedef int home_trashed_fn(void *opaque, const struct home_trashed *t);
MUST_CHECK int home_each_trashed(const struct home *h, home_trashed_fn *f,
                                 void *opaque, struct err *err);
/* The latest of this name. -ENOENT with err. */
MUST_CHECK int home_find_trashed(const struct home *h, const char *name,
                                 struct home_trashed *t, struct err *err);

/* --- Running VMs ---------------------------------------------------------- */

/*
 * The control socket of the VM whose file is open at fd: the folder
 * (run/BOOT-ID, created with mode 700 if create is set) opened at *dir_fd,
 * which the caller closes, and the socket's name in it, made of the file's
 * device and inode, so that it survives a rename. An address within 108 bytes
 * is /proc/self/fd/DIR_FD/NAME.
 */
enum { HOME_SOCKET_NAME = 48 };
MUST_CHECK int home_socket(const struct home *h, int fd, bool create,
                           int *dir_fd, char name[HOME_SOCKET_NAME],
                           struct err *err);

#endif
