/*
 * The variables of UEFI firmware: a flash device right below its code. They
 * begin as the firmware's package has them, and are kept in a file if the owner
 * names one, or else by the owner. The file is the chip's contents; the guest's
 * changes are written to it at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fdio.h"
#include "machine/firmware.h"
#include "machine/pc_int.h"

static int store(void *opaque, uint64_t off, const uint8_t *p, size_t len)
{
    struct pc *pc = opaque;
    const struct pc_vars *owner = pc->cfg.vars;

    if (pc->vars_fd < 0)
        return owner ? owner->store(owner->opaque, off, p, len) : 0;
    return fd_pwrite_full(pc->vars_fd, p, len, off);
}

/* A file that was just made gets what the package has. */
static int fill_file(const struct pc *pc, struct err *err)
{
    const char *path = pc->cfg.firmware_vars;
    struct stat sb;
    ssize_t n;
    int rc;

    if (fstat(pc->vars_fd, &sb) < 0)
        return err_sys(err, "look at firmware variables '%s'", path);
    if (sb.st_size == 0) {
        rc = fd_pwrite_full(pc->vars_fd, pc->vars, pc->vars_size, 0);
        if (rc < 0) {
            errno = -rc;
            return err_sys(err, "write firmware variables '%s'", path);
        }
        return 0;
    }
    if ((uint64_t)sb.st_size != pc->vars_size)
        return err_set(err, -EINVAL,
                       "use firmware variables '%s': the file has %lld bytes, "
                       "the firmware's have %zu",
                       path, (long long)sb.st_size, pc->vars_size);
    n = fd_pread_full(pc->vars_fd, pc->vars, pc->vars_size, 0);
    if (n < 0) {
        errno = (int)-n;
        return err_sys(err, "read firmware variables '%s'", path);
    }
    return 0;
}

static int load(struct pc *pc, struct err *err)
{
    const char *path = pc->cfg.firmware_vars;
    const struct pc_vars *owner = pc->cfg.vars;

    if (!path)
        return owner ? owner->load(owner->opaque, pc->vars, pc->vars_size, err)
                     : 0;
    pc->vars_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
    if (pc->vars_fd < 0)
        return err_sys(err, "open firmware variables '%s'", path);
    if (flock(pc->vars_fd, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, -EBUSY,
                       "open firmware variables '%s': another machine uses "
                       "them",
                       path);
    return fill_file(pc, err);
}

static int read_template(struct pc *pc, struct err *err)
{
    struct image img;
    int rc = firmware_open_vars(&img, err);

    if (rc < 0)
        return rc;
    rc = firmware_size(&img, &pc->vars_size, err);
    if (rc == 0)
        rc = image_read(&img, FIRMWARE_MAX, &pc->vars, &pc->vars_size, err);
    image_close(&img);
    return rc;
}

static int map_flash(struct pc *pc, struct err *err)
{
    const struct flash_backend back = {store, pc};
    uint64_t base = PC_4G - pc->rom_size - pc->vars_size;
    int rc;

    flash_init(&pc->flash, pc->vars, pc->vars_size, &back);
    rc = bus_map(pc->mmio, base, pc->vars_size, &flash_bus_ops, &pc->flash,
                 &pc->flash.lock);
    if (rc < 0) {
        flash_fini(&pc->flash);
        return err_set(err, rc, "map the firmware's variables: %s",
                       rc == -ENOMEM ? "out of memory" : "address in use");
    }
    return 0;
}

int pc_make_vars(struct pc *pc, struct err *err)
{
    int rc;

    pc->vars_fd = -1;
    if (pc->cfg.firmware != FIRMWARE_UEFI)
        return 0;
    rc = read_template(pc, err);
    if (rc == 0)
        rc = load(pc, err);
    if (rc == 0)
        rc = map_flash(pc, err);
    if (rc < 0) {
        if (pc->vars_fd >= 0)
            (void)close(pc->vars_fd);
        free(pc->vars);
    }
    return rc;
}

void pc_reset_vars(struct pc *pc)
{
    struct device d = {"flash", &flash_class, &pc->flash, &pc->flash.lock};

    if (pc->cfg.firmware == FIRMWARE_UEFI)
        device_reset(&d);
}

void pc_drop_vars(struct pc *pc)
{
    if (pc->cfg.firmware != FIRMWARE_UEFI)
        return;
    bus_unmap(pc->mmio, PC_4G - pc->rom_size - pc->vars_size);
    flash_fini(&pc->flash);
    if (pc->vars_fd >= 0)
        (void)close(pc->vars_fd);
    free(pc->vars);
}
