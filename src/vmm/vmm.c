/*
 * The process of one machine: its event loop on the main thread, the consoles
 * and the debugger that are tied to it, and how the run ends.
 *
 * Order of the start: the machine is made and the kernel is loaded before any
 * file or socket is created, so that bad input leaves nothing behind.
 */
#include "vmm/vmm.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/log.h"
#include "gdb/stub.h"
#include "machine/bootchoice.h"
#include "machine/pc.h"
#include "vmm/cds.h"
#include "vmm/commands.h"
#include "vmm/console.h"
#include "vmm/direct.h"
#include "vmm/floppies.h"
#include "vmm/network.h"
#include "vmm/tty.h"

struct vmm {
    const struct vmm_config *cfg;
    const struct vmconf *conf; /* of cfg */
    struct loop *loop;
    struct pc *pc;
    struct console serial, hvc, debugcon;
    struct disks disks;
    struct cds cds;
    struct floppies floppies;
    struct network network;
    struct stuck stuck;
    struct keyboard keyboard;
    struct direct direct;
    struct commands commands;
    struct control *control; /* NULL = none */
    struct gdb_stub *gdb;
    struct tty tty;
    int signals;     /* signalfd */
    struct err *err; /* of vmm_run */
    int rc;          /* why a running machine failed */
};

/* --- What ends or restarts a run ----------------------------------------- */

static void restart(struct vmm *vm)
{
    log_info("machine", "reset");
    vm->rc = pc_reset(vm->pc, vm->err);
    if (vm->rc < 0)
        loop_stop(vm->loop, VMM_EXIT_FAILED);
}

static void on_triple_fault(struct vmm *vm)
{
    if (vm->conf->reboot) {
        log_guest("machine", "triple fault: reset");
        direct_failed(&vm->direct);
        restart(vm);
        return;
    }
    log_err("machine", "the guest stopped with a triple fault");
    loop_stop(vm->loop, VMM_EXIT_TRIPLE);
}

static void on_event(void *opaque, enum pc_event ev, uint32_t value)
{
    struct vmm *vm = opaque;

    switch (ev) {
    case PC_EVENT_POWER_OFF: loop_stop(vm->loop, VMM_EXIT_OK); break;
    case PC_EVENT_RESET:
        if (vm->conf->reboot)
            restart(vm);
        else
            loop_stop(vm->loop, VMM_EXIT_OK);
        break;
    case PC_EVENT_TRIPLE_FAULT: on_triple_fault(vm); break;
    case PC_EVENT_DEBUG_EXIT:
        loop_stop(vm->loop, (int)((value << 1 | 1) & 0xff));
        break;
    case PC_EVENT_ERROR: loop_stop(vm->loop, VMM_EXIT_FAILED); break;
    case PC_EVENT_NONE: break;
    }
}

static void on_escape(void *opaque)
{
    struct vmm *vm = opaque;

    /* The prompt of the person's shell shall not follow the guest's. */
    (void)fputc('\n', stderr);
    loop_stop(vm->loop, VMM_EXIT_OK);
}

static void on_gdb_kill(void *opaque)
{
    struct vmm *vm = opaque;

    loop_stop(vm->loop, VMM_EXIT_OK);
}

static void on_signal(void *opaque, int fd, uint32_t events)
{
    struct vmm *vm = opaque;
    struct signalfd_siginfo info;

    (void)events;
    if (read(fd, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    if (info.ssi_signo == SIGCONT)
        tty_again(&vm->tty);
    else
        loop_stop(vm->loop, 128 + (int)info.ssi_signo);
}

static void on_disk_stuck(void *opaque)
{
    struct vmm *vm = opaque;

    stuck_changed(&vm->stuck);
}

/* --- Devices and their consoles ------------------------------------------ */

/* Until all is taken or the UART has said no: only then does it call back. */
static size_t uart_take(void *opaque, const uint8_t *buf, size_t len)
{
    struct vmm *vm = opaque;
    struct uart16550 *u = pc_uart(vm->pc);
    size_t taken = 0, n;

    while (taken < len && (n = uart16550_can_receive(u)) > 0) {
        n = n < len - taken ? n : len - taken;
        uart16550_receive(u, buf + taken, n);
        taken += n;
    }
    return taken;
}

static size_t hvc_take(void *opaque, const uint8_t *buf, size_t len)
{
    struct vmm *vm = opaque;

    return virtio_console_receive(pc_console(vm->pc), buf, len);
}

static size_t hvc_write(void *opaque, const void *buf, size_t len)
{
    console_write(opaque, buf, len);
    return len;
}

static void debugcon_write(void *opaque, uint8_t byte)
{
    console_write(opaque, &byte, 1);
}

static int open_consoles(struct vmm *vm, struct err *err)
{
    const struct {
        struct console *console;
        const char *where;
        size_t (*receive)(void *opaque, const uint8_t *buf, size_t len);
    } all[] = {{&vm->serial, vm->conf->serial, uart_take},
               {&vm->hvc, vm->conf->console, hvc_take},
               {&vm->debugcon, vm->conf->debugcon, NULL}};

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const struct console_guest guest = {all[i].receive, on_escape, vm};
        int rc;

        if (!all[i].where)
            continue;
        rc = console_open(all[i].console, all[i].where, &guest, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static bool uses_stdio(const char *where)
{
    return where && strcmp(where, "stdio") == 0;
}

static void take_terminal(struct vmm *vm)
{
    if (!uses_stdio(vm->conf->serial) && !uses_stdio(vm->conf->console))
        return;
    if (!tty_is_ours())
        return;
    (void)fprintf(stderr, "husk: Ctrl-] ends the guest\n");
    tty_raw(&vm->tty);
}

/* --- Parts of the process, made in order, undone in reverse -------------- */

static int make_signals(struct vmm *vm, struct err *err)
{
    sigset_t set;
    int rc;

    (void)signal(SIGPIPE, SIG_IGN);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGCONT);
    /* Before there are threads, which inherit it. */
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    vm->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (vm->signals < 0)
        return err_sys(err, "watch for signals");
    rc = loop_add_fd(vm->loop, vm->signals, EPOLLIN, on_signal, vm);
    if (rc < 0) {
        (void)close(vm->signals);
        errno = -rc;
        return err_sys(err, "watch for signals");
    }
    return 0;
}

static void drop_signals(struct vmm *vm)
{
    loop_del_fd(vm->loop, vm->signals);
    (void)close(vm->signals);
}

static int make_consoles(struct vmm *vm, struct err *err)
{
    if (console_init(&vm->serial, "serial", vm->loop) < 0)
        goto out_of_memory;
    if (console_init(&vm->hvc, "console", vm->loop) < 0)
        goto fini_serial;
    if (console_init(&vm->debugcon, "debugcon", vm->loop) < 0)
        goto fini_hvc;
    return 0;

fini_hvc:
    console_fini(&vm->hvc);
fini_serial:
    console_fini(&vm->serial);
out_of_memory:
    return err_set(err, -ENOMEM, "make the consoles: out of memory");
}

static void drop_consoles(struct vmm *vm)
{
    console_fini(&vm->debugcon);
    console_fini(&vm->hvc);
    console_fini(&vm->serial);
}

static int read_disk(void *blk, uint64_t off, void *buf, uint64_t len)
{
    return blk_read(blk, off, buf, len);
}

/* In the order to boot in, the first disk and the first CD: what boots says
 * which firmware it wants. */
static void look_at_media(const struct vmm *vm, struct bootchoice *choice)
{
    *choice = (struct bootchoice){.firmware = FIRMWARE_BIOS,
                                  .why = "there is nothing to boot from"};
    for (unsigned i = 0; i < BOOTORDER_NR_KINDS; i++) {
        enum bootorder_kind kind = bootorder_at(&vm->conf->boot, i);
        struct blk *disk = vm->disks.nr ? vm->disks.disk[0].blk : NULL;
        struct blk *cd = vm->cds.nr ? vm->cds.cd[0].blk : NULL;

        if (kind == BOOTORDER_DISK && disk)
            bootchoice_look(read_disk, disk, blk_size(disk), choice);
        else if (kind == BOOTORDER_CD && cd)
            bootchoice_look_cd(read_disk, cd, blk_size(cd), choice);
        else if (kind == BOOTORDER_FLOPPY && vm->floppies.nr)
            *choice = (struct bootchoice){.firmware = FIRMWARE_BIOS,
                                          .boots = true,
                                          .why = "a floppy disk"};
        if (choice->boots)
            return;
    }
}

static int choose_firmware(const struct vmm *vm, enum firmware_kind *out,
                           struct err *err)
{
    struct bootchoice choice;

    look_at_media(vm, &choice);
    *out = choice.firmware;
    log_info("machine", "starts by %s, if by firmware: %s",
             choice.firmware == FIRMWARE_UEFI ? "UEFI" : "a BIOS", choice.why);
    if (vm->conf->firmware_vars && choice.firmware != FIRMWARE_UEFI)
        return err_set(err, -EINVAL,
                       "--firmware-vars: only UEFI has variables, and this "
                       "machine boots by a BIOS: %s; --firmware uefi insists",
                       choice.why);
    return 0;
}

static int find_firmware(const struct vmm *vm, enum firmware_kind *out,
                         struct err *err)
{
    switch (vmconf_firmware(vm->conf)) {
    case VMCONF_FIRMWARE_UEFI: *out = FIRMWARE_UEFI; return 0;
    case VMCONF_FIRMWARE_BIOS: *out = FIRMWARE_BIOS; return 0;
    case VMCONF_FIRMWARE_NONE: *out = FIRMWARE_NONE; return 0;
    case VMCONF_FIRMWARE_AUTO: break;
    }
    return choose_firmware(vm, out, err);
}

/* A kernel that is booted directly has its serial port: it would only lose time
 * over a screen. */
static enum pc_vga vga_of(const struct vmconf *conf)
{
    switch (conf->vga) {
    case VMCONF_VGA_NONE: return PC_VGA_NONE;
    case VMCONF_VGA_STD: return PC_VGA_ALWAYS;
    case VMCONF_VGA_AUTO: break;
    }
    return vmconf_firmware(conf) == VMCONF_FIRMWARE_NONE ? PC_VGA_NONE
                                                         : PC_VGA_FIRMWARE;
}

static int on_find_kernel(void *opaque, struct boot_source *src,
                          struct err *err)
{
    struct vmm *vm = opaque;

    return direct_find(&vm->direct, src, err);
}

static void on_found_done(void *opaque, int rc, const struct err *why)
{
    struct vmm *vm = opaque;

    direct_done(&vm->direct, rc, why);
}

static int make_machine(struct vmm *vm, struct err *err)
{
    const struct vmconf *conf = vm->conf;
    struct pc_config cfg = {
        .engine = conf->engine,
        .cpu = conf->cpu,
        .cpus = conf->cpus,
        .memory = conf->memory,
        .boot = conf->boot,
        .vga = vga_of(conf),
        .firmware_vars = conf->firmware_vars,
        .vars = vm->cfg->vars,
        .kernel = conf->kernel,
        .initrd = conf->initrd,
        .append = conf->append,
        .debug_exit = conf->debug_exit,
        .disks = vm->disks.pc,
        .nr_disks = vm->disks.nr,
        .nr_cds = vm->cds.nr,
        .nr_floppies = vm->floppies.nr,
        .disk_stuck = on_disk_stuck,
        .event = on_event,
        .opaque = vm,
    };
    int rc = find_firmware(vm, &cfg.firmware, err);

    if (rc < 0)
        return rc;
    if (vmconf_direct(conf) && vm->disks.nr) {
        cfg.find_kernel = on_find_kernel;
        cfg.found_done = on_found_done;
    }
    direct_init(&vm->direct, conf, vm->disks.nr ? &vm->disks.disk[0] : NULL,
                cfg.firmware);
    for (unsigned i = 0; i < vm->cds.nr; i++)
        cfg.cds[i] = vm->cds.cd[i].blk;
    for (unsigned i = 0; i < vm->floppies.nr; i++)
        cfg.floppies[i] = vm->floppies.blk[i];
    if (conf->serial)
        cfg.serial = (struct uart16550_backend){console_write, console_resume,
                                                &vm->serial};
    if (conf->console)
        cfg.console =
            (struct console_backend){hvc_write, console_resume, &vm->hvc};
    if (conf->debugcon) {
        cfg.debugcon = debugcon_write;
        cfg.debugcon_opaque = &vm->debugcon;
    }
    network_fill(&vm->network, &cfg);
    return pc_new(&vm->pc, &cfg, vm->loop, err);
}

static int make_gdb(struct vmm *vm, struct err *err)
{
    int rc;

    if (!vm->conf->gdb)
        return 0;
    rc = gdb_stub_new(&vm->gdb, pc_vcpus(vm->pc), vm->loop, vm->conf->gdb, err);
    if (rc == 0)
        gdb_stub_on_kill(vm->gdb, on_gdb_kill, vm);
    return rc;
}

static int make_control(struct vmm *vm, struct err *err)
{
    const char *path = vm->conf->control ? vm->conf->control : vm->cfg->control;

    if (!path)
        return 0;
    vm->commands = (struct commands){.cfg = vm->cfg,
                                     .loop = vm->loop,
                                     .pc = vm->pc,
                                     .disks = &vm->disks,
                                     .cds = &vm->cds,
                                     .network = &vm->network,
                                     .stuck = &vm->stuck,
                                     .keyboard = &vm->keyboard,
                                     .direct = &vm->direct};
    return control_new(&vm->control, vm->loop, path, commands_run,
                       &vm->commands, err);
}

static int run_machine(struct vmm *vm, int *status, struct err *err)
{
    int rc = pc_load(vm->pc, err);

    if (rc < 0)
        return rc;
    rc = make_gdb(vm, err);
    if (rc < 0)
        return rc;
    rc = make_control(vm, err);
    if (rc == 0)
        rc = network_start(&vm->network, vm->pc, err);
    if (rc == 0)
        rc = open_consoles(vm, err);
    if (rc == 0) {
        take_terminal(vm);
        disks_watch(&vm->disks);
        pc_start(vm->pc);
        *status = loop_run(vm->loop);
        rc = vm->rc;
    }
    if (vm->control)
        control_free(vm->control);
    if (vm->gdb)
        gdb_stub_free(vm->gdb);
    return rc;
}

/* The machine goes before its disks and consoles: it writes to them. */
static int run_with_loop(struct vmm *vm, int *status, struct err *err)
{
    int rc = make_signals(vm, err);

    if (rc < 0)
        return rc;
    rc = make_consoles(vm, err);
    if (rc < 0)
        goto drop_signals;
    rc = disks_open(&vm->disks, vm->cfg, vm->loop, err);
    if (rc < 0)
        goto drop_consoles;
    rc = cds_open(&vm->cds, vm->conf, err);
    if (rc < 0)
        goto close_disks;
    rc = floppies_open(&vm->floppies, vm->conf, err);
    if (rc < 0)
        goto close_cds;
    rc = network_open(&vm->network, vm->conf, vm->loop, err);
    if (rc < 0)
        goto close_floppies;
    stuck_init(&vm->stuck, vm->loop);
    rc = make_machine(vm, err);
    vm->stuck.pc = vm->pc;
    if (rc < 0)
        goto close_network;
    keyboard_init(&vm->keyboard, pc_keyboard(vm->pc), vm->loop);
    rc = run_machine(vm, status, err);
    keyboard_fini(&vm->keyboard);
    pc_free(vm->pc);

close_network:
    stuck_fini(&vm->stuck);
    network_close(&vm->network);
close_floppies:
    if (floppies_close(&vm->floppies) < 0 && rc == 0)
        *status = VMM_EXIT_FAILED;
close_cds:
    cds_close(&vm->cds);
close_disks:
    if (disks_close(&vm->disks) < 0 && rc == 0)
        *status = VMM_EXIT_FAILED;
drop_consoles:
    drop_consoles(vm);
drop_signals:
    drop_signals(vm);
    return rc;
}

int vmm_run(const struct vmm_config *cfg, int *status, struct err *err)
{
    struct vmm vm = {.cfg = cfg, .conf = cfg->conf, .err = err};
    int rc = loop_new(&vm.loop, err);

    if (rc < 0)
        return rc;
    rc = run_with_loop(&vm, status, err);
    tty_restore(&vm.tty);
    loop_free(vm.loop);
    return rc;
}
