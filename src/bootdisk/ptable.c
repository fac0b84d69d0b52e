#include "bootdisk/ptable.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/crc32.h"
#include "base/endian.h"

enum {
    SECTOR = 512,
    MBR_CODE = 440, /* bytes before the disk's signature */
    MBR_TABLE = 446,
    MBR_ENTRY = 16,
    MBR_PRIMARY = 4,
    MBR_LOGICAL = 5, /* the first number */
    MBR_MAX_LOGICAL = 60
};

enum {
    TYPE_EXTENDED_CHS = 0x05,
    TYPE_EXTENDED_LBA = 0x0f,
    TYPE_EXTENDED_LINUX = 0x85,
    TYPE_GPT = 0xee,
    TYPE_ESP = 0xef
};

/* UEFI 2.10, 5.3.2 and 5.3.3 */
enum {
    GPT_SIZE = 12,
    GPT_CRC = 16,
    GPT_SELF = 24,
    GPT_ENTRIES = 72,
    GPT_NR = 80,
    GPT_ENTRY_SIZE = 84,
    GPT_ENTRIES_CRC = 88,
    GPT_HEADER_MIN = 92,
    GPT_ENTRY_MIN = 128,
    GPT_ENTRY_MAX = 4096,
    GPT_NR_MAX = 1024 /* entries; a kernel takes as many as fit */
};

#define GPT_ACTIVE ((uint64_t)1 << 2) /* attribute: legacy BIOS bootable */

/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B as it is stored */
static const uint8_t esp_guid[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8,
                                     0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0,
                                     0xc9, 0x3e, 0xc9, 0x3b};

static int read_sector(const struct reader *r, uint64_t lba, uint8_t *buf,
                       struct err *err)
{
    int rc = -ERANGE;
    uint64_t off;

    if (mul_ok(lba, SECTOR, &off))
        rc = reader_read(r, off, buf, SECTOR);
    if (rc == -ERANGE)
        return err_set(err, -EINVAL,
                       "the partition table reaches beyond the disk's end");
    return rc < 0 ? err_set(err, rc, "the disk cannot be read: %s",
                            strerrordesc_np(-rc))
                  : 0;
}

/* One that does not lie inside the disk is not there for anybody. */
static void add(const struct reader *r, struct ptable *t,
                const struct partition *p, uint64_t lba, uint64_t sectors)
{
    struct partition n = *p;

    if (t->nr == PTABLE_MAX || sectors == 0 || !mul_ok(lba, SECTOR, &n.start) ||
        !mul_ok(sectors, SECTOR, &n.len) || !range_ok(n.start, n.len, r->size))
        return;
    t->esp = t->esp || n.esp;
    t->part[t->nr++] = n;
}

/* --- Master boot record ----------------------------------------------------
 */

static bool is_extended(uint8_t type)
{
    return type == TYPE_EXTENDED_CHS || type == TYPE_EXTENDED_LBA ||
           type == TYPE_EXTENDED_LINUX;
}

/*
 * A chain of sectors, each with one logical partition (from the sector on) and
 * the next link (from the extended partition's start on). A chain that does not
 * go forward would never end.
 */
static int read_logical(const struct reader *r, struct ptable *t,
                        uint64_t extended, struct err *err)
{
    uint64_t at = extended, next;
    uint8_t s[SECTOR];
    int rc;

    for (unsigned i = 0; i < MBR_MAX_LOGICAL; i++) {
        const uint8_t *own = s + MBR_TABLE, *link = own + MBR_ENTRY;
        struct partition p = {.number = MBR_LOGICAL + i};

        rc = read_sector(r, at, s, err);
        if (rc < 0)
            return rc;
        if (get_le16(s + SECTOR - 2) != 0xaa55)
            return 0;
        p.active = own[0] == 0x80;
        if (own[4] != 0)
            add(r, t, &p, at + get_le32(own + 8), get_le32(own + 12));
        if (!is_extended(link[4]))
            return 0;
        next = extended + get_le32(link + 8);
        if (next <= at)
            return err_set(err, -EINVAL,
                           "the chain of logical partitions goes back");
        at = next;
    }
    return err_set(err, -EINVAL, "there are more than %d logical partitions",
                   MBR_MAX_LOGICAL);
}

static int read_mbr(const struct reader *r, const uint8_t *mbr,
                    struct ptable *t, struct err *err)
{
    uint64_t extended = 0;

    t->kind = PTABLE_MBR;
    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        const uint8_t *e = mbr + MBR_TABLE + (size_t)i * MBR_ENTRY;
        struct partition p = {
            .number = i + 1, .active = e[0] == 0x80, .esp = e[4] == TYPE_ESP};

        if (is_extended(e[4]) && extended)
            return err_set(err, -EINVAL, "there are two extended partitions");
        if (is_extended(e[4]))
            extended = get_le32(e + 8);
        else if (e[4] != 0)
            add(r, t, &p, get_le32(e + 8), get_le32(e + 12));
    }
    return extended ? read_logical(r, t, extended, err) : 0;
}

/* --- GUID partition table --------------------------------------------------
 */

struct gpt {
    uint64_t entries; /* LBA */
    uint32_t nr, entry_size, crc;
};

/* -EINVAL: it is none, or damaged. */
static int read_header(const struct reader *r, uint64_t lba, struct gpt *g,
                       struct err *err)
{
    uint8_t h[SECTOR];
    uint32_t size, crc;
    int rc = read_sector(r, lba, h, err);

    if (rc < 0)
        return rc;
    size = get_le32(h + GPT_SIZE);
    if (memcmp(h, "EFI PART", 8) != 0 || size < GPT_HEADER_MIN || size > SECTOR)
        return -EINVAL;
    crc = get_le32(h + GPT_CRC);
    put_le32(h + GPT_CRC, 0);
    if (crc != crc32_update(0, h, size) || get_le64(h + GPT_SELF) != lba)
        return -EINVAL;
    g->entries = get_le64(h + GPT_ENTRIES);
    g->nr = get_le32(h + GPT_NR);
    g->entry_size = get_le32(h + GPT_ENTRY_SIZE);
    g->crc = get_le32(h + GPT_ENTRIES_CRC);
    /* Powers of two from 128 on: 5.3.2, SizeOfPartitionEntry. */
    if (g->nr > GPT_NR_MAX || g->entry_size < GPT_ENTRY_MIN ||
        g->entry_size > GPT_ENTRY_MAX || g->entry_size & (g->entry_size - 1))
        return -EINVAL;
    return 0;
}

static void add_entries(const struct reader *r, const struct gpt *g,
                        const uint8_t *entries, struct ptable *t)
{
    static const uint8_t unused[16];

    for (uint32_t i = 0; i < g->nr; i++) {
        const uint8_t *e = entries + (size_t)i * g->entry_size;
        uint64_t first = get_le64(e + 32), last = get_le64(e + 40);
        struct partition p = {.number = i + 1,
                              .esp = memcmp(e, esp_guid, 16) == 0,
                              .active = get_le64(e + 48) & GPT_ACTIVE};

        if (memcmp(e, unused, 16) != 0 && first <= last && last < UINT64_MAX)
            add(r, t, &p, first, last - first + 1);
    }
}

static int read_gpt_at(const struct reader *r, uint64_t lba, struct ptable *t,
                       struct err *err)
{
    struct gpt g = {0};
    uint64_t off;
    uint8_t *entries;
    size_t len;
    int rc = read_header(r, lba, &g, err);

    if (rc < 0)
        return rc;
    if (!mul_ok(g.entries, SECTOR, &off))
        return -EINVAL;
    len = (size_t)g.nr * g.entry_size;
    entries = malloc(len ? len : 1);
    if (!entries)
        return -ENOMEM;
    rc = reader_read(r, off, entries, len);
    if (rc == 0 && crc32_update(0, entries, len) != g.crc)
        rc = -EINVAL;
    if (rc == 0)
        add_entries(r, &g, entries, t);
    free(entries);
    return rc;
}

/* The copy is in the last sector. */
static int read_gpt(const struct reader *r, struct ptable *t, struct err *err)
{
    uint64_t last = r->size / SECTOR - 1;
    int rc;

    t->kind = PTABLE_GPT;
    rc = read_gpt_at(r, 1, t, err);
    if (rc == -EINVAL || rc == -ERANGE)
        rc = read_gpt_at(r, last, t, err);
    if (rc == -EINVAL || rc == -ERANGE)
        return err_set(err, -EINVAL,
                       "both copies of the GUID partition table are damaged");
    return rc < 0 ? err_set(err, rc, "the disk cannot be read: %s",
                            strerrordesc_np(-rc))
                  : 0;
}

/* --- Which of them ---------------------------------------------------------
 */

/* A boot sector of a file system ends with 55 AA, too: its entries are text. */
static bool is_table(const uint8_t *mbr)
{
    bool any = false;

    if (get_le16(mbr + SECTOR - 2) != 0xaa55)
        return false;
    for (unsigned i = 0; i < MBR_PRIMARY; i++) {
        const uint8_t *e = mbr + MBR_TABLE + (size_t)i * MBR_ENTRY;

        if (e[0] & 0x7f)
            return false;
        any = any || e[4];
    }
    return any;
}

static bool has_gpt(const uint8_t *mbr)
{
    for (unsigned i = 0; i < MBR_PRIMARY; i++)
        if (mbr[MBR_TABLE + (size_t)i * MBR_ENTRY + 4] == TYPE_GPT)
            return true;
    return false;
}

int ptable_read(const struct reader *r, struct ptable *t, struct err *err)
{
    static const uint8_t nothing[MBR_CODE];
    uint8_t mbr[SECTOR];
    int rc;

    memset(t, 0, sizeof(*t));
    if (r->size < 2 * (uint64_t)SECTOR)
        return err_set(err, -EINVAL, "the disk has no room for anything");
    rc = read_sector(r, 0, mbr, err);
    if (rc < 0)
        return rc;
    t->boot_code = memcmp(mbr, nothing, MBR_CODE) != 0;
    t->grub = memmem(mbr, MBR_CODE, "GRUB", 4) != NULL;
    if (is_table(mbr))
        return has_gpt(mbr) ? read_gpt(r, t, err) : read_mbr(r, mbr, t, err);
    t->part[0] = (struct partition){.len = r->size, .active = true};
    t->nr = 1;
    return 0;
}
