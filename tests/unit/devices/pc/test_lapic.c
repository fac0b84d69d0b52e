#include "devices/pc/lapic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "devices/pc/lapic_int.h"
#include "tests/unit/devices/pc/fixture.h"

/* Four APICs, software-enabled, with what they ask of the machine recorded. */
struct board {
    struct loop *loop;
    struct gmem gm;
    struct lapic_bus bus;
    unsigned posts[4][16]; /* by event bit */
    uint8_t sipi;
    uint64_t page[4];
    unsigned eois;
    uint8_t eoi_vector;
    int pic_vector;
    unsigned pic_acks;
    bool redeliver; /* as an I/O APIC whose wire is still high */
};

enum { APIC_BASE = 0x1b, X2APIC = 0x800, DEADLINE = 0x6e0 };

static void on_post(void *opaque, unsigned cpu, unsigned ev, uint8_t vector)
{
    struct board *b = opaque;

    b->posts[cpu][ev]++;
    if (ev == LAPIC_EVENT_SIPI)
        b->sipi = vector;
}

static void on_moved(void *opaque, unsigned cpu, uint64_t gpa)
{
    struct board *b = opaque;

    b->page[cpu] = gpa;
}

static void on_eoi(void *opaque, uint8_t vector)
{
    struct board *b = opaque;

    b->eois++;
    b->eoi_vector = vector;
    if (b->redeliver)
        lapic_bus_deliver_msi(&b->bus, 0xfee00000, 0xc000u | vector);
}

static int on_pic_ack(void *opaque)
{
    struct board *b = opaque;

    b->pic_acks++;
    return b->pic_vector;
}

static int on_pic_peek(void *opaque)
{
    struct board *b = opaque;

    return b->pic_vector;
}

static struct lapic *cpu(struct board *b, unsigned n)
{
    return lapic_bus_get(&b->bus, n);
}

static uint32_t reg(struct lapic *l, unsigned n)
{
    return (uint32_t)lapic_mmio_read(l, n << 4, 4);
}

static void set_reg(struct lapic *l, unsigned n, uint32_t val)
{
    lapic_mmio_write(l, n << 4, 4, val);
}

static int setup(void **state)
{
    struct board *b = calloc(1, sizeof(*b));
    const struct gmem_layout layout = {.start = 0, .size = 1 << 20};
    struct lapic_ops ops = {.post = on_post,
                            .moved = on_moved,
                            .opaque = b,
                            .eoi = on_eoi,
                            .ioapic = b,
                            .pic_ack = on_pic_ack,
                            .pic_peek = on_pic_peek,
                            .pic = b};
    struct err err;
    unsigned i;

    assert_non_null(b);
    b->loop = new_loop();
    assert_int_equal(gmem_init(&b->gm, &layout, 1, &err), 0);
    assert_int_equal(lapic_bus_init(&b->bus, 4, &ops, b->loop, &b->gm), 0);
    for (i = 0; i < 4; i++) {
        set_reg(cpu(b, i), LAPIC_REG_SVR, 0x1ff);
        lapic_set_tsc(cpu(b, i), 0, clock_tsc_hz());
    }
    memset(b->posts, 0, sizeof(b->posts));
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct board *b = *state;

    lapic_bus_fini(&b->bus);
    gmem_fini(&b->gm);
    loop_free(b->loop);
    free(b);
    return 0;
}

static void go_x2apic(struct board *b)
{
    unsigned i;

    for (i = 0; i < 4; i++)
        assert_int_equal(lapic_wrmsr(cpu(b, i), APIC_BASE, 0xfee00c00), 0);
}

static void msi(struct board *b, uint32_t addr, uint32_t data)
{
    lapic_bus_deliver_msi(&b->bus, 0xfee00000 | addr, data);
}

/* --- Priorities --------------------------------------------------------- */

static void a_lower_priority_waits_for_the_eoi(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    msi(b, 0, 0x41);
    assert_int_equal(lapic_pending(l), -1);
    msi(b, 0, 0x5f); /* the same class waits too */
    assert_int_equal(lapic_pending(l), -1);
    b->posts[0][LAPIC_EVENT_INTR] = 0;
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR], 1);
    assert_int_equal(lapic_ack(l), 0x5f);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(lapic_ack(l), 0x41);
}

static void a_higher_priority_nests(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    msi(b, 0, 0x41);
    assert_int_equal(lapic_ack(l), 0x41);
    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    assert_int_equal(reg(l, LAPIC_REG_PPR), 0x50);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(reg(l, LAPIC_REG_PPR), 0x40);
    assert_int_equal(reg(l, LAPIC_REG_ISR + 2), 1u << 1);
}

static void the_task_priority_holds_back_and_lets_go(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    lapic_set_cr8(l, 5);
    assert_int_equal(reg(l, LAPIC_REG_TPR), 0x50);
    msi(b, 0, 0x55);
    assert_int_equal(lapic_pending(l), -1);
    b->posts[0][LAPIC_EVENT_INTR] = 0;
    lapic_set_cr8(l, 4);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR], 1);
    assert_int_equal(lapic_pending(l), 0x55);
    assert_int_equal(lapic_get_cr8(l), 4);
}

static void a_request_that_is_set_is_not_posted_again(void **state)
{
    struct board *b = *state;

    msi(b, 0, 0x41);
    msi(b, 0, 0x41);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR], 1);
}

static void pending_does_not_accept(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    msi(b, 0, 0x41);
    assert_int_equal(lapic_pending(l), 0x41);
    assert_int_equal(lapic_pending(l), 0x41);
    assert_int_equal(reg(l, LAPIC_REG_ISR + 2), 0);
}

static void software_disable_drops_fixed_interrupts_and_masks(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT, 0x31);
    set_reg(l, LAPIC_REG_SVR, 0xff);
    msi(b, 0, 0x41);
    assert_int_equal(lapic_pending(l), -1);
    assert_true(reg(l, LAPIC_REG_LVT) & LAPIC_LVT_MASKED);
    msi(b, 0, 0x400); /* NMI gets through */
    assert_int_equal(b->posts[0][LAPIC_EVENT_NMI], 1);
}

static void an_illegal_vector_is_an_error(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT + LAPIC_LVT_ERROR, 0xfe);
    msi(b, 0, 0x0f);
    assert_int_equal(lapic_ack(l), 0xfe);
    set_reg(l, LAPIC_REG_ESR, 0);
    assert_int_equal(reg(l, LAPIC_REG_ESR), LAPIC_ESR_RECV_ILLEGAL);
    set_reg(l, LAPIC_REG_ESR, 0);
    assert_int_equal(reg(l, LAPIC_REG_ESR), 0);
}

/* --- Level and EOI ------------------------------------------------------ */

static void only_level_interrupts_broadcast_their_eoi(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    msi(b, 0, 0x41);
    assert_int_equal(lapic_ack(l), 0x41);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(b->eois, 0);
    msi(b, 0, 0xc041);
    assert_true(reg(l, LAPIC_REG_TMR + 2) & 2);
    assert_int_equal(lapic_ack(l), 0x41);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(b->eois, 1);
    assert_int_equal(b->eoi_vector, 0x41);
}

static void a_level_that_is_still_high_comes_again(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    b->redeliver = true;
    msi(b, 0, 0xc041);
    assert_int_equal(lapic_ack(l), 0x41);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(lapic_pending(l), 0x41);
}

static void an_eoi_without_service_is_nothing(void **state)
{
    struct board *b = *state;

    set_reg(cpu(b, 0), LAPIC_REG_EOI, 0);
    assert_int_equal(b->eois, 0);
}

/* --- Destinations ------------------------------------------------------- */

static bool got(struct board *b, unsigned n, unsigned vector)
{
    return lapic_pending(cpu(b, n)) == (int)vector;
}

static void physical_destinations_are_apic_ids(void **state)
{
    struct board *b = *state;

    msi(b, 2u << 12, 0x41);
    assert_true(got(b, 2, 0x41));
    assert_false(got(b, 0, 0x41) || got(b, 1, 0x41) || got(b, 3, 0x41));
    msi(b, 9u << 12, 0x42); /* nobody */
    msi(b, 0xffu << 12, 0x43);
    assert_true(got(b, 0, 0x43) && got(b, 1, 0x43) && got(b, 3, 0x43));
}

static void flat_logical_destinations_are_masks(void **state)
{
    struct board *b = *state;
    unsigned i;

    for (i = 0; i < 4; i++)
        set_reg(cpu(b, i), LAPIC_REG_LDR, 1u << (24 + i));
    msi(b, 0x5u << 12 | 4, 0x41);
    assert_true(got(b, 0, 0x41) && got(b, 2, 0x41));
    assert_false(got(b, 1, 0x41) || got(b, 3, 0x41));
}

static void cluster_logical_destinations_name_a_cluster(void **state)
{
    struct board *b = *state;
    unsigned i;

    for (i = 0; i < 4; i++) {
        set_reg(cpu(b, i), LAPIC_REG_DFR, 0x0fffffff);
        set_reg(cpu(b, i), LAPIC_REG_LDR, (i / 2) << 28 | 1u << (24 + i % 2));
    }
    msi(b, 0x12u << 12 | 4, 0x41);
    assert_true(got(b, 3, 0x41));
    assert_false(got(b, 1, 0x41) || got(b, 2, 0x41));
}

static void x2apic_logical_ids_are_derived(void **state)
{
    struct board *b = *state;
    uint64_t val;

    go_x2apic(b);
    assert_int_equal(lapic_rdmsr(cpu(b, 3), X2APIC + LAPIC_REG_LDR, &val), 0);
    assert_int_equal(val, 1u << 3);
    assert_int_equal(
        lapic_wrmsr(cpu(b, 0), X2APIC + LAPIC_REG_ICR, 0xcull << 32 | 0x841),
        0);
    assert_true(got(b, 2, 0x41) && got(b, 3, 0x41));
    assert_false(got(b, 0, 0x41) || got(b, 1, 0x41));
}

static void x2apic_broadcast_has_32_bits(void **state)
{
    struct board *b = *state;

    go_x2apic(b);
    assert_int_equal(
        lapic_wrmsr(cpu(b, 0), X2APIC + LAPIC_REG_ICR, 0xffull << 32 | 0x41),
        0);
    assert_false(got(b, 0, 0x41) || got(b, 1, 0x41));
    assert_int_equal(lapic_wrmsr(cpu(b, 0), X2APIC + LAPIC_REG_ICR,
                                 0xffffffffull << 32 | 0x41),
                     0);
    assert_true(got(b, 0, 0x41) && got(b, 1, 0x41) && got(b, 3, 0x41));
}

static void shorthands_choose_self_all_or_others(void **state)
{
    struct board *b = *state;

    set_reg(cpu(b, 1), LAPIC_REG_ICR, 0x40041);
    assert_true(got(b, 1, 0x41) && !got(b, 0, 0x41));
    set_reg(cpu(b, 1), LAPIC_REG_ICR, 0xc0061);
    assert_true(got(b, 0, 0x61) && got(b, 3, 0x61) && !got(b, 1, 0x61));
    set_reg(cpu(b, 1), LAPIC_REG_ICR, 0x80071);
    assert_true(got(b, 1, 0x71) && got(b, 2, 0x71));
}

static void lowest_priority_takes_the_least_busy(void **state)
{
    struct board *b = *state;
    unsigned i;

    for (i = 0; i < 4; i++)
        lapic_set_cr8(cpu(b, i), i == 2 ? 1 : 3);
    msi(b, 0xffu << 12, 0x141);
    assert_true(got(b, 2, 0x41));
    assert_int_equal(lapic_pending(cpu(b, 0)), -1);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR] +
                         b->posts[1][LAPIC_EVENT_INTR] +
                         b->posts[3][LAPIC_EVENT_INTR],
                     0);
}

static void init_and_sipi_reach_a_cpu(void **state)
{
    struct board *b = *state;

    set_reg(cpu(b, 0), LAPIC_REG_ICR_HIGH, 1u << 24);
    set_reg(cpu(b, 0), LAPIC_REG_ICR, 0xc500);
    set_reg(cpu(b, 0), LAPIC_REG_ICR, 0x8500); /* de-assert: nothing */
    assert_int_equal(b->posts[1][LAPIC_EVENT_INIT], 1);
    set_reg(cpu(b, 0), LAPIC_REG_ICR, 0x4698);
    assert_int_equal(b->posts[1][LAPIC_EVENT_SIPI], 1);
    assert_int_equal(b->sipi, 0x98);
}

static void self_ipi_register_interrupts_its_cpu(void **state)
{
    struct board *b = *state;

    go_x2apic(b);
    assert_int_equal(lapic_wrmsr(cpu(b, 1), X2APIC + LAPIC_REG_SELF_IPI, 0x77),
                     0);
    assert_true(got(b, 1, 0x77));
    assert_int_equal(lapic_wrmsr(cpu(b, 1), X2APIC + LAPIC_REG_SELF_IPI, 0x177),
                     -EINVAL);
}

/* --- Modes -------------------------------------------------------------- */

static void only_the_documented_mode_changes_are_allowed(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 1);
    const uint64_t base = 0xfee00000, on = base | 0x800, x2 = base | 0xc00;

    assert_int_equal(lapic_wrmsr(l, APIC_BASE, base | 0x400), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, on | 1), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, 1ull << 48 | on), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, x2), 0);
    assert_int_equal(b->page[1], LAPIC_NO_PAGE);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, on), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, base), 0);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, x2), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, APIC_BASE, 0xfec08000 | 0x800), 0);
    assert_int_equal(b->page[1], 0xfec08000);
}

static void x2apic_registers_need_x2apic_mode(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 1);
    uint64_t val;

    assert_int_equal(lapic_rdmsr(l, X2APIC + LAPIC_REG_ID, &val), -EINVAL);
    go_x2apic(b);
    assert_int_equal(lapic_rdmsr(l, X2APIC + LAPIC_REG_ID, &val), 0);
    assert_int_equal(val, 1);
    assert_int_equal(lapic_rdmsr(l, X2APIC + LAPIC_REG_DFR, &val), -EINVAL);
    assert_int_equal(lapic_rdmsr(l, X2APIC + LAPIC_REG_EOI, &val), -EINVAL);
    assert_int_equal(lapic_rdmsr(l, X2APIC + 0x31, &val), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, X2APIC + LAPIC_REG_EOI, 1), -EINVAL);
    assert_int_equal(lapic_wrmsr(l, X2APIC + LAPIC_REG_TPR, 1ull << 32),
                     -EINVAL);
    assert_int_equal(lapic_wrmsr(l, X2APIC + LAPIC_REG_ID, 5), -EINVAL);
}

static void init_keeps_base_and_mode(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 1);
    uint64_t val;

    go_x2apic(b);
    msi(b, 1u << 12, 0x41);
    lapic_reset(l, true);
    assert_int_equal(lapic_rdmsr(l, APIC_BASE, &val), 0);
    assert_int_equal(val, 0xfee00c00);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(lapic_rdmsr(l, X2APIC + LAPIC_REG_SVR, &val), 0);
    assert_int_equal(val, 0xff);
    lapic_reset(l, false);
    assert_int_equal(lapic_rdmsr(l, APIC_BASE, &val), 0);
    assert_int_equal(val, 0xfee00800);
}

/* --- Pins --------------------------------------------------------------- */

static void the_8259_interrupts_through_extint(void **state)
{
    struct board *b = *state;
    struct irq lint0 = lapic_bus_lint0(&b->bus);

    b->pic_vector = 0x08;
    irq_set(&lint0, true);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR], 1);
    assert_int_equal(b->posts[1][LAPIC_EVENT_INTR], 0); /* masked there */
    assert_int_equal(lapic_pending(cpu(b, 0)), 0x08);
    assert_int_equal(b->pic_acks, 0);
    assert_int_equal(lapic_ack(cpu(b, 0)), 0x08);
    assert_int_equal(b->pic_acks, 1);
    irq_set(&lint0, false);
    assert_int_equal(lapic_pending(cpu(b, 0)), -1);
    assert_int_equal(lapic_ack(cpu(b, 0)), -1);
}

static void a_disabled_apic_passes_the_8259_on(void **state)
{
    struct board *b = *state;
    struct irq lint0 = lapic_bus_lint0(&b->bus);

    assert_int_equal(lapic_wrmsr(cpu(b, 1), APIC_BASE, 0xfee00000), 0);
    b->pic_vector = 0x20;
    irq_set(&lint0, true);
    assert_int_equal(lapic_ack(cpu(b, 1)), 0x20);
}

static void an_extint_message_is_one_inta_cycle(void **state)
{
    struct board *b = *state;

    b->pic_vector = 0x30;
    msi(b, 2u << 12, 0x700);
    assert_int_equal(lapic_ack(cpu(b, 2)), 0x30);
    assert_int_equal(lapic_ack(cpu(b, 2)), -1);
}

static void lint1_is_an_nmi(void **state)
{
    struct board *b = *state;
    struct irq lint1 = lapic_bus_lint1(&b->bus);

    set_reg(cpu(b, 0), LAPIC_REG_LVT + LAPIC_LVT_LINT1, 0x400);
    irq_set(&lint1, true);
    assert_int_equal(b->posts[0][LAPIC_EVENT_NMI], 1);
    assert_int_equal(b->posts[1][LAPIC_EVENT_NMI], 0);
}

static void a_level_pin_asks_until_it_is_low(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    struct irq lint0 = lapic_bus_lint0(&b->bus);

    set_reg(l, LAPIC_REG_LVT + LAPIC_LVT_LINT0, LAPIC_LVT_LEVEL | 0x41);
    irq_set(&lint0, true);
    assert_int_equal(lapic_ack(l), 0x41);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(lapic_ack(l), 0x41);
    irq_set(&lint0, false);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(lapic_pending(l), -1);
}

/* --- Paravirtual EOI ---------------------------------------------------- */

enum { FLAG_GPA = 0x1000 };

static uint8_t *pv_flag(struct board *b)
{
    return gmem_hva(&b->gm, FLAG_GPA, 4);
}

static void pv_on(struct board *b)
{
    assert_int_equal(lapic_wrmsr(cpu(b, 0), LAPIC_MSR_PV_EOI, FLAG_GPA | 1), 0);
}

static void clearing_the_flag_ends_the_interrupt(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    pv_on(b);
    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    assert_int_equal(*pv_flag(b), 1);
    *pv_flag(b) = 0;
    msi(b, 0, 0x41);
    assert_int_equal(lapic_ack(l), 0x41);
    assert_int_equal(reg(l, LAPIC_REG_ISR + 2), 2);
}

static void a_new_request_takes_the_flag_back(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    pv_on(b);
    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    msi(b, 0, 0x41);
    assert_int_equal(lapic_pending(l), -1);
    assert_int_equal(*pv_flag(b), 0);
    /* so the guest writes the register, and the CPU hears of it */
    b->posts[0][LAPIC_EVENT_INTR] = 0;
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(b->posts[0][LAPIC_EVENT_INTR], 1);
    assert_int_equal(lapic_pending(l), 0x41);
}

static void the_flag_is_not_offered_for_level_or_with_others(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    pv_on(b);
    msi(b, 0, 0xc041);
    assert_int_equal(lapic_ack(l), 0x41);
    assert_int_equal(*pv_flag(b), 0);
    set_reg(l, LAPIC_REG_EOI, 0);
    msi(b, 0, 0x42);
    msi(b, 0, 0x31);
    assert_int_equal(lapic_ack(l), 0x42);
    assert_int_equal(*pv_flag(b), 0);
}

static void a_register_eoi_with_the_flag_set_ends_one(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    pv_on(b);
    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    set_reg(l, LAPIC_REG_EOI, 0);
    assert_int_equal(*pv_flag(b), 0);
    assert_int_equal(reg(l, LAPIC_REG_ISR + 2), 0);
}

static void a_bad_flag_address_is_refused(void **state)
{
    struct board *b = *state;

    assert_int_equal(lapic_wrmsr(cpu(b, 0), LAPIC_MSR_PV_EOI, 0x1003), -EINVAL);
    assert_int_equal(lapic_wrmsr(cpu(b, 0), LAPIC_MSR_PV_EOI, 1ull << 40 | 1),
                     -EINVAL);
    assert_int_equal(lapic_wrmsr(cpu(b, 0), LAPIC_MSR_PV_EOI, 0xffffd), 0);
}

/* --- Timer -------------------------------------------------------------- */

static bool has_request(void *lapic)
{
    return lapic_pending(lapic) >= 0;
}

static void one_shot_fires_once(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT, 0xec);
    set_reg(l, LAPIC_REG_TIMER_DIV, 0xb);
    set_reg(l, LAPIC_REG_TIMER_INIT, 1000000);
    run_until(b->loop, has_request, l);
    assert_int_equal(lapic_ack(l), 0xec);
    assert_int_equal(reg(l, LAPIC_REG_TIMER_CURRENT), 0);
    assert_false(l->timer.armed);
}

static void periodic_fires_again(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    unsigned i;

    set_reg(l, LAPIC_REG_LVT, 0xec | 1u << 17);
    set_reg(l, LAPIC_REG_TIMER_DIV, 0);
    set_reg(l, LAPIC_REG_TIMER_INIT, 250000);
    for (i = 0; i < 3; i++) {
        run_until(b->loop, has_request, l);
        assert_int_equal(lapic_ack(l), 0xec);
        set_reg(l, LAPIC_REG_EOI, 0);
    }
    set_reg(l, LAPIC_REG_TIMER_INIT, 0);
    assert_false(l->timer.armed);
}

/* Whether or not the loop has come round to it. */
static void what_has_run_out_does_not_become_periodic(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT, 0xec);
    set_reg(l, LAPIC_REG_TIMER_DIV, 0xb);
    set_reg(l, LAPIC_REG_TIMER_INIT, 0xffffffff);
    l->st.timer_start_ns -= 1ull << 32;
    set_reg(l, LAPIC_REG_LVT, 0xec | 1u << 17);
    assert_int_equal(reg(l, LAPIC_REG_TIMER_CURRENT), 0);
    assert_int_equal(lapic_ack(l), 0xec);
}

static void the_count_goes_down_by_the_divider(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    uint32_t now;

    set_reg(l, LAPIC_REG_LVT, 0xec);
    set_reg(l, LAPIC_REG_TIMER_DIV, 0xa); /* 128 */
    set_reg(l, LAPIC_REG_TIMER_INIT, 0xffffffff);
    l->st.timer_start_ns -= 1280000000;
    now = reg(l, LAPIC_REG_TIMER_CURRENT);
    assert_true(now <= 0xffffffff - 10000000);
    assert_int_equal(reg(l, LAPIC_REG_TIMER_INIT), 0xffffffff);
}

static void a_tsc_deadline_fires_and_reads_as_zero(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    uint64_t val;

    set_reg(l, LAPIC_REG_LVT, 0xec | 2u << 17);
    assert_int_equal(
        lapic_wrmsr(l, DEADLINE, clock_rdtsc() + clock_tsc_hz() / 1000), 0);
    run_until(b->loop, has_request, l);
    assert_int_equal(lapic_rdmsr(l, DEADLINE, &val), 0);
    assert_int_equal(val, 0);
}

static void a_past_deadline_fires_at_once(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT, 0xec | 2u << 17);
    assert_int_equal(lapic_wrmsr(l, DEADLINE, 1), 0);
    assert_int_equal(lapic_pending(l), 0xec);
}

static void the_deadline_is_in_guest_time(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    uint64_t tsc = clock_rdtsc();

    set_reg(l, LAPIC_REG_LVT, 0xec | 2u << 17);
    lapic_set_tsc(l, -(int64_t)tsc, clock_tsc_hz());
    assert_int_equal(lapic_wrmsr(l, DEADLINE, tsc), 0); /* far ahead */
    assert_int_equal(lapic_pending(l), -1);
    lapic_set_tsc(l, 1ll << 60, clock_tsc_hz());
    assert_int_equal(lapic_pending(l), 0xec);
}

static void the_deadline_needs_its_mode(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    uint64_t val;

    set_reg(l, LAPIC_REG_LVT, 0xec);
    assert_int_equal(lapic_wrmsr(l, DEADLINE, 1), 0);
    assert_int_equal(lapic_pending(l), -1);
    set_reg(l, LAPIC_REG_LVT, 0xec | 2u << 17);
    assert_int_equal(lapic_wrmsr(l, DEADLINE, UINT64_MAX), 0);
    set_reg(l, LAPIC_REG_LVT, 0xec); /* leaving the mode disarms */
    assert_int_equal(lapic_rdmsr(l, DEADLINE, &val), 0);
    assert_int_equal(val, 0);
    assert_false(l->timer.armed);
}

static void a_masked_timer_runs_without_interrupting(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);

    set_reg(l, LAPIC_REG_LVT, 0xec | LAPIC_LVT_MASKED | 2u << 17);
    assert_int_equal(lapic_wrmsr(l, DEADLINE, 1), 0);
    assert_int_equal(lapic_pending(l), -1);
}

/* --- Saved state -------------------------------------------------------- */

static void a_loaded_apic_goes_on(void **state)
{
    struct board *b = *state;
    struct lapic *l = cpu(b, 0);
    struct lapic_state saved;

    msi(b, 0, 0x51);
    assert_int_equal(lapic_ack(l), 0x51);
    msi(b, 0, 0x61);
    set_reg(l, LAPIC_REG_LVT, 0xec | 2u << 17);
    memcpy(&saved, &l->st, sizeof(saved));
    saved.tsc_deadline = 1;
    lapic_reset(l, false);
    memcpy(&l->st, &saved, sizeof(saved));
    lapic_class.loaded(l, 0);
    assert_int_equal(reg(l, LAPIC_REG_PPR), 0x50);
    assert_int_equal(lapic_ack(l), 0xec); /* ran out meanwhile */
    assert_int_equal(b->page[0], 0xfee00000);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_lower_priority_waits_for_the_eoi),
        T(a_higher_priority_nests),
        T(the_task_priority_holds_back_and_lets_go),
        T(a_request_that_is_set_is_not_posted_again),
        T(pending_does_not_accept),
        T(software_disable_drops_fixed_interrupts_and_masks),
        T(an_illegal_vector_is_an_error),
        T(only_level_interrupts_broadcast_their_eoi),
        T(a_level_that_is_still_high_comes_again),
        T(an_eoi_without_service_is_nothing),
        T(physical_destinations_are_apic_ids),
        T(flat_logical_destinations_are_masks),
        T(cluster_logical_destinations_name_a_cluster),
        T(x2apic_logical_ids_are_derived),
        T(x2apic_broadcast_has_32_bits),
        T(shorthands_choose_self_all_or_others),
        T(lowest_priority_takes_the_least_busy),
        T(init_and_sipi_reach_a_cpu),
        T(self_ipi_register_interrupts_its_cpu),
        T(only_the_documented_mode_changes_are_allowed),
        T(x2apic_registers_need_x2apic_mode),
        T(init_keeps_base_and_mode),
        T(the_8259_interrupts_through_extint),
        T(a_disabled_apic_passes_the_8259_on),
        T(an_extint_message_is_one_inta_cycle),
        T(lint1_is_an_nmi),
        T(a_level_pin_asks_until_it_is_low),
        T(clearing_the_flag_ends_the_interrupt),
        T(a_new_request_takes_the_flag_back),
        T(the_flag_is_not_offered_for_level_or_with_others),
        T(a_register_eoi_with_the_flag_set_ends_one),
        T(a_bad_flag_address_is_refused),
        T(one_shot_fires_once),
        T(periodic_fires_again),
        T(what_has_run_out_does_not_become_periodic),
        T(the_count_goes_down_by_the_divider),
        T(a_tsc_deadline_fires_and_reads_as_zero),
        T(a_past_deadline_fires_at_once),
        T(the_deadline_is_in_guest_time),
        T(the_deadline_needs_its_mode),
        T(a_masked_timer_runs_without_interrupting),
        T(a_loaded_apic_goes_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
