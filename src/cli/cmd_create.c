/* A new VM: its file comes to be complete or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cloud.h"
#include "cli/from.h"
#include "cli/make.h"
#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

#define DEFAULT_DISK ((uint64_t)10 << 30)
#define MAX_DISK     ((uint64_t)1 << 50)

enum { SECTOR = 512, MAX_NEW = 15 };

struct creation {
    const struct args *a;
    char path[PATH_MAX], name[NAME_MAX + 1];
    uint64_t disk_bytes;
    struct settings *settings;
    char *made[MAX_NEW]; /* paths of further disks that were made */
    unsigned nr_made;
};

static int parse_disk_size(const char *text, uint64_t *bytes, struct err *err)
{
    if (vmconf_parse_size(text, bytes) < 0 || *bytes < SECTOR ||
        *bytes > MAX_DISK || *bytes % SECTOR)
        return err_set(err, -EINVAL,
                       "--disk: '%.80s' is no size of a disk: use 10G or the "
                       "like, up to 1024T",
                       text);
    return 0;
}

static bool is_size(const char *text)
{
    uint64_t bytes;

    return vmconf_parse_size(text, &bytes) == 0;
}

/* A further disk beside the VM: NAME.disk1.qcow2 */
static int make_disk(struct creation *c, const char *text, json_t *disks,
                     struct err *err)
{
    const struct qcow2_create q = {.refcount_order = UINT32_MAX};
    struct qcow2_create create = q;
    const char *slash = strrchr(c->path, '/');
    int dir = slash ? (int)(slash - c->path) + 1 : 0, rc, fd;
    char *path = NULL;

    rc = parse_disk_size(text, &create.size, err);
    if (rc < 0)
        return rc;
    if (asprintf(&path, "%.*s%s.disk%u.qcow2", dir, c->path, c->name,
                 c->nr_made + 1) < 0)
        return err_set(err, -ENOMEM, "make a disk: out of memory");
    fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        rc = err_sys(err, "create the disk '%s'", path);
        free(path);
        return rc;
    }
    c->made[c->nr_made++] = path;
    rc = qcow2_create(path, fd, &create, NULL, err);
    (void)close(fd);
    if (rc == 0 && json_array_append_new(disks, out_json_text(path + dir)) < 0)
        rc = err_set(err, -ENOMEM, "make a disk: out of memory");
    return rc;
}

/* A file that is there, as the settings name it: absolute, with its commas
 * twice, and its format, which later nobody guesses any more. */
static int add_file(const char *text, json_t *disks, struct err *err)
{
    char path[PATH_MAX] = "", full[2 * PATH_MAX + 64];
    struct vmconf_disk conf;
    const char *options = text;
    size_t n = 0;
    int rc = vmconf_parse_disk(text, &conf, err);

    if (rc == 0)
        rc = make_absolute(conf.file, path, err);
    if (rc < 0)
        return rc;
    /* The options begin at the first comma that is not double. */
    while (*options && !(options[0] == ',' && options[1] != ','))
        options += *options == ',' ? 2 : 1;
    for (const char *p = path; *p; p++) {
        full[n++] = *p;
        if (*p == ',')
            full[n++] = ',';
    }
    (void)snprintf(full + n, sizeof(full) - n, "%.60s", options);
    if (json_array_append_new(disks, out_json_text(full)) < 0)
        return err_set(err, -ENOMEM, "make a disk: out of memory");
    return 0;
}

static int add_disk(struct creation *c, const char *value, json_t *disks,
                    bool *have_own, struct err *err)
{
    if (!is_size(value))
        return add_file(value, disks, err);
    if (!*have_own) {
        *have_own = true;
        return parse_disk_size(value, &c->disk_bytes, err);
    }
    if (c->nr_made < MAX_NEW)
        return make_disk(c, value, disks, err);
    return err_set(err, -EINVAL, "--disk: there are too many");
}

/* The first that is a size is the VM's own disk. */
static int make_disks(struct creation *c, struct err *err)
{
    json_t *disks = json_array();
    bool have_own = false;
    int rc = 0;

    c->disk_bytes = args_has(c->a, "from") ? 0 : DEFAULT_DISK;
    for (int i = 0; rc == 0 && i < c->a->nr_options; i++) {
        const struct args_option *o = &c->a->options[i];

        if (strcmp(c->a->verb->options[o->row].name, "disk") == 0)
            rc = add_disk(c, o->value, disks, &have_own, err);
    }
    if (rc == 0 && json_array_size(disks) >= VMFILE_MAX_DISKS)
        rc = err_set(err, -EINVAL, "--disk: there are too many");
    if (rc == 0 && json_array_size(disks))
        (void)json_object_set(settings_json(c->settings), "disks", disks);
    json_decref(disks);
    return rc;
}

static int fill(struct creation *c, struct vmfile *vf, struct err *err)
{
    const char *from = args_value(c->a, "from");
    struct blk *disk = qcow2_blk(vmfile_qcow2(vf));
    uint64_t want = c->disk_bytes;
    int rc;

    if (!from)
        return 0;
    rc = from_fill(c->a, from, vf, err);
    if (rc < 0)
        return rc;
    c->disk_bytes = blk_size(disk);
    if (want && want < c->disk_bytes)
        return err_set(err, -EINVAL,
                       "--disk: the image has %llu bytes, and a disk cannot be "
                       "smaller",
                       (unsigned long long)c->disk_bytes);
    if (want > c->disk_bytes) {
        c->disk_bytes = want;
        rc = blk_resize(disk, want, err);
    }
    return rc;
}

static int write_file(struct creation *c, struct err *err)
{
    struct vmfile *vf = NULL;
    char *text = settings_print(c->settings);
    int rc, closed;

    if (!text)
        return err_set(err, -ENOMEM, "make a VM: out of memory");
    rc = vmfile_create_hidden(c->path,
                              args_has(c->a, "from") ? SECTOR : c->disk_bytes,
                              text, strlen(text), &vf, err);
    free(text);
    if (rc < 0)
        return rc;
    rc = fill(c, vf, err);
    if (rc == 0)
        rc = vm_settle(vf, c->settings, err);
    if (rc == 0)
        rc = vmfile_publish(vf, err);
    closed = vmfile_close(vf);
    if (rc == 0 && closed < 0) {
        errno = -closed;
        rc = err_sys(err, "create '%s'", c->path);
    }
    return rc;
}

static int create(struct creation *c, struct err *err)
{
    int rc = make_path(c->a, c->a->words[0], c->path, c->name, err);

    if (rc < 0)
        return rc;
    if (access(c->path, F_OK) == 0)
        return err_set(err, -EEXIST, "create '%s': it is there already",
                       c->path);
    c->settings = vm_new_settings(c->name, err);
    if (!c->settings)
        return err->code;
    rc = make_options(c->a, c->settings, err);
    if (rc == 0)
        rc = cloud_options(c->a, c->settings, err);
    if (rc == 0)
        rc = make_disks(c, err);
    if (rc == 0)
        rc = write_file(c, err);
    for (unsigned i = 0; rc < 0 && i < c->nr_made; i++)
        (void)unlink(c->made[i]);
    return rc;
}

int cmd_create(struct args *a)
{
    struct creation c = {.a = a};
    struct err err = {0};
    char size[OUT_SIZE];
    int rc = create(&c, &err);

    settings_free(c.settings);
    for (unsigned i = 0; i < c.nr_made; i++)
        free(c.made[i]);
    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, c.name, "made '%s' with a disk of %s", c.path,
             out_size(c.disk_bytes, size));
    return STATUS_OK;
}
