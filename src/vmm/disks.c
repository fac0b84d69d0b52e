#include "vmm/disks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fdio.h"
#include "base/log.h"
#include "block/open.h"
#include "block/raw.h"
#include "vmfile/vmlock.h"

#define WATCH_NS (5 * NS_PER_SEC)

_Static_assert((int)VMCONF_MAX_DISKS == (int)PC_MAX_DISKS,
               "more disks can be named than there are slots");

/* --- Opening ---------------------------------------------------------------
 */

static bool ends_with(const char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);

    return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

/*
 * The format of a file whose user did not say it. A guest can write any header
 * into a raw disk of its own, also one that names a file of the host as what
 * lies below; so content alone never makes a file an image.
 */
static int tell_format(const struct vmconf_disk *d, int fd, const char **format,
                       struct err *err)
{
    bool named = ends_with(d->file, ".qcow2") || ends_with(d->file, ".husk");
    uint8_t head[4096];
    ssize_t n = fd_pread_full(fd, head, sizeof(head), 0);
    const char *guess;

    if (n < 0)
        return err_set(err, (int)n, "open disk '%s': %s", d->file,
                       strerrordesc_np((int)-n));
    guess = blk_guess_format(head, (uint64_t)n);
    *format = named ? "qcow2" : "raw";
    if (guess ? strcmp(guess, *format) == 0 : !named)
        return 0;
    return err_set(err, -EINVAL,
                   "open disk '%s': by its name it is %s, by its content %s: "
                   "say which with ,format=raw or ,format=qcow2",
                   d->file, *format, guess ? guess : "no image");
}

static int lock_file(struct disk *d, struct err *err)
{
    struct stat sb;
    int rc;

    if (fstat(d->fd, &sb) < 0)
        return err_sys(err, "open disk '%s'", d->path);
    if (!S_ISREG(sb.st_mode))
        return 0;
    rc = vmlock_take(d->fd, d->path, "run", err);
    d->locked = rc == 0;
    return rc;
}

static int open_file(struct disk *d, const struct vmconf_disk *c,
                     struct err *err)
{
    unsigned flags =
        (c->readonly ? BLK_RDONLY : 0u) | (c->direct ? BLK_DIRECT : 0u);
    const char *format = c->raw ? "raw" : "qcow2";
    int rc;

    d->path = strdup(c->file);
    if (!d->path)
        return err_set(err, -ENOMEM, "open disk '%s': out of memory", c->file);
    d->fd = open(c->file,
                 (c->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (d->fd < 0)
        return err_sys(err, "open disk '%s'", c->file);
    if (!c->raw && !c->qcow2) {
        rc = tell_format(c, d->fd, &format, err);
        if (rc < 0)
            return rc;
    }
    if (!c->readonly) {
        rc = lock_file(d, err);
        if (rc < 0)
            return rc;
    }
    rc = blk_open(c->file, -1, format, flags, &d->blk, err);
    d->owned = rc == 0;
    return rc;
}

static int open_throw_away(struct disk *d, const struct vmconf_disk *c,
                           struct err *err)
{
    const char *dir = getenv("TMPDIR"); /* no other thread changes it */
    int fd, rc;

    if (!dir || !*dir)
        dir = "/var/tmp";
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return err_sys(err, "make a throw-away disk in '%s'", dir);
    if (ftruncate(fd, (off_t)c->size) < 0) {
        rc = err_sys(err, "make a throw-away disk of %llu bytes in '%s'",
                     (unsigned long long)c->size, dir);
        (void)close(fd);
        return rc;
    }
    rc = raw_open("a throw-away disk", fd, c->direct ? BLK_DIRECT : 0, NULL,
                  NULL, &d->blk, err);
    if (rc < 0)
        (void)close(fd);
    d->owned = rc == 0;
    return rc;
}

static int open_conf(struct disk *d, const char *text, struct err *err)
{
    struct vmconf_disk *c = malloc(sizeof(*c)); /* it holds a whole path */
    int rc;

    if (!c)
        return err_set(err, -ENOMEM, "--disk: out of memory");
    rc = vmconf_parse_disk(text, c, err);
    if (rc == 0) {
        memcpy(d->serial, c->serial, sizeof(d->serial));
        d->ide = c->ide;
        rc = *c->file ? open_file(d, c, err) : open_throw_away(d, c, err);
    }
    free(c);
    return rc;
}

/* One that is open already. */
static int adopt(struct disk *d, const struct vmm_disk *from, struct err *err)
{
    d->blk = from->blk;
    d->ide = from->ide;
    if (from->serial)
        memcpy(d->serial, from->serial,
               strnlen(from->serial, sizeof(d->serial) - 1));
    if (!from->path)
        return 0;
    d->path = strdup(from->path);
    if (!d->path)
        return err_set(err, -ENOMEM, "use disk '%s': out of memory",
                       from->path);
    d->fd = open(from->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    return d->fd < 0 ? err_sys(err, "use disk '%s'", from->path) : 0;
}

static void on_watch(void *opaque)
{
    struct disks *ds = opaque;

    disks_look(ds);
    timer_arm(&ds->watch, clock_now_ns() + WATCH_NS);
}

static int open_all(struct disks *ds, const struct vmm_config *cfg,
                    struct err *err)
{
    unsigned total = cfg->nr_disks + cfg->conf->nr_disks;

    if (total > PC_MAX_DISKS)
        return err_set(err, -EINVAL, "a machine has %d disks at most, not %u",
                       PC_MAX_DISKS, total);
    while (ds->nr < total) {
        unsigned n = ds->nr++;
        struct disk *d = &ds->disk[n];
        int rc;

        d->fd = -1;
        rc = n < cfg->nr_disks
                 ? adopt(d, &cfg->disks[n], err)
                 : open_conf(d, cfg->conf->disk[n - cfg->nr_disks], err);
        if (rc < 0)
            return rc;
        ds->pc[n] =
            (struct pc_disk){d->blk, *d->serial ? d->serial : NULL, d->ide};
    }
    return 0;
}

int disks_open(struct disks *ds, const struct vmm_config *cfg,
               struct loop *loop, struct err *err)
{
    int rc;

    memset(ds, 0, sizeof(*ds));
    timer_init(&ds->watch, loop, on_watch, ds);
    rc = open_all(ds, cfg, err);
    if (rc < 0)
        (void)disks_close(ds);
    return rc;
}

static int close_one(struct disk *d)
{
    int rc = d->owned ? blk_close(d->blk) : 0;

    if (rc < 0)
        log_err("disk", "close '%s': %s: what was written last may be lost",
                d->path ? d->path : "a throw-away disk", strerrordesc_np(-rc));
    if (d->locked)
        vmlock_drop(d->fd);
    if (d->fd >= 0)
        (void)close(d->fd);
    free(d->path);
    return rc;
}

int disks_close(struct disks *ds)
{
    int rc = 0;

    timer_cancel(&ds->watch);
    while (ds->nr) {
        int one = close_one(&ds->disk[--ds->nr]);

        rc = rc < 0 ? rc : one;
    }
    return rc;
}

/* --- While the machine runs ------------------------------------------------
 */

void disks_watch(struct disks *ds)
{
    for (unsigned i = 0; i < ds->nr; i++)
        if (ds->disk[i].fd >= 0) {
            on_watch(ds);
            break;
        }
}

/* What is wrong with the file, or NULL. A file that was only moved is not. */
static const char *look(struct disk *d)
{
    bool raw = strcmp(d->blk->ops->name, "raw") == 0;
    struct stat now, named;
    uint64_t len;

    if (fstat(d->fd, &now) < 0)
        return "cannot be looked at any more";
    if (!S_ISREG(now.st_mode))
        return NULL;
    len = (uint64_t)now.st_size;
    if (len < d->seen || (raw && len < blk_size(d->blk) / 512 * 512))
        return "was cut by another program: data of the guest is gone";
    d->seen = len;
    if (now.st_nlink == 0)
        return "was deleted: what the guest writes is gone when husk ends";
    if (stat(d->path, &named) == 0 &&
        (named.st_dev != now.st_dev || named.st_ino != now.st_ino))
        return "was replaced by another file: the guest goes on with the one "
               "that was there";
    return NULL;
}

void disks_look(struct disks *ds)
{
    for (unsigned i = 0; i < ds->nr; i++) {
        struct disk *d = &ds->disk[i];

        if (d->fd < 0 || d->problem)
            continue;
        d->problem = look(d);
        if (d->problem)
            log_err("disk", "'%s' %s", d->path, d->problem);
    }
}

int disks_flush(struct disks *ds, struct err *err)
{
    for (unsigned i = 0; i < ds->nr; i++) {
        int rc = blk_flush(ds->disk[i].blk);

        if (rc < 0)
            return err_set(err, rc, "flush disk %u: %s", i,
                           strerrordesc_np(-rc));
    }
    return 0;
}
