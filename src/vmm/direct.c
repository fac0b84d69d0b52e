#include "vmm/direct.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

static const char *firmware_name(const struct direct *d)
{
    return d->firmware == FIRMWARE_UEFI ? "OVMF" : "SeaBIOS";
}

void direct_init(struct direct *d, const struct vmconf *conf,
                 const struct disk *disk, enum firmware_kind firmware)
{
    *d = (struct direct){.conf = conf, .disk = disk, .firmware = firmware};
    if (conf->kernel)
        (void)snprintf(d->how, sizeof(d->how), "%.900s, as it was told",
                       conf->kernel);
    else
        (void)snprintf(d->how, sizeof(d->how), "by %s, as it was told",
                       firmware_name(d));
}

/* The entry's own arguments, and those of --append behind them. */
static int make_cmdline(struct direct *d, const struct bootdisk *b,
                        struct err *err)
{
    const char *more = d->conf->append;

    if (asprintf(&d->cmdline, "%s%s%s", bootdisk_cmdline(b), *more ? " " : "",
                 more) < 0) {
        d->cmdline = NULL;
        return err_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}

static int look(struct direct *d, struct boot_source *src, struct err *err)
{
    struct bootdisk *b = NULL;
    int rc = bootdisk_look(d->disk->blk, &b, err);

    if (rc < 0)
        return rc;
    rc = bootdisk_load(d->disk->blk, b, &d->files, err);
    if (rc == 0)
        rc = make_cmdline(d, b, err);
    if (rc == 0) {
        *src = (struct boot_source){.kernel_name = "",
                                    .initrd_name = "",
                                    .kernel = d->files.kernel,
                                    .kernel_len = d->files.kernel_len,
                                    .initrd = d->files.initrd,
                                    .initrd_len = d->files.initrd_len,
                                    .cmdline = d->cmdline};
        (void)snprintf(d->how, sizeof(d->how),
                       "%.400s directly (%s's default entry '%.400s')",
                       bootdisk_kernel(b), bootdisk_loader(b),
                       bootdisk_title(b));
    }
    bootdisk_free(b);
    return rc;
}

static void drop(struct direct *d)
{
    free(d->files.kernel);
    free(d->files.initrd);
    free(d->cmdline);
    d->files = (struct bootdisk_files){.kernel = NULL};
    d->cmdline = NULL;
}

static const char *path_of(const struct direct *d)
{
    return d->disk->path ? d->disk->path : "a throw-away disk";
}

/* The firmware's turn. Of what is no fault, as a disk with another system on
 * it, nothing is said unless somebody asks. */
static void turn_to_firmware(struct direct *d, int rc, const char *why)
{
    bool fault = rc == -ECHILD || rc == -ETIMEDOUT || rc == -ENOEXEC;

    d->direct = false;
    (void)snprintf(d->how, sizeof(d->how), "by %s: %s", firmware_name(d), why);
    if (d->firmware == FIRMWARE_NONE)
        return;
    log_line(fault ? LOG_WARN : LOG_INFO, "boot",
             "'%s' is not booted directly but by %s: %s", path_of(d),
             firmware_name(d), why);
    if (*d->conf->append)
        log_warn("boot",
                 "--append '%.200s' is for a kernel that is booted directly; "
                 "'%s' is booted by %s: %s",
                 d->conf->append, path_of(d), firmware_name(d), why);
}

int direct_find(struct direct *d, struct boot_source *src, struct err *err)
{
    struct err why = {0};
    int rc;

    if (d->failed)
        rc = err_set(&why, -ENOEXEC,
                     "booted directly, the guest came to a triple fault");
    else
        rc = look(d, src, &why);
    d->failed = false;
    if (rc == 0)
        return 0;
    drop(d);
    turn_to_firmware(d, rc, why.text);
    return err_set(err, rc, "boot disk '%.100s' directly: %.270s", path_of(d),
                   why.text);
}

void direct_done(struct direct *d, int rc, const struct err *why)
{
    drop(d);
    d->direct = rc == 0;
    if (rc < 0)
        turn_to_firmware(d, -ENOEXEC, why->text);
    else
        log_info("boot", "%s", d->how);
}

void direct_failed(struct direct *d)
{
    d->failed = d->direct;
}
