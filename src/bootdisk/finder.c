#include "bootdisk/finder.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "bootdisk/extlinux.h"
#include "bootdisk/grub.h"

enum { ARENA = 48 << 20 };

struct volume {
    const struct partition *part;
    struct ext2 *fs; /* NULL: none that is read here */
};

struct finder {
    const struct reader *disk;
    struct ptable table;
    struct volume vol[PTABLE_MAX];
    unsigned nr;
    struct bootfiles files;
    struct arena arena;
    struct err err;
};

/* --- File systems -----------------------------------------------------------
 */

static int open_volumes(struct finder *f)
{
    for (unsigned i = 0; i < f->table.nr; i++) {
        const struct partition *p = &f->table.part[i];
        struct volume *v = &f->vol[f->nr];
        int rc;

        v->part = p;
        v->fs = NULL;
        rc = ext2_open(f->disk, p->start, p->len, &v->fs);
        if (rc == 0)
            f->nr++;
        else if (rc != -ENOENT)
            return err_set(&f->err, rc,
                           "the file system of partition %u cannot be read: "
                           "%s",
                           p->number, strerrordesc_np(-rc));
    }
    return 0;
}

static void close_volumes(struct finder *f)
{
    for (unsigned i = 0; i < f->nr; i++)
        ext2_close(f->vol[i].fs);
}

/* -ENOENT: none that is read. */
static int volume_of(struct finder *f, unsigned part, struct volume **out)
{
    for (unsigned i = 0; i < f->nr; i++)
        if (f->vol[i].part->number == part) {
            *out = &f->vol[i];
            return ext2_problem(f->vol[i].fs) ? -EUCLEAN : 0;
        }
    return -ENXIO;
}

static int files_stat(void *o, unsigned part, const char *path,
                      struct bootfiles_stat *st)
{
    struct volume *v;
    int rc = volume_of(o, part, &v);

    return rc < 0 ? rc : ext2_stat(v->fs, path, st);
}

static int files_read(void *o, unsigned part, const char *path, char **text,
                      size_t *len)
{
    struct volume *v;
    int rc = volume_of(o, part, &v);

    return rc < 0 ? rc : ext2_read(v->fs, path, text, len);
}

static int files_list(void *o, unsigned part, const char *path,
                      int (*each)(void *ctx, const char *name), void *ctx)
{
    struct volume *v;
    int rc = volume_of(o, part, &v);

    return rc < 0 ? rc : ext2_list(v->fs, path, each, ctx);
}

static bool is_it(struct volume *v, enum bootfiles_by by, const char *what)
{
    struct bootfiles_stat st;
    char text[EXT2_TEXT];

    if (by == BOOTFILES_FILE)
        return ext2_stat(v->fs, what, &st) == 0;
    if (by == BOOTFILES_UUID)
        ext2_uuid(v->fs, text);
    else
        ext2_label(v->fs, text);
    return by == BOOTFILES_UUID ? strcasecmp(text, what) == 0
                                : strcmp(text, what) == 0;
}

static int files_find(void *o, enum bootfiles_by by, const char *what,
                      unsigned *part)
{
    struct finder *f = o;
    unsigned found = 0;

    for (unsigned i = 0; i < f->nr; i++)
        if (is_it(&f->vol[i], by, what)) {
            *part = f->vol[i].part->number;
            found++;
        }
    if (found > 1)
        return -EEXIST;
    return found ? 0 : -ENOENT;
}

static const struct bootfiles_ops files_ops = {files_stat, files_read,
                                               files_list, files_find};

/* --- The configuration ------------------------------------------------------
 */

static const struct {
    const char *path;
    bool grub;
} places[] = {
    {"/boot/grub/grub.cfg", true},
    {"/boot/grub2/grub.cfg", true},
    {"/grub/grub.cfg", true},
    {"/grub2/grub.cfg", true},
    {"/boot/extlinux/extlinux.conf", false},
    {"/extlinux/extlinux.conf", false},
    {"/boot/syslinux/extlinux.conf", false},
    {"/syslinux/extlinux.conf", false},
    {"/boot/syslinux/syslinux.cfg", false},
    {"/syslinux/syslinux.cfg", false},
    {"/boot/extlinux.conf", false},
    {"/extlinux.conf", false},
};

struct found {
    struct volume *vol;
    const char *path;
    bool grub;
    uint64_t inode;
};

static int two_of_them(struct finder *f, const struct found *a,
                       const struct volume *v, const char *path)
{
    return err_set(&f->err, -EINVAL,
                   "there are two configurations of boot loaders, '%s' of "
                   "partition %u and '%s' of partition %u",
                   a->path, a->vol->part->number, path, v->part->number);
}

/* One file may have two names there (/boot/boot is a link to /boot). */
static int look_in(struct finder *f, struct volume *v, struct found *found)
{
    struct bootfiles_stat st;

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (ext2_stat(v->fs, places[i].path, &st) < 0 || st.dir)
            continue;
        if (found->vol == v && found->inode == st.inode)
            continue;
        if (found->vol)
            return two_of_them(f, found, v, places[i].path);
        *found = (struct found){v, places[i].path, places[i].grub, st.inode};
    }
    return 0;
}

static int look_everywhere(struct finder *f, struct found *found)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < f->nr; i++)
        rc = look_in(f, &f->vol[i], found);
    if (rc == 0 && !found->vol)
        rc = err_set(&f->err, -ENOENT,
                     f->nr ? "no ext2, ext3 or ext4 file system of it has the "
                             "configuration of a boot loader that husk knows"
                           : "it has no ext2, ext3 or ext4 file system");
    return rc;
}

/* EXTLINUX is in the first sector of its partition, and says so. */
static bool is_extlinux(struct finder *f, const struct partition *p)
{
    uint8_t sector[512];

    return p->len >= sizeof(sector) &&
           reader_read(f->disk, p->start, sector, sizeof(sector)) == 0 &&
           memmem(sector, sizeof(sector), "LINUX", 5);
}

/* A configuration that no boot loader reads would be a guess. */
static int check_loader(struct finder *f, const struct found *c)
{
    const char *problem = ext2_problem(c->vol->fs);

    if (!f->table.boot_code && f->table.kind != PTABLE_NONE)
        return err_set(&f->err, -EINVAL,
                       f->table.esp
                           ? "its boot loader is on an EFI system partition"
                           : "it has no boot loader");
    if (c->grub ? !f->table.grub : !is_extlinux(f, c->vol->part))
        return err_set(&f->err, -EINVAL,
                       "its boot loader is not the one that '%s' is for",
                       c->path);
    if (problem)
        return err_set(&f->err, -EUCLEAN, "the file system of partition %u %s",
                       c->vol->part->number, problem);
    return 0;
}

/* --- The answer -------------------------------------------------------------
 */

static int put_text(struct finder *f, char *to, size_t size, const char *text)
{
    size_t len = strlen(text);

    if (len >= size)
        return err_set(&f->err, -E2BIG, "'%.60s...' is too long", text);
    memcpy(to, text, len + 1);
    return 0;
}

static int put_file(struct finder *f, struct answer *a, unsigned part,
                    const char *path)
{
    struct answer_file *file = &a->file[a->nr_files];
    size_t nr = ANSWER_RUNS - a->nr_runs;
    struct volume *v;
    int rc = put_text(f, file->path, sizeof(file->path), path);

    if (rc < 0)
        return rc;
    rc = volume_of(f, part, &v);
    if (rc == 0)
        rc = ext2_map(v->fs, path, a->run + a->nr_runs, &nr, &file->size);
    if (rc < 0)
        return err_set(&f->err, rc, "'%.80s' cannot be read: %s", path,
                       strerrordesc_np(-rc));
    file->first = a->nr_runs;
    file->nr = (uint32_t)nr;
    a->nr_runs += (uint32_t)nr;
    a->nr_files++;
    return 0;
}

static int put_choice(struct finder *f, struct answer *a,
                      const struct bootentry *c)
{
    int rc = put_text(f, a->cmdline, sizeof(a->cmdline), c->cmdline);

    (void)snprintf(a->title, sizeof(a->title), "%s", c->title);
    if (rc == 0)
        rc = put_file(f, a, c->kernel_part, c->kernel);
    for (unsigned i = 0; rc == 0 && i < c->nr_initrds; i++)
        rc = put_file(f, a, c->initrd[i].part, c->initrd[i].path);
    return rc;
}

static int choose(struct finder *f, struct answer *a)
{
    struct found c = {.vol = NULL};
    struct bootentry choice;
    struct err why;
    unsigned part;
    int rc = look_everywhere(f, &c);

    if (rc == 0)
        rc = check_loader(f, &c);
    if (rc < 0)
        return rc;
    part = c.vol->part->number;
    rc = c.grub
             ? grub_choose(&f->files, part, c.path, &f->arena, &choice, &f->err)
             : extlinux_choose(&f->files, part, c.path, &f->arena, &choice,
                               &f->err);
    if (rc < 0) {
        why = f->err;
        return err_set(&f->err, rc, "of '%s': %s", c.path, why.text);
    }
    a->grub = c.grub;
    rc = put_text(f, a->config, sizeof(a->config), c.path);
    return rc < 0 ? rc : put_choice(f, a, &choice);
}

void finder_find(const struct reader *disk, struct answer *a)
{
    struct finder *f = calloc(1, sizeof(*f));
    int rc;

    memset(a, 0, offsetof(struct answer, run));
    if (!f) {
        a->code = -ENOMEM;
        strcpy(a->why, "out of memory");
        return;
    }
    f->disk = disk;
    arena_init(&f->arena, ARENA);
    rc = ptable_read(disk, &f->table, &f->err);
    if (rc == 0)
        rc = open_volumes(f);
    f->files = (struct bootfiles){&files_ops, f, f->table.kind};
    if (rc == 0)
        rc = choose(f, a);
    a->code = rc;
    if (rc < 0)
        (void)snprintf(a->why, sizeof(a->why), "%s", f->err.text);
    close_volumes(f);
    arena_fini(&f->arena);
    free(f);
}

/* --- Checking one -----------------------------------------------------------
 */

static bool ends(const char *text, size_t size)
{
    return memchr(text, '\0', size) != NULL;
}

/* A file's runs go up and do not overlap: reading them takes as long as the
 * file is, and no longer. */
static bool file_ok(const struct answer *a, const struct answer_file *f)
{
    uint64_t end = 0;

    if (!ends(f->path, sizeof(f->path)) ||
        !range_ok(f->first, f->nr, a->nr_runs))
        return false;
    for (uint32_t i = 0; i < f->nr; i++) {
        const struct ext2_run *r = &a->run[f->first + i];

        if (r->off < end || !add_ok(r->off, r->len, &end))
            return false;
    }
    return true;
}

static bool run_ok(const struct ext2_run *r, uint64_t disk_bytes)
{
    return range_ok(r->disk, r->len, disk_bytes);
}

bool answer_check(const struct answer *a, uint64_t disk_bytes)
{
    if (!ends(a->why, sizeof(a->why)) || !ends(a->title, sizeof(a->title)) ||
        !ends(a->config, sizeof(a->config)) ||
        !ends(a->cmdline, sizeof(a->cmdline)) || a->code > 0 ||
        a->nr_files > ANSWER_FILES || a->nr_runs > ANSWER_RUNS ||
        (a->code == 0 && a->nr_files == 0))
        return false;
    for (uint32_t i = 0; i < a->nr_files; i++)
        if (!file_ok(a, &a->file[i]))
            return false;
    for (uint32_t i = 0; i < a->nr_runs; i++)
        if (!run_ok(&a->run[i], disk_bytes))
            return false;
    return true;
}
