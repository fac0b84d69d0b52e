#include <stdio.h>
#include <string.h>

#include "base/endian.h"
#include "devices/ide/ide_int.h"

/* What IDENTIFY DEVICE (ATA-7, 6.17) and IDENTIFY PACKET DEVICE (6.18) say. */

/* Words, by their numbers in the standard. */
enum {
    W_CONFIG = 0,
    W_CYLINDERS = 1,
    W_HEADS = 3,
    W_SECTORS = 6,
    W_SERIAL = 10,
    W_FIRMWARE = 23,
    W_MODEL = 27,
    W_MULTIPLE = 47,
    W_CAPABILITIES = 49,
    W_PIO_OLD = 51,
    W_VALID = 53,
    W_NOW_CYLINDERS = 54,
    W_NOW_HEADS = 55,
    W_NOW_SECTORS = 56,
    W_NOW_CAPACITY = 57,
    W_NOW_MULTIPLE = 59,
    W_CAPACITY = 60,
    W_MWDMA = 63,
    W_PIO = 64,
    W_CYCLES = 65, /* to 68: nanoseconds */
    W_MAJOR = 80,
    W_MINOR = 81,
    W_COMMANDS = 82, /* to 84; what of it is on: 85 to 87 */
    W_ENABLED = 85,
    W_UDMA = 88,
    W_RESET_RESULT = 93,
    W_CAPACITY_48 = 100,
    W_SECTOR_SIZE = 106,
    W_ROTATION = 217
};

enum {
    CAP_DMA = 0x0100,
    CAP_LBA = 0x0200,
    CAP_IORDY = 0x0c00,
    VALID_ALL = 7, /* words 54 to 58, 64 to 70, 88 */
    CMD_SMART_SET = 1 << 0,
    CMD_PACKET_SET = 1 << 4,
    CMD_CACHE = 1 << 5,
    CMD_LOOK_AHEAD = 1 << 6,
    CMD_DEVICE_RESET_SET = 1 << 9,
    CMD2_LBA48 = 1 << 10,
    CMD2_FLUSH = 1 << 12,
    CMD2_FLUSH_EXT = 1 << 13,
    CMD3_FUA = 1 << 6,
    CMD_VALID = 1 << 14
};

static void put(uint8_t *p, unsigned word, unsigned val)
{
    put_le16(p + 2 * (size_t)word, (uint16_t)val);
}

/* Text goes into words with its first character in the upper byte. */
static void put_text(uint8_t *p, unsigned word, unsigned words,
                     const char *text)
{
    size_t len = strnlen(text, 2 * (size_t)words);

    for (size_t i = 0; i < 2 * (size_t)words; i++)
        p[2 * (size_t)word + (i ^ 1)] = i < len ? (uint8_t)text[i] : ' ';
}

static void put_serial(const struct ide_drive *d, uint8_t *p)
{
    char serial[IDE_SERIAL + 1] = "";

    memcpy(serial, d->serial, sizeof(d->serial));
    put_text(p, W_SERIAL, 10, *serial ? serial : d->name);
}

/* Modes that it has, and the one that was chosen. */
static void put_modes(const struct ide_drive *d, uint8_t *p)
{
    unsigned mode = d->st.dma_mode, chosen = 0x100u << (mode & 7);

    put(p, W_PIO_OLD, 0x200);
    put(p, W_PIO_OLD + 1, 0x200);
    put(p, W_VALID, VALID_ALL);
    put(p, W_MWDMA, 7u | (mode >> 3 == 4 ? chosen : 0));
    put(p, W_UDMA, 0x3fu | (mode >> 3 == 8 ? chosen : 0));
    put(p, W_PIO, 3);
    for (unsigned i = 0; i < 4; i++)
        put(p, W_CYCLES + i, 120);
    put(p, W_RESET_RESULT, 0x6001); /* an 80-wire cable */
}

unsigned ata_cylinders(const struct ide_drive *d)
{
    uint64_t n = d->blocks / (uint64_t)(ATA_HEADS * ATA_SECTORS);

    return n > 16383 ? 16383 : n ? (unsigned)n : 1;
}

static void put_geometry(const struct ide_drive *d, uint8_t *p)
{
    uint64_t all = d->blocks < 16514064 ? d->blocks : 16514064;
    unsigned per_cylinder = d->st.heads * (unsigned)d->st.sectors;
    unsigned cylinders = (unsigned)(all / per_cylinder);

    cylinders = cylinders > 65535 ? 65535 : cylinders;
    put(p, W_CYLINDERS, ata_cylinders(d));
    put(p, W_HEADS, ATA_HEADS);
    put(p, W_SECTORS, ATA_SECTORS);
    put(p, W_NOW_CYLINDERS, cylinders);
    put(p, W_NOW_HEADS, d->st.heads);
    put(p, W_NOW_SECTORS, d->st.sectors);
    put_le32(p + 2 * (size_t)W_NOW_CAPACITY, cylinders * per_cylinder);
}

static void put_capacity(const struct ide_drive *d, uint8_t *p)
{
    struct blk_limits l = {0};
    unsigned exp = 0;

    put_le32(p + 2 * (size_t)W_CAPACITY,
             d->blocks < 0xfffffff ? (uint32_t)d->blocks : 0xfffffff);
    put_le64(p + 2 * (size_t)W_CAPACITY_48, d->blocks);
    blk_limits(d->blk, &l);
    while (exp < 3 && (uint32_t)SECTOR << exp < l.physical_block)
        exp++;
    put(p, W_SECTOR_SIZE, 1u << 14 | (exp ? 1u << 13 : 0) | exp);
}

static void put_features(const struct ide_drive *d, uint8_t *p)
{
    unsigned two = CMD_VALID | CMD2_FLUSH_EXT | CMD2_FLUSH | CMD2_LBA48;
    unsigned three = CMD_VALID | CMD3_FUA;

    put(p, W_COMMANDS, CMD_VALID | CMD_LOOK_AHEAD | CMD_CACHE | CMD_SMART_SET);
    put(p, W_COMMANDS + 1, two);
    put(p, W_COMMANDS + 2, three);
    put(p, W_ENABLED,
        CMD_VALID | (d->st.look_ahead ? (unsigned)CMD_LOOK_AHEAD : 0) |
            (d->st.write_cache ? (unsigned)CMD_CACHE : 0) |
            (d->st.smart ? (unsigned)CMD_SMART_SET : 0));
    put(p, W_ENABLED + 1, two);
    put(p, W_ENABLED + 2, three);
}

void ata_identify(const struct ide_drive *d, uint8_t *p)
{
    put(p, W_CONFIG, 0x0040); /* not removable */
    put_serial(d, p);
    put_text(p, W_FIRMWARE, 4, "1");
    put_text(p, W_MODEL, 20, "husk disk");
    put_geometry(d, p);
    put(p, W_MULTIPLE, 0x8000 | ATA_MULTIPLE);
    put(p, W_CAPABILITIES, CAP_IORDY | CAP_LBA | CAP_DMA);
    put(p, W_CAPABILITIES + 1, 0x4000);
    put(p, W_NOW_MULTIPLE, d->st.multiple ? 0x100u | d->st.multiple : 0);
    put_capacity(d, p);
    put_modes(d, p);
    put(p, W_MAJOR, 0xf0); /* ATA-4 to ATA-7 */
    put_features(d, p);
    put(p, W_ROTATION, 1); /* it does not */
}

void ata_identify_packet(const struct ide_drive *d, uint8_t *p)
{
    const unsigned set = CMD_VALID | CMD_DEVICE_RESET_SET | CMD_PACKET_SET;

    put(p, W_CONFIG, 0x85c0); /* CD-ROM, removable, packets of 12 bytes */
    put_serial(d, p);
    put_text(p, W_FIRMWARE, 4, "1");
    put_text(p, W_MODEL, 20, "husk CD-ROM");
    put(p, W_CAPABILITIES, CAP_IORDY | CAP_LBA | CAP_DMA);
    put_modes(d, p);
    put(p, W_MAJOR, 0xf0);
    put(p, W_COMMANDS, set);
    put(p, W_COMMANDS + 1, CMD_VALID);
    put(p, W_COMMANDS + 2, CMD_VALID);
    put(p, W_ENABLED, set);
    put(p, W_ENABLED + 2, CMD_VALID);
}
