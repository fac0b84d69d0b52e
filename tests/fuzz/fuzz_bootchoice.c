#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "config/bootorder.h"
#include "machine/bootchoice.h"

/*
 * What firmware a disk is for, and the order to boot in.
 *
 * Input: a byte of options; then the disk. Bit 0: its checksums are put right
 * first, so that what they protect is reached, too. Bit 1: it is no disk but
 * the text of an order. It is looked at as a CD as well.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { DISK_MAX = 256 << 10 };

struct disk {
    uint8_t bytes[DISK_MAX];
    uint64_t size;
};

static int read_disk(void *opaque, uint64_t off, void *buf, uint64_t len)
{
    const struct disk *d = opaque;

    assert(off <= d->size && len <= d->size - off);
    memcpy(buf, d->bytes + off, len);
    return 0;
}

static void put_sums_right(struct disk *d, uint64_t lba)
{
    uint8_t *h = d->bytes + lba * 512;
    uint64_t at, len;

    if (d->size < (lba + 1) * 512)
        return;
    memcpy(h, "EFI PART", 8);
    put_le64(h + 24, lba);
    at = get_le64(h + 72) % DISK_MAX * 512;
    len = (uint64_t)get_le32(h + 80) * get_le32(h + 84);
    if (at <= d->size && len <= d->size - at)
        put_le32(h + 88, crc32_update(0, d->bytes + at, len));
    len = get_le32(h + 12);
    put_le32(h + 16, 0);
    if (len <= 512)
        put_le32(h + 16, crc32_update(0, h, len));
}

static void look(const uint8_t *data, size_t size, bool right)
{
    static struct disk d;
    struct bootchoice c;

    d.size = size < DISK_MAX ? size : DISK_MAX;
    memcpy(d.bytes, data, d.size);
    if (right) {
        put_sums_right(&d, 1);
        if (d.size >= 1024)
            put_sums_right(&d, d.size / 512 - 1);
    }
    bootchoice_look_cd(read_disk, &d, d.size, &c);
    assert(*c.why && memchr(c.why, 0, sizeof(c.why)));
    bootchoice_look(read_disk, &d, d.size, &c);
    assert(c.firmware == FIRMWARE_BIOS || c.firmware == FIRMWARE_UEFI);
    assert(*c.why && memchr(c.why, 0, sizeof(c.why)));
}

static void parse(const uint8_t *data, size_t size)
{
    char text[256] = "";
    struct bootorder o;
    struct err err;
    unsigned seen = 0;

    memcpy(text, data, size < sizeof(text) ? size : sizeof(text) - 1);
    if (bootorder_parse(text, "--boot", &o, &err) < 0)
        return;
    for (unsigned i = 0; i < BOOTORDER_NR_KINDS; i++)
        seen |= 1u << bootorder_at(&o, i);
    assert(seen == (1u << BOOTORDER_NR_KINDS) - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] & 2)
        parse(data + 1, size - 1);
    else
        look(data + 1, size - 1, data[0] & 1);
    return 0;
}
