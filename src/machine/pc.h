#ifndef HUSK_MACHINE_PC_H
#define HUSK_MACHINE_PC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "block/blk.h"
#include "config/bootorder.h"
#include "cpu/vcpu.h"
#include "devices/pc/uart16550.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_net.h"
#include "event/loop.h"
#include "machine/firmware.h"
#include "net/net.h"

/*
 * The PC as a whole: an i440FX/PIIX board with its devices at their classic
 * addresses, virtio devices on PCI, and a kernel that is booted directly.
 * All functions are called on the event loop's thread (or before it runs)
 * unless they say otherwise.
 */
struct boot_source;
struct engine_ops;
struct i8042;
struct pc;
struct vga;

/* What the guest, or a fault of the engine, asks of the owner. */
enum pc_event {
    PC_EVENT_NONE,
    PC_EVENT_POWER_OFF,    /* ACPI soft-off */
    PC_EVENT_RESET,        /* keyboard controller, port 0xcf9 or 0x92, ACPI */
    PC_EVENT_TRIPLE_FAULT, /* which resets a PC, too */
    PC_EVENT_DEBUG_EXIT,   /* value: what was written to port 0xf4 */
    PC_EVENT_ERROR         /* the engine cannot go on; it has logged why */
};

enum { PC_MAX_DISKS = 16, PC_MAX_CDS = 2, PC_MAX_FLOPPIES = 2 };

struct pc_disk {
    struct blk *blk;    /* borrowed until pc_free */
    const char *serial; /* the guest sees 20 bytes at most; NULL = none */
    bool ide;           /* on IDE, not on virtio */
};

/* Who keeps the variables of UEFI firmware. */
struct pc_vars {
    /* data[len] is what the firmware's package has: make it what is kept, or
     * keep it from now on. Before the machine runs. -errno with err. */
    int (*load)(void *opaque, uint8_t *data, size_t len, struct err *err);
    /* As of struct flash_backend: on a vCPU's thread, a device's lock held. */
    int (*store)(void *opaque, uint64_t off, const uint8_t *p, size_t len);
    void *opaque;
};

enum pc_vga {
    PC_VGA_NONE,
    PC_VGA_FIRMWARE, /* while firmware starts the machine, and not a kernel */
    PC_VGA_ALWAYS
};

struct pc_config {
    const char *engine;           /* "auto", "jit" */
    const struct engine_ops *ops; /* this one whatever engine says (tests) */
    const char *cpu;              /* name of a CPU model */
    unsigned cpus;
    uint64_t memory;             /* bytes */
    enum firmware_kind firmware; /* NONE: kernel, or what is found, is booted */
    const char *firmware_vars;   /* UEFI: path of a file that keeps them, made
                                    if it is missing */
    const struct pc_vars *vars;  /* UEFI: who keeps them if no file does;
                                    borrowed until pc_free. NULL = nobody */
    struct bootorder boot;       /* for firmware */
    enum pc_vga vga;             /* the screen */
    const char *kernel, *initrd; /* paths; initrd may be NULL. Borrowed until
                                    pc_free, as is append. */
    const char *append;          /* command line */
    bool debug_exit;             /* have the device at port 0xf4 */
    /* Back ends; NULL members are skipped. */
    struct uart16550_backend serial;
    struct console_backend console;
    void (*debugcon)(void *opaque, uint8_t byte); /* port 0x402; NULL = none */
    void *debugcon_opaque;
    const struct pc_disk *disks; /* of virtio the first is in the lowest slot;
                                    borrowed until pc_free */
    unsigned nr_disks;           /* 0..PC_MAX_DISKS */
    struct blk *cds[PC_MAX_CDS]; /* what is in the CD-ROM drives, borrowed until
                                    pc_free or pc_change_cd; NULL = nothing */
    unsigned nr_cds;             /* drives */
    /* The disks in the floppy drives, of a size that fdc_format_of knows;
     * borrowed until pc_free. */
    struct blk *floppies[PC_MAX_FLOPPIES];
    unsigned nr_floppies;
    const struct net_ops *net; /* behind the network card; NULL = no card */
    uint8_t mac[6];
    /* pc_stuck_requests left 0 or came back to it. Any thread, locks held: may
     * arm a timer. NULL = nobody cares. */
    void (*disk_stuck)(void *opaque);
    /* The first event since the start or the last pc_reset; the rest are
     * dropped. On the loop's thread. The CPUs still run. */
    void (*event)(void *opaque, enum pc_event ev, uint32_t value);
    /*
     * Asked at the start and at each reset, while no CPU runs and nothing is
     * under way on any disk: 0 if there is a kernel that shall be booted
     * instead of what firmware and kernel say, with src's bytes and text, which
     * stay until found_done; -errno with err: there is none. NULL = never ask.
     * found_done says how it went: 0, or -errno with why; then memory is
     * cleared and firmware starts, or with FIRMWARE_NONE the start has failed.
     */
    int (*find_kernel)(void *opaque, struct boot_source *src, struct err *err);
    void (*found_done)(void *opaque, int rc, const struct err *why);
    void *opaque;
};

/* Make the machine, its CPUs paused. cfg is copied. -errno with err. */
MUST_CHECK int pc_new(struct pc **out, const struct pc_config *cfg,
                      struct loop *loop, struct err *err);
/* After the loop has ended, or before it began. */
void pc_free(struct pc *pc);

/* Power on with the kernel loaded; then let the CPUs run. */
MUST_CHECK int pc_load(struct pc *pc, struct err *err);
void pc_start(struct pc *pc);
/* Power-on reset with memory cleared and the kernel loaded again. On an error
 * the CPUs stay paused. */
MUST_CHECK int pc_reset(struct pc *pc, struct err *err);

/* The operator pressed the power button. Any thread. */
void pc_power_button(struct pc *pc);

/* The CPUs stop, and go on when each pause was resumed. */
void pc_pause(struct pc *pc);
void pc_resume(struct pc *pc);

/* Disk n has another size: tell the guest. */
void pc_disk_resized(struct pc *pc, unsigned n);
/* As ide_change_medium, of CD-ROM drive n. */
MUST_CHECK int pc_change_cd(struct pc *pc, unsigned n, struct blk *blk,
                            bool force, struct blk **old, struct err *err);
/* Whether the guest has opened the tray of drive n, or locked it. */
void pc_cd_tray(struct pc *pc, unsigned n, bool *open, bool *locked);
/* While paused: wait until no request is under way on any disk, but for what is
 * stuck. */
void pc_drain_disks(struct pc *pc);
/* Requests that the host had no space for: they wait for pc_retry_stuck. */
unsigned pc_stuck_requests(struct pc *pc);
void pc_retry_stuck(struct pc *pc);

/* The network card; NULL if there is none. */
struct virtio_net *pc_net(struct pc *pc);

struct vcpu_set *pc_vcpus(struct pc *pc);
/* Where input for the guest goes. */
struct uart16550 *pc_uart(struct pc *pc);
struct virtio_console *pc_console(struct pc *pc);
struct i8042 *pc_keyboard(struct pc *pc);
/* The screen; NULL = there is none. It can come and go by a reset. */
struct vga *pc_vga(struct pc *pc);

#endif
