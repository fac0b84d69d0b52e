#include "bootdisk/ext2.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ext2fs/ext2fs.h>

#include "base/checked.h"

/* Metadata lies close together: a few lines of cache save most round trips to
 * the process that has the disk. */
enum { LINE = 32 << 10, NR_LINES = 64 };

struct ext2 {
    const struct reader *disk;
    uint64_t start, len;
    ext2_filsys fs;
    struct line {
        bool valid;
        uint64_t off; /* from start */
        uint8_t data[LINE];
    } line[NR_LINES];
};

/* --- Reading blocks ---------------------------------------------------------
 */

static int fill_line(struct ext2 *e, struct line *l, uint64_t off)
{
    uint64_t left = e->len - off;
    size_t n = left < LINE ? (size_t)left : LINE;
    int rc;

    l->valid = false;
    rc = reader_read(e->disk, e->start + off, l->data, n);
    if (rc < 0)
        return rc;
    memset(l->data + n, 0, LINE - n);
    l->off = off;
    l->valid = true;
    return 0;
}

static int read_bytes(struct ext2 *e, uint64_t off, uint8_t *buf, uint64_t len)
{
    if (!range_ok(off, len, e->len))
        return -ERANGE;
    while (len) {
        uint64_t at = off / LINE * LINE, skip = off - at;
        struct line *l = &e->line[off / LINE % NR_LINES];
        uint64_t n = LINE - skip < len ? LINE - skip : len;
        int rc = l->valid && l->off == at ? 0 : fill_line(e, l, at);

        if (rc < 0)
            return rc;
        memcpy(buf, l->data + skip, n);
        buf += n;
        off += n;
        len -= n;
    }
    return 0;
}

static const struct struct_io_manager manager;

/* libext2fs gives a manager's open nothing but a name: it has the address. */
static errcode_t io_open(const char *name, int flags, io_channel *out)
{
    io_channel io = calloc(1, sizeof(*io));
    void *e = NULL;

    (void)flags;
    if (!io || sscanf(name, "%p", &e) != 1) {
        free(io);
        return EXT2_ET_NO_MEMORY;
    }
    io->name = strdup(name);
    if (!io->name) {
        free(io);
        return EXT2_ET_NO_MEMORY;
    }
    io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    io->manager = (io_manager)(uintptr_t)&manager;
    io->block_size = 1024;
    io->refcount = 1;
    io->private_data = e;
    *out = io;
    return 0;
}

static errcode_t io_close(io_channel io)
{
    if (--io->refcount > 0)
        return 0;
    free(io->name);
    free(io);
    return 0;
}

static errcode_t io_set_blksize(io_channel io, int size)
{
    io->block_size = size;
    return 0;
}

/* A negative count is bytes. */
static errcode_t io_read64(io_channel io, unsigned long long block, int count,
                           void *data)
{
    uint64_t off, len;

    if (io->block_size <= 0 || !mul_ok(block, (uint64_t)io->block_size, &off))
        return EXT2_ET_SHORT_READ;
    if (count < 0)
        len = (uint64_t) - (int64_t)count;
    else
        len = (uint64_t)count * (uint64_t)io->block_size;
    return read_bytes(io->private_data, off, data, len) < 0 ? EXT2_ET_SHORT_READ
                                                            : 0;
}

static errcode_t io_read(io_channel io, unsigned long block, int count,
                         void *data)
{
    return io_read64(io, block, count, data);
}

static errcode_t io_write64(io_channel io, unsigned long long block, int count,
                            const void *data)
{
    (void)io;
    (void)block;
    (void)count;
    (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write(io_channel io, unsigned long block, int count,
                          const void *data)
{
    return io_write64(io, block, count, data);
}

static errcode_t io_flush(io_channel io)
{
    (void)io;
    return 0;
}

static const struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "husk",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_blksize,
    .read_blk = io_read,
    .read_blk64 = io_read64,
    .write_blk = io_write,
    .write_blk64 = io_write64,
    .flush = io_flush,
};

/* --- The file system --------------------------------------------------------
 */

static int errno_of(errcode_t e)
{
    switch (e) {
    case 0: return 0;
    case EXT2_ET_FILE_NOT_FOUND: return -ENOENT;
    case EXT2_ET_NO_DIRECTORY: return -ENOTDIR;
    case EXT2_ET_SYMLINK_LOOP: return -ELOOP;
    case EXT2_ET_NO_MEMORY: return -ENOMEM;
    default: return -EUCLEAN;
    }
}

int ext2_open(const struct reader *disk, uint64_t start, uint64_t len,
              struct ext2 **out)
{
    struct ext2 *e = calloc(1, sizeof(*e));
    io_manager io = (io_manager)(uintptr_t)&manager; /* it changes nothing */
    char name[32];
    errcode_t rc;

    if (!e)
        return -ENOMEM;
    e->disk = disk;
    e->start = start;
    e->len = len;
    (void)snprintf(name, sizeof(name), "%p", (void *)e);
    rc = ext2fs_open2(name, NULL, EXT2_FLAG_64BITS, 0, 0, io, &e->fs);
    if (rc == 0) {
        *out = e;
        return 0;
    }
    free(e);
    return rc == EXT2_ET_BAD_MAGIC || rc == EXT2_ET_SHORT_READ ? -ENOENT
                                                               : errno_of(rc);
}

void ext2_close(struct ext2 *e)
{
    if (!e)
        return;
    ext2fs_free(e->fs);
    free(e);
}

void ext2_uuid(const struct ext2 *e, char uuid[EXT2_TEXT])
{
    const uint8_t *u = e->fs->super->s_uuid;
    char *p = uuid;

    for (unsigned i = 0; i < 16; i++)
        p += sprintf(p, "%s%02x",
                     i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", u[i]);
}

void ext2_label(const struct ext2 *e, char label[EXT2_TEXT])
{
    (void)snprintf(label, EXT2_TEXT, "%.16s",
                   (const char *)e->fs->super->s_volume_name);
}

const char *ext2_problem(const struct ext2 *e)
{
    const struct ext2_super_block *s = e->fs->super;

    if (ext2fs_has_feature_journal_needs_recovery(e->fs->super) ||
        !(s->s_state & EXT2_VALID_FS))
        return "was not unmounted";
    if (s->s_state & EXT2_ERROR_FS)
        return "has errors";
    return NULL;
}

/* --- Files ------------------------------------------------------------------
 */

static int lookup(struct ext2 *e, const char *path, ext2_ino_t *ino,
                  struct ext2_inode *inode)
{
    errcode_t rc =
        ext2fs_namei_follow(e->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, ino);

    if (rc == 0)
        rc = ext2fs_read_inode(e->fs, *ino, inode);
    return errno_of(rc);
}

int ext2_stat(struct ext2 *e, const char *path, struct bootfiles_stat *st)
{
    struct ext2_inode inode;
    ext2_ino_t ino;
    int rc = lookup(e, path, &ino, &inode);

    if (rc < 0)
        return rc;
    if (!LINUX_S_ISDIR(inode.i_mode) && !LINUX_S_ISREG(inode.i_mode))
        return -EINVAL;
    st->dir = LINUX_S_ISDIR(inode.i_mode);
    st->size = EXT2_I_SIZE(&inode);
    st->inode = ino;
    return 0;
}

static int lookup_file(struct ext2 *e, const char *path, ext2_ino_t *ino,
                       struct ext2_inode *inode)
{
    int rc = lookup(e, path, ino, inode);

    if (rc < 0)
        return rc;
    if (!LINUX_S_ISREG(inode->i_mode))
        return LINUX_S_ISDIR(inode->i_mode) ? -EISDIR : -EINVAL;
    return inode->i_flags & EXT4_ENCRYPT_FL ? -ENOTSUP : 0;
}

static int read_open(ext2_file_t f, char *buf, size_t size, size_t *len)
{
    size_t done = 0;

    while (done < size) {
        unsigned got = 0;
        errcode_t rc =
            ext2fs_file_read(f, buf + done, (unsigned)(size - done), &got);

        if (rc)
            return errno_of(rc);
        if (got == 0)
            break;
        done += got;
    }
    buf[done] = '\0';
    *len = done;
    return 0;
}

int ext2_read(struct ext2 *e, const char *path, char **text, size_t *len)
{
    struct ext2_inode inode;
    ext2_file_t f;
    ext2_ino_t ino;
    char *buf;
    int rc = lookup_file(e, path, &ino, &inode);

    if (rc < 0)
        return rc;
    if (EXT2_I_SIZE(&inode) > BOOTFILES_TEXT_MAX)
        return -EFBIG;
    buf = malloc((size_t)EXT2_I_SIZE(&inode) + 1);
    if (!buf)
        return -ENOMEM;
    rc = errno_of(ext2fs_file_open(e->fs, ino, 0, &f));
    if (rc == 0) {
        rc = read_open(f, buf, (size_t)EXT2_I_SIZE(&inode), len);
        (void)ext2fs_file_close(f);
    }
    if (rc < 0)
        free(buf);
    else
        *text = buf;
    return rc;
}

struct listing {
    int (*each)(void *ctx, const char *name);
    void *ctx;
    int rc;
};

static int list_entry(struct ext2_dir_entry *de, int offset, int block_size,
                      char *buf, void *opaque)
{
    struct listing *l = opaque;
    unsigned len = (unsigned)ext2fs_dirent_name_len(de);
    char name[EXT2_NAME_LEN + 1];

    (void)offset;
    (void)block_size;
    (void)buf;
    memcpy(name, de->name, len);
    name[len] = '\0';
    if (strlen(name) == len && strcmp(name, ".") != 0 &&
        strcmp(name, "..") != 0)
        l->rc = l->each(l->ctx, name);
    return l->rc ? DIRENT_ABORT : 0;
}

int ext2_list(struct ext2 *e, const char *path,
              int (*each)(void *ctx, const char *name), void *ctx)
{
    struct listing l = {each, ctx, 0};
    struct ext2_inode inode;
    ext2_ino_t ino;
    int rc = lookup(e, path, &ino, &inode);

    if (rc < 0)
        return rc;
    if (!LINUX_S_ISDIR(inode.i_mode))
        return -ENOTDIR;
    rc = errno_of(ext2fs_dir_iterate(e->fs, ino, 0, NULL, list_entry, &l));
    return rc < 0 ? rc : l.rc;
}

/* --- Where a file is --------------------------------------------------------
 */

struct mapping {
    const struct ext2 *e;
    struct ext2_run *run;
    size_t nr, max;
    uint64_t blocks; /* of the file */
    int rc;
};

/* Blocks behind the end (allocated in advance) do not matter. */
static int add_run(struct mapping *m, uint64_t block, uint64_t phys,
                   uint64_t count)
{
    uint64_t size = m->e->fs->blocksize;
    struct ext2_run *last = m->nr ? &m->run[m->nr - 1] : NULL;
    struct ext2_run r;

    if (block >= m->blocks)
        return 0;
    if (count > m->blocks - block)
        count = m->blocks - block;
    if (phys > m->e->len / size || count > m->e->len / size - phys)
        return -EUCLEAN;
    r = (struct ext2_run){block * size, m->e->start + phys * size,
                          count * size};
    if (last && last->off + last->len == r.off &&
        last->disk + last->len == r.disk) {
        last->len += r.len;
        return 0;
    }
    if (m->nr == m->max)
        return -E2BIG;
    m->run[m->nr++] = r;
    return 0;
}

static int map_extents(struct mapping *m, ext2_ino_t ino,
                       struct ext2_inode *inode)
{
    struct ext2fs_extent x;
    ext2_extent_handle_t h;
    int op = EXT2_EXTENT_ROOT, rc = 0;
    errcode_t e = ext2fs_extent_open2(m->e->fs, ino, inode, &h);

    if (e)
        return errno_of(e);
    while (rc == 0 && (e = ext2fs_extent_get(h, op, &x)) == 0) {
        if (x.e_flags & EXT2_EXTENT_FLAGS_LEAF &&
            !(x.e_flags & EXT2_EXTENT_FLAGS_UNINIT))
            rc = add_run(m, x.e_lblk, x.e_pblk, x.e_len);
        op = EXT2_EXTENT_NEXT;
    }
    ext2fs_extent_free(h);
    if (rc < 0 || e == EXT2_ET_EXTENT_NO_NEXT)
        return rc;
    return errno_of(e);
}

static int add_block(ext2_filsys fs, blk64_t *phys, e2_blkcnt_t block,
                     blk64_t ref, int ref_offset, void *opaque)
{
    struct mapping *m = opaque;

    (void)fs;
    (void)ref;
    (void)ref_offset;
    if (block >= 0)
        m->rc = add_run(m, (uint64_t)block, *phys, 1);
    return m->rc < 0 ? BLOCK_ABORT : 0;
}

int ext2_map(struct ext2 *e, const char *path, struct ext2_run *run, size_t *nr,
             uint64_t *size)
{
    struct mapping m = {.e = e, .run = run, .max = *nr};
    struct ext2_inode inode;
    ext2_ino_t ino;
    int rc = lookup_file(e, path, &ino, &inode);

    if (rc < 0)
        return rc;
    if (inode.i_flags & EXT4_INLINE_DATA_FL)
        return -ENOTSUP;
    m.blocks = (EXT2_I_SIZE(&inode) + e->fs->blocksize - 1) / e->fs->blocksize;
    if (inode.i_flags & EXT4_EXTENTS_FL) {
        rc = map_extents(&m, ino, &inode);
    } else {
        rc = errno_of(ext2fs_block_iterate3(
            e->fs, ino, BLOCK_FLAG_READ_ONLY | BLOCK_FLAG_DATA_ONLY, NULL,
            add_block, &m));
        rc = rc < 0 ? rc : m.rc;
    }
    if (rc < 0)
        return rc;
    *nr = m.nr;
    *size = EXT2_I_SIZE(&inode);
    return 0;
}
