#include "vmfile/slots.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"
#include "base/fdio.h"

enum {
    /* The head of the extension. */
    HEAD_SLOTS = 8,
    HEAD_FIRST = 12,
    HEAD_STRIDE = 16,
    HEAD_SLOT_LEN = 20,
    HEAD_OWNER = 24,
    HEAD_CRC = 28,
    HEAD_SIZE = 32,
    /* The head of a slot. */
    SLOT_GENERATION = 0,
    SLOT_TEXT_LEN = 8,
    SLOT_CRC = 12,
    SLOT_HEAD = 16,
    /* Where husk puts things. */
    FIRST_SLOT = 4096,
    STRIDE = 31744 - 4096,
    SLOT_LEN = SLOTS_MAX_TEXT + SLOT_HEAD,
    OWNER = SLOTS_LENGTH - SLOTS_OWNER_SIZE,
    /* A file with longer slots was not made by any husk. */
    MAX_SLOT_LEN = 1 << 20,
    /* qcow2: "Header". */
    QCOW2_VERSION = 4,
    QCOW2_BACKING_OFFSET = 8,
    QCOW2_CLUSTER_BITS = 20,
    QCOW2_V2_SIZE = 72,
    QCOW2_HEADER_LENGTH = 100,
    QCOW2_V3_SIZE = 104,
    MIN_CLUSTER_BITS = 9,
    MAX_CLUSTER_BITS = 21,
    /* More than any program writes; a bound for what is hostile. */
    MAX_EXTENSIONS = 256,
    /* A torn slot may be one that is being written: it is read again. */
    READ_TRIES = 8,
    READ_PAUSE_NS = 500 * 1000
};

_Static_assert(STRIDE >= SLOT_LEN + 4096, "slots must be 4 KiB apart");
_Static_assert(OWNER - (FIRST_SLOT + STRIDE + SLOT_LEN) >= 4096,
               "the owner record must be 4 KiB from a slot");

static const uint8_t magic[8] = "HUSKVM01";

static uint32_t slot_crc(const uint8_t *slot, size_t len)
{
    uint32_t crc = crc32c_update(0, slot, SLOT_CRC);

    return crc32c_update(crc, slot + SLOT_HEAD, len);
}

static void slot_fill(uint8_t *slot, uint64_t generation, const char *text,
                      size_t len)
{
    put_be64(slot + SLOT_GENERATION, generation);
    put_be32(slot + SLOT_TEXT_LEN, (uint32_t)len);
    memcpy(slot + SLOT_HEAD, text, len);
    put_be32(slot + SLOT_CRC, slot_crc(slot, len));
}

static int too_long(size_t len, size_t max, struct err *err)
{
    return err_set(err, -EFBIG,
                   "the settings have %zu bytes, and a VM file has room for "
                   "%zu: shorten labels or texts",
                   len, max);
}

int slots_format(uint8_t ext[SLOTS_LENGTH], const char *text, size_t len,
                 struct err *err)
{
    if (len > SLOTS_MAX_TEXT)
        return too_long(len, SLOTS_MAX_TEXT, err);
    memset(ext, 0, SLOTS_LENGTH);
    memcpy(ext, magic, sizeof(magic));
    put_be32(ext + HEAD_SLOTS, 2);
    put_be32(ext + HEAD_FIRST, FIRST_SLOT);
    put_be32(ext + HEAD_STRIDE, STRIDE);
    put_be32(ext + HEAD_SLOT_LEN, SLOT_LEN);
    put_be32(ext + HEAD_OWNER, OWNER);
    put_be32(ext + HEAD_CRC, crc32c_update(0, ext, HEAD_CRC));
    slot_fill(ext + FIRST_SLOT, 1, text, len);
    return 0;
}

/* --- Where the extension is ---------------------------------------------- */

static int damaged(const char *path, const char *what, struct err *err)
{
    return err_set(err, -EUCLEAN, "read the settings of '%s': %s is damaged",
                   path, what);
}

/* All len bytes at off, or an error: -EUCLEAN if the file ends before. */
static int read_at(int fd, const char *path, void *buf, size_t len,
                   uint64_t off, struct err *err)
{
    ssize_t n = fd_pread_full(fd, buf, len, off);

    if (n < 0) {
        errno = (int)-n;
        return err_sys(err, "read '%s'", path);
    }
    if ((size_t)n < len)
        return err_set(err, -EUCLEAN, "read '%s': the file is truncated", path);
    return 0;
}

/* [*start, *end): where the header's extensions are. */
static int extension_area(int fd, const char *path, uint64_t *start,
                          uint64_t *end, struct err *err)
{
    uint8_t h[QCOW2_V3_SIZE] = {0};
    ssize_t n = fd_pread_full(fd, h, sizeof(h), 0);
    uint64_t backing;
    uint32_t bits;

    if (n < 0) {
        errno = (int)-n;
        return err_sys(err, "read '%s'", path);
    }
    if (n < 4 || memcmp(h, "QFI\xfb", 4) != 0)
        return err_set(err, -EMEDIUMTYPE,
                       "read '%s': it is not a VM file: it has no qcow2 header",
                       path);
    bits = get_be32(h + QCOW2_CLUSTER_BITS);
    if (n < (ssize_t)sizeof(h) || bits < MIN_CLUSTER_BITS ||
        bits > MAX_CLUSTER_BITS)
        return damaged(path, "the qcow2 header", err);
    *start = get_be32(h + QCOW2_VERSION) == 2
                 ? QCOW2_V2_SIZE
                 : get_be32(h + QCOW2_HEADER_LENGTH);
    *end = 1ull << bits;
    backing = get_be64(h + QCOW2_BACKING_OFFSET);
    if (backing && backing < *end)
        *end = backing;
    if (*start < QCOW2_V2_SIZE || *start > *end)
        return damaged(path, "the qcow2 header", err);
    return 0;
}

static int check_head(const uint8_t head[HEAD_SIZE], uint32_t len,
                      const char *path, struct slots *s, struct err *err)
{
    uint32_t first = get_be32(head + HEAD_FIRST);
    uint32_t stride = get_be32(head + HEAD_STRIDE);
    uint32_t slot_len = get_be32(head + HEAD_SLOT_LEN);
    uint32_t owner = get_be32(head + HEAD_OWNER);

    if (memcmp(head, magic, sizeof(magic)) != 0 ||
        get_be32(head + HEAD_CRC) != crc32c_update(0, head, HEAD_CRC))
        return damaged(path, "husk's header extension", err);
    if (get_be32(head + HEAD_SLOTS) != 2 || slot_len <= SLOT_HEAD ||
        slot_len > MAX_SLOT_LEN || stride < slot_len || stride > len ||
        first < HEAD_SIZE || !range_ok(first, (uint64_t)stride + slot_len, len))
        return damaged(path, "husk's header extension", err);
    if (!range_ok(owner, SLOTS_OWNER_SIZE, len) || owner < HEAD_SIZE ||
        ranges_overlap(owner, SLOTS_OWNER_SIZE, first,
                       (uint64_t)stride + slot_len))
        return damaged(path, "husk's header extension", err);
    s->slot[0] = first;
    s->slot[1] = first + stride;
    s->slot_len = slot_len;
    s->owner = owner;
    return 0;
}

int slots_find(int fd, const char *path, struct slots *s, struct err *err)
{
    uint64_t at = 0, end = 0;
    int rc = extension_area(fd, path, &at, &end, err);

    for (int i = 0; rc == 0 && i < MAX_EXTENSIONS && at + 8 <= end; i++) {
        uint8_t head[8], content[HEAD_SIZE];
        uint32_t type, len;

        rc = read_at(fd, path, head, sizeof(head), at, err);
        type = get_be32(head);
        len = get_be32(head + 4);
        if (rc < 0 || type == 0)
            break;
        at += sizeof(head);
        if (len > end - at)
            return damaged(path, "the qcow2 header", err);
        if (type == SLOTS_EXTENSION && len >= HEAD_SIZE) {
            rc = read_at(fd, path, content, sizeof(content), at, err);
            s->offset = at;
            return rc < 0 ? rc : check_head(content, len, path, s, err);
        }
        at += ((uint64_t)len + 7) & ~7ull;
    }
    if (rc < 0)
        return rc;
    return err_set(err, -ENOENT,
                   "'%s' is a qcow2 image without settings of a VM: 'husk "
                   "import' makes a VM of it",
                   path);
}

/* --- Reading and writing -------------------------------------------------- */

/* Both slots as they are in the file now, one behind the other. */
static int load(int fd, const char *path, struct slots *s, uint8_t **both,
                struct err *err)
{
    uint8_t *buf;
    int rc = slots_find(fd, path, s, err);

    if (rc != 0 || !s->slot_len)
        return rc;
    buf = malloc((size_t)2 * s->slot_len);
    if (!buf)
        return err_set(err, -ENOMEM, "read the settings of '%s': out of memory",
                       path);
    for (size_t i = 0; rc == 0 && i < 2; i++)
        rc = read_at(fd, path, buf + i * s->slot_len, s->slot_len,
                     s->offset + s->slot[i], err);
    if (rc < 0)
        free(buf);
    else
        *both = buf;
    return rc;
}

/* The generation of a slot; 0 if it is not valid. */
static uint64_t slot_generation(const uint8_t *slot, uint32_t slot_len)
{
    uint32_t len = get_be32(slot + SLOT_TEXT_LEN);

    if (len > slot_len - SLOT_HEAD ||
        get_be32(slot + SLOT_CRC) != slot_crc(slot, len))
        return 0;
    return get_be64(slot + SLOT_GENERATION);
}

/* The slot that counts, or -1. */
static int current(const uint8_t *both, uint32_t slot_len, uint64_t *generation)
{
    uint64_t g0 = slot_generation(both, slot_len);
    uint64_t g1 = slot_generation(both + slot_len, slot_len);

    *generation = g1 > g0 ? g1 : g0;
    if (*generation == 0)
        return -1;
    return g1 > g0;
}

/* load until a slot is valid: one may be written, and the extension moved,
 * while it is read. */
static int load_current(int fd, const char *path, struct slots *s,
                        uint8_t **both, uint64_t *generation, struct err *err)
{
    const struct timespec pause = {.tv_nsec = READ_PAUSE_NS};
    int rc, which = -1;

    for (int i = 0; i < READ_TRIES; i++) {
        rc = load(fd, path, s, both, err);
        if (rc == -ENOENT || rc == -EMEDIUMTYPE || rc == -ENOMEM)
            return rc;
        if (rc == 0 && *both) {
            which = current(*both, s->slot_len, generation);
            if (which >= 0)
                return which;
            free(*both);
            rc = damaged(path, "both copies of them: each", err);
        }
        (void)nanosleep(&pause, NULL);
    }
    return rc;
}

int slots_read(int fd, const char *path, char **text, size_t *len,
               uint64_t *generation, struct err *err)
{
    struct slots s = {.offset = 0};
    uint8_t *both = NULL;
    const uint8_t *slot;
    int which = load_current(fd, path, &s, &both, generation, err);

    if (which < 0 || !both)
        return which;
    slot = both + (size_t)which * s.slot_len;
    *len = get_be32(slot + SLOT_TEXT_LEN);
    memmove(both, slot + SLOT_HEAD, *len);
    both[*len] = '\0'; /* within the slot's head */
    *text = (char *)both;
    return 0;
}

static int io_write(const struct slots_io *io, int fd, const void *buf,
                    size_t len, uint64_t off)
{
    if (io)
        return io->write(io->arg, buf, (uint32_t)len, off);
    return fd_pwrite_full(fd, buf, len, off);
}

static int io_sync(const struct slots_io *io, int fd)
{
    if (io)
        return io->sync(io->arg);
    return fdatasync(fd) < 0 ? -errno : 0;
}

int slots_write(int fd, const char *path, const struct slots_io *io,
                const char *text, size_t len, struct err *err)
{
    struct slots s = {.offset = 0};
    uint8_t *both = NULL, *slot;
    uint64_t old = 0;
    int which = load_current(fd, path, &s, &both, &old, err);
    int rc;

    if (which < 0 || !both)
        return which;
    if (len > s.slot_len - SLOT_HEAD) {
        rc = too_long(len, s.slot_len - SLOT_HEAD, err);
        goto out;
    }
    if (old == UINT64_MAX) {
        rc = damaged(path, "their generation", err);
        goto out;
    }
    slot = both + (size_t)!which * s.slot_len;
    slot_fill(slot, old + 1, text, len);
    /* The slot that counts may have been written by a process that was killed
     * before it could flush: first that one, then the only other. */
    rc = io_sync(io, fd);
    if (rc == 0)
        rc = io_write(io, fd, slot, SLOT_HEAD + len, s.offset + s.slot[!which]);
    if (rc == 0)
        rc = io_sync(io, fd);
    if (rc < 0) {
        errno = -rc;
        (void)err_sys(err, "write the settings of '%s'", path);
    }

out:
    free(both);
    return rc;
}
