#ifndef HUSK_DEVICES_DISPLAY_VGA_H
#define HUSK_DEVICES_DISPLAY_VGA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "base/lock.h"
#include "bus/bus.h"
#include "devices/device.h"
#include "devices/pci/pci.h"
#include "mem/gmem.h"

/*
 * A VGA (IBM PS/2 Technical Reference, "Video Subsystem") with the VBE
 * interface of Bochs (Bochs: vgabios/vbe_display_api.txt), as the PCI function
 * 1234:1111 that QEMU calls stdvga (QEMU: docs/specs/standard-vga.txt): BAR 0
 * is video memory, BAR 2 has the registers again, the expansion ROM is the
 * package's video BIOS.
 *
 * Video memory is ordinary guest memory where BAR 0 is (gmem_device_move): its
 * use as a frame buffer costs nothing. The window at 0xa0000 goes through the
 * planes' logic byte by byte. Byte p of each four belongs to plane p, so what
 * the window calls address a lies at 4 * a.
 *
 * A VGA whose function is absent (struct pci_dev) answers nowhere.
 *
 * Left out on purpose: split screens (line compare), panning, interrupts of the
 * vertical retrace, DDC.
 */
#define VGA_VRAM_SIZE   ((uint64_t)16 << 20)
#define VGA_WINDOW      0xa0000u
#define VGA_WINDOW_SIZE 0x20000u
#define VGA_ROM_MAX     ((size_t)64 << 10)

enum {
    VGA_NR_SEQ = 5,
    VGA_NR_CRTC = 25,
    VGA_NR_GC = 9,
    VGA_NR_ATTR = 21,
    VGA_DAC_BYTES = 768,
    VGA_NR_VBE = 11,
    VGA_VBE_PORT = 0x1ce,
    VGA_VBE_PORTS = 4,
    VGA_MONO_PORT = 0x3b0, /* CRTC and status, if set up for monochrome */
    VGA_MONO_PORTS = 12,
    VGA_PORT = 0x3c0,
    VGA_PORTS = 16,
    VGA_COLOR_PORT = 0x3d0,
    VGA_COLOR_PORTS = 12
};

/* All registers, by the numbers that select them. */
struct vga_state {
    uint8_t misc, feature;
    uint8_t seq_index, seq[VGA_NR_SEQ];
    uint8_t crtc_index, crtc[VGA_NR_CRTC];
    uint8_t gc_index, gc[VGA_NR_GC];
    uint8_t attr_index; /* bit 5: the picture is on */
    uint8_t attr_data;  /* the next write of 0x3c0 is a value */
    uint8_t attr[VGA_NR_ATTR];
    uint8_t dac_mask, dac_state;
    uint8_t dac_read, dac_write, dac_part; /* entries; byte 0..2 of one */
    uint8_t dac_held[2];                   /* of an entry being written */
    uint8_t dac[VGA_DAC_BYTES];
    uint32_t latch; /* a byte for each plane */
    uint16_t vbe_index, vbe[VGA_NR_VBE];
    uint8_t vbe_low; /* of a value that is written in two bytes */
};

struct vga {
    struct vga_state st;
    struct lock lock; /* st, video memory as the window sees it */
    struct gmem *gm;
    uint8_t *vram;
    uint8_t *rom; /* VGA_ROM_MAX bytes, zeros behind its end; NULL = none */
    struct pci_dev pci;
    /* Told once after vga_watch when what is shown may be another picture: by
     * registers or through the window. What is written into BAR 0 cannot be
     * known. On a vCPU's thread, lock held: must only post. NULL = nobody. */
    void (*changed)(void *opaque);
    void *changed_opaque;
    _Atomic bool watched;
};

/* What the screen shows, from registers that are any: all numbers are such
 * that what they describe lies in video memory. */
enum vga_kind { VGA_BLANK, VGA_TEXT, VGA_GRAPHICS };

struct vga_shown {
    enum vga_kind kind;
    unsigned width, height; /* pixels; of text, without borders */
    unsigned bits;          /* for a pixel: 1 to 32; of text 0 */
    bool planar;            /* bits in planes instead of side by side */
    uint64_t start;         /* byte in video memory */
    uint64_t stride; /* bytes from one line (of characters) to the next */
    unsigned columns, rows;        /* of text */
    int cursor_column, cursor_row; /* -1: it is hidden or elsewhere */
};

extern const struct bus_ops vga_vbe_bus_ops; /* VGA_VBE_PORT */
extern const struct bus_ops vga_mono_bus_ops, vga_bus_ops, vga_color_bus_ops;
extern const struct bus_ops vga_window_bus_ops; /* at VGA_WINDOW */
extern const struct state_desc vga_state_desc;
extern const struct device_class vga_class;

/* gm has device memory of VGA_VRAM_SIZE bytes, and is borrowed. rom: len bytes
 * that are copied; NULL = no expansion ROM. -ENOMEM or -EINVAL (over
 * VGA_ROM_MAX) with err. The owner adds vga->pci to a host. */
MUST_CHECK int vga_init(struct vga *v, struct gmem *gm, const uint8_t *rom,
                        size_t len, struct err *err);
/* After the host has gone. */
void vga_fini(struct vga *v);
void vga_reset(struct vga *v); /* lock held */

/* As a video BIOS leaves it: 80 by 25 characters, white on black, video memory
 * empty but for no font. For machines without firmware. */
void vga_set_text_mode(struct vga *v);

/* Ask to be told of the next change. Any thread, without the lock. */
void vga_watch(struct vga *v);

/* What is shown now. Lock held. */
void vga_look(const struct vga *v, struct vga_shown *shown);

/* Inside of src/devices/display: a byte of one of the ports above; a register
 * of the VBE interface; a byte in the window. Lock held. */
uint8_t vga_port_read(struct vga *v, unsigned port);
void vga_port_write(struct vga *v, unsigned port, uint8_t val);
uint16_t vga_vbe_read(const struct vga *v, unsigned index);
void vga_vbe_write(struct vga *v, unsigned index, uint16_t val);
/* Video memory is used as one frame buffer: not by planes, nor as text. */
bool vga_vbe_is_linear(const struct vga *v);
bool vga_vbe_is_on(const struct vga *v);
/* Where the window's 64 KiB begin, in its own addresses. */
uint64_t vga_vbe_bank(const struct vga *v);
void vga_vbe_look(const struct vga *v, struct vga_shown *shown);
void vga_vbe_reset(struct vga *v);
/* Bytes of video memory were written past the guest's own stores. */
void vga_wrote(struct vga *v, uint64_t off, uint64_t len);
void vga_touched(struct vga *v);

#endif
