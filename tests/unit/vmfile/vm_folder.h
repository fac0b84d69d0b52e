#ifndef HUSK_TESTS_UNIT_VMFILE_VM_FOLDER_H
#define HUSK_TESTS_UNIT_VMFILE_VM_FOLDER_H

#include <limits.h>

#include "vmfile/vmfile.h"

/* A folder of a test's own with VM files in it; a cmocka fixture. */
int vm_folder_begin(void **state);
int vm_folder_end(void **state);
/* DIR/file. */
void vm_folder_path(void *const *state, const char *file, char path[PATH_MAX]);
/* How many files are in it. */
int vm_folder_count(void *const *state);

/* A VM with 64 MiB and these settings; it is then opened with flags. */
struct vmfile *vm_folder_make(void *const *state, const char *file,
                              const char *settings, unsigned flags);
struct vmfile *vm_folder_open(void *const *state, const char *file,
                              unsigned flags);
/* The settings must be this text. */
void vm_expect_settings(struct vmfile *vf, const char *text);

#endif
