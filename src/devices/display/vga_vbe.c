#include <string.h>

#include "devices/display/vga.h"

/*
 * The VBE interface of Bochs (Bochs: vgabios/vbe_display_api.txt): an index and
 * a data register of 16 bits each, behind which modes of any size are set up.
 * Registers keep what was written, within their bounds; what is shown comes
 * from all of them together when somebody looks.
 */

enum {
    ID,
    XRES,
    YRES,
    BPP,
    ENABLE,
    BANK,
    VIRT_WIDTH,
    VIRT_HEIGHT,
    X_OFFSET,
    Y_OFFSET,
    MEMORY_64K
};

enum { ID_FIRST = 0xb0c0, ID_LAST = 0xb0c5 };
enum { MAX_XRES = 16000, MAX_YRES = 12000, MAX_BPP = 32 };

#define ENABLED   0x01u
#define GET_CAPS  0x02u
#define DAC_8BIT  0x20u
#define LFB       0x40u
#define NO_CLEAR  0x80u
#define KEPT_BITS (ENABLED | GET_CAPS | DAC_8BIT | LFB)

enum { BANK_SIZE = 64 << 10 };

bool vga_vbe_is_on(const struct vga *v)
{
    return v->st.vbe[ENABLE] & ENABLED;
}

bool vga_vbe_is_linear(const struct vga *v)
{
    return vga_vbe_is_on(v) && v->st.vbe[BPP] > 4;
}

/* In modes of four planes a bank is 64 KiB of each of them. */
uint64_t vga_vbe_bank(const struct vga *v)
{
    return vga_vbe_is_on(v) ? (uint64_t)v->st.vbe[BANK] * BANK_SIZE : 0;
}

/* --- Geometry ------------------------------------------------------------- */

static unsigned pixel_bytes(const struct vga *v)
{
    return (v->st.vbe[BPP] + 7u) / 8;
}

/* In video memory; a line of planes has a byte for eight pixels in each. */
static uint64_t line_bytes(const struct vga *v, uint64_t width)
{
    return v->st.vbe[BPP] == 4 ? width / 8 * 4 : width * pixel_bytes(v);
}

/* Lines no shorter than what is shown of them. */
static uint64_t stride(const struct vga *v)
{
    uint16_t width = v->st.vbe[VIRT_WIDTH];

    if (width < v->st.vbe[XRES])
        width = v->st.vbe[XRES];
    return line_bytes(v, width);
}

static uint16_t virt_height(const struct vga *v)
{
    uint64_t line = stride(v);
    uint64_t lines = line ? VGA_VRAM_SIZE / line : 0;

    return lines > UINT16_MAX ? UINT16_MAX : (uint16_t)lines;
}

void vga_vbe_look(const struct vga *v, struct vga_shown *s)
{
    uint64_t line = stride(v), lines;

    s->kind = VGA_GRAPHICS;
    s->bits = v->st.vbe[BPP];
    s->planar = s->bits == 4;
    s->width = v->st.vbe[XRES];
    s->stride = line;
    s->start = v->st.vbe[Y_OFFSET] * line + line_bytes(v, v->st.vbe[X_OFFSET]);
    if (s->start >= VGA_VRAM_SIZE)
        s->start = 0;
    lines = line ? (VGA_VRAM_SIZE - s->start) / line : 0;
    s->height = v->st.vbe[YRES] < lines ? v->st.vbe[YRES] : (unsigned)lines;
    if (!s->width || !s->height)
        s->kind = VGA_BLANK;
}

/* --- Registers ------------------------------------------------------------ */

uint16_t vga_vbe_read(const struct vga *v, unsigned index)
{
    bool caps = v->st.vbe[ENABLE] & GET_CAPS;

    switch (index) {
    case XRES: return caps ? MAX_XRES : v->st.vbe[XRES];
    case YRES: return caps ? MAX_YRES : v->st.vbe[YRES];
    case BPP: return caps ? MAX_BPP : v->st.vbe[BPP];
    case VIRT_HEIGHT: return virt_height(v);
    case MEMORY_64K: return VGA_VRAM_SIZE / BANK_SIZE;
    default: return index < VGA_NR_VBE ? v->st.vbe[index] : 0;
    }
}

static bool is_depth(uint16_t bpp)
{
    switch (bpp) {
    case 4:
    case 8:
    case 15:
    case 16:
    case 24:
    case 32: return true;
    default: return false;
    }
}

/* A mode begins at the top left, with an empty screen unless that is not
 * wanted. */
static void enable(struct vga *v, uint16_t val)
{
    bool begins = (val & ENABLED) && !vga_vbe_is_on(v);

    v->st.vbe[ENABLE] = val & KEPT_BITS;
    if (!begins)
        return;
    v->st.vbe[BANK] = 0;
    v->st.vbe[X_OFFSET] = 0;
    v->st.vbe[Y_OFFSET] = 0;
    v->st.vbe[VIRT_WIDTH] = v->st.vbe[XRES];
    if (!(val & NO_CLEAR)) {
        uint64_t len = stride(v) * v->st.vbe[YRES];

        if (len > VGA_VRAM_SIZE)
            len = VGA_VRAM_SIZE;
        memset(v->vram, 0, len);
        vga_wrote(v, 0, len);
    }
}

/* A size; not while a mode is on. 0: it is none. */
static uint16_t new_size(const struct vga *v, unsigned index, uint16_t val)
{
    if (vga_vbe_is_on(v) || val > (index == XRES ? MAX_XRES : MAX_YRES))
        return 0;
    if (index == YRES || val == 0)
        return val;
    return val < 8 ? 8 : val & 0xfff8u;
}

void vga_vbe_write(struct vga *v, unsigned index, uint16_t val)
{
    uint16_t *reg = &v->st.vbe[index < VGA_NR_VBE ? index : 0];
    bool on = vga_vbe_is_on(v);

    vga_touched(v);
    switch (index) {
    case ID:
        if (val >= ID_FIRST && val <= ID_LAST)
            *reg = val;
        break;
    case XRES:
    case YRES:
        val = new_size(v, index, val);
        if (val)
            *reg = val;
        break;
    case BPP:
        if (!on && is_depth(val ? val : 8))
            *reg = val ? val : 8;
        break;
    case ENABLE: enable(v, val); break;
    case BANK: /* those of planes reach a quarter as far */
        if ((uint64_t)val * BANK_SIZE < VGA_VRAM_SIZE)
            *reg = val;
        break;
    case VIRT_WIDTH:
        if (val >= v->st.vbe[XRES] && val <= MAX_XRES)
            *reg = val & 0xfff8u;
        break;
    case X_OFFSET:
    case Y_OFFSET: *reg = val; break;
    default: break; /* what is computed cannot be written */
    }
}

void vga_vbe_reset(struct vga *v)
{
    memset(v->st.vbe, 0, sizeof(v->st.vbe));
    v->st.vbe[ID] = ID_LAST;
    v->st.vbe[BPP] = 8;
    v->st.vbe_index = 0;
}

/* --- Ports ---------------------------------------------------------------- */

/*
 * The index is at 0x1ce and the data at 0x1cf, each 16 bits wide, so they
 * overlap; the data is at 0x1d0, too, for CPUs that have it aligned. The bus
 * splits the word at the odd port 0x1cf into bytes: the one at 0x1cf is the
 * low one, the one at 0x1d0 the high one.
 */
enum { PORT_INDEX = 0, PORT_DATA = 1, PORT_DATA_ALIGNED = 2 };

static uint64_t vbe_port_read(void *dev, uint64_t off, unsigned size)
{
    const struct vga *v = dev;
    uint16_t val = vga_vbe_read(v, v->st.vbe_index);

    if (v->pci.absent)
        return UINT64_MAX;
    if (size == 2 && off == PORT_INDEX)
        return v->st.vbe_index;
    if (size == 2)
        return val;
    return off == PORT_DATA_ALIGNED ? val >> 8 : val & 0xff;
}

static void vbe_port_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = dev;

    if (v->pci.absent)
        return;
    if (size == 2 && off == PORT_INDEX)
        v->st.vbe_index = (uint16_t)val;
    else if (size == 2 && off == PORT_DATA_ALIGNED)
        vga_vbe_write(v, v->st.vbe_index, (uint16_t)val);
    else if (size == 1 && off == PORT_DATA)
        v->st.vbe_low = (uint8_t)val;
    else if (size == 1 && off == PORT_DATA_ALIGNED)
        vga_vbe_write(v, v->st.vbe_index,
                      (uint16_t)(v->st.vbe_low | (val & 0xff) << 8));
}

const struct bus_ops vga_vbe_bus_ops = {.read = vbe_port_read,
                                        .write = vbe_port_write,
                                        .min_size = 1,
                                        .max_size = 2};
