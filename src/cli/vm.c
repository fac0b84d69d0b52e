#include "cli/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "block/open.h"
#include "cli/out.h"
#include "vmfile/identity.h"
#include "vmfile/vmlock.h"
#include "vmm/control.h"

enum {
    /* Other verbs take a moment; a run takes for ever. */
    BUSY_TRIES = 40,
    BUSY_PAUSE_NS = 50 * 1000 * 1000
};

/* --- Opening ----------------------------------------------------------------
 */

/* Whether the VM is held by a verb that will soon be done. */
static bool is_short(const char *path)
{
    struct vmlock_owner o;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int held = fd < 0 ? -1 : vmlock_owner(fd, &o);

    if (fd >= 0)
        (void)close(fd);
    /* Without a record it is just being taken, or let go: or it is QEMU. */
    return held == 0 ||
           (held > 0 && (!o.pid || (o.local && strcmp(o.doing, "run") != 0)));
}

static int open_patiently(struct vm *vm, const struct args *a, unsigned flags,
                          struct err *err)
{
    const struct timespec pause = {.tv_nsec = BUSY_PAUSE_NS};
    int rc = vmfile_open(vm->path, flags, a->verb->name, &vm->vf, err);

    for (int i = 0; rc == -EBUSY && i < BUSY_TRIES && is_short(vm->path); i++) {
        (void)nanosleep(&pause, NULL);
        rc = vmfile_open(vm->path, flags, a->verb->name, &vm->vf, err);
    }
    return rc;
}

static int read_settings(struct vm *vm, struct settings **s, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = vmfile_settings(vm->vf, &text, &len, err);

    if (rc < 0)
        return rc;
    rc = settings_parse(text, len, s, err);
    free(text);
    if (rc < 0 && rc != -ENOMEM) {
        struct err why = *err;

        rc =
            err_set(err, -EUCLEAN, "read '%.120s': %.200s", vm->path, why.text);
    }
    return rc;
}

bool vm_is_foreign(const struct vm *vm)
{
    const char *was = vm->settings ? settings_own(vm->settings, "file") : NULL;
    char line[IDENTITY_MAX];
    struct err err;

    return !was || identity_of(vmfile_fd(vm->vf), line, &err) < 0 ||
           !identity_same(was, line);
}

/* The path of a further disk: from the VM's folder on if it is relative. */
static int disk_path(const struct vm *vm, const char *file, char path[PATH_MAX],
                     struct err *err)
{
    const char *slash = strrchr(vm->path, '/');
    int dir = *file == '/' || !slash ? 0 : (int)(slash - vm->path) + 1;
    int n = snprintf(path, PATH_MAX, "%.*s%s", dir, vm->path, file);

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG,
                       "the path of the disk '%.80s...' is too long", file);
    return 0;
}

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/* A guest can write any header into a raw disk of its own, so what a disk is
 * says its name or its option, never its content. */
static bool is_qcow2(const struct vmconf_disk *conf)
{
    return conf->qcow2 || (!conf->raw && (ends_with(conf->file, ".qcow2") ||
                                          ends_with(conf->file, ".husk")));
}

static int open_format(struct vm_disk *d, int fd,
                       const struct vmconf_disk *conf, struct err *err)
{
    struct qcow2_opts opts = {.flags = 0};
    int rc;

    if (conf->readonly)
        opts.flags |= BLK_RDONLY;
    if (conf->direct)
        opts.flags |= BLK_DIRECT;
    if (!is_qcow2(conf))
        return blk_open(d->path, fd, "raw", opts.flags, &d->blk, err);
    rc = qcow2_open(d->path, fd, &opts, &d->q, err);
    if (rc == 0)
        d->blk = qcow2_blk(d->q);
    return rc;
}

/* One of the VM's other disks, locked as the VM itself. */
static int open_disk(struct vm *vm, struct vm_disk *d,
                     const struct vmconf_disk *conf, const char *doing,
                     struct err *err)
{
    int rc = disk_path(vm, conf->file, d->path, err), fd;

    if (rc < 0)
        return rc;
    (void)snprintf(d->serial, sizeof(d->serial), "%s", conf->serial);
    d->ide = conf->ide;
    fd = open(d->path, (conf->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC |
                           O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_sys(err, "open the disk '%s' of '%s'", d->path, vm->name);
    if (!conf->readonly)
        rc = vmlock_take(fd, d->path, doing, err);
    if (rc == 0)
        rc = open_format(d, fd, conf, err);
    if (rc < 0) {
        (void)close(fd);
        return rc;
    }
    vm->nr_disks++;
    /* What nobody writes to needs no snapshot. */
    return conf->readonly ? 0 : vmfile_span(vm->vf, d->path, d->q, err);
}

/* A VM that somebody sent must not choose among our files. */
static int may_use(const struct vm *vm, const char *file, unsigned flags,
                   struct err *err)
{
    if (flags & VM_TRUST || !strchr(file, '/') || !vm_is_foreign(vm))
        return 0;
    return err_set(err, -EACCES,
                   "'%.100s' is a copy, or from elsewhere, and names the disk "
                   "'%.100s': 'husk run --yes' lets it use that",
                   vm->path, file);
}

static int open_disks(struct vm *vm, const char *doing, unsigned flags,
                      struct err *err)
{
    struct vmconf_disk conf;
    const char *text;
    int rc = 0;

    if (!vm->settings || !settings_disk(vm->settings, 0))
        return 0;
    vm->disks = calloc(VMFILE_MAX_DISKS, sizeof(*vm->disks));
    if (!vm->disks)
        return err_set(err, -ENOMEM, "open '%s': out of memory", vm->path);
    for (unsigned i = 0; rc == 0 && i < VMFILE_MAX_DISKS - 1; i++) {
        text = settings_disk(vm->settings, i);
        if (!text)
            break;
        rc = vmconf_parse_disk(text, &conf, err);
        if (rc == 0)
            rc = may_use(vm, conf.file, flags, err);
        if (rc == 0)
            rc = open_disk(vm, &vm->disks[i], &conf, doing, err);
    }
    return rc;
}

static int open_rest(struct vm *vm, unsigned flags, const char *doing,
                     struct err *err)
{
    int rc = 0;

    if (vmfile_has_settings(vm->vf))
        rc = read_settings(vm, &vm->settings, err);
    if (rc == -EUCLEAN && flags & (VMFILE_CHECK | VM_ANY_SETTINGS))
        rc = 0;
    if (rc < 0 || !(flags & VMFILE_WRITE) ||
        flags & (VMFILE_SETTINGS | VMFILE_CHECK))
        return rc;
    rc = open_disks(vm, doing, flags, err);
    if (rc == 0)
        rc = vmfile_recover(vm->vf, err);
    /* A restore that was finished only now has changed them. */
    if (rc == 0 && vm->settings) {
        settings_free(vm->settings);
        vm->settings = NULL;
        rc = read_settings(vm, &vm->settings, err);
    }
    return rc;
}

int vm_open(struct vm *vm, const struct args *a, const char *word,
            unsigned flags, struct err *err)
{
    int rc;

    *vm = (struct vm){.vf = NULL};
    rc = home_path(&a->home, word, vm->path, err);
    if (rc < 0)
        return rc;
    home_name(vm->path, vm->name);
    rc = open_patiently(vm, a, flags & ~(unsigned)(VM_ANY_SETTINGS | VM_TRUST),
                        err);
    if (rc == -ENOENT && !home_is_path(word) && access(vm->path, F_OK) < 0)
        return err_set(err, rc,
                       "there is no VM '%s': 'husk list' shows those that "
                       "there are",
                       word);
    if (rc < 0)
        return rc;
    rc = open_rest(vm, flags, a->verb->name, err);
    if (rc < 0)
        vm_drop(vm);
    return rc;
}

int vm_close(struct vm *vm, struct err *err)
{
    int rc = 0, one;

    for (unsigned i = 0; i < vm->nr_disks; i++) {
        one = blk_close(vm->disks[i].blk);
        rc = rc ? rc : one;
    }
    one = vm->vf ? vmfile_close(vm->vf) : 0;
    rc = rc ? rc : one;
    settings_free(vm->settings);
    free(vm->disks);
    *vm = (struct vm){.vf = NULL};
    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "flush the disks");
    }
    return 0;
}

void vm_drop(struct vm *vm)
{
    struct err err;

    if (vm_close(vm, &err) < 0)
        say_error(err.text);
}

/* --- Settings ---------------------------------------------------------------
 */

static int write_settings(struct vmfile *vf, const struct settings *s,
                          struct err *err)
{
    char *text = settings_print(s);
    int rc;

    if (!text)
        return err_set(err, -ENOMEM, "write the settings: out of memory");
    rc = vmfile_settings_write(vf, text, strlen(text), err);
    free(text);
    return rc;
}

int vm_change(struct vm *vm, vm_change_fn *f, void *opaque, struct err *err)
{
    struct settings *s = NULL;
    int rc = vmfile_settings_begin(vm->vf, err);

    if (rc < 0)
        return rc;
    rc = read_settings(vm, &s, err);
    if (rc == 0)
        rc = f(opaque, s, err);
    if (rc == 0)
        rc = write_settings(vm->vf, s, err);
    vmfile_settings_end(vm->vf);
    if (rc == 0) {
        settings_free(vm->settings);
        vm->settings = s;
    } else {
        settings_free(s);
    }
    return rc;
}

struct settings *vm_new_settings(const char *name, struct err *err)
{
    char uuid[IDENTITY_UUID], mac[IDENTITY_MAC], now[OUT_TIME];
    struct settings *s = settings_new();
    int rc = s ? 0 : err_set(err, -ENOMEM, "make a VM: out of memory");

    if (rc == 0)
        rc = identity_uuid(uuid, err);
    if (rc == 0)
        rc = identity_mac(mac, err);
    if (rc == 0)
        rc = settings_force(s, "name", name, err);
    if (rc == 0)
        rc = settings_force(s, "uuid", uuid, err);
    if (rc == 0)
        rc = settings_force(s, "mac", mac, err);
    if (rc == 0)
        rc = settings_force(s, "created", out_time((uint64_t)time(NULL), now),
                            err);
    if (rc == 0)
        return s;
    settings_free(s);
    return NULL;
}

int vm_settle(struct vmfile *vf, struct settings *s, struct err *err)
{
    char line[IDENTITY_MAX];
    int rc = identity_of(vmfile_fd(vf), line, err);

    if (rc == 0)
        rc = settings_set_own(s, "file", line, err);
    return rc < 0 ? rc : write_settings(vf, s, err);
}

/* --- Words ------------------------------------------------------------------
 */

bool vm_split(const char *word, char name[PATH_MAX], const char **snap)
{
    const char *slash = strrchr(word, '/');
    const char *at = strchr(slash ? slash : word, '@');

    if (!at || at - word >= PATH_MAX)
        return false;
    (void)snprintf(name, PATH_MAX, "%.*s", (int)(at - word), word);
    *snap = at + 1;
    return true;
}

/* --- A VM that runs ---------------------------------------------------------
 */

int vm_ask(const struct args *a, const char *path, json_t *command,
           unsigned timeout_ms, json_t **result, struct err *err)
{
    char name[HOME_SOCKET_NAME], address[HOME_SOCKET_NAME + 32];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int dir = -1, rc;

    if (fd < 0)
        rc = err_sys(err, "open '%s'", path);
    else
        rc = home_socket(&a->home, fd, false, &dir, name, err);
    if (rc == 0) {
        (void)snprintf(address, sizeof(address), "/proc/self/fd/%d/%s", dir,
                       name);
        rc = control_call(address, command, timeout_ms, result, err);
        (void)close(dir);
    }
    if (fd >= 0)
        (void)close(fd);
    json_decref(command);
    return rc == -ECONNREFUSED ? -ENOENT : rc;
}

bool vm_confirm(const struct args *a, const char *fmt, ...)
{
    char answer[16] = "";
    va_list ap;

    if (a->yes)
        return true;
    if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return false;
    va_start(ap, fmt);
    (void)vfprintf(stderr, fmt, ap);
    va_end(ap);
    (void)fputs(" [y/N] ", stderr);
    return fgets(answer, sizeof(answer), stdin) &&
           (answer[0] == 'y' || answer[0] == 'Y');
}
