#include "bootdisk/reader.h"

#include <errno.h>

#include "base/checked.h"

int reader_read(const struct reader *r, uint64_t off, void *buf, size_t len)
{
    if (!range_ok(off, len, r->size))
        return -ERANGE;
    return len ? r->read(r->opaque, off, buf, len) : 0;
}
