#include "machine/firmware.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const bios_paths[] = {
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
    "/usr/local/share/qemu/bios-256k.bin",
    NULL,
};

/* Code and variables that fit: of the same firmware, each at its place. */
static const char *const uefi_paths[] = {
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE_4M.fd",
    NULL,
};

static const char *const vars_paths[] = {
    "/usr/share/OVMF/OVMF_VARS_4M.fd",
    "/usr/share/edk2/x64/OVMF_VARS.4m.fd",
    "/usr/share/edk2/ovmf/OVMF_VARS_4M.fd",
    NULL,
};

/* Of the same package as the BIOS. */
static const char *const vgabios_paths[] = {
    "/usr/share/seabios/vgabios-stdvga.bin",
    "/usr/share/qemu/vgabios-stdvga.bin",
    "/usr/local/share/qemu/vgabios-stdvga.bin",
    NULL,
};

static int open_first(struct image *img, const char *const *paths,
                      const char *package, struct err *err)
{
    for (const char *const *p = paths; *p; p++)
        if (access(*p, R_OK) == 0)
            return image_open(img, "firmware", *p, err);
    return err_set(err, -ENOENT,
                   "find the firmware: there is no '%s'; it is in the package "
                   "'%s'",
                   paths[0], package);
}

int firmware_open(struct image *img, enum firmware_kind kind, struct err *err)
{
    if (kind == FIRMWARE_UEFI)
        return open_first(img, uefi_paths, "ovmf", err);
    return open_first(img, bios_paths, "seabios", err);
}

int firmware_open_vars(struct image *img, struct err *err)
{
    return open_first(img, vars_paths, "ovmf", err);
}

int firmware_open_vgabios(struct image *img, struct err *err)
{
    return open_first(img, vgabios_paths, "seabios", err);
}

int firmware_size(const struct image *img, size_t *size, struct err *err)
{
    struct stat sb;

    if (fstat(img->fd, &sb) < 0)
        return err_sys(err, "look at %s '%s'", img->what, img->path);
    /* The last 128 KiB are shown below 1 MiB, too. */
    if (sb.st_size < 128 << 10 || sb.st_size > FIRMWARE_MAX ||
        sb.st_size % FIRMWARE_UNIT)
        return err_set(err, -EINVAL,
                       "load firmware '%s': %lld bytes are not 128 KiB to 8 "
                       "MiB in whole pages",
                       img->path, (long long)sb.st_size);
    *size = (size_t)sb.st_size;
    return 0;
}
