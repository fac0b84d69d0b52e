/*
 * Partition tables: any first sectors and any last ones. What is kept must lie
 * inside of the disk. The first two bytes say how much of the input the disk
 * ends with; between both parts it is zeroes.
 */
#include <assert.h>
#include <string.h>

#include "base/checked.h"
#include "base/endian.h"
#include "bootdisk/ptable.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { GAP = 1 << 20 };

struct disk {
    const uint8_t *data;
    size_t head, tail; /* bytes of data at each end */
};

static int read_disk(void *opaque, uint64_t off, void *buf, size_t len)
{
    const struct disk *d = opaque;
    uint8_t *p = buf;

    for (size_t i = 0; i < len; i++, off++)
        if (off < d->head)
            p[i] = d->data[off];
        else
            p[i] = off < d->head + GAP ? 0 : d->data[off - GAP];
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = {.read = read_disk};
    struct ptable t;
    struct err err;
    struct disk d;

    if (size < 2)
        return 0;
    d.data = data + 2;
    d.tail = get_le16(data) % (size - 1);
    d.head = size - 2 - d.tail;
    r.opaque = &d;
    r.size = d.head + GAP + d.tail;
    if (ptable_read(&r, &t, &err) < 0)
        return 0;
    assert(t.nr <= PTABLE_MAX);
    for (unsigned i = 0; i < t.nr; i++)
        assert(range_ok(t.part[i].start, t.part[i].len, r.size));
    return 0;
}
