#include "vmfile/vmfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmfile/slots.h"
#include "vmfile/vmfile_int.h"
#include "vmfile/vmlock.h"

/* A file may be moved between its opening and its lock: then once more. */
enum { OPEN_TRIES = 3 };

static struct vmfile *make(const char *path, unsigned flags, struct err *err)
{
    struct vmfile *vf = calloc(1, sizeof(*vf));

    if (vf)
        vf->path = strdup(path);
    if (!vf || !vf->path) {
        free(vf);
        (void)err_set(err, -ENOMEM, "open '%s': out of memory", path);
        return NULL;
    }
    vf->fd = -1;
    vf->flags = flags;
    vf->published = true;
    return vf;
}

static int check_type(int fd, const char *path, struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, "open '%s'", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, -EINVAL, "open '%s': it is a directory", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(err, -EINVAL,
                       "open '%s': it is neither a file nor a block device",
                       path);
    return 0;
}

static int release(struct vmfile *vf)
{
    int rc = vf->q ? qcow2_close(vf->q) : 0;

    if (vf->locked)
        vmlock_drop(vf->fd);
    if (!vf->published && vf->hidden)
        (void)unlink(vf->hidden);
    if (vf->fd >= 0)
        (void)close(vf->fd);
    for (unsigned i = 0; i < vf->nr_others; i++)
        free(vf->others[i].path);
    free(vf->hidden);
    free(vf->path);
    free(vf);
    return rc;
}

/* Whether path still leads to what is open as fd. */
static bool is_still_at(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev &&
           a.st_ino == b.st_ino;
}

static int open_fd(struct vmfile *vf, struct err *err)
{
    /* Non-blocking: opening a pipe that nobody writes to must not hang. */
    int mode = (vf->flags & VMFILE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC |
               O_NONBLOCK | O_NOCTTY;

    vf->fd = open(vf->path, mode);
    if (vf->fd < 0 && errno == ENOENT)
        return err_set(err, -ENOENT, "there is no VM '%s'", vf->path);
    if (vf->fd < 0)
        return err_sys(err, "open '%s'", vf->path);
    return check_type(vf->fd, vf->path, err);
}

static bool wants_lock(const struct vmfile *vf)
{
    return (vf->flags & (VMFILE_WRITE | VMFILE_SETTINGS)) == VMFILE_WRITE;
}

static int open_locked(struct vmfile *vf, const char *doing, struct err *err)
{
    for (int i = 0; i < OPEN_TRIES; i++) {
        int rc = open_fd(vf, err);

        if (rc < 0 || !wants_lock(vf))
            return rc;
        rc = vmlock_take(vf->fd, vf->path, doing, err);
        if (rc < 0)
            return rc;
        vf->locked = true;
        if (is_still_at(vf->fd, vf->path))
            return 0;
        vmlock_drop(vf->fd);
        vf->locked = false;
        (void)close(vf->fd);
        vf->fd = -1;
    }
    return err_set(err, -ENOENT, "there is no VM '%s'", vf->path);
}

static int find_settings(struct vmfile *vf, struct err *err)
{
    struct slots s;
    int rc = slots_find(vf->fd, vf->path, &s, err);

    vf->has_settings = rc == 0;
    if (rc == -ENOENT && vf->flags & VMFILE_PLAIN)
        return 0;
    /* A check is there to tell what is damaged. */
    return rc == -EUCLEAN && vf->flags & VMFILE_CHECK ? 0 : rc;
}

/* The disk is opened by a description of its own: O_DIRECT would be set on the
 * one that settings are read by. */
static int open_disk(struct vmfile *vf, struct err *err)
{
    struct qcow2_opts opts = {.flags = 0};
    char self[32];
    int rc, fd;

    if (vf->flags & VMFILE_SETTINGS)
        return 0;
    if (!(vf->flags & VMFILE_WRITE))
        opts.flags |= BLK_RDONLY;
    if (vf->flags & VMFILE_CHECK)
        opts.flags |= QCOW2_FOR_CHECK;
    if (vf->flags & VMFILE_NO_BACKING)
        opts.flags |= QCOW2_NO_BACKING;
    if (vf->flags & VMFILE_DIRECT)
        opts.flags |= BLK_DIRECT;
    (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", vf->fd);
    fd = open(self, (vf->flags & VMFILE_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return err_sys(err, "open '%s'", vf->path);
    rc = qcow2_open(vf->path, fd, &opts, &vf->q, err);
    if (rc < 0)
        (void)close(fd);
    return rc == -EINVAL ? -EUCLEAN : rc;
}

int vmfile_open(const char *path, unsigned flags, const char *doing,
                struct vmfile **out, struct err *err)
{
    struct vmfile *vf = make(path, flags, err);
    int rc;

    if (!vf)
        return -ENOMEM;
    rc = open_locked(vf, doing, err);
    if (rc == 0)
        rc = find_settings(vf, err);
    if (rc == 0)
        rc = open_disk(vf, err);
    if (rc < 0)
        release(vf);
    else
        *out = vf;
    return rc;
}

int vmfile_close(struct vmfile *vf)
{
    return release(vf);
}

/* --- Creating ---------------------------------------------------------------
 */

/* The folder of path, "." if it names none. */
static int folder_of(const char *path, char dir[PATH_MAX], struct err *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash ? (size_t)(slash - path) : 0;

    if (len >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "create '%.80s...': too long", path);
    if (len == 0)
        (void)snprintf(dir, PATH_MAX, "%s", slash ? "/" : ".");
    else
        (void)snprintf(dir, PATH_MAX, "%.*s", (int)len, path);
    return 0;
}

/* A file without a name where there can be one, for a crash leaves nothing of
 * it; else with a name that nobody takes for a VM's. */
static int open_hidden(struct vmfile *vf, struct err *err)
{
    char dir[PATH_MAX];
    int rc = folder_of(vf->path, dir, err);

    if (rc < 0)
        return rc;
    vf->fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (vf->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR &&
                        errno != EINVAL && errno != ENOENT))
        return vf->fd < 0 ? err_sys(err, "create '%s'", vf->path) : 0;
    if (asprintf(&vf->hidden, "%s/.husk-%ld-XXXXXX", dir, (long)getpid()) < 0) {
        vf->hidden = NULL;
        return err_set(err, -ENOMEM, "create '%s': out of memory", vf->path);
    }
    vf->fd = mkostemp(vf->hidden, O_CLOEXEC);
    if (vf->fd >= 0)
        return 0;
    rc = err_sys(err, "create '%s'", vf->path);
    free(vf->hidden); /* it is not there to be removed */
    vf->hidden = NULL;
    return rc;
}

static int format(struct vmfile *vf, uint64_t disk_bytes, const char *settings,
                  size_t len, struct err *err)
{
    struct qcow2_ext ext = {.magic = SLOTS_EXTENSION, .len = SLOTS_LENGTH};
    const struct qcow2_create c = {.size = disk_bytes,
                                   .refcount_order = UINT32_MAX,
                                   .ext = &ext,
                                   .nr_ext = 1,
                                   .mark_husk = true};
    uint8_t *content = malloc(SLOTS_LENGTH);
    int rc;

    if (!content)
        return err_set(err, -ENOMEM, "create '%s': out of memory", vf->path);
    rc = slots_format(content, settings, len, err);
    ext.data = content;
    if (rc == 0)
        rc = qcow2_create(vf->path, vf->fd, &c, NULL, err);
    free(content);
    return rc;
}

int vmfile_create_hidden(const char *path, uint64_t disk_bytes,
                         const char *settings, size_t len, struct vmfile **out,
                         struct err *err)
{
    struct vmfile *vf = make(path, VMFILE_WRITE, err);
    struct stat st;
    int rc;

    if (!vf)
        return -ENOMEM;
    vf->published = false;
    if (lstat(path, &st) == 0)
        rc = err_set(err, -EEXIST, "create '%s': it is there already", path);
    else
        rc = open_hidden(vf, err);
    if (rc == 0)
        rc = format(vf, disk_bytes, settings, len, err);
    if (rc == 0)
        rc = vmlock_take(vf->fd, path, "create", err);
    if (rc == 0) {
        vf->locked = vf->has_settings = true;
        rc = open_disk(vf, err);
    }
    if (rc < 0)
        release(vf);
    else
        *out = vf;
    return rc;
}

static int give_name(struct vmfile *vf)
{
    char self[32];

    if (!vf->hidden) {
        (void)snprintf(self, sizeof(self), "/proc/self/fd/%d", vf->fd);
        return linkat(AT_FDCWD, self, AT_FDCWD, vf->path, AT_SYMLINK_FOLLOW) < 0
                   ? -errno
                   : 0;
    }
    if (renameat2(AT_FDCWD, vf->hidden, AT_FDCWD, vf->path, RENAME_NOREPLACE) ==
        0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(vf->hidden, vf->path) < 0)
        return -errno;
    (void)unlink(vf->hidden);
    return 0;
}

int vmfile_publish(struct vmfile *vf, struct err *err)
{
    char dir[PATH_MAX];
    int rc = blk_flush(qcow2_blk(vf->q)), fd;

    if (rc == 0 && fsync(vf->fd) < 0)
        rc = -errno;
    if (rc == 0)
        rc = give_name(vf);
    if (rc == -EEXIST)
        return err_set(err, rc, "create '%s': it is there already", vf->path);
    if (rc < 0) {
        errno = -rc;
        return err_sys(err, "create '%s'", vf->path);
    }
    vf->published = true;
    rc = folder_of(vf->path, dir, err);
    if (rc < 0)
        return rc;
    fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || (fsync(fd) < 0 && errno != EINVAL))
        rc = err_sys(err, "flush the folder '%s'", dir);
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

int vmfile_create(const char *path, uint64_t disk_bytes, const char *settings,
                  size_t len, struct err *err)
{
    struct vmfile *vf = NULL;
    int rc = vmfile_create_hidden(path, disk_bytes, settings, len, &vf, err);
    int closed;

    if (rc < 0)
        return rc;
    rc = vmfile_publish(vf, err);
    closed = vmfile_close(vf);
    if (rc == 0 && closed < 0) {
        errno = -closed;
        rc = err_sys(err, "create '%s'", path);
    }
    return rc;
}

/* --- What it has ------------------------------------------------------------
 */

const char *vmfile_path(const struct vmfile *vf)
{
    return vf->path;
}

int vmfile_fd(const struct vmfile *vf)
{
    return vf->fd;
}

struct qcow2 *vmfile_qcow2(const struct vmfile *vf)
{
    return vf->q;
}

bool vmfile_has_settings(const struct vmfile *vf)
{
    return vf->has_settings;
}

int vmfile_settings(struct vmfile *vf, char **text, size_t *len,
                    struct err *err)
{
    uint64_t generation = 0;

    return slots_read(vf->fd, vf->path, text, len, &generation, err);
}

int vmfile_settings_begin(struct vmfile *vf, struct err *err)
{
    return vmlock_settings_take(vf->fd, vf->path, err);
}

void vmfile_settings_end(struct vmfile *vf)
{
    vmlock_settings_drop(vf->fd);
}

/* Through the image's own file, where tests record and fail what is written. */
static int ext_write(void *arg, const void *buf, uint32_t len, uint64_t off)
{
    struct vmfile *vf = arg;
    uint64_t start = 0;
    uint32_t ext_len = 0;
    int rc = qcow2_ext_find(vf->q, SLOTS_EXTENSION, &start, &ext_len);

    if (rc < 0)
        return rc;
    if (off < start || off - start > ext_len)
        return -EINVAL;
    return qcow2_ext_write(vf->q, SLOTS_EXTENSION, (uint32_t)(off - start), buf,
                           len);
}

static int ext_sync(void *arg)
{
    const struct vmfile *vf = arg;

    return qcow2_ext_sync(vf->q);
}

int vmfile_settings_write(struct vmfile *vf, const char *text, size_t len,
                          struct err *err)
{
    const struct slots_io io = {ext_write, ext_sync, vf};

    return slots_write(vf->fd, vf->path, vf->q ? &io : NULL, text, len, err);
}
