#include "machine/pc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "cpu/engine.h"
#include "machine/boot.h"
#include "machine/memlayout.h"
#include "tests/unit/devices/virtio/fake_blk.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/machine/fake_image.h"
#include "tests/unit/test.h"

/* pc.c, pc_map.c, pc_wire.c and pc_boot.c: a whole machine whose engine is the
 * test: "guest code" is a function that the first CPU runs once per start. */

enum { NR_CPUS = 3, NR_DISKS = 2 };

struct guest {
    char kernel[64];
    struct loop *loop;
    struct pc *pc;
    void (*code)(struct guest *g, struct vcpu *v);
    struct x86_state st[NR_CPUS];
    _Atomic bool done[NR_CPUS]; /* ran since the state was set */
    enum pc_event event;
    uint32_t value;
    unsigned starts, resets_left;
    char serial[16];
    size_t serial_len;
    uint64_t seen[8]; /* for the test to look at */
    struct fake_blk disk[NR_DISKS];
    struct pc_disk disks[NR_DISKS];
    uint8_t found[FAKE_IMAGE_MAX]; /* a kernel that the owner finds */
    size_t found_len;
};

/* The engine's only instance: its functions get no other pointer to it. */
static struct guest the_guest;

static int fake_create(void **engine, const struct engine_config *cfg,
                       struct err *err)
{
    (void)cfg;
    (void)err;
    *engine = &the_guest;
    return 0;
}

static void fake_destroy(void *engine)
{
    (void)engine;
}

static int fake_vcpu_create(void *engine, struct vcpu *v, struct err *err)
{
    (void)err;
    v->engine_vcpu = engine;
    return 0;
}

static void fake_nothing(struct vcpu *v)
{
    (void)v;
}

static enum engine_exit fake_run(struct vcpu *v)
{
    struct guest *g = v->engine_vcpu;

    if (v->index == 0 && !atomic_exchange(&g->done[0], true))
        g->code(g, v);
    if (atomic_load(&v->events) & ~(uint32_t)VCPU_EVENT_INTR)
        return ENGINE_EXIT_KICK;
    atomic_fetch_and(&v->events, ~(uint32_t)VCPU_EVENT_INTR);
    return ENGINE_EXIT_HALT;
}

static void fake_get_state(struct vcpu *v, struct x86_state *st)
{
    *st = the_guest.st[v->index];
}

static void fake_set_state(struct vcpu *v, const struct x86_state *st)
{
    the_guest.st[v->index] = *st;
    atomic_store(&the_guest.done[v->index], false);
}

static const struct engine_ops fake_ops = {
    .name = "fake",
    .create = fake_create,
    .destroy = fake_destroy,
    .vcpu_create = fake_vcpu_create,
    .vcpu_destroy = fake_nothing,
    .vcpu_thread_start = fake_nothing,
    .run = fake_run,
    .kick = fake_nothing,
    .get_state = fake_get_state,
    .set_state = fake_set_state,
};

static void on_event(void *opaque, enum pc_event ev, uint32_t value)
{
    struct guest *g = opaque;
    struct err err;

    g->event = ev;
    g->value = value;
    if (ev == PC_EVENT_RESET && g->resets_left > 0) {
        g->resets_left--;
        assert_int_equal(pc_reset(g->pc, &err), 0);
        return;
    }
    loop_stop(g->loop, 0);
}

static void on_serial(void *opaque, const uint8_t *buf, size_t len)
{
    struct guest *g = opaque;

    for (; len > 0 && g->serial_len < sizeof(g->serial); len--)
        g->serial[g->serial_len++] = (char)*buf++;
}

static void write_kernel(struct guest *g)
{
    uint8_t image[FAKE_IMAGE_MAX];
    size_t len = fake_bzimage(image, true);
    int fd;

    (void)snprintf(g->kernel, sizeof(g->kernel), "/tmp/husk-pc-XXXXXX");
    fd = mkstemp(g->kernel);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, image, len), (ssize_t)len);
    (void)close(fd);
}

static struct pc_config config(struct guest *g)
{
    return (struct pc_config){.engine = "auto",
                              .ops = &fake_ops,
                              .cpu = "husk-v2",
                              .cpus = NR_CPUS,
                              .memory = (uint64_t)64 << 20,
                              .kernel = g->kernel,
                              .append = "",
                              .debug_exit = true,
                              .disks = g->disks,
                              .nr_disks = NR_DISKS,
                              .serial = {.write = on_serial, .opaque = g},
                              .event = on_event,
                              .opaque = g};
}

static struct guest *setup(void)
{
    struct guest *g = &the_guest;
    struct err err;

    memset(g, 0, sizeof(*g));
    write_kernel(g);
    for (int i = 0; i < NR_DISKS; i++) {
        fake_blk_init(&g->disk[i], 0);
        g->disks[i].blk = &g->disk[i].blk;
    }
    assert_int_equal(loop_new(&g->loop, &err), 0);
    return g;
}

static void teardown(struct guest *g)
{
    loop_free(g->loop);
    (void)unlink(g->kernel);
}

/* Run code as the guest until the machine's owner is told of an event. */
static struct guest *run(void (*code)(struct guest *g, struct vcpu *v),
                         unsigned resets)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct err err;

    g->code = code;
    g->resets_left = resets;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), 0);
    assert_int_equal(pc_load(g->pc, &err), 0);
    pc_start(g->pc);
    (void)loop_run(g->loop);
    pc_free(g->pc);
    teardown(g);
    return g;
}

static void code_power_off(struct guest *g, struct vcpu *v)
{
    (void)g;
    vcpu_pio_write(v, 0x604, 2, 5 << 10 | 1 << 13);
}

static void code_other_sleep(struct guest *g, struct vcpu *v)
{
    vcpu_pio_write(v, 0x604, 2, 1 << 10 | 1 << 13);
    code_power_off(g, v);
}

static void acpi_soft_off_is_power_off(void **state)
{
    (void)state;
    assert_int_equal(run(code_power_off, 0)->event, PC_EVENT_POWER_OFF);
    assert_int_equal(run(code_other_sleep, 0)->event, PC_EVENT_POWER_OFF);
}

static void code_kbd(struct guest *g, struct vcpu *v)
{
    (void)g;
    vcpu_pio_write(v, 0x64, 1, 0xfe);
}

static void code_cf9(struct guest *g, struct vcpu *v)
{
    (void)g;
    vcpu_pio_write(v, 0xcf9, 1, 0x06);
}

static void code_port92(struct guest *g, struct vcpu *v)
{
    (void)g;
    vcpu_pio_write(v, 0x92, 1, 0x03);
}

static void every_reset_line_is_a_reset(void **state)
{
    (void)state;
    assert_int_equal(run(code_kbd, 0)->event, PC_EVENT_RESET);
    assert_int_equal(run(code_cf9, 0)->event, PC_EVENT_RESET);
    assert_int_equal(run(code_port92, 0)->event, PC_EVENT_RESET);
}

static void code_debug_exit(struct guest *g, struct vcpu *v)
{
    vcpu_pio_write(v, 0xf4, 4, 0x12345);
    code_power_off(g, v);
}

static void of_two_events_the_first_counts(void **state)
{
    struct guest *g = run(code_debug_exit, 0);

    (void)state;
    assert_int_equal(g->event, PC_EVENT_DEBUG_EXIT);
    assert_int_equal(g->value, 0x12345);
}

/* What it finds in memory, in a device and in its registers on each start. */
static void code_dirty(struct guest *g, struct vcpu *v)
{
    uint64_t *s = &g->seen[g->starts % 2 * 4];

    g->starts++;
    s[0] = vcpu_pio_read(v, 0x3ff, 1); /* UART scratch */
    s[1] = g->st[0].rip;
    s[2] = vcpu_pio_read(v, 0x21, 1); /* PIC mask */
    vcpu_pio_write(v, 0x3ff, 1, 0x5a);
    vcpu_pio_write(v, 0x21, 1, 0xa5);
    g->st[0].rip = 0x1234;
    vcpu_pio_write(v, 0x3f8, 1, 'A');
    vcpu_pio_write(v, 0x64, 1, 0xfe);
}

static void after_a_reset_everything_is_as_at_the_start(void **state)
{
    struct guest *g = run(code_dirty, 3);

    (void)state;
    assert_int_equal(g->starts, 4);
    assert_memory_equal(&g->seen[0], &g->seen[4], 4 * sizeof(g->seen[0]));
    assert_true(g->seen[1] == 0x100200);
    assert_int_equal(g->serial_len, 4);
    assert_memory_equal(g->serial, "AAAA", 4);
}

/* The functions of slots 3 to 6. */
static void code_look_for_disks(struct guest *g, struct vcpu *v)
{
    for (uint32_t i = 0; i < 4; i++) {
        vcpu_pio_write(v, 0xcf8, 4, 0x80000000 | (3 + i) << 11);
        g->seen[i] = vcpu_pio_read(v, 0xcfc, 4);
    }
    code_power_off(g, v);
}

static void disks_are_virtio_functions_in_their_order(void **state)
{
    struct guest *g = run(code_look_for_disks, 0);

    (void)state;
    assert_int_not_equal(g->seen[0], 0x10421af4); /* virtio 1.2, 4.1.2 */
    assert_int_equal(g->seen[1], 0x10421af4);
    assert_int_equal(g->seen[2], 0x10421af4);
    assert_int_equal(g->seen[3], 0xffffffff);
}

/* What drives say they are after a reset, and the function that has them. */
static void code_look_for_drives(struct guest *g, struct vcpu *v)
{
    static const uint16_t base[] = {0x1f0, 0x170};

    vcpu_pio_write(v, 0xcf8, 4, 0x80000900);
    g->seen[0] = vcpu_pio_read(v, 0xcfc, 4);
    for (unsigned i = 0; i < 4; i++) {
        vcpu_pio_write(v, base[i / 2] + 6u, 1, i % 2 ? 0xb0 : 0xa0);
        g->seen[1 + i] = vcpu_pio_read(v, base[i / 2] + 7u, 1) << 16 |
                         vcpu_pio_read(v, base[i / 2] + 5u, 1) << 8 |
                         vcpu_pio_read(v, base[i / 2] + 4u, 1);
    }
    code_power_off(g, v);
}

static void disks_and_cds_on_ide_have_their_places(void **state)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct blk *old;
    struct err err;

    (void)state;
    g->disks[1].ide = true;
    cfg.nr_cds = 1;
    cfg.cds[0] = &g->disk[0].blk;
    g->code = code_look_for_drives;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), 0);
    assert_int_equal(pc_load(g->pc, &err), 0);
    pc_start(g->pc);
    (void)loop_run(g->loop);
    assert_int_equal(g->seen[0], 0x70108086);
    assert_int_equal(g->seen[1], 0x500000); /* a disk */
    assert_int_equal(g->seen[2], 0);        /* no slave */
    assert_int_equal(g->seen[3], 0x00eb14); /* a CD-ROM drive */
    assert_int_equal(pc_change_cd(g->pc, 0, NULL, false, &old, &err), 0);
    assert_ptr_equal(old, &g->disk[0].blk);
    assert_int_equal(pc_change_cd(g->pc, 1, NULL, false, &old, &err), -ENODEV);
    pc_free(g->pc);
    teardown(g);
}

static void ide_has_room_for_four_drives(void **state)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct pc_disk many[3] = {{.blk = &g->disk[0].blk, .ide = true},
                              {.blk = &g->disk[0].blk, .ide = true},
                              {.blk = &g->disk[0].blk, .ide = true}};
    struct err err;

    (void)state;
    cfg.disks = many;
    cfg.nr_disks = 3;
    cfg.nr_cds = 2;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), -EINVAL);
    cfg.nr_cds = 1;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), 0);
    pc_free(g->pc);
    teardown(g);
}

static void code_look_around(struct guest *g, struct vcpu *v)
{
    vcpu_pio_write(v, 0x70, 1, 0x5f);
    g->seen[0] = vcpu_pio_read(v, 0x71, 1);        /* CPUs - 1 */
    g->seen[1] = vcpu_mmio_read(v, 0xfec00000, 4); /* I/O APIC */
    g->seen[2] = vcpu_mmio_read(v, 0xfed00000, 4); /* HPET */
    g->seen[3] = vcpu_mmio_read(v, 0xfee00030, 4); /* local APIC */
    vcpu_pio_write(v, 0xcf8, 4, 0x80000000);
    g->seen[4] = vcpu_pio_read(v, 0xcfc, 4); /* host bridge */
    vcpu_pio_write(v, 0xcf8, 4, 0x80001010);
    g->seen[5] = vcpu_pio_read(v, 0xcfc, 4);
    g->seen[6] = vcpu_pio_read(v, 0x80, 1); /* nobody */
    code_power_off(g, v);
}

static void devices_are_where_a_pc_has_them(void **state)
{
    struct guest *g = run(code_look_around, 0);

    (void)state;
    assert_int_equal(g->seen[0], NR_CPUS - 1);
    assert_true(g->seen[1] != 0xffffffff);
    assert_int_equal(g->seen[2], 0x8086a201);
    assert_int_equal(g->seen[3] & 0xff, 0x14);
    assert_int_equal(g->seen[4], 0x12378086);
    assert_int_equal(g->seen[6], 0xff);
}

static void firmware_left_caches_and_the_first_apic_set_up(void **state)
{
    struct guest *g = run(code_power_off, 0);

    (void)state;
    for (unsigned i = 0; i < NR_CPUS; i++) {
        assert_int_equal(g->st[i].msr.mtrr_def, 0xc06);
        assert_true(g->st[i].msr.mtrr_base[0] == PC_HOLE);
        assert_true(g->st[i].msr.mtrr_mask[0] & 0x800);
    }
    assert_int_equal(g->st[1].mp_state, X86_MP_WAIT_SIPI);
}

static void code_lint(struct guest *g, struct vcpu *v)
{
    g->seen[0] = vcpu_mmio_read(v, 0xfee000f0, 4);
    g->seen[1] = vcpu_mmio_read(v, 0xfee00350, 4);
    g->seen[2] = vcpu_mmio_read(v, 0xfee00360, 4);
    code_power_off(g, v);
}

static void the_first_apic_is_in_virtual_wire_mode(void **state)
{
    struct guest *g = run(code_lint, 0);

    (void)state;
    assert_int_equal(g->seen[0], 0x1ff);
    assert_int_equal(g->seen[1], 0x700);
    assert_int_equal(g->seen[2], 0x400);
}

static void bad_configurations_make_no_machine(void **state)
{
    struct guest *g = setup();
    struct pc_config good = config(g), cfg;
    struct pc *pc = NULL;
    struct err err;

    (void)state;
    cfg = good;
    cfg.memory = 4096;
    assert_int_equal(pc_new(&pc, &cfg, g->loop, &err), -EINVAL);
    cfg = good;
    cfg.memory = (uint64_t)1 << 43;
    assert_int_equal(pc_new(&pc, &cfg, g->loop, &err), -ERANGE);
    cfg = good;
    cfg.cpu = "z80";
    assert_int_equal(pc_new(&pc, &cfg, g->loop, &err), -EINVAL);
    cfg = good;
    cfg.kernel = "/nonexistent/kernel";
    assert_int_equal(pc_new(&pc, &cfg, g->loop, &err), -ENOENT);
    assert_null(pc);
    teardown(g);
}

/* --- A kernel that the owner finds ------------------------------------------
 */

static int find_kernel(void *opaque, struct boot_source *src, struct err *err)
{
    struct guest *g = opaque;

    g->seen[0]++;
    if (g->seen[0] == 2)
        return err_set(err, -ENOENT, "there is none");
    src->kernel = g->found;
    src->kernel_len = g->seen[0] == 3 ? 100 : g->found_len;
    src->cmdline = "found";
    return 0;
}

static void found_done(void *opaque, int rc, const struct err *why)
{
    struct guest *g = opaque;

    assert_true(rc == 0 || why->text[0]);
    g->seen[1] = g->seen[1] * 10 + (rc < 0 ? 2 : 1);
}

static void a_kernel_is_looked_for_at_each_start(void **state)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct err err = {0};

    (void)state;
    g->found_len = fake_bzimage(g->found, true);
    cfg.kernel = NULL;
    cfg.find_kernel = find_kernel;
    cfg.found_done = found_done;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), 0);
    assert_int_equal(pc_load(g->pc, &err), 0);
    assert_int_equal(g->seen[1], 1);
    /* None; one that is cut short; one again. */
    assert_int_equal(pc_load(g->pc, &err), -ENOENT);
    assert_string_equal(err.text, "there is none");
    assert_int_equal(g->seen[1], 1);
    assert_true(pc_load(g->pc, &err) < 0);
    assert_int_equal(g->seen[1], 12);
    assert_int_equal(pc_load(g->pc, &err), 0);
    assert_int_equal(g->seen[1], 121);
    assert_int_equal(g->seen[0], 4);
    pc_free(g->pc);
    teardown(g);
}

static void firmware_starts_if_no_kernel_is_found(void **state)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct err err = {0};
    struct x86_state st;

    (void)state;
    g->found_len = fake_bzimage(g->found, true);
    cfg.kernel = NULL;
    cfg.firmware = FIRMWARE_BIOS;
    cfg.find_kernel = find_kernel;
    cfg.found_done = found_done;
    assert_int_equal(pc_new(&g->pc, &cfg, g->loop, &err), 0);
    assert_int_equal(pc_load(g->pc, &err), 0); /* found: needs no firmware */
    vcpu_get_state(vcpu_get(pc_vcpus(g->pc), 0), &st);
    assert_true(st.cr0 & 1);
    if (pc_load(g->pc, &err) < 0) {
        assert_non_null(strstr(err.text, "seabios")); /* not installed */
    } else {
        for (int i = 0; i < 2; i++) { /* none; then one that is cut short */
            vcpu_get_state(vcpu_get(pc_vcpus(g->pc), 0), &st);
            assert_false(st.cr0 & 1);
            assert_int_equal(st.rip, 0xfff0);
            assert_int_equal(pc_load(g->pc, &err), 0);
        }
    }
    pc_free(g->pc);
    teardown(g);
}

/* The leak checker of the asan variant sees what is forgotten. */
static void when_memory_runs_out_nothing_is_left(void **state)
{
    struct guest *g = setup();
    struct pc_config cfg = config(g);
    struct err err;
    int rc = 0;

    (void)state;
    for (unsigned n = 1; n < 500; n++) {
        fail_alloc_at(n);
        rc = pc_new(&g->pc, &cfg, g->loop, &err);
        if (rc == 0) {
            rc = pc_load(g->pc, &err);
            pc_free(g->pc);
        }
        if (!fail_alloc_happened())
            break;
    }
    assert_int_equal(rc, 0);
    assert_false(fail_alloc_happened());
    fail_alloc_at(0);
    teardown(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(acpi_soft_off_is_power_off),
        cmocka_unit_test(every_reset_line_is_a_reset),
        cmocka_unit_test(of_two_events_the_first_counts),
        cmocka_unit_test(after_a_reset_everything_is_as_at_the_start),
        cmocka_unit_test(devices_are_where_a_pc_has_them),
        cmocka_unit_test(disks_are_virtio_functions_in_their_order),
        cmocka_unit_test(disks_and_cds_on_ide_have_their_places),
        cmocka_unit_test(ide_has_room_for_four_drives),
        cmocka_unit_test(firmware_left_caches_and_the_first_apic_set_up),
        cmocka_unit_test(the_first_apic_is_in_virtual_wire_mode),
        cmocka_unit_test(bad_configurations_make_no_machine),
        cmocka_unit_test(a_kernel_is_looked_for_at_each_start),
        cmocka_unit_test(firmware_starts_if_no_kernel_is_found),
        cmocka_unit_test(when_memory_runs_out_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
