#include "tests/unit/vmfile/vm_folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

enum { DISK = 64 << 20 };

int vm_folder_begin(void **state)
{
    char *dir = strdup("/tmp/husk-vm-XXXXXX");

    assert_non_null(dir);
    assert_non_null(mkdtemp(dir));
    *state = dir;
    return 0;
}

int vm_folder_end(void **state)
{
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'",
                   (const char *)*state);
    assert_int_equal(system(command), 0);
    free(*state);
    return 0;
}

void vm_folder_path(void *const *state, const char *file, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", (const char *)*state, file);
}

int vm_folder_count(void *const *state)
{
    DIR *d = opendir(*state);
    int n = 0;

    assert_non_null(d);
    while (readdir(d))
        n++;
    (void)closedir(d);
    return n - 2;
}

struct vmfile *vm_folder_open(void *const *state, const char *file,
                              unsigned flags)
{
    struct vmfile *vf = NULL;
    char path[PATH_MAX];
    struct err err = {0};

    vm_folder_path(state, file, path);
    if (vmfile_open(path, flags, "test", &vf, &err) < 0)
        fail_msg("%s", err.text);
    return vf;
}

struct vmfile *vm_folder_make(void *const *state, const char *file,
                              const char *settings, unsigned flags)
{
    char path[PATH_MAX];
    struct err err = {0};

    vm_folder_path(state, file, path);
    if (vmfile_create(path, DISK, settings, strlen(settings), &err) < 0)
        fail_msg("%s", err.text);
    return vm_folder_open(state, file, flags);
}

void vm_expect_settings(struct vmfile *vf, const char *text)
{
    char *got = NULL;
    struct err err;
    size_t len = 0;

    assert_int_equal(vmfile_settings(vf, &got, &len, &err), 0);
    assert_string_equal(got, text);
    free(got);
}
