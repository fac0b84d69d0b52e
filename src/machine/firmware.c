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

static const char *const uefi_paths[] = {
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
    "/usr/share/edk2/x64/OVMF_CODE.4m.fd",
    "/usr/share/edk2/ovmf/OVMF_CODE_4M.fd",
    "/usr/share/qemu/edk2-x86_64-code.fd",
    NULL,
};

static const struct {
    const char *what, *package;
    const char *const *paths;
} kinds[FIRMWARE_NR_KINDS] = {
    [FIRMWARE_BIOS] = {"SeaBIOS", "seabios", bios_paths},
    [FIRMWARE_UEFI] = {"OVMF", "ovmf", uefi_paths},
};

int firmware_open(struct image *img, enum firmware_kind kind, struct err *err)
{
    for (const char *const *p = kinds[kind].paths; *p; p++)
        if (access(*p, R_OK) == 0)
            return image_open(img, "firmware", *p, err);
    return err_set(err, -ENOENT,
                   "find the firmware: there is no '%s'; it is in the package "
                   "'%s'",
                   kinds[kind].paths[0], kinds[kind].package);
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
