#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/endian.h"
#include "devices/display/vga_text.h"

/*
 * The VGA: its ports, the window, the VBE interface and the registers in BAR 2,
 * and the reading of whatever they make of the screen.
 *
 * Input: commands of 8 bytes: kind, size, two of zero, four of address and
 * value: 16 bits each, or 17 and 15 for the window.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { COMMAND = 8, MAX = 512 };

struct machine {
    struct gmem gm;
    struct vga v;
    struct vga_text text;
};

static void init(struct machine *m)
{
    static const struct gmem_layout layout[] = {
        {.start = 0, .size = 0x1000},
        {.size = VGA_VRAM_SIZE, .device = true},
    };
    struct err err;
    int rc = gmem_init(&m->gm, layout, 2, &err);

    assert(rc == 0);
    rc = vga_init(&m->v, &m->gm, NULL, 0, &err);
    assert(rc == 0);
    (void)rc;
}

/* As the bus does: aligned, of a size that the device takes. */
static void access_at(struct vga *v, const struct bus_ops *ops, uint64_t len,
                      const uint8_t *c)
{
    unsigned log = c[1] & 3, max = ops->max_size ? ops->max_size : 8;
    unsigned size = 1u << log < max ? 1u << log : max;
    uint64_t off = get_le32(c + 4) % len & ~(uint64_t)(size - 1);
    uint64_t val = get_le16(c + 2) * 0x0001000100010001ull;

    if (c[0] & 0x80)
        (void)ops->read(v, off, size);
    else
        ops->write(v, off, size, val);
}

/* What is shown lies in video memory. */
static void look(struct machine *m)
{
    struct vga_shown s;

    vga_look(&m->v, &s);
    assert(s.kind == VGA_BLANK ||
           s.start + s.stride * (s.kind == VGA_TEXT ? s.rows : s.height) <=
               VGA_VRAM_SIZE);
    vga_text_read(&m->v, &m->text);
}

static void command(struct machine *m, const uint8_t *c)
{
    struct vga *v = &m->v;

    switch (c[0] & 0x7f) {
    case 0: access_at(v, &vga_vbe_bus_ops, VGA_VBE_PORTS, c); break;
    case 1: access_at(v, &vga_mono_bus_ops, VGA_MONO_PORTS, c); break;
    case 2: access_at(v, &vga_bus_ops, VGA_PORTS, c); break;
    case 3: access_at(v, &vga_color_bus_ops, VGA_COLOR_PORTS, c); break;
    case 4: access_at(v, &vga_window_bus_ops, VGA_WINDOW_SIZE, c); break;
    case 5: access_at(v, v->pci.bar[2].ops, v->pci.bar[2].size, c); break;
    case 6: vga_set_text_mode(v); break;
    case 7: look(m); break;
    default: break;
    }
    assert(vga_state_desc.check(&v->st) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct machine m;

    init(&m);
    for (size_t at = 0, n = 0; at + COMMAND <= size && n < MAX;
         at += COMMAND, n++)
        command(&m, data + at);
    look(&m);
    vga_fini(&m.v);
    gmem_fini(&m.gm);
    return 0;
}
