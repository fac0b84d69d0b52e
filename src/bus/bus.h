#ifndef HUSK_BUS_BUS_H
#define HUSK_BUS_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/lock.h"

/*
 * A device's registers. off counts from the start of the mapped range; size is
 * 1, 2, 4 or 8. The bus splits or refuses accesses outside min_size..max_size
 * (0 = 1 and 8), so that register code need not check, and holds the lock that
 * was given to bus_map around each call.
 */
struct bus_ops {
    uint64_t (*read)(void *dev, uint64_t off, unsigned size);
    void (*write)(void *dev, uint64_t off, unsigned size, uint64_t val);
    unsigned min_size, max_size;
    /*
     * For registers through which much data passes: n accesses of size bytes at
     * off, one after the other, to or from consecutive bytes of memory. off and
     * size are such as read and write would get. False: they are made one by
     * one. NULL = always so.
     */
    bool (*read_many)(void *dev, uint64_t off, unsigned size, void *dst,
                      unsigned n);
    bool (*write_many)(void *dev, uint64_t off, unsigned size, const void *src,
                       unsigned n);
};

/* One address space: port I/O or MMIO. */
struct bus;

MUST_CHECK int bus_new(struct bus **out);
void bus_free(struct bus *bus);

/*
 * Map [base, base + size). lock may be NULL (the device locks for itself).
 * -EEXIST if the range overlaps one that is mapped, -EINVAL if it is empty or
 * wraps, -ENOMEM. Any thread: PCI BARs move while vCPUs run.
 */
MUST_CHECK int bus_map(struct bus *bus, uint64_t base, uint64_t size,
                       const struct bus_ops *ops, void *dev, struct lock *lock);
/*
 * Remove the range that was mapped at base (nothing if there is none); when it
 * returns, no access to it is running any more, except one by the caller
 * itself. The caller holds no lock that an access to the range may wait for:
 * not the range's own lock, unless it is inside such an access.
 */
void bus_unmap(struct bus *bus, uint64_t base);

/*
 * Guest accesses; size is 1, 2, 4 or 8, any alignment. What nobody claims
 * reads as all ones and ignores writes. An access that is wider than the
 * device's max_size, not aligned to its size within the range, or crosses the
 * range's end is split into ascending, aligned parts; one narrower than
 * min_size reads the aligned unit and takes its part (writes are ignored). Any
 * thread.
 */
uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size);
void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t val);
/* n accesses to the same address in turn, as string instructions make them: dst
 * and src are n times size bytes, in little-endian order. */
void bus_read_many(struct bus *bus, uint64_t addr, unsigned size, void *dst,
                   unsigned n);
void bus_write_many(struct bus *bus, uint64_t addr, unsigned size,
                    const void *src, unsigned n);

#endif
