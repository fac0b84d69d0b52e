#include "cli/facts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/boots.h"
#include "cli/out.h"
#include "cli/status.h"
#include "machine/bootchoice.h"
#include "vmfile/vmlock.h"

static json_t *time_or_null(uint64_t seconds)
{
    char text[OUT_TIME];

    return seconds ? json_string(out_time(seconds, text)) : json_null();
}

/* "running", "busy" (another verb, or QEMU) or "stopped", and who. */
static void put_state(json_t *v, const struct vm *vm)
{
    struct vmlock_owner o;
    int held = vmlock_owner(vmfile_fd(vm->vf), &o);
    const char *state = "stopped";

    if (held > 0)
        state = strcmp(o.doing, "run") == 0 ? "running" : "busy";
    (void)json_object_set_new(v, "state", json_string(state));
    if (held > 0 && o.pid)
        (void)json_object_set_new(v, "owner",
                                  json_pack("{s:o, s:I, s:s, s:o, s:b}", "host",
                                            out_json_text(o.host), "pid",
                                            (json_int_t)o.pid, "verb", o.doing,
                                            "since", time_or_null(o.since),
                                            "local", (int)o.local));
    else
        (void)json_object_set_new(v, "owner", json_null());
}

static void put_settings(json_t *v, const struct settings *s)
{
    const json_t *labels = json_object_get(settings_json(s), "labels");
    const char *text = settings_text(s, "description");

    (void)json_object_set_new(
        v, "cpus", json_integer((json_int_t)settings_number(s, "cpus")));
    (void)json_object_set_new(
        v, "memory", json_integer((json_int_t)settings_number(s, "memory")));
    (void)json_object_set_new(v, "protected",
                              json_boolean(settings_flag(s, "protected")));
    (void)json_object_set_new(v, "labels",
                              labels ? json_deep_copy(labels) : json_object());
    (void)json_object_set_new(v, "description",
                              text ? json_string(text) : json_null());
}

/* Bytes of the disk, of the file, and what that takes on the host. */
static void put_disk(json_t *v, const struct vm *vm)
{
    struct stat st;

    (void)json_object_set_new(
        v, "disk",
        json_integer((json_int_t)blk_size(qcow2_blk(vmfile_qcow2(vm->vf)))));
    if (fstat(vmfile_fd(vm->vf), &st) == 0) {
        (void)json_object_set_new(v, "used",
                                  json_integer((json_int_t)st.st_blocks * 512));
        (void)json_object_set_new(v, "file_size",
                                  json_integer((json_int_t)st.st_size));
    }
}

static void put_snapshots(json_t *v, const struct vm *vm)
{
    struct vmsnap *list = NULL;
    uint64_t oldest = 0;
    struct err err;
    size_t n = 0;

    if (vmsnap_list(vm->vf, &list, &n, &err) < 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (!oldest || list[i].created < oldest)
            oldest = list[i].created;
    vmsnap_free(list, n);
    (void)json_object_set_new(v, "snapshots", json_integer((json_int_t)n));
    (void)json_object_set_new(v, "oldest_snapshot", time_or_null(oldest));
}

json_t *facts_row(const struct args *a, const char *path, const char *name)
{
    json_t *v = json_pack("{s:o, s:o}", "name", out_json_text(name), "path",
                          out_json_text(path));
    struct err err = {0};
    struct vm vm;
    int rc = vm_open(&vm, a, path, VMFILE_NO_BACKING | VMFILE_PLAIN, &err);

    if (rc < 0) {
        (void)json_object_set_new(v, "state",
                                  json_string(status_info[status_of(rc)].code));
        (void)json_object_set_new(v, "error", out_json_text(err.text));
        return v;
    }
    put_state(v, &vm);
    if (vm.settings)
        put_settings(v, vm.settings);
    put_disk(v, &vm);
    put_snapshots(v, &vm);
    vm_drop(&vm);
    return v;
}

/* --- All of one -------------------------------------------------------------
 */

static void put_image(json_t *v, const struct vm *vm)
{
    struct qcow2_sizes sizes;
    struct qcow2_info info;

    qcow2_info(vmfile_qcow2(vm->vf), &info);
    (void)json_object_set_new(
        v, "image",
        json_pack("{s:s, s:i, s:I, s:i, s:b, s:b, s:o, s:b}", "format", "qcow2",
                  "version", (int)info.version, "cluster_size",
                  (json_int_t)info.cluster_size, "refcount_bits",
                  (int)info.refcount_bits, "dirty", (int)info.dirty, "corrupt",
                  (int)info.corrupt, "backing",
                  info.backing ? out_json_text(info.backing) : json_null(),
                  "only_husk", (int)info.only_husk));
    if (qcow2_sizes(vmfile_qcow2(vm->vf), &sizes) == 0)
        (void)json_object_set_new(v, "allocated",
                                  json_integer((json_int_t)sizes.allocated));
}

static int read_disk(void *blk, uint64_t off, void *buf, uint64_t len)
{
    return blk_read(blk, off, buf, len);
}

/* What the disk was made for. What lies below it is not opened here. */
static const char *look_at_disk(const struct vm *vm, struct bootchoice *choice)
{
    struct blk *blk = qcow2_blk(vmfile_qcow2(vm->vf));
    struct qcow2_info info;

    qcow2_info(vmfile_qcow2(vm->vf), &info);
    if (info.backing) {
        (void)snprintf(choice->why, sizeof(choice->why),
                       "its disk, which lies on another file, is looked at "
                       "when it starts");
        return NULL;
    }
    bootchoice_look(read_disk, blk, blk_size(blk), choice);
    return choice->firmware == FIRMWARE_UEFI ? "uefi" : "bios";
}

/* Which firmware starts it if one does, and why; null: not known yet. */
static void put_firmware(json_t *v, const struct vm *vm)
{
    const char *firmware = "auto", *kernel = NULL;
    struct bootchoice choice = {.why = "its settings say so"};

    if (vm->settings) {
        firmware = settings_text(vm->settings, "boot.firmware");
        kernel = settings_text(vm->settings, "boot.kernel");
    }
    if (strcmp(firmware, "auto") == 0 && kernel) {
        firmware = "none";
        (void)snprintf(choice.why, sizeof(choice.why),
                       "its settings name a kernel");
    } else if (strcmp(firmware, "auto") == 0) {
        firmware = look_at_disk(vm, &choice);
    }
    (void)json_object_set_new(
        v, "firmware",
        json_pack("{s:o, s:s}", "kind",
                  firmware ? json_string(firmware) : json_null(), "why",
                  choice.why));
}

/* The object without what is husk's own. */
static json_t *own_settings(const struct settings *s)
{
    json_t *v = json_deep_copy(settings_json(s)), *member;
    const char *key;
    void *next;

    json_object_foreach_safe(v, next, key, member) if (settings_is_own(key))(
        void) json_object_del(v, key);
    return v;
}

/* What the machine says of itself, if it runs and answers. */
static void put_machine(json_t *v, const struct args *a, const struct vm *vm)
{
    json_t *status = NULL;
    struct err err;

    if (strcmp(json_string_value(json_object_get(v, "state")), "running") ==
            0 &&
        vm_ask(a, vm->path, json_pack("{s:s}", "do", "status"), VM_LOOK_MS,
               &status, &err) == 0)
        (void)json_object_set_new(v, "machine", status);
}

/* How the machine has booted; of one that is stopped, how it will. */
static void put_boots(json_t *v, const struct args *a, const struct vm *vm)
{
    json_t *boots = json_object_get(json_object_get(v, "machine"), "boots");

    if (boots)
        json_incref(boots);
    else if (strcmp(json_string_value(json_object_get(v, "state")),
                    "stopped") == 0)
        boots = boots_next(a, vm);
    (void)json_object_set_new(v, "boots", boots ? boots : json_null());
}

json_t *facts_all(const struct args *a, const char *word, struct err *err)
{
    struct vm vm;
    json_t *v;
    int rc = vm_open(&vm, a, word, VMFILE_NO_BACKING | VMFILE_PLAIN, err);

    if (rc < 0)
        return NULL;
    v = json_pack("{s:o, s:o}", "name", out_json_text(vm.name), "path",
                  out_json_text(vm.path));
    put_state(v, &vm);
    if (vm.settings) {
        put_settings(v, vm.settings);
        (void)json_object_set_new(v, "settings", own_settings(vm.settings));
    }
    put_disk(v, &vm);
    put_snapshots(v, &vm);
    put_image(v, &vm);
    put_firmware(v, &vm);
    put_machine(v, a, &vm);
    put_boots(v, a, &vm);
    vm_drop(&vm);
    return v;
}

json_t *facts_snapshot(struct vmfile *vf, const struct vmsnap *s,
                       const char *parent)
{
    struct err err;
    uint64_t bytes = 0;
    int rc = qcow2_snap_unique(vmfile_qcow2(vf), s->id, &bytes, &err);

    return json_pack(
        "{s:o, s:s, s:o, s:o, s:I, s:o, s:o, s:b}", "name",
        out_json_text(s->name), "id", s->id, "parent",
        parent ? out_json_text(parent) : json_null(), "created",
        time_or_null(s->created), "disk", (json_int_t)s->disk_bytes, "unique",
        rc == 0 ? json_integer((json_int_t)bytes) : json_null(), "message",
        out_json_text(s->text), "safety", (int)s->safety);
}
