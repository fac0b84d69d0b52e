#include "config/vmconf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct vmconf_info vmconf_info[VMCONF_NR_OPTIONS] = {
#define OPTION(field, name, letter, arg, help) {name, letter, arg, help},
#include "config/schema.def"
#undef OPTION
};

void vmconf_init(struct vmconf *conf)
{
    *conf = (struct vmconf){
        .append = "",
        .memory = (uint64_t)512 << 20,
        .cpus = 1,
        .engine = "auto",
        .cpu = "husk-v3",
        .reboot = true,
        .serial = "stdio",
        .mac = "52:54:00:12:34:56",
    };
}

/* Decimal digits at the head of text, which must begin with one. */
static int parse_digits(const char *text, uint64_t *val, const char **end)
{
    char *stop;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    *val = strtoull(text, &stop, 10);
    *end = stop;
    return errno ? -EINVAL : 0;
}

int vmconf_parse_size(const char *text, uint64_t *bytes)
{
    static const char letters[] = "KMGT";
    const char *end = text, *letter;
    unsigned shift = 20;
    uint64_t val = 0;

    if (parse_digits(text, &val, &end) < 0)
        return -EINVAL;
    if (*end) {
        letter = strchr(letters, toupper((unsigned char)*end));
        if (!letter || end[1])
            return -EINVAL;
        shift = 10 * (unsigned)(letter - letters + 1);
    }
    if (val > UINT64_MAX >> shift)
        return -EINVAL;
    *bytes = val << shift;
    return 0;
}

static int set_memory(struct vmconf *conf, const char *value, struct err *err)
{
    uint64_t bytes = 0;

    if (vmconf_parse_size(value, &bytes) < 0)
        return err_set(err, -EINVAL,
                       "--memory: '%s' is no size: give a number of MiB, or "
                       "one with K, M, G or T behind it",
                       value);
    if (bytes == 0)
        return err_set(err, -EINVAL,
                       "--memory: a machine without memory cannot run");
    conf->memory = bytes;
    return 0;
}

static int set_cpus(struct vmconf *conf, const char *value, struct err *err)
{
    const char *end = value;
    uint64_t nr = 0;

    if (parse_digits(value, &nr, &end) < 0 || *end || nr < 1 ||
        nr > VMCONF_MAX_CPUS)
        return err_set(err, -EINVAL,
                       "--cpus: '%s' is not a number of CPUs from 1 to %d",
                       value, VMCONF_MAX_CPUS);
    conf->cpus = (unsigned)nr;
    return 0;
}

/* A place for characters: none is NULL. */
static int set_place(const char **place, enum vmconf_option opt,
                     const char *value, struct err *err)
{
    if (!*value || strcmp(value, "unix:") == 0)
        return err_set(err, -EINVAL,
                       "--%s: '%s' names no file: use stdio, none, unix:PATH "
                       "or a file name",
                       vmconf_info[opt].name, value);
    *place = strcmp(value, "none") == 0 ? NULL : value;
    return 0;
}

static int set_gdb(struct vmconf *conf, const char *value, struct err *err)
{
    if (strncmp(value, "unix:", 5) != 0 && strncmp(value, "tcp:", 4) != 0)
        return err_set(err, -EINVAL,
                       "--gdb: '%s' is neither unix:PATH nor tcp:PORT", value);
    conf->gdb = value;
    return 0;
}

static int add_disk(struct vmconf *conf, const char *value, struct err *err)
{
    struct vmconf_disk disk;
    int rc = vmconf_parse_disk(value, &disk, err);

    if (rc < 0)
        return rc;
    if (conf->nr_disks == VMCONF_MAX_DISKS)
        return err_set(err, -EINVAL, "--disk: a machine has %d disks at most",
                       VMCONF_MAX_DISKS);
    conf->disk[conf->nr_disks++] = value;
    return 0;
}

static int add_iso(struct vmconf *conf, const char *value, struct err *err)
{
    if (!*value)
        return err_set(err, -EINVAL, "--iso: '' names no file");
    if (conf->nr_isos == VMCONF_MAX_CDS)
        return err_set(err, -EINVAL, "--iso: a machine has %d drives at most",
                       VMCONF_MAX_CDS);
    conf->iso[conf->nr_isos++] = strcmp(value, "none") == 0 ? NULL : value;
    return 0;
}

static int add_floppy(struct vmconf *conf, const char *value, struct err *err)
{
    if (!*value)
        return err_set(err, -EINVAL, "--floppy: '' names no file");
    if (conf->nr_floppies == VMCONF_MAX_FLOPPIES)
        return err_set(err, -EINVAL,
                       "--floppy: a machine has %d drives at most",
                       VMCONF_MAX_FLOPPIES);
    conf->floppy[conf->nr_floppies++] = value;
    return 0;
}

static int set_firmware(struct vmconf *conf, const char *value, struct err *err)
{
    static const char *const names[] = {[VMCONF_FIRMWARE_NONE] = "none",
                                        [VMCONF_FIRMWARE_BIOS] = "bios",
                                        [VMCONF_FIRMWARE_UEFI] = "uefi"};

    for (size_t i = VMCONF_FIRMWARE_NONE; i < ARRAY_LEN(names); i++)
        if (strcmp(value, names[i]) == 0) {
            conf->firmware = (enum vmconf_firmware)i;
            return 0;
        }
    return err_set(err, -EINVAL,
                   "--firmware: '%s' is none of bios, uefi and none", value);
}

static int set_vga(struct vmconf *conf, const char *value, struct err *err)
{
    if (strcmp(value, "std") == 0)
        conf->vga = VMCONF_VGA_STD;
    else if (strcmp(value, "none") == 0)
        conf->vga = VMCONF_VGA_NONE;
    else if (strcmp(value, "auto") == 0)
        conf->vga = VMCONF_VGA_AUTO;
    else
        return err_set(err, -EINVAL,
                       "--vga: '%s' is none of auto, std and none", value);
    return 0;
}

static int set_control(struct vmconf *conf, const char *value, struct err *err)
{
    if (strncmp(value, "unix:", 5) != 0 || !value[5])
        return err_set(err, -EINVAL, "--control: '%s' is not unix:PATH", value);
    conf->control = value + 5;
    return 0;
}

static int set_net(struct vmconf *conf, const char *value, struct err *err)
{
    if (strcmp(value, "user") == 0)
        conf->net = VMCONF_NET_USER;
    else if (strcmp(value, "none") == 0)
        conf->net = VMCONF_NET_NONE;
    else
        return err_set(err, -EINVAL, "--net: '%s' is neither user nor none",
                       value);
    return 0;
}

static int add_port(struct vmconf *conf, const char *value, struct err *err)
{
    struct vmconf_port port;
    int rc = vmconf_parse_port(value, &port, err);

    if (rc < 0)
        return rc;
    if (conf->nr_ports == VMCONF_MAX_PORTS)
        return err_set(err, -EINVAL,
                       "--publish: a machine has %d ports at most",
                       VMCONF_MAX_PORTS);
    conf->port[conf->nr_ports++] = value;
    return 0;
}

bool vmconf_has_net(const struct vmconf *conf)
{
    if (conf->net != VMCONF_NET_AUTO)
        return conf->net == VMCONF_NET_USER;
    if (bootorder_names(&conf->boot, BOOTORDER_NET))
        return true;
    return conf->vm_disk || conf->nr_disks || conf->nr_isos || conf->nr_ports;
}

int vmconf_set(struct vmconf *conf, enum vmconf_option opt, const char *value,
               struct err *err)
{
    switch (opt) {
    case VMCONF_FIRMWARE: return set_firmware(conf, value, err);
    case VMCONF_BOOT: return bootorder_parse(value, "--boot", &conf->boot, err);
    case VMCONF_VGA: return set_vga(conf, value, err);
    case VMCONF_FIRMWARE_VARS: conf->firmware_vars = value; return 0;
    case VMCONF_KERNEL: conf->kernel = value; return 0;
    case VMCONF_INITRD: conf->initrd = value; return 0;
    case VMCONF_APPEND: conf->append = value; return 0;
    case VMCONF_MEMORY: return set_memory(conf, value, err);
    case VMCONF_CPUS: return set_cpus(conf, value, err);
    case VMCONF_ENGINE: conf->engine = value; return 0;
    case VMCONF_CPU: conf->cpu = value; return 0;
    case VMCONF_SERIAL: return set_place(&conf->serial, opt, value, err);
    case VMCONF_CONSOLE: return set_place(&conf->console, opt, value, err);
    case VMCONF_DEBUGCON: return set_place(&conf->debugcon, opt, value, err);
    case VMCONF_DISK: return add_disk(conf, value, err);
    case VMCONF_ISO: return add_iso(conf, value, err);
    case VMCONF_FLOPPY: return add_floppy(conf, value, err);
    case VMCONF_CONTROL: return set_control(conf, value, err);
    case VMCONF_GDB: return set_gdb(conf, value, err);
    case VMCONF_NET: return set_net(conf, value, err);
    case VMCONF_PUBLISH: return add_port(conf, value, err);
    case VMCONF_NO_REBOOT: conf->reboot = false; return 0;
    case VMCONF_DEBUG_EXIT: conf->debug_exit = true; return 0;
    case VMCONF_NR_OPTIONS: break;
    }
    return err_set(err, -EINVAL, "option %d does not exist", (int)opt);
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

enum vmconf_firmware vmconf_firmware(const struct vmconf *conf)
{
    if (conf->firmware != VMCONF_FIRMWARE_AUTO)
        return conf->firmware;
    return conf->kernel ? VMCONF_FIRMWARE_NONE : VMCONF_FIRMWARE_AUTO;
}

/* A menu, another order and variables are wishes that only firmware fulfils. */
bool vmconf_direct(const struct vmconf *conf)
{
    if (conf->kernel || conf->firmware == VMCONF_FIRMWARE_NONE)
        return !conf->kernel;
    return conf->firmware == VMCONF_FIRMWARE_AUTO && !conf->firmware_vars &&
           !conf->boot.menu && bootorder_at(&conf->boot, 0) == BOOTORDER_DISK;
}

/* Firmware may run without a disk, if somebody asks for it. */
static int check_boot(const struct vmconf *conf, struct err *err)
{
    bool disk = conf->nr_disks || conf->vm_disk ||
                ((conf->nr_isos || conf->nr_floppies) &&
                 conf->firmware == VMCONF_FIRMWARE_AUTO);

    if (!conf->kernel && conf->firmware <= VMCONF_FIRMWARE_NONE && !disk)
        return err_set(err, -EINVAL,
                       "there is nothing to boot: give a kernel "
                       "with --kernel FILE, a disk with --disk FILE, a CD "
                       "with --iso FILE, or a floppy disk with --floppy "
                       "FILE");
    if (conf->firmware_vars && vmconf_firmware(conf) != VMCONF_FIRMWARE_AUTO &&
        conf->firmware != VMCONF_FIRMWARE_UEFI)
        return err_set(err, -EINVAL,
                       "--firmware-vars: only --firmware uefi has variables");
    return 0;
}

int vmconf_check(const struct vmconf *conf, struct err *err)
{
    int rc = check_boot(conf, err);

    if (rc < 0)
        return rc;
    if (conf->nr_ports && conf->net == VMCONF_NET_NONE)
        return err_set(err, -EINVAL,
                       "--publish: a machine without network has no ports");
    if (same(conf->serial, conf->console))
        return err_set(err, -EINVAL,
                       "--serial and --console cannot both be '%s': the input "
                       "can only go to one of them",
                       conf->serial);
    if (conf->debugcon && strcmp(conf->debugcon, "stdio") != 0 &&
        (same(conf->debugcon, conf->serial) ||
         same(conf->debugcon, conf->console)))
        return err_set(err, -EINVAL,
                       "--debugcon: '%s' is in use by another option",
                       conf->debugcon);
    return 0;
}
