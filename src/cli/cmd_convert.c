/* Disk images into VMs and out of them: import and export. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/copy.h"
#include "cli/make.h"
#include "cli/out.h"
#include "cli/snapdisk.h"
#include "cli/status.h"
#include "cli/vm.h"

enum { FIRST_SIZE = 512 };

/* --- import -----------------------------------------------------------------
 */

/* "disk.vmdk" is "disk", and what cannot be in a name becomes '-'. */
static void name_of_file(const char *file, char name[HOME_NAME_MAX + 1])
{
    static const char fine[] = "abcdefghijklmnopqrstuvwxyz"
                               "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *slash = strrchr(file, '/');
    const char *base = slash ? slash + 1 : file;
    const char *dot = strrchr(base, '.');
    int len = dot && dot > base ? (int)(dot - base) : (int)strlen(base);

    len = len < HOME_NAME_MAX ? len : HOME_NAME_MAX;
    (void)snprintf(name, HOME_NAME_MAX + 1, "%.*s", len, base);
    for (char *p = name; *p; p++)
        if (!strchr(fine, *p))
            *p = '-';
}

static int fill_and_publish(const struct args *a, struct vmfile *vf,
                            struct settings *s, struct err *err)
{
    int rc = copy_in(a, a->words[0], args_value(a, "format"), vf, err);

    if (rc == 0)
        rc = vm_settle(vf, s, err);
    return rc < 0 ? rc : vmfile_publish(vf, err);
}

static int import_with(const struct args *a, const char *path,
                       struct settings *s, struct err *err)
{
    struct vmfile *vf = NULL;
    char *text = NULL;
    int rc = make_options(a, s, err), closed;

    if (rc < 0)
        return rc;
    text = settings_print(s);
    if (!text)
        return err_set(err, -ENOMEM, "import: out of memory");
    rc = vmfile_create_hidden(path, FIRST_SIZE, text, strlen(text), &vf, err);
    free(text);
    if (rc < 0)
        return rc;
    rc = fill_and_publish(a, vf, s, err);
    closed = vmfile_close(vf);
    if (rc == 0 && closed < 0) {
        errno = -closed;
        rc = err_sys(err, "create '%s'", path);
    }
    return rc;
}

static int import(const struct args *a, char name[NAME_MAX + 1],
                  struct err *err)
{
    char path[PATH_MAX], word[HOME_NAME_MAX + 1];
    struct settings *s;
    int rc;

    if (access(a->words[0], R_OK) < 0)
        return err_sys(err, "open '%s'", a->words[0]);
    if (args_has(a, "format") && !copy_knows(args_value(a, "format")))
        return err_set(err, -EINVAL,
                       "import: husk does not know the format "
                       "'%.40s'",
                       args_value(a, "format"));
    name_of_file(a->words[0], word);
    rc = make_path(a, a->nr_words > 1 ? a->words[1] : word, path, name, err);
    if (rc < 0)
        return rc;
    s = vm_new_settings(name, err);
    if (!s)
        return err->code;
    rc = import_with(a, path, s, err);
    settings_free(s);
    return rc;
}

int cmd_import(struct args *a)
{
    char name[NAME_MAX + 1] = "";
    struct err err = {0};
    int rc = import(a, name, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, name, "made '%s' of '%s'", name, a->words[0]);
    return STATUS_OK;
}

/* --- export -----------------------------------------------------------------
 */

/* Nobody may write to the disk meanwhile; of a file that cannot be written, as
 * on a read-only medium, nobody does. */
static int open_to_read(struct vm *vm, const struct args *a, struct err *err)
{
    unsigned flags = VMFILE_PLAIN | VM_ANY_SETTINGS;
    int rc = vm_open(vm, a, a->words[0], flags | VMFILE_WRITE, err);

    if (rc != -EACCES && rc != -EROFS && rc != -EPERM)
        return rc;
    return vm_open(vm, a, a->words[0], flags, err);
}

static void choose_file(const struct args *a, const char *name,
                        const char *format, char file[PATH_MAX])
{
    const char *to = args_value(a, "file");

    if (to)
        (void)snprintf(file, PATH_MAX, "%s", to);
    else
        (void)snprintf(file, PATH_MAX, "%s.%s", name,
                       strcmp(format, "raw") == 0 ? "img" : format);
}

static int copy_snapshot(struct snapdisk *d, const char *name,
                         const char *format, char file[PATH_MAX],
                         struct err *err)
{
    int rc;

    choose_file(d->a, name, format, file);
    rc = copy_out(d->a, qcow2_blk(d->q), file, format, err);
    snapdisk_close(d);
    return rc;
}

/* VM@SNAP: nobody has to be asked, and nobody is kept waiting. */
static int export_snapshot(const struct args *a, const char *word,
                           const char *snap, const char *format,
                           char file[PATH_MAX], struct err *err)
{
    struct vmsnap *list = NULL;
    struct snapdisk d;
    size_t n = 0, i = 0;
    struct vm vm;
    int rc = vm_open(&vm, a, word,
                     VMFILE_NO_BACKING | VMFILE_PLAIN | VM_ANY_SETTINGS, err);

    if (rc < 0)
        return rc;
    rc = vmsnap_list(vm.vf, &list, &n, err);
    if (rc == 0)
        rc = vmsnap_find(vm.vf, list, n, snap, &i, err);
    if (rc == 0)
        rc = snapdisk_open(&d, a, vm.path, list[i].id, err);
    if (rc == 0)
        rc = copy_snapshot(&d, vm.name, format, file, err);
    vmsnap_free(list, n);
    vm_drop(&vm);
    return rc;
}

static int export_running(const struct args *a, const struct vm *vm,
                          const char *format, char file[PATH_MAX],
                          struct err *err)
{
    const struct err busy = *err;
    struct snapdisk d;
    int rc = snapdisk_borrow(&d, a, vm->path, err);

    if (rc == 0)
        return copy_snapshot(&d, vm->name, format, file, err);
    if (rc == -ENOENT) {
        *err = busy;
        return -EBUSY;
    }
    return rc;
}

static int export(const struct args *a, char file[PATH_MAX], struct err *err)
{
    const char *format = args_value(a, "format"), *snap;
    char name[PATH_MAX];
    struct vm vm;
    int rc;

    format = format ? format : "qcow2";
    if (!copy_knows(format))
        return err_set(err, -EINVAL,
                       "export: husk does not know the format '%.40s'", format);
    if (vm_split(a->words[0], name, &snap))
        return export_snapshot(a, name, snap, format, file, err);
    rc = open_to_read(&vm, a, err);
    if (rc == -EBUSY)
        return export_running(a, &vm, format, file, err);
    if (rc < 0)
        return rc;
    choose_file(a, vm.name, format, file);
    rc = copy_out(a, qcow2_blk(vmfile_qcow2(vm.vf)), file, format, err);
    vm_drop(&vm);
    return rc;
}

int cmd_export(struct args *a)
{
    char file[PATH_MAX] = "";
    struct err err = {0};
    int rc = export(a, file, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, file, "wrote '%s'", file);
    return STATUS_OK;
}
