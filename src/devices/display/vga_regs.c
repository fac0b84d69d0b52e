#include <string.h>

#include "base/clock.h"
#include "devices/display/vga.h"

/*
 * The ports of the VGA (IBM PS/2 Technical Reference, "Video Subsystem"). Which
 * of the two places of the CRT controller answers, 0x3bx or 0x3dx, is bit 0 of
 * the miscellaneous output register.
 */

enum {
    ATTR_WRITE = 0x3c0,
    ATTR_READ = 0x3c1,
    MISC_WRITE = 0x3c2, /* read: input status 0 */
    ENABLE = 0x3c3,
    SEQ_INDEX = 0x3c4,
    SEQ_DATA = 0x3c5,
    DAC_MASK = 0x3c6,
    DAC_READ_INDEX = 0x3c7, /* read: state */
    DAC_WRITE_INDEX = 0x3c8,
    DAC_DATA = 0x3c9,
    FEATURE_READ = 0x3ca,
    MISC_READ = 0x3cc,
    GC_INDEX = 0x3ce,
    GC_DATA = 0x3cf,
    /* behind 0x3b0 or 0x3d0; even ports below the data are the index, too */
    CRTC_INDEX = 0x4,
    CRTC_DATA = 0x5,
    STATUS_1 = 0xa /* write: feature control */
};

#define MISC_COLOR        0x01u
#define CRTC_PROTECT      0x11u /* bit 7 protects registers 0 to 7 */
#define CRTC_OVERFLOW     0x07u
#define OVERFLOW_LINE_CMP 0x10u /* but for this bit */

#define STATUS_NO_DISPLAY 0x01u
#define STATUS_RETRACE    0x08u

/* The timing of 720 by 400 text and of 320 by 200: 449 lines of 31.78 us, of
 * which 400 show something; the retrace is two lines long. */
enum {
    LINES = 449,
    SHOWN_LINES = 400,
    RETRACE_FIRST = 412,
    RETRACE_LAST = 413
};
#define LINE_NS  31778u
#define SHOWN_NS 25422u /* of each line */

/* Bits that registers have: the rest read as 0. */
static const uint8_t seq_mask[VGA_NR_SEQ] = {0x03, 0x3d, 0x0f, 0x3f, 0x0e};
static const uint8_t gc_mask[VGA_NR_GC] = {0x0f, 0x0f, 0x0f, 0x1f, 0x03,
                                           0x7b, 0x0f, 0x0f, 0xff};

/* --- CRT controller, status ----------------------------------------------- */

static void crtc_write(struct vga *v, uint8_t val)
{
    unsigned n = v->st.crtc_index;

    if (n >= VGA_NR_CRTC)
        return;
    if (n <= CRTC_OVERFLOW && v->st.crtc[CRTC_PROTECT] & 0x80) {
        if (n == CRTC_OVERFLOW)
            v->st.crtc[n] = (uint8_t)((v->st.crtc[n] & ~OVERFLOW_LINE_CMP) |
                                      (val & OVERFLOW_LINE_CMP));
        return;
    }
    v->st.crtc[n] = val;
}

static uint8_t status_1(void)
{
    uint64_t now = clock_now_ns();
    uint64_t line = now / LINE_NS % LINES;
    uint8_t val = 0;

    if (line >= SHOWN_LINES || now % LINE_NS >= SHOWN_NS)
        val |= STATUS_NO_DISPLAY;
    if (line >= RETRACE_FIRST && line <= RETRACE_LAST)
        val |= STATUS_RETRACE;
    return val;
}

static uint8_t crtc_port_read(struct vga *v, unsigned off)
{
    unsigned n = v->st.crtc_index;

    switch (off) {
    case CRTC_INDEX: return v->st.crtc_index;
    case CRTC_DATA: return n < VGA_NR_CRTC ? v->st.crtc[n] : 0;
    case STATUS_1: v->st.attr_data = 0; return status_1();
    default: return 0xff;
    }
}

static void crtc_port_write(struct vga *v, unsigned off, uint8_t val)
{
    switch (off) {
    case CRTC_INDEX: v->st.crtc_index = val & 0x1f; break;
    case CRTC_DATA: crtc_write(v, val); break;
    case STATUS_1: v->st.feature = val & 0x0b; break;
    default: break;
    }
}

/* --- Attributes ----------------------------------------------------------- */

static void attr_write(struct vga *v, uint8_t val)
{
    unsigned n = v->st.attr_index & 0x1f;

    if (!v->st.attr_data)
        v->st.attr_index = val & 0x3f;
    else if (n < VGA_NR_ATTR)
        v->st.attr[n] = n < 16 ? val & 0x3f : val;
    v->st.attr_data ^= 1;
}

static uint8_t attr_read(const struct vga *v)
{
    unsigned n = v->st.attr_index & 0x1f;

    return n < VGA_NR_ATTR ? v->st.attr[n] : 0;
}

/* --- Colours -------------------------------------------------------------- */

/* An entry changes when its third byte is there. */
static void dac_write(struct vga *v, uint8_t val)
{
    uint8_t *entry = v->st.dac + (size_t)v->st.dac_write * 3;

    if (v->st.dac_part < 2) {
        v->st.dac_held[v->st.dac_part++] = val;
        return;
    }
    memcpy(entry, v->st.dac_held, 2);
    entry[2] = val;
    v->st.dac_part = 0;
    v->st.dac_write++; /* 8 bits: it wraps */
}

static uint8_t dac_read(struct vga *v)
{
    uint8_t val = v->st.dac[(size_t)v->st.dac_read * 3 + v->st.dac_part];

    if (++v->st.dac_part == 3) {
        v->st.dac_part = 0;
        v->st.dac_read++;
    }
    return val;
}

static void dac_select(struct vga *v, uint8_t val, bool read)
{
    if (read)
        v->st.dac_read = val;
    else
        v->st.dac_write = val;
    v->st.dac_state = read ? 3 : 0;
    v->st.dac_part = 0;
}

/* --- Ports ---------------------------------------------------------------- */

/* Whether nothing answers: it is the port of the CRT controller's other place,
 * or there is no VGA at the moment. */
static bool is_elsewhere(const struct vga *v, unsigned port)
{
    unsigned place = v->st.misc & MISC_COLOR ? VGA_COLOR_PORT : VGA_MONO_PORT;

    if (v->pci.absent)
        return true;
    return (port & ~0xfu) != VGA_PORT && (port & ~0xfu) != place;
}

uint8_t vga_port_read(struct vga *v, unsigned port)
{
    if (is_elsewhere(v, port))
        return 0xff;
    switch (port) {
    case ATTR_WRITE: return v->st.attr_index;
    case ATTR_READ: return attr_read(v);
    case MISC_WRITE: return 0; /* no interrupt, no switch */
    case ENABLE: return 1;
    case SEQ_INDEX: return v->st.seq_index;
    case SEQ_DATA:
        return v->st.seq_index < VGA_NR_SEQ ? v->st.seq[v->st.seq_index] : 0;
    case DAC_MASK: return v->st.dac_mask;
    case DAC_READ_INDEX: return v->st.dac_state;
    case DAC_WRITE_INDEX: return v->st.dac_write;
    case DAC_DATA: return dac_read(v);
    case FEATURE_READ: return v->st.feature;
    case MISC_READ: return v->st.misc;
    case GC_INDEX: return v->st.gc_index;
    case GC_DATA:
        return v->st.gc_index < VGA_NR_GC ? v->st.gc[v->st.gc_index] : 0;
    default:
        return (port & ~0xfu) == VGA_PORT ? 0xff
                                          : crtc_port_read(v, port & 0xf);
    }
}

static void write_graphics_port(struct vga *v, unsigned port, uint8_t val)
{
    unsigned n;

    switch (port) {
    case SEQ_INDEX: v->st.seq_index = val & 0x07; break;
    case SEQ_DATA:
        n = v->st.seq_index;
        if (n < VGA_NR_SEQ)
            v->st.seq[n] = val & seq_mask[n];
        break;
    case GC_INDEX: v->st.gc_index = val & 0x0f; break;
    case GC_DATA:
        n = v->st.gc_index;
        if (n < VGA_NR_GC)
            v->st.gc[n] = val & gc_mask[n];
        break;
    default: break;
    }
}

void vga_port_write(struct vga *v, unsigned port, uint8_t val)
{
    if (is_elsewhere(v, port))
        return;
    vga_touched(v);
    switch (port) {
    case ATTR_WRITE: attr_write(v, val); break;
    case MISC_WRITE: v->st.misc = val & 0xef; break;
    case DAC_MASK: v->st.dac_mask = val; break;
    case DAC_READ_INDEX: dac_select(v, val, true); break;
    case DAC_WRITE_INDEX: dac_select(v, val, false); break;
    case DAC_DATA: dac_write(v, val); break;
    default:
        if ((port & ~0xfu) == VGA_PORT)
            write_graphics_port(v, port, val);
        else
            crtc_port_write(v, port & 0xf, val);
        break;
    }
}

static uint64_t mono_read(void *dev, uint64_t off, unsigned size)
{
    (void)size; /* always 1: see the ops */
    return vga_port_read(dev, VGA_MONO_PORT + (unsigned)off);
}

static void mono_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    vga_port_write(dev, VGA_MONO_PORT + (unsigned)off, (uint8_t)val);
}

static uint64_t vga_read(void *dev, uint64_t off, unsigned size)
{
    (void)size;
    return vga_port_read(dev, VGA_PORT + (unsigned)off);
}

static void vga_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    vga_port_write(dev, VGA_PORT + (unsigned)off, (uint8_t)val);
}

static uint64_t color_read(void *dev, uint64_t off, unsigned size)
{
    (void)size;
    return vga_port_read(dev, VGA_COLOR_PORT + (unsigned)off);
}

static void color_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    (void)size;
    vga_port_write(dev, VGA_COLOR_PORT + (unsigned)off, (uint8_t)val);
}

const struct bus_ops vga_mono_bus_ops = {
    .read = mono_read, .write = mono_write, .min_size = 1, .max_size = 1};
const struct bus_ops vga_bus_ops = {
    .read = vga_read, .write = vga_write, .min_size = 1, .max_size = 1};
const struct bus_ops vga_color_bus_ops = {
    .read = color_read, .write = color_write, .min_size = 1, .max_size = 1};
