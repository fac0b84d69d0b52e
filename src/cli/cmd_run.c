/* Run a VM, or a kernel in a machine of the moment. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cloud.h"
#include "cli/status.h"
#include "cli/vm.h"
#include "vmfile/identity.h"
#include "vmfile/vmvars.h"
#include "vmm/vmm.h"

struct run {
    struct args *a;
    struct vm vm; /* vf is NULL if there is none */
    struct vmconf conf;
    struct vmm_disk disks[VMFILE_MAX_DISKS + 1];
    struct blk *seed; /* for cloud-init; NULL = none */
    unsigned nr_disks;
    char serials[VMFILE_MAX_DISKS + 1][40];
    char ports[VMCONF_MAX_PORTS + 1][VMCONF_PORT_TEXT];
    int run_dir; /* holds the control socket; -1: none */
    char control[HOME_SOCKET_NAME + 32];
    struct vmvars *vars; /* NULL: its firmware keeps none in the VM's file */
};

/* --- Options over settings --------------------------------------------------
 */

static int set_from_settings(struct run *r, struct err *err)
{
    const struct settings *s = r->vm.settings;
    static const struct {
        const char *key;
        enum vmconf_option option;
    } texts[] = {{"serial", VMCONF_SERIAL},
                 {"console", VMCONF_CONSOLE},
                 {"boot.order", VMCONF_BOOT},
                 {"vga", VMCONF_VGA}};
    const char *firmware, *ports;
    int rc = 0;

    if (!s)
        return 0;
    firmware = settings_text(s, "boot.firmware");
    if (strcmp(firmware, "auto") != 0)
        rc = vmconf_set(&r->conf, VMCONF_FIRMWARE, firmware, err);
    r->conf.kernel = settings_text(s, "boot.kernel");
    r->conf.initrd = settings_text(s, "boot.initrd");
    if (settings_text(s, "boot.append"))
        r->conf.append = settings_text(s, "boot.append");
    r->conf.memory = settings_number(s, "memory");
    r->conf.cpus = (unsigned)settings_number(s, "cpus");
    r->conf.cpu = settings_text(s, "cpu");
    r->conf.engine = settings_text(s, "engine");
    if (strcmp(settings_text(s, "net"), "none") == 0)
        rc = vmconf_set(&r->conf, VMCONF_NET, "none", err);
    if (settings_text(s, "mac"))
        r->conf.mac = settings_text(s, "mac");
    ports = settings_text(s, "ports");
    for (unsigned n = 0; rc == 0 && ports && r->conf.net != VMCONF_NET_NONE &&
                         settings_port(ports, n, r->ports[n]);
         n++)
        rc = vmconf_set(&r->conf, VMCONF_PUBLISH, r->ports[n], err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(texts); i++)
        rc = vmconf_set(&r->conf, texts[i].option,
                        settings_text(s, texts[i].key), err);
    if (rc == 0 && settings_text(s, "iso") && !args_has(r->a, "iso"))
        rc = vmconf_set(&r->conf, VMCONF_ISO, settings_text(s, "iso"), err);
    if (rc == 0 && settings_text(s, "floppy") && !args_has(r->a, "floppy"))
        rc = vmconf_set(&r->conf, VMCONF_FLOPPY, settings_text(s, "floppy"),
                        err);
    return rc;
}

static int configure(struct run *r, struct err *err)
{
    unsigned set_ports;
    int rc;

    vmconf_init(&r->conf);
    r->conf.vm_disk = r->nr_disks > 0;
    rc = set_from_settings(r, err);
    set_ports = r->conf.nr_ports;
    for (int i = 0; rc == 0 && i < r->a->nr_options; i++) {
        const struct args_option *o = &r->a->options[i];

        if (o->row < (int)VMCONF_NR_OPTIONS)
            rc =
                vmconf_set(&r->conf, (enum vmconf_option)o->row, o->value, err);
    }
    /* --net none takes the VM's own ports away, too. */
    if (rc == 0 && r->conf.net == VMCONF_NET_NONE && set_ports) {
        r->conf.nr_ports -= set_ports;
        memmove(r->conf.port, r->conf.port + set_ports,
                r->conf.nr_ports * sizeof(r->conf.port[0]));
    }
    return rc < 0 ? rc : vmconf_check(&r->conf, err);
}

/* --- A VM's file ------------------------------------------------------------
 */

struct reidentify {
    char line[IDENTITY_MAX], uuid[IDENTITY_UUID], mac[IDENTITY_MAC];
    bool new_identity;
};

static int put_identity(void *opaque, struct settings *s, struct err *err)
{
    const struct reidentify *i = opaque;
    int rc = settings_set_own(s, "file", i->line, err);

    if (rc == 0 && i->new_identity)
        rc = settings_force(s, "uuid", i->uuid, err);
    if (rc == 0 && i->new_identity && settings_text(s, "mac"))
        rc = settings_force(s, "mac", i->mac, err);
    return rc;
}

/* A copy is known by the file that its settings name: it becomes another VM. */
static int identify(struct run *r, struct err *err)
{
    struct reidentify i = {.new_identity = false};
    const char *was = settings_own(r->vm.settings, "file");
    int rc = identity_of(vmfile_fd(r->vm.vf), i.line, err);

    if (rc < 0 || (was && identity_same(was, i.line)))
        return rc;
    i.new_identity = was && !args_has(r->a, "keep-identity");
    if (i.new_identity)
        (void)fprintf(stderr,
                      "husk: '%s' is a copy, or was moved from another file "
                      "system: it gets a new identity\n",
                      r->vm.name);
    rc = identity_uuid(i.uuid, err);
    if (rc == 0)
        rc = identity_mac(i.mac, err);
    return rc < 0 ? rc : vm_change(&r->vm, put_identity, &i, err);
}

/* serial: what was chosen for it, or "". */
static void add_disk(struct run *r, struct blk *blk, const char *path,
                     const char *chosen, bool ide)
{
    const char *uuid =
        r->vm.settings ? settings_text(r->vm.settings, "uuid") : NULL;
    char *serial = r->serials[r->nr_disks];

    /* The guest names disks by their serial numbers: 20 bytes, which stay. */
    if (*chosen)
        (void)snprintf(serial, sizeof(r->serials[0]), "%s", chosen);
    else if (r->nr_disks == 0)
        (void)snprintf(serial, sizeof(r->serials[0]), "%.20s",
                       uuid ? uuid : "husk");
    else
        (void)snprintf(serial, sizeof(r->serials[0]), "%.15s-%u",
                       uuid ? uuid : "husk", r->nr_disks);
    r->disks[r->nr_disks++] = (struct vmm_disk){
        .blk = blk, .path = path, .serial = serial, .ide = ide};
}

/* Files of the host that the guest could read: any of ours, if the VM is from
 * elsewhere. How many there are, and their names. */
static int used_files(const struct run *r, const char *files[4])
{
    const struct settings *s = r->vm.settings;
    const char *initrd = s ? settings_text(s, "boot.initrd") : NULL;
    const char *iso = s ? settings_text(s, "iso") : NULL;
    struct qcow2_info info;
    int n = 0;

    qcow2_info(vmfile_qcow2(r->vm.vf), &info);
    if (info.backing && strchr(info.backing, '/'))
        files[n++] = info.backing;
    if (initrd)
        files[n++] = initrd;
    if (iso && strcmp(iso, "none") != 0)
        files[n++] = iso;
    if (s && settings_text(s, "floppy"))
        files[n++] = settings_text(s, "floppy");
    return n;
}

static int check_trust(const struct run *r, struct err *err)
{
    const char *files[4];
    int n = used_files(r, files);

    if (n && !vm_is_foreign(&r->vm))
        return 0;
    for (int i = 0; i < n; i++)
        if (!vm_confirm(r->a,
                        "'%s' is a copy, or from elsewhere, and uses '%s'. Let "
                        "it?",
                        r->vm.path, files[i]))
            return err_set(err, -EACCES,
                           "'%.100s' is a copy, or from elsewhere, and uses "
                           "'%.100s': --yes lets it",
                           r->vm.path, files[i]);
    return 0;
}

static int open_vm(struct run *r, const char *word, struct err *err)
{
    unsigned flags =
        VMFILE_WRITE | VMFILE_PLAIN | (r->a->yes ? (unsigned)VM_TRUST : 0);
    int rc = vm_open(&r->vm, r->a, word, flags, err);

    if (rc < 0)
        return rc;
    if (r->vm.settings) {
        rc = check_trust(r, err);
        if (rc == 0)
            rc = identify(r, err);
    }
    add_disk(r, qcow2_blk(vmfile_qcow2(r->vm.vf)), r->vm.path, "",
             r->vm.settings &&
                 strcmp(settings_text(r->vm.settings, "disk.bus"), "ide") == 0);
    for (unsigned i = 0; i < r->vm.nr_disks; i++)
        add_disk(r, r->vm.disks[i].blk, r->vm.disks[i].path,
                 r->vm.disks[i].serial, r->vm.disks[i].ide);
    if (rc == 0 && r->vm.settings)
        rc = cloud_disk(r->vm.settings, &r->seed, err);
    if (r->seed)
        add_disk(r, r->seed, NULL, "cidata", false);
    return rc;
}

/* A VM whose socket cannot be made runs all the same. */
static void make_control(struct run *r)
{
    char name[HOME_SOCKET_NAME];
    struct err err;

    if (home_socket(&r->a->home, vmfile_fd(r->vm.vf), true, &r->run_dir, name,
                    &err) < 0) {
        r->run_dir = -1;
        say_error(err.text);
        return;
    }
    (void)snprintf(r->control, sizeof(r->control), "/proc/self/fd/%d/%s",
                   r->run_dir, name);
}

/* --- What the running machine asks of the file ------------------------------
 */

static int take_snapshot(void *opaque, const char *name, const char *text,
                         struct err *err)
{
    struct run *r = opaque;
    const struct vmsnap_new s = {.name = name, .text = text};
    int rc = r->vars ? vmvars_flush(r->vars) : 0;

    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "write the firmware's variables");
    }
    return vmsnap_create(r->vm.vf, &s, NULL, err);
}

static int remove_snapshot(void *opaque, const char *name, struct err *err)
{
    const struct run *r = opaque;

    return vmsnap_delete(r->vm.vf, name, err);
}

static int lend_disk(void *opaque, char *id, struct err *err)
{
    const struct run *r = opaque;

    return vmsnap_lend(r->vm.vf, id, err);
}

static int reclaim_disk(void *opaque, struct err *err)
{
    const struct run *r = opaque;

    return vmsnap_reap(r->vm.vf, err);
}

_Static_assert((int)VMM_SNAPSHOT_ID == (int)QCOW2_SNAP_ID_MAX + 1,
               "an id does not fit");

static int load_vars(void *opaque, uint8_t *data, size_t len, struct err *err)
{
    struct run *r = opaque;

    return vmvars_open(&r->vars, vmfile_qcow2(r->vm.vf), data, len, err);
}

static int store_vars(void *opaque, uint64_t off, const uint8_t *p, size_t len)
{
    const struct run *r = opaque;

    return vmvars_store(r->vars, off, p, len);
}

/* What the guest was told is kept must be in the file. */
static int close_vars(struct run *r)
{
    int rc = vmvars_close(r->vars);

    r->vars = NULL;
    if (rc < 0)
        say_error("the firmware's variables that were written last are lost");
    return rc;
}

/* --- The verb ---------------------------------------------------------------
 */

/* Whether the host, and not what it was asked for, is at fault. */
static bool is_host_failure(int code)
{
    switch (-code) {
    case EAGAIN:
    case EIO:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOSYS: return true;
    default: return false;
    }
}

static int run(struct run *r, struct err *err)
{
    const struct vmm_snapshots snapshots = {take_snapshot, remove_snapshot,
                                            lend_disk, reclaim_disk, r};
    const struct pc_vars vars = {load_vars, store_vars, r};
    struct vmm_config cfg = {
        .conf = &r->conf, .disks = r->disks, .nr_disks = r->nr_disks};
    int status = STATUS_OK, rc;

    if (r->vm.vf) {
        make_control(r);
        cfg.control = r->run_dir >= 0 ? r->control : NULL;
        cfg.snapshots = &snapshots;
        if (vmfile_has_settings(r->vm.vf))
            cfg.vars = &vars;
    }
    rc = vmm_run(&cfg, &status, err);
    if (close_vars(r) < 0 && status == STATUS_OK)
        status = STATUS_FAILED;
    if (r->run_dir >= 0)
        (void)close(r->run_dir);
    if (rc == 0)
        return status;
    say_error(err->text);
    return is_host_failure(rc) || status != STATUS_OK ? STATUS_FAILED
                                                      : STATUS_USAGE;
}

int cmd_run(struct args *a)
{
    struct run r = {.a = a, .run_dir = -1};
    struct err err = {0};
    int status, rc = 0;

    if (a->nr_words)
        rc = open_vm(&r, a->words[0], &err);
    if (rc < 0) {
        status = args_fail(a, rc, &err);
    } else if (configure(&r, &err) < 0) {
        say_error(err.text);
        status = STATUS_USAGE;
    } else {
        status = run(&r, &err);
    }
    if (r.seed)
        (void)!blk_close(r.seed);
    if (vm_close(&r.vm, &err) < 0) {
        say_error(err.text);
        status = status == STATUS_OK ? STATUS_FAILED : status;
    }
    return status;
}
