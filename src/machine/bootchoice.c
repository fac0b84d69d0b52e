#include "machine/bootchoice.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/crc32.h"
#include "base/endian.h"

/*
 * A disk boots by UEFI if it has an EFI system partition, and nothing that a
 * BIOS could start. A boot sector alone does not make one: some partitioning
 * programs put code there that only says that the disk does not boot. On a GPT
 * disk a BIOS's loader needs a place, too: a BIOS boot partition (GRUB), a
 * partition marked for it (attribute bit 2, as syslinux has it), or an active
 * partition of a hybrid MBR.
 */

enum {
    MBR_CODE = 440, /* bytes of code at its start */
    MBR_TABLE = 446,
    MBR_ENTRY = 16,
    MBR_ENTRIES = 4,
    MBR_TYPE = 4, /* in an entry */
    MBR_SIGNATURE = 510,
    TYPE_ESP = 0xef,
    ACTIVE = 0x80
};

/* UEFI 2.10, table 5.5 and 5.6 */
enum {
    GPT_HEADER_SIZE = 12,
    GPT_HEADER_CRC = 16,
    GPT_MY_LBA = 24,
    GPT_ENTRIES_LBA = 72,
    GPT_NR_ENTRIES = 80,
    GPT_ENTRY_SIZE = 84,
    GPT_ENTRIES_CRC = 88,
    GPT_MIN_HEADER = 92,
    GPT_MIN_ENTRY = 128,
    ENTRY_ATTRIBUTES = 48
};
#define ATTRIBUTE_LEGACY_BOOT 0x04u

/* C12A7328-F81F-11D2-BA4B-00A0C93EC93B, as it lies on the disk */
static const uint8_t guid_esp[16] = {0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8,
                                     0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0,
                                     0xc9, 0x3e, 0xc9, 0x3b};
/* 21686148-6449-6E6F-744E-656564454649 */
static const uint8_t guid_bios[16] = {'H', 'a', 'h', '!', 'I', 'd', 'o', 'n',
                                      't', 'N', 'e', 'e', 'd', 'E', 'F', 'I'};

struct look {
    bootchoice_read_fn *read;
    void *opaque;
    uint64_t size;
    uint8_t mbr[BOOTCHOICE_SECTOR];
    bool gpt_seen, gpt; /* there is one; it is whole */
    bool esp;
    bool bios_place; /* a partition for a BIOS's loader */
};

static bool read_at(const struct look *l, uint64_t off, void *buf, uint64_t len)
{
    return range_ok(off, len, l->size) &&
           l->read(l->opaque, off, buf, len) >= 0;
}

/* --- MBR ------------------------------------------------------------------ */

static bool is_boot_sector(const struct look *l)
{
    return l->mbr[MBR_SIGNATURE] == 0x55 && l->mbr[MBR_SIGNATURE + 1] == 0xaa;
}

static bool has_code(const struct look *l)
{
    for (unsigned i = 0; is_boot_sector(l) && i < MBR_CODE; i++)
        if (l->mbr[i])
            return true;
    return false;
}

static const uint8_t *entry(const struct look *l, unsigned n)
{
    return l->mbr + MBR_TABLE + (size_t)MBR_ENTRY * n;
}

static bool is_active(const struct look *l)
{
    for (unsigned i = 0; i < MBR_ENTRIES; i++)
        if (entry(l, i)[0] == ACTIVE && entry(l, i)[MBR_TYPE])
            return true;
    return false;
}

static bool has_esp_type(const struct look *l)
{
    for (unsigned i = 0; i < MBR_ENTRIES; i++)
        if (entry(l, i)[MBR_TYPE] == TYPE_ESP)
            return true;
    return false;
}

/* --- GPT ------------------------------------------------------------------ */

/* The header at lba, if it is one and whole. */
static bool read_header(struct look *l, uint64_t lba, uint8_t *h)
{
    uint32_t size, crc;

    if (!read_at(l, lba * BOOTCHOICE_SECTOR, h, BOOTCHOICE_SECTOR) ||
        memcmp(h, "EFI PART", 8) != 0)
        return false;
    l->gpt_seen = true;
    size = get_le32(h + GPT_HEADER_SIZE);
    if (size < GPT_MIN_HEADER || size > BOOTCHOICE_SECTOR ||
        get_le64(h + GPT_MY_LBA) != lba)
        return false;
    crc = get_le32(h + GPT_HEADER_CRC);
    put_le32(h + GPT_HEADER_CRC, 0);
    return crc32_update(0, h, size) == crc;
}

static void note_entry(struct look *l, const uint8_t *e)
{
    static const uint8_t unused[16];

    if (memcmp(e, unused, 16) == 0)
        return;
    if (memcmp(e, guid_esp, 16) == 0)
        l->esp = true;
    if (memcmp(e, guid_bios, 16) == 0 ||
        e[ENTRY_ATTRIBUTES] & ATTRIBUTE_LEGACY_BOOT)
        l->bios_place = true;
}

/* At most BOOTCHOICE_MAX_ENTRIES of 512 bytes. */
static bool read_entries(struct look *l, const uint8_t *h)
{
    uint64_t nr = get_le32(h + GPT_NR_ENTRIES);
    uint64_t size = get_le32(h + GPT_ENTRY_SIZE), off;
    bool good = false;
    uint8_t *all;

    if (nr == 0 || nr > BOOTCHOICE_MAX_ENTRIES || size < GPT_MIN_ENTRY ||
        size > BOOTCHOICE_SECTOR || size % 8 ||
        !mul_ok(get_le64(h + GPT_ENTRIES_LBA), (uint64_t)BOOTCHOICE_SECTOR,
                &off))
        return false;
    all = malloc(nr * size);
    if (!all)
        return false;
    if (read_at(l, off, all, nr * size) &&
        crc32_update(0, all, nr * size) == get_le32(h + GPT_ENTRIES_CRC)) {
        good = true;
        for (uint64_t i = 0; i < nr; i++)
            note_entry(l, all + i * size);
    }
    free(all);
    return good;
}

/* The copy at the disk's end counts if the first one is damaged. */
static void read_gpt(struct look *l)
{
    uint64_t last = l->size / BOOTCHOICE_SECTOR - 1;
    uint8_t h[BOOTCHOICE_SECTOR];

    l->gpt = (read_header(l, 1, h) && read_entries(l, h)) ||
             (read_header(l, last, h) && read_entries(l, h));
}

/* --- The choice ----------------------------------------------------------- */

static void choose(struct bootchoice *out, enum firmware_kind firmware,
                   const char *why)
{
    out->firmware = firmware;
    out->boots = true;
    (void)snprintf(out->why, sizeof(out->why), "%s", why);
}

static void find_nothing(struct bootchoice *out, const char *why)
{
    choose(out, FIRMWARE_BIOS, why);
    out->boots = false;
}

static void choose_by_gpt(const struct look *l, struct bootchoice *out)
{
    if (!l->esp && !has_code(l))
        find_nothing(out, "its partition table is a GPT without an EFI system "
                          "partition, and there is no boot sector");
    else if (!l->esp)
        choose(out, FIRMWARE_BIOS,
               "its partition table is a GPT without an EFI system partition");
    else if (has_code(l) && (l->bios_place || is_active(l)))
        choose(out, FIRMWARE_BIOS,
               "it has a boot loader for a BIOS, beside an EFI system "
               "partition");
    else
        choose(out, FIRMWARE_UEFI,
               "it has an EFI system partition and no boot loader for a BIOS");
}

static void choose_by_mbr(const struct look *l, struct bootchoice *out)
{
    if (l->gpt_seen && !has_code(l))
        find_nothing(out, "its partition table, a GPT, is damaged");
    else if (l->gpt_seen)
        choose(out, FIRMWARE_BIOS,
               "it has a boot sector, and its partition table, a GPT, is "
               "damaged");
    else if (!is_boot_sector(l))
        find_nothing(out, "it has neither a boot sector nor a partition table");
    else if (has_esp_type(l) && !(has_code(l) && is_active(l)))
        choose(out, FIRMWARE_UEFI,
               "it has an EFI system partition and no boot loader for a BIOS");
    else if (has_code(l))
        choose(out, FIRMWARE_BIOS, "it has a boot sector for a BIOS");
    else
        find_nothing(out, "it has a partition table, but nothing to boot");
}

void bootchoice_look(bootchoice_read_fn *read, void *opaque, uint64_t size,
                     struct bootchoice *out)
{
    struct look l = {.read = read, .opaque = opaque, .size = size};

    if (size < 2 * (uint64_t)BOOTCHOICE_SECTOR) {
        find_nothing(out, "it is too small for a partition table");
        return;
    }
    if (!read_at(&l, 0, l.mbr, sizeof(l.mbr))) {
        find_nothing(out, "its first sector cannot be read");
        return;
    }
    read_gpt(&l);
    if (l.gpt)
        choose_by_gpt(&l, out);
    else
        choose_by_mbr(&l, out);
}

/* --- CDs ------------------------------------------------------------------ */

/* El Torito 1.0, figures 2 to 5 */
enum {
    CD_SECTOR = 2048,
    CD_RECORD = 17, /* sector of the boot record */
    CD_CATALOGUE = 0x47,
    CD_ENTRY = 32,
    CD_BOOTABLE = 0x88,
    CD_HEADER = 0x90,
    CD_LAST_HEADER = 0x91,
    CD_EXTENSION = 0x44,
    CD_PLATFORM_PC = 0x00,
    CD_PLATFORM_EFI = 0xef
};

struct cd_look {
    bool pc, efi; /* what can be booted there */
};

static void note_cd_entry(struct cd_look *c, uint8_t platform, const uint8_t *e)
{
    if (e[0] != CD_BOOTABLE)
        return;
    c->pc |= platform == CD_PLATFORM_PC;
    c->efi |= platform == CD_PLATFORM_EFI;
}

/* One sector of it: the validation entry, the first entry, then headers with
 * their entries behind them. */
static void read_catalogue(struct cd_look *c, const uint8_t *cat)
{
    uint8_t platform = cat[1];
    bool more = true;

    if (cat[0] != 1 || cat[30] != 0x55 || cat[31] != 0xaa)
        return;
    note_cd_entry(c, platform, cat + CD_ENTRY);
    for (unsigned at = 2 * CD_ENTRY; at < CD_SECTOR; at += CD_ENTRY) {
        const uint8_t *e = cat + at;

        if (e[0] == CD_HEADER || e[0] == CD_LAST_HEADER) {
            if (!more)
                return;
            more = e[0] == CD_HEADER;
            platform = e[1];
        } else if (e[0] != CD_EXTENSION) {
            note_cd_entry(c, platform, e);
        }
    }
}

void bootchoice_look_cd(bootchoice_read_fn *read, void *opaque, uint64_t size,
                        struct bootchoice *out)
{
    const struct look l = {.read = read, .opaque = opaque, .size = size};
    struct cd_look c = {.pc = false};
    uint8_t sector[CD_SECTOR];

    if (!read_at(&l, (uint64_t)CD_RECORD * CD_SECTOR, sector, CD_SECTOR) ||
        memcmp(sector, "\0CD001\1EL TORITO SPECIFICATION", 30) != 0) {
        find_nothing(out, "it is no CD that boots");
        return;
    }
    if (read_at(&l, (uint64_t)get_le32(sector + CD_CATALOGUE) * CD_SECTOR,
                sector, CD_SECTOR))
        read_catalogue(&c, sector);
    if (c.pc)
        choose(out, FIRMWARE_BIOS, "it is a CD that a BIOS boots");
    else if (c.efi)
        choose(out, FIRMWARE_UEFI, "it is a CD that only UEFI boots");
    else
        find_nothing(out, "it is a CD with nothing to boot for a PC");
}
