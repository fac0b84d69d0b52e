/*
 * CD images: insert, eject. The drive of a running VM is changed first, then
 * the settings, so that what the VM says at its next start is what is in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/make.h"
#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

/* --drive counts from 1; what is in the settings is the first one's. */
static int parse_drive(const struct args *a, int *drive, struct err *err)
{
    const char *text = args_value(a, "drive");

    *drive = 0;
    if (!text || strcmp(text, "1") == 0)
        return 0;
    if (strcmp(text, "2") != 0)
        return err_set(err, -EINVAL, "--drive: '%.40s' is neither 1 nor 2",
                       text);
    *drive = 1;
    return 0;
}

/* file: NULL = eject. 1: the VM does not run, or takes no commands. */
static int change_running(const struct args *a, const char *path,
                          const char *file, int drive, struct err *err)
{
    json_t *command =
        json_pack("{s:s, s:i, s:b}", "do", file ? "cd-insert" : "cd-eject",
                  "drive", drive, "force", args_has(a, "force"));
    json_t *answer = NULL;
    int rc;

    if (file)
        (void)json_object_set_new(command, "file", json_string(file));
    rc = vm_ask(a, path, command, VM_ASK_MS, &answer, err);
    json_decref(answer);
    if (rc == -ENOENT)
        return 1;
    /* It is the guest that holds the drive, no process the VM. */
    return rc == -EBUSY ? -ENOTEMPTY : rc;
}

static int put_iso(void *opaque, struct settings *s, struct err *err)
{
    return settings_set(s, "iso", opaque, err);
}

static int change(const struct args *a, const char *file, bool *runs,
                  struct err *err)
{
    char iso[PATH_MAX] = "none";
    int drive, rc = parse_drive(a, &drive, err);
    struct vm vm;

    if (rc == 0 && file)
        rc = make_absolute(file, iso, err);
    if (rc < 0)
        return rc;
    rc = vm_open(&vm, a, a->words[0], VMFILE_WRITE | VMFILE_SETTINGS, err);
    if (rc < 0)
        return rc;
    rc = change_running(a, vm.path, file ? iso : NULL, drive, err);
    *runs = rc == 0;
    if (rc == 1 && drive)
        rc = err_set(err, -EINVAL,
                     "'%s' does not run: it has a second drive only by run "
                     "--iso",
                     vm.name);
    if (rc >= 0 && !drive)
        rc = vm_change(&vm, put_iso, iso, err);
    vm_drop(&vm);
    return rc < 0 ? rc : 0;
}

int cmd_insert(struct args *a)
{
    struct err err = {0};
    bool runs = false;
    int rc = change(a, a->words[1], &runs, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, a->words[0],
             runs ? "'%s' has '%s' in its drive now"
                  : "'%s' will have '%s' in its drive when it starts",
             a->words[0], a->words[1]);
    return STATUS_OK;
}

int cmd_eject(struct args *a)
{
    struct err err = {0};
    bool runs = false;
    int rc = change(a, NULL, &runs, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, a->words[0], "the drive of '%s' is empty", a->words[0]);
    return STATUS_OK;
}
