#include "devices/display/vga.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

/* The device as a whole: its PCI function, what its registers together show,
 * reset and saved state. Video memory is saved with the guest's. */

enum { BAR_VRAM = 0, BAR_REGS = 2 };

/* --- What is shown -------------------------------------------------------- */

enum {
    SEQ_CLOCKING = 1,
    CRTC_SHOWN_END = 0x01,
    CRTC_OVERFLOW = 0x07,
    CRTC_SCAN_LINES = 0x09,
    CRTC_CURSOR_START = 0x0a,
    CRTC_START_HIGH = 0x0c,
    CRTC_START_LOW = 0x0d,
    CRTC_CURSOR_HIGH = 0x0e,
    CRTC_CURSOR_LOW = 0x0f,
    CRTC_LINES_END = 0x12,
    CRTC_OFFSET = 0x13,
    GC_MODE = 5,
    GC_MISC = 6,
    ATTR_MODE = 0x10
};
#define CLOCKING_9TH_DOT_OFF 0x01u
#define CLOCKING_SCREEN_OFF  0x20u
#define SCAN_DOUBLE          0x80u
#define SCAN_MASK            0x1fu
#define CURSOR_OFF           0x20u
#define GC_MODE_SHIFT_256    0x40u
#define GC_MODE_SHIFT_2      0x20u
#define GC_MISC_GRAPHICS     0x01u
#define ATTR_INDEX_SHOW      0x20u
#define ATTR_MODE_8_BITS     0x40u

/* Lines of dots, and how many of them make one of characters (or pixels). */
static unsigned shown_lines(const struct vga *v, unsigned *height)
{
    const uint8_t *cr = v->st.crtc;
    unsigned lines = cr[CRTC_LINES_END] | (cr[CRTC_OVERFLOW] & 0x02u) << 7 |
                     (cr[CRTC_OVERFLOW] & 0x40u) << 3;

    *height = (cr[CRTC_SCAN_LINES] & SCAN_MASK) + 1;
    return (lines + 1) >> (cr[CRTC_SCAN_LINES] & SCAN_DOUBLE ? 1 : 0);
}

/* The registers can describe 2,000 bytes a line and 2,048 lines from any of
 * 65,536 addresses: all of that lies in video memory. */
_Static_assert(65535 * 4 + 2048 * (255 * 8 + 256 * 4) < VGA_VRAM_SIZE,
               "video memory holds what the VGA's registers can show");

static void look_common(const struct vga *v, struct vga_shown *s)
{
    const uint8_t *cr = v->st.crtc;

    s->start = 4 * (uint64_t)(cr[CRTC_START_HIGH] << 8 | cr[CRTC_START_LOW]);
    s->stride = 8 * (uint64_t)cr[CRTC_OFFSET];
    s->columns = cr[CRTC_SHOWN_END] + 1u;
}

static void look_at_cursor(const struct vga *v, struct vga_shown *s)
{
    const uint8_t *cr = v->st.crtc;
    int64_t at =
        4 * (int64_t)(cr[CRTC_CURSOR_HIGH] << 8 | cr[CRTC_CURSOR_LOW]) -
        (int64_t)s->start;
    int64_t row, column;

    s->cursor_row = s->cursor_column = -1;
    if (at < 0 || !s->stride || cr[CRTC_CURSOR_START] & CURSOR_OFF)
        return;
    row = at / (int64_t)s->stride;
    column = at % (int64_t)s->stride / 4;
    if (row < s->rows && column < s->columns) {
        s->cursor_row = (int)row;
        s->cursor_column = (int)column;
    }
}

static void look_at_text(const struct vga *v, struct vga_shown *s)
{
    unsigned height, lines = shown_lines(v, &height);

    s->kind = VGA_TEXT;
    s->rows = lines / height;
    s->width =
        s->columns * (v->st.seq[SEQ_CLOCKING] & CLOCKING_9TH_DOT_OFF ? 8 : 9);
    s->height = s->rows * height;
    if (!s->rows)
        s->kind = VGA_BLANK;
    look_at_cursor(v, s);
}

static void look_at_graphics(const struct vga *v, struct vga_shown *s)
{
    unsigned height, lines = shown_lines(v, &height);

    s->kind = VGA_GRAPHICS;
    s->width = s->columns * 8;
    s->height = lines / height;
    s->bits = 4;
    s->planar = true;
    if (v->st.gc[GC_MODE] & GC_MODE_SHIFT_256) {
        s->bits = 8;
        s->planar = false;
        if (v->st.attr[ATTR_MODE] & ATTR_MODE_8_BITS)
            s->width /= 2;
    } else if (v->st.gc[GC_MODE] & GC_MODE_SHIFT_2) {
        s->bits = 2;
    }
    s->columns = 0;
    if (!s->height)
        s->kind = VGA_BLANK;
}

void vga_look(const struct vga *v, struct vga_shown *s)
{
    *s = (struct vga_shown){.cursor_column = -1, .cursor_row = -1};
    if (vga_vbe_is_on(v)) {
        vga_vbe_look(v, s);
        return;
    }
    if (!(v->st.attr_index & ATTR_INDEX_SHOW) ||
        v->st.seq[SEQ_CLOCKING] & CLOCKING_SCREEN_OFF)
        return;
    look_common(v, s);
    if (v->st.gc[GC_MISC] & GC_MISC_GRAPHICS)
        look_at_graphics(v, s);
    else
        look_at_text(v, s);
}

/* --- Changes -------------------------------------------------------------- */

void vga_watch(struct vga *v)
{
    atomic_store(&v->watched, true);
}

void vga_touched(struct vga *v)
{
    if (v->changed && atomic_load_explicit(&v->watched, memory_order_relaxed) &&
        atomic_exchange(&v->watched, false))
        v->changed(v->changed_opaque);
}

void vga_wrote(struct vga *v, uint64_t off, uint64_t len)
{
    const struct gmem_bank *b = atomic_load(&v->gm->device->at);

    if (b)
        gmem_written(v->gm, b->start + off, len);
}

/* --- PCI ------------------------------------------------------------------ */

/* BAR 2 (QEMU: docs/specs/standard-vga.txt). Of the extended registers at
 * 0x600 there are none: their length reads as 0. */
enum { REGS_PORTS = 0x400, REGS_VBE = 0x500, REGS_SIZE = 0x1000 };

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
    struct vga *v = dev;
    uint64_t val = 0;

    if (off >= REGS_PORTS && off < REGS_PORTS + 0x20) {
        for (unsigned i = 0; i < size; i++)
            val |= (uint64_t)vga_port_read(
                       v, (unsigned)(VGA_PORT + off - REGS_PORTS + i))
                   << (8 * i);
        return val;
    }
    if (off >= REGS_VBE && off < REGS_VBE + 2 * VGA_NR_VBE && size == 2)
        return vga_vbe_read(v, (unsigned)(off - REGS_VBE) / 2);
    return 0;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct vga *v = dev;

    if (off >= REGS_PORTS && off < REGS_PORTS + 0x20)
        for (unsigned i = 0; i < size; i++)
            vga_port_write(v, (unsigned)(VGA_PORT + off - REGS_PORTS + i),
                           (uint8_t)(val >> (8 * i)));
    else if (off >= REGS_VBE && off < REGS_VBE + 2 * VGA_NR_VBE && size == 2)
        vga_vbe_write(v, (unsigned)(off - REGS_VBE) / 2, (uint16_t)val);
}

static const struct bus_ops regs_ops = {
    .read = regs_read, .write = regs_write, .min_size = 1, .max_size = 2};

/* No lock: nothing of it changes. */
static uint64_t rom_read(void *dev, uint64_t off, unsigned size)
{
    const struct vga *v = dev;
    uint64_t val = 0;

    memcpy(&val, v->rom + off, size);
    return val;
}

static const struct bus_ops rom_ops = {.read = rom_read};

static void vram_moved(void *opaque, uint64_t addr)
{
    struct vga *v = opaque;

    gmem_device_move(v->gm, addr == PCI_BAR_UNMAPPED ? GMEM_NOWHERE : addr);
}

static void init_pci(struct vga *v)
{
    static const struct pci_id id = {.vendor = 0x1234,
                                     .device = 0x1111,
                                     .subsys_vendor = 0x1af4,
                                     .subsys = 0x1100,
                                     .class_code = 0x030000,
                                     .revision = 2};
    const struct pci_bar vram = {.kind = PCI_BAR_MEM32,
                                 .size = VGA_VRAM_SIZE,
                                 .prefetch = true,
                                 .moved = vram_moved,
                                 .opaque = v};
    const struct pci_bar regs = {.kind = PCI_BAR_MEM32,
                                 .size = REGS_SIZE,
                                 .ops = &regs_ops,
                                 .opaque = v,
                                 .lock = &v->lock};
    const struct pci_bar rom = {
        .kind = PCI_BAR_ROM, .size = VGA_ROM_MAX, .ops = &rom_ops, .opaque = v};

    pci_dev_init(&v->pci, "vga", &id, NULL, NULL);
    pci_dev_add_bar(&v->pci, BAR_VRAM, &vram);
    pci_dev_add_bar(&v->pci, BAR_REGS, &regs);
    if (v->rom)
        pci_dev_add_bar(&v->pci, PCI_ROM_BAR, &rom);
}

/* --- Life ----------------------------------------------------------------- */

void vga_reset(struct vga *v)
{
    memset(&v->st, 0, sizeof(v->st));
    vga_vbe_reset(v);
    vga_touched(v);
}

int vga_init(struct vga *v, struct gmem *gm, const uint8_t *rom, size_t len,
             struct err *err)
{
    memset(v, 0, sizeof(*v));
    if (rom) {
        if (len > VGA_ROM_MAX)
            return err_set(err, -EINVAL,
                           "make the VGA: %zu bytes are no video BIOS: they "
                           "are more than %zu KiB",
                           len, VGA_ROM_MAX >> 10);
        v->rom = calloc(1, VGA_ROM_MAX);
        if (!v->rom)
            return err_set(err, -ENOMEM, "make the VGA: out of memory");
        memcpy(v->rom, rom, len);
    }
    lock_init_ranked(&v->lock, LOCK_RANK_DEVICE);
    v->gm = gm;
    v->vram = gm->device->hva;
    init_pci(v);
    vga_reset(v);
    return 0;
}

void vga_fini(struct vga *v)
{
    pci_dev_fini(&v->pci);
    lock_fini(&v->lock);
    free(v->rom);
    v->rom = NULL;
}

/* --- Text without a video BIOS -------------------------------------------- */

/* Mode 3 (IBM PS/2 Technical Reference, "Video Subsystem", mode tables). */
void vga_set_text_mode(struct vga *v)
{
    static const uint8_t crtc[VGA_NR_CRTC] = {
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00,
        0x4f, 0x0d, 0x0e, 0x00, 0x00, 0x00, 0x00, 0x9c, 0x8e,
        0x8f, 0x28, 0x1f, 0x96, 0xb9, 0xa3, 0xff};
    static const uint8_t seq[VGA_NR_SEQ] = {0x03, 0x00, 0x03, 0x00, 0x02};
    static const uint8_t gc[VGA_NR_GC] = {0x00, 0x00, 0x00, 0x00, 0x00,
                                          0x10, 0x0e, 0x0f, 0xff};
    static const uint8_t attr[VGA_NR_ATTR] = {
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x14, 0x07, 0x38, 0x39, 0x3a,
        0x3b, 0x3c, 0x3d, 0x3e, 0x3f, 0x0c, 0x00, 0x0f, 0x08, 0x00};
    enum { COLUMNS = 80, ROWS = 25, BLANK = ' ', GREY = 0x07 };

    lock_take(&v->lock);
    vga_reset(v);
    v->st.misc = 0x67;
    memcpy(v->st.crtc, crtc, sizeof(crtc));
    memcpy(v->st.seq, seq, sizeof(seq));
    memcpy(v->st.gc, gc, sizeof(gc));
    memcpy(v->st.attr, attr, sizeof(attr));
    v->st.attr_index = ATTR_INDEX_SHOW;
    v->st.dac_mask = 0xff;
    /* The first 64 entries: two bits for each colour, as EGA had them. */
    for (unsigned i = 0; i < 64; i++)
        for (unsigned c = 0; c < 3; c++) /* blue is bits 0 and 3 */
            v->st.dac[3 * i + 2 - c] =
                (uint8_t)((i >> c & 1 ? 42 : 0) + (i >> (c + 3) & 1 ? 21 : 0));
    for (size_t i = 0; i < (size_t)COLUMNS * ROWS; i++) {
        v->vram[4 * i] = BLANK;
        v->vram[4 * i + 1] = GREY;
    }
    vga_wrote(v, 0, (uint64_t)4 * COLUMNS * ROWS);
    lock_drop(&v->lock);
}

/* --- Saved state ---------------------------------------------------------- */

static const struct state_field vga_fields[] = {
    STATE_FIELD(1, STATE_U8, struct vga_state, misc),
    STATE_FIELD(2, STATE_U8, struct vga_state, feature),
    STATE_FIELD(3, STATE_U8, struct vga_state, seq_index),
    STATE_FIELD(4, STATE_BYTES, struct vga_state, seq),
    STATE_FIELD(5, STATE_U8, struct vga_state, crtc_index),
    STATE_FIELD(6, STATE_BYTES, struct vga_state, crtc),
    STATE_FIELD(7, STATE_U8, struct vga_state, gc_index),
    STATE_FIELD(8, STATE_BYTES, struct vga_state, gc),
    STATE_FIELD(9, STATE_U8, struct vga_state, attr_index),
    STATE_FIELD(10, STATE_U8, struct vga_state, attr_data),
    STATE_FIELD(11, STATE_BYTES, struct vga_state, attr),
    STATE_FIELD(12, STATE_U8, struct vga_state, dac_mask),
    STATE_FIELD(13, STATE_U8, struct vga_state, dac_state),
    STATE_FIELD(14, STATE_U8, struct vga_state, dac_read),
    STATE_FIELD(15, STATE_U8, struct vga_state, dac_write),
    STATE_FIELD(16, STATE_U8, struct vga_state, dac_part),
    STATE_FIELD(17, STATE_BYTES, struct vga_state, dac_held),
    STATE_FIELD(18, STATE_BYTES, struct vga_state, dac),
    STATE_FIELD(19, STATE_U32, struct vga_state, latch),
    STATE_FIELD(20, STATE_U16, struct vga_state, vbe_index),
    STATE_FIELD(21, STATE_U16, struct vga_state, vbe),
    STATE_FIELD(22, STATE_U8, struct vga_state, vbe_low),
};

/* Indices are looked at before each use, and geometry is bounded when somebody
 * looks: only what is used as it is must be right. */
static int vga_check(const void *state)
{
    const struct vga_state *st = state;

    return st->dac_part < 3 && st->gc[4] < 4 && st->attr_data < 2 ? 0 : -EINVAL;
}

const struct state_desc vga_state_desc = {
    .name = "vga",
    .version = 1,
    STATE_LAYOUT(struct vga_state, vga_fields),
    .check = vga_check,
};

static void vga_class_reset(void *dev)
{
    vga_reset(dev);
}

static void vga_loaded(void *dev, int64_t shift_ns)
{
    (void)shift_ns; /* no times in here */
    vga_touched(dev);
}

const struct device_class vga_class = {
    .state = &vga_state_desc,
    .state_off = offsetof(struct vga, st),
    .reset = vga_class_reset,
    .loaded = vga_loaded,
};
