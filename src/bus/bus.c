/*
 * Address spaces. The map is an array of ranges sorted by address; it is never
 * changed, but replaced by a changed copy, so that accesses find their range
 * without a lock while another thread maps or unmaps.
 *
 * The array before the last one is kept and used again, so that removing a
 * range needs no memory and cannot fail.
 *
 * Two counts make removal safe:
 * - Each access enters one of the lookup counters while it searches the map
 *   and takes hold of the range. Nothing there can block, so that who replaced
 *   the map waits for all of them for less than a microsecond (or one time
 *   slice) and then frees the old one.
 * - Each range counts the accesses that hold it, from the search to the end of
 *   the device's code. bus_unmap waits only for those of its own range. To
 *   wait for all accesses of the bus would not do: a configuration write that
 *   moves a BAR holds its device's lock, and another access may wait for it.
 *
 * A device may unmap itself from inside its own access. Such accesses are
 * known by a list, in each thread, of the accesses it is inside of; they are
 * not waited for, and the last of them frees the range. If that access holds
 * the device's lock, other accesses may be waiting for it: they are not waited
 * for either, and find the range dead once they have the lock.
 */
#include "bus/bus.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "base/checked.h"

struct range {
    uint64_t base, size;
    const struct bus_ops *ops;
    unsigned min_size, max_size;
    void *dev;
    struct lock *lock;
    atomic_uint refs; /* one of the map, one of each access */
    atomic_bool dead; /* unmapped: the device is not called any more */
};

struct map {
    size_t nr, cap;
    struct range *range[]; /* by ascending base */
};

/* Lookup counters are spread by thread, so that CPUs share no cache line. */
enum { BUS_STRIPES = 16, CACHE_LINE = 64 };

struct stripe {
    _Alignas(CACHE_LINE) atomic_uint lookups;
};

struct bus {
    struct stripe stripe[BUS_STRIPES];
    struct map *_Atomic map;
    struct map *spare; /* room for at least one range fewer than map has */
    struct lock lock;  /* held while the map is replaced; guards spare */
};

/* An access that the calling thread is inside of; innermost first. */
struct access {
    const struct access *outer;
    struct range *range;
};

static _Thread_local const struct access *innermost;

/* --- The map -------------------------------------------------------------- */

static struct map *map_alloc(size_t cap)
{
    struct map *map = malloc(sizeof(*map) + cap * sizeof(struct range *));

    if (map) {
        map->nr = 0;
        map->cap = cap;
    }
    return map;
}

/* Index of the first range that ends behind addr; map->nr if none does. */
static size_t map_search(const struct map *map, uint64_t addr)
{
    size_t lo = 0;
    size_t hi = map->nr;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct range *r = map->range[mid];

        if (addr >= r->base && addr - r->base >= r->size)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

int bus_new(struct bus **out)
{
    struct bus *bus = aligned_alloc(CACHE_LINE, sizeof(*bus));
    struct map *map = map_alloc(0);

    if (!bus || !map) {
        free(bus);
        free(map);
        return -ENOMEM;
    }
    for (unsigned i = 0; i < BUS_STRIPES; i++)
        atomic_init(&bus->stripe[i].lookups, 0);
    atomic_init(&bus->map, map);
    bus->spare = NULL;
    lock_init_ranked(&bus->lock, LOCK_RANK_BUS);
    *out = bus;
    return 0;
}

void bus_free(struct bus *bus)
{
    struct map *map;

    if (!bus)
        return;
    map = atomic_load(&bus->map);
    for (size_t i = 0; i < map->nr; i++)
        free(map->range[i]);
    free(map);
    free(bus->spare);
    lock_fini(&bus->lock);
    free(bus);
}

/*
 * Publish map and keep the one before as the spare. The store and the loads
 * that follow it pair with lookup_begin and the load after it: either a lookup
 * sees the new map, or its counter is seen here.
 */
static void map_replace(struct bus *bus, struct map *map) REQUIRES(bus->lock);
static void map_replace(struct bus *bus, struct map *map)
{
    struct map *old = atomic_exchange(&bus->map, map);

    for (unsigned i = 0; i < BUS_STRIPES; i++) {
        while (atomic_load(&bus->stripe[i].lookups))
            (void)sched_yield();
    }
    bus->spare = old;
}

/* Take the spare if it has room for nr ranges, else make a map that has. */
static struct map *map_get(struct bus *bus, size_t nr) REQUIRES(bus->lock);
static struct map *map_get(struct bus *bus, size_t nr)
{
    struct map *map = bus->spare;

    if (!map || map->cap < nr) {
        map = map_alloc(nr);
        if (!map)
            return NULL;
        free(bus->spare);
    }
    bus->spare = NULL;
    map->nr = nr;
    return map;
}

static struct range *range_new(uint64_t base, uint64_t size,
                               const struct bus_ops *ops, void *dev,
                               struct lock *lock)
{
    struct range *r = calloc(1, sizeof(*r));

    if (!r)
        return NULL;
    r->base = base;
    r->size = size;
    r->ops = ops;
    r->min_size = ops->min_size ? ops->min_size : 1;
    r->max_size = ops->max_size ? ops->max_size : 8;
    r->dev = dev;
    r->lock = lock;
    atomic_init(&r->refs, 1);
    assert(is_pow2(r->min_size) && is_pow2(r->max_size));
    assert(r->min_size <= r->max_size && r->max_size <= 8);
    return r;
}

int bus_map(struct bus *bus, uint64_t base, uint64_t size,
            const struct bus_ops *ops, void *dev, struct lock *lock)
{
    const struct map *old;
    struct map *map;
    struct range *r;
    size_t at;
    int rc = 0;

    if (size == 0 || base + (size - 1) < base)
        return -EINVAL;
    r = range_new(base, size, ops, dev, lock);
    if (!r)
        return -ENOMEM;
    lock_take(&bus->lock);
    old = atomic_load(&bus->map);
    at = map_search(old, base);
    if (at < old->nr && old->range[at]->base <= base + (size - 1)) {
        rc = -EEXIST;
        goto drop_lock;
    }
    map = map_get(bus, old->nr + 1);
    if (!map) {
        rc = -ENOMEM;
        goto drop_lock;
    }
    for (size_t i = 0; i < old->nr; i++)
        map->range[i + (i >= at)] = old->range[i];
    map->range[at] = r;
    map_replace(bus, map);
    r = NULL;

drop_lock:
    lock_drop(&bus->lock);
    free(r);
    return rc;
}

/* How many accesses to r the calling thread is inside of. */
static unsigned own_accesses(const struct range *r)
{
    unsigned nr = 0;

    for (const struct access *a = innermost; a; a = a->outer)
        nr += a->range == r;
    return nr;
}

/* The range at base, taken out of the map; NULL if there is none. */
static struct range *map_take(struct bus *bus, uint64_t base)
    REQUIRES(bus->lock);
static struct range *map_take(struct bus *bus, uint64_t base)
{
    struct map *old = atomic_load(&bus->map);
    size_t at = map_search(old, base);
    struct range *r = at < old->nr ? old->range[at] : NULL;
    struct map *map;

    if (!r || r->base != base)
        return NULL;
    map = map_get(bus, old->nr - 1);
    assert(map); /* the spare has the room: see struct bus */
    for (size_t i = 0; i < map->nr; i++)
        map->range[i] = old->range[i + (i >= at)];
    map_replace(bus, map);
    return r;
}

/* Release, acquire: what each access did happens before the range is freed. */
static void range_put(struct range *r)
{
    if (atomic_fetch_sub_explicit(&r->refs, 1, memory_order_acq_rel) == 1)
        free(r);
}

void bus_unmap(struct bus *bus, uint64_t base)
{
    struct range *r;
    unsigned own;

    lock_take(&bus->lock);
    r = map_take(bus, base);
    lock_drop(&bus->lock);
    if (!r)
        return;
    /* Nobody finds it any more. The bus's lock is not held, since the accesses
     * that are waited for may themselves map and unmap. */
    own = own_accesses(r);
    atomic_store(&r->dead, true);
    if (!own || !r->lock) {
        /* Acquire pairs with range_put: they have really ended. */
        while (atomic_load_explicit(&r->refs, memory_order_acquire) > 1 + own)
            (void)sched_yield();
    }
    range_put(r);
}

/* --- Accesses ------------------------------------------------------------- */

/* The calling thread's counter; the threads' blocks of thread-local storage
 * are megabytes apart. */
static atomic_uint *own_stripe(struct bus *bus)
{
    uintptr_t tls = (uintptr_t)&innermost;
    size_t hash = (tls ^ (tls >> 8) ^ (tls >> 16)) / 64;

    return &bus->stripe[hash % BUS_STRIPES].lookups;
}

/*
 * Hold the range that addr lies in, or return NULL with *next the address of
 * the first one behind it (0 if there is none).
 */
static struct range *range_get(struct bus *bus, uint64_t addr, uint64_t *next)
{
    atomic_uint *lookups = own_stripe(bus);
    struct range *r = NULL;
    const struct map *map;
    size_t at;

    *next = 0;
    /* Before the map is loaded, in one order with map_replace. */
    (void)atomic_fetch_add(lookups, 1);
    map = atomic_load(&bus->map);
    at = map_search(map, addr);
    if (at < map->nr && map->range[at]->base <= addr) {
        r = map->range[at];
        (void)atomic_fetch_add_explicit(&r->refs, 1, memory_order_relaxed);
    } else if (at < map->nr) {
        *next = map->range[at]->base;
    }
    /* Release: who sees the counter at 0 sees the user that was added. */
    (void)atomic_fetch_sub_explicit(lookups, 1, memory_order_release);
    return r;
}

/* One call of the device, of a size it takes. */
static uint64_t call_read(const struct range *r, uint64_t off,
                          unsigned size) NO_TSA;
static uint64_t call_read(const struct range *r, uint64_t off, unsigned size)
{
    uint64_t val = UINT64_MAX;

    if (r->lock)
        lock_take(r->lock);
    if (r->ops->read && !atomic_load_explicit(&r->dead, memory_order_relaxed))
        val = r->ops->read(r->dev, off, size);
    if (r->lock)
        lock_drop(r->lock);
    return val & bits_mask(size * 8);
}

static void call_write(const struct range *r, uint64_t off, unsigned size,
                       uint64_t val) NO_TSA;
static void call_write(const struct range *r, uint64_t off, unsigned size,
                       uint64_t val)
{
    if (r->lock)
        lock_take(r->lock);
    if (r->ops->write && !atomic_load_explicit(&r->dead, memory_order_relaxed))
        r->ops->write(r->dev, off, size, val & bits_mask(size * 8));
    if (r->lock)
        lock_drop(r->lock);
}

/* The largest part that begins at off: a power of two, aligned, no more than
 * left and than the device takes. */
static unsigned part_size(const struct range *r, uint64_t off, unsigned left)
{
    unsigned size = r->max_size;

    while (size > left || !is_aligned(off, size))
        size /= 2;
    return size;
}

/* A part narrower than min_size: the aligned unit around it is read. */
static uint64_t read_narrow(const struct range *r, uint64_t off, unsigned size)
{
    uint64_t unit = align_down(off, r->min_size);

    if (!range_ok(unit, r->min_size, r->size))
        return bits_mask(size * 8);
    return (call_read(r, unit, r->min_size) >> ((off - unit) * 8)) &
           bits_mask(size * 8);
}

/* len bytes of r at off; len may be any number up to 8. */
static uint64_t range_read(const struct range *r, uint64_t off, unsigned len)
{
    uint64_t val = 0;
    unsigned done = 0;

    while (done < len) {
        unsigned size = part_size(r, off + done, len - done);
        uint64_t part = size < r->min_size ? read_narrow(r, off + done, size)
                                           : call_read(r, off + done, size);

        val |= part << (done * 8);
        done += size;
    }
    return val;
}

static void range_write(const struct range *r, uint64_t off, unsigned len,
                        uint64_t val)
{
    unsigned done = 0;

    while (done < len) {
        unsigned size = part_size(r, off + done, len - done);

        if (size >= r->min_size)
            call_write(r, off + done, size, val >> (done * 8));
        done += size;
    }
}

/* How many of len bytes at addr lie in r (from get) or before the next range:
 * what can be done at once. */
static unsigned run_length(const struct range *r, uint64_t next, uint64_t addr,
                           unsigned len)
{
    uint64_t run = len;

    if (r)
        run = r->size - (addr - r->base);
    else if (next)
        run = next - addr;
    return run < len ? (unsigned)run : len;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned size)
{
    uint64_t val = 0;
    unsigned done = 0;

    while (done < size) {
        uint64_t at = addr + done;
        uint64_t next;
        uint64_t part = UINT64_MAX;
        struct range *r = range_get(bus, at, &next);
        unsigned run = run_length(r, next, at, size - done);

        if (r) {
            const struct access here = {.outer = innermost, .range = r};

            innermost = &here;
            part = range_read(r, at - r->base, run);
            innermost = here.outer;
            range_put(r);
        }
        val |= (part & bits_mask(run * 8)) << (done * 8);
        done += run;
    }
    return val;
}

void bus_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t val)
{
    unsigned done = 0;

    while (done < size) {
        uint64_t at = addr + done;
        uint64_t next;
        struct range *r = range_get(bus, at, &next);
        unsigned run = run_length(r, next, at, size - done);

        if (r) {
            const struct access here = {.outer = innermost, .range = r};

            innermost = &here;
            range_write(r, at - r->base, run, val >> (done * 8));
            innermost = here.outer;
            range_put(r);
        }
        done += run;
    }
}

/* --- Many at once --------------------------------------------------------- */

/* Whether the device takes such an access as it is. */
static bool is_whole(const struct range *r, uint64_t off, unsigned size)
{
    return size >= r->min_size && size <= r->max_size &&
           is_aligned(off, size) && range_ok(off, size, r->size);
}

/* dst or src is NULL: the access goes the other way. */
static bool call_many(const struct range *r, uint64_t off, unsigned size,
                      void *dst, const void *src, unsigned n) NO_TSA;
static bool call_many(const struct range *r, uint64_t off, unsigned size,
                      void *dst, const void *src, unsigned n)
{
    bool done = false;

    if (r->lock)
        lock_take(r->lock);
    if (!atomic_load_explicit(&r->dead, memory_order_relaxed))
        done = dst ? r->ops->read_many(r->dev, off, size, dst, n)
                   : r->ops->write_many(r->dev, off, size, src, n);
    if (r->lock)
        lock_drop(r->lock);
    return done;
}

static bool many(struct bus *bus, uint64_t addr, unsigned size, void *dst,
                 const void *src, unsigned n)
{
    bool done = false;
    uint64_t next;
    struct range *r = range_get(bus, addr, &next);

    if (!r)
        return false;
    if ((dst ? r->ops->read_many != NULL : r->ops->write_many != NULL) &&
        is_whole(r, addr - r->base, size)) {
        const struct access here = {.outer = innermost, .range = r};

        innermost = &here;
        done = call_many(r, addr - r->base, size, dst, src, n);
        innermost = here.outer;
    }
    range_put(r);
    return done;
}

void bus_read_many(struct bus *bus, uint64_t addr, unsigned size, void *dst,
                   unsigned n)
{
    uint8_t *p = dst;

    if (many(bus, addr, size, dst, NULL, n))
        return;
    for (unsigned i = 0; i < n; i++) {
        uint64_t val = bus_read(bus, addr, size);

        memcpy(p + (size_t)i * size, &val, size);
    }
}

void bus_write_many(struct bus *bus, uint64_t addr, unsigned size,
                    const void *src, unsigned n)
{
    const uint8_t *p = src;

    if (many(bus, addr, size, NULL, src, n))
        return;
    for (unsigned i = 0; i < n; i++) {
        uint64_t val = 0;

        memcpy(&val, p + (size_t)i * size, size);
        bus_write(bus, addr, size, val);
    }
}
