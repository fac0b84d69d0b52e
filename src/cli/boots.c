#include "cli/boots.h"

#include <stdio.h>
#include <string.h>

#include "bootdisk/bootdisk.h"
#include "cli/out.h"
#include "config/vmconf.h"
#include "machine/bootchoice.h"

/* What its settings say of the start; nothing else is in conf. */
static int read_settings(const struct settings *s, struct vmconf *conf,
                         struct err *err)
{
    const char *firmware = s ? settings_text(s, "boot.firmware") : "auto";
    int rc = 0;

    vmconf_init(conf);
    conf->vm_disk = true;
    if (!s)
        return 0;
    conf->kernel = settings_text(s, "boot.kernel");
    if (settings_text(s, "boot.append"))
        conf->append = settings_text(s, "boot.append");
    if (strcmp(firmware, "auto") != 0)
        rc = vmconf_set(conf, VMCONF_FIRMWARE, firmware, err);
    if (rc == 0)
        rc = vmconf_set(conf, VMCONF_BOOT, settings_text(s, "boot.order"), err);
    return rc;
}

static int read_disk(void *blk, uint64_t off, void *buf, uint64_t len)
{
    return blk_read(blk, off, buf, len);
}

static const char *firmware_name(const struct vmconf *conf, struct blk *blk)
{
    struct bootchoice choice;

    switch (vmconf_firmware(conf)) {
    case VMCONF_FIRMWARE_UEFI: return "OVMF";
    case VMCONF_FIRMWARE_BIOS: return "SeaBIOS";
    case VMCONF_FIRMWARE_NONE: return NULL;
    case VMCONF_FIRMWARE_AUTO: break;
    }
    bootchoice_look(read_disk, blk, blk_size(blk), &choice);
    return choice.firmware == FIRMWARE_UEFI ? "OVMF" : "SeaBIOS";
}

static json_t *by_firmware(const struct vmconf *conf, struct blk *blk,
                           const char *why)
{
    const char *name = firmware_name(conf, blk);
    char text[600];

    if (name)
        (void)snprintf(text, sizeof(text), "by %s: %s", name, why);
    else
        (void)snprintf(text, sizeof(text), "not at all: %s", why);
    return json_pack("{s:o, s:b, s:o}", "text", out_json_text(text), "direct",
                     0, "why", out_json_text(why));
}

static json_t *directly(const struct vmconf *conf, const struct bootdisk *b)
{
    char text[1200];
    char *append;
    json_t *v;

    (void)snprintf(text, sizeof(text), "%s directly (%s's default entry '%s')",
                   bootdisk_kernel(b), bootdisk_loader(b), bootdisk_title(b));
    if (asprintf(&append, "%s%s%s", bootdisk_cmdline(b),
                 *conf->append ? " " : "", conf->append) < 0)
        return NULL;
    v = json_pack("{s:o, s:b, s:o, s:o, s:s, s:o}", "text", out_json_text(text),
                  "direct", 1, "kernel", out_json_text(bootdisk_kernel(b)),
                  "entry", out_json_text(bootdisk_title(b)), "loader",
                  bootdisk_loader(b), "append", out_json_text(append));
    free(append);
    return v;
}

static json_t *look(const struct vmconf *conf, struct blk *blk)
{
    struct bootdisk *b = NULL;
    struct err err = {0};
    json_t *v;

    if (bootdisk_look(blk, &b, &err) < 0)
        return by_firmware(conf, blk, err.text);
    v = directly(conf, b);
    bootdisk_free(b);
    return v;
}

/* The disk with what lies below it, which others could choose among our files:
 * only if it is the person's own VM. */
static json_t *look_below(const struct args *a, const struct vm *vm,
                          const struct vmconf *conf)
{
    struct blk *blk = qcow2_blk(vmfile_qcow2(vm->vf));
    struct qcow2_info info;
    struct err err = {0};
    struct vm whole;
    json_t *v;

    qcow2_info(vmfile_qcow2(vm->vf), &info);
    if (!info.backing)
        return look(conf, blk);
    if (vm_is_foreign(vm) ||
        vm_open(&whole, a, vm->path, VMFILE_PLAIN, &err) < 0)
        return by_firmware(conf, blk,
                           "what lies below its disk is not looked at");
    v = look(conf, qcow2_blk(vmfile_qcow2(whole.vf)));
    vm_drop(&whole);
    return v;
}

json_t *boots_next(const struct args *a, const struct vm *vm)
{
    struct err err = {0};
    struct vmconf conf;
    char text[600];

    if (read_settings(vm->settings, &conf, &err) < 0)
        return by_firmware(&conf, qcow2_blk(vmfile_qcow2(vm->vf)), err.text);
    if (conf.kernel) {
        (void)snprintf(text, sizeof(text), "%.500s, as its settings say",
                       conf.kernel);
        return json_pack("{s:o, s:b, s:o}", "text", out_json_text(text),
                         "direct", 0, "kernel", out_json_text(conf.kernel));
    }
    if (!vmconf_direct(&conf))
        return by_firmware(&conf, qcow2_blk(vmfile_qcow2(vm->vf)),
                           "its settings say so");
    return look_below(a, vm, &conf);
}
