#include "devices/display/vga.h"

/*
 * The window at 0xa0000 (IBM PS/2 Technical Reference, "Video Subsystem",
 * "Graphics Controller"). Each byte goes three steps: which address and which
 * planes it means, what the graphics controller makes of it, and which planes
 * the sequencer lets through.
 *
 * As the chips of SVGA cards do, and unlike the first VGA, odd/even and
 * chain-4 addressing leave no holes in the planes: the address is divided by
 * two or four.
 */

enum { SEQ_MAP_MASK = 2, SEQ_MEMORY_MODE = 4 };
#define SEQ_CHAIN_4 0x08u

enum {
    GC_SET_RESET = 0,
    GC_ENABLE_SET_RESET = 1,
    GC_COMPARE = 2,
    GC_ROTATE = 3,
    GC_READ_MAP = 4,
    GC_MODE = 5,
    GC_MISC = 6,
    GC_DONT_CARE = 7,
    GC_BIT_MASK = 8
};
#define GC_MODE_READ_1   0x08u
#define GC_MODE_ODD_EVEN 0x10u

#define MISC_RAM 0x02u

/* Four planes at once: a byte for each. */
typedef uint32_t planes_t;

static planes_t all_planes(uint8_t byte)
{
    return byte * 0x01010101u;
}

/* 0xff for each plane whose bit is set. */
static planes_t planes_of(unsigned bits)
{
    return (bits & 1 ? 0xffu : 0) | (bits & 2 ? 0xff00u : 0) |
           (bits & 4 ? 0xff0000u : 0) | (bits & 8 ? 0xff000000u : 0);
}

/* One byte of the window. */
struct place {
    uint64_t at;    /* of plane 0's byte in video memory */
    unsigned write; /* planes that a write reaches, as bits */
    unsigned read;  /* plane that read mode 0 takes */
};

/* The part of the window that is decoded: graphics register 6, bits 3:2. */
static bool in_window(const struct vga *v, uint64_t off, uint64_t *addr)
{
    static const struct {
        uint32_t start, size;
    } maps[] = {
        {0, 0x20000}, {0, 0x10000}, {0x10000, 0x8000}, {0x18000, 0x8000}};
    unsigned map = v->st.gc[GC_MISC] >> 2 & 3;

    if (v->pci.absent || !(v->st.misc & MISC_RAM) || off < maps[map].start ||
        off - maps[map].start >= maps[map].size)
        return false;
    *addr = off - maps[map].start;
    if (map == 1)
        *addr += vga_vbe_bank(v);
    return true;
}

static bool find(const struct vga *v, uint64_t addr, struct place *p)
{
    if (vga_vbe_is_linear(v) || v->st.seq[SEQ_MEMORY_MODE] & SEQ_CHAIN_4) {
        p->at = addr & ~(uint64_t)3;
        p->read = addr & 3;
        p->write = 1u << p->read;
    } else if (v->st.gc[GC_MODE] & GC_MODE_ODD_EVEN) {
        p->at = (addr & ~(uint64_t)1) * 2;
        p->read = (v->st.gc[GC_READ_MAP] & 2) | (addr & 1);
        p->write = addr & 1 ? 0xa : 0x5;
    } else {
        p->at = addr * 4;
        p->read = v->st.gc[GC_READ_MAP];
        p->write = 0xf;
    }
    return p->at < VGA_VRAM_SIZE;
}

/* Bytes, as the guest's other CPUs may be writing there. */
static planes_t load(const struct vga *v, uint64_t at)
{
    return __atomic_load_n((const planes_t *)(const void *)(v->vram + at),
                           __ATOMIC_RELAXED);
}

/* Read mode 1: a bit for each pixel that has the colour asked for. */
static uint8_t compare(const struct vga *v)
{
    planes_t differ = v->st.latch ^ planes_of(v->st.gc[GC_COMPARE]);

    differ &= planes_of(v->st.gc[GC_DONT_CARE]);
    differ |= differ >> 16;
    return (uint8_t) ~(differ | differ >> 8);
}

static uint8_t read_byte(struct vga *v, uint64_t off)
{
    struct place p;
    uint64_t addr;

    if (!in_window(v, off, &addr) || !find(v, addr, &p))
        return 0xff;
    v->st.latch = load(v, p.at);
    if (v->st.gc[GC_MODE] & GC_MODE_READ_1 && !vga_vbe_is_linear(v))
        return compare(v);
    return (uint8_t)(v->st.latch >> (8 * p.read));
}

static uint8_t rotated(const struct vga *v, uint8_t val)
{
    unsigned n = v->st.gc[GC_ROTATE] & 7;

    return (uint8_t)(val >> n | val << (8 - n));
}

static planes_t combine(const struct vga *v, planes_t val)
{
    switch (v->st.gc[GC_ROTATE] >> 3 & 3) {
    case 1: return val & v->st.latch;
    case 2: return val | v->st.latch;
    case 3: return val ^ v->st.latch;
    default: return val;
    }
}

/* What the graphics controller makes of a byte: graphics register 5. */
static planes_t processed(const struct vga *v, uint8_t val)
{
    planes_t set = planes_of(v->st.gc[GC_SET_RESET]);
    planes_t mask = all_planes(v->st.gc[GC_BIT_MASK]);
    planes_t enabled, out;

    switch (v->st.gc[GC_MODE] & 3) {
    case 0:
        enabled = planes_of(v->st.gc[GC_ENABLE_SET_RESET]);
        out = (all_planes(rotated(v, val)) & ~enabled) | (set & enabled);
        break;
    case 1: return v->st.latch;
    case 2: out = planes_of(val); break;
    default:
        mask &= all_planes(rotated(v, val));
        out = set;
        break;
    }
    return (combine(v, out) & mask) | (v->st.latch & ~mask);
}

/* A frame buffer takes bytes as they are. */
static void write_byte(struct vga *v, uint64_t off, uint8_t val)
{
    bool linear = vga_vbe_is_linear(v);
    planes_t out;
    struct place p;
    uint64_t addr;

    if (!in_window(v, off, &addr) || !find(v, addr, &p))
        return;
    if (!linear)
        p.write &= v->st.seq[SEQ_MAP_MASK];
    out = linear ? all_planes(val) : processed(v, val);
    for (unsigned i = 0; i < 4; i++)
        if (p.write >> i & 1)
            v->vram[p.at + i] = (uint8_t)(out >> (8 * i));
    vga_wrote(v, p.at, 4);
}

static uint64_t window_read(void *dev, uint64_t off, unsigned size)
{
    struct vga *v = dev;
    uint64_t val = 0;

    for (unsigned i = 0; i < size; i++)
        val |= (uint64_t)read_byte(v, off + i) << (8 * i);
    return val;
}

static void window_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = dev;

    vga_touched(v);
    for (unsigned i = 0; i < size; i++)
        write_byte(v, off + i, (uint8_t)(val >> (8 * i)));
}

const struct bus_ops vga_window_bus_ops = {.read = window_read,
                                           .write = window_write};
