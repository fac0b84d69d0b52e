#include "devices/pc/acpi_pm.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "base/bits.h"
#include "base/clock.h"
#include "devices/pc/phase.h"

/*
 * ACPI fixed hardware (ACPI 6.5, 4.8.3 and 4.8.4). Status bits are cleared by
 * writing 1; SCI is the level of "some status bit is set and enabled".
 *
 * TMR_STS is set when the timer's top bit changes, every 10 minutes. It is
 * worked out when somebody looks; an event timer runs only while TMR_EN is
 * set.
 */

#define STS_TMR    0x0001u
#define STS_PWRBTN 0x0100u
#define STS_ALL    0x8731u /* TMR BM GBL PWRBTN SLPBTN RTC WAK */
#define EN_ALL     0x0721u
#define CNT_SCI_EN 0x0001u
#define CNT_KEPT   0x1c03u /* SCI_EN, BM_RLD, SLP_TYP */
#define CNT_SLP_EN 0x2000u

#define TMR_HALF BIT64(31) /* ticks between changes of the top bit */

__extension__ typedef unsigned __int128 u128;

static uint64_t pm_ticks(const struct acpi_pm *pm, uint64_t now)
{
    return (uint64_t)((u128)(now - pm->st.tmr_base_ns) * ACPI_TMR_HZ /
                      NS_PER_SEC);
}

static uint64_t pm_tick_ns(const struct acpi_pm *pm, uint64_t tick)
{
    u128 ns = ((u128)tick * NS_PER_SEC + ACPI_TMR_HZ - 1) / ACPI_TMR_HZ;

    return phase_deadline(pm->st.tmr_base_ns, (uint64_t)ns, clock_now_ns());
}

/* Set TMR_STS if the top bit has changed since the last look. */
static void pm_look(struct acpi_pm *pm, uint64_t now)
{
    uint64_t ticks = pm_ticks(pm, now);

    if (ticks / TMR_HALF != pm->st.tmr_seen / TMR_HALF)
        pm->st.pm1_sts |= STS_TMR;
    pm->st.tmr_seen = ticks;
}

static void pm_update(struct acpi_pm *pm)
{
    bool fixed = pm->st.pm1_sts & pm->st.pm1_en;
    bool gpe = pm->st.gpe_sts & pm->st.gpe_en;

    irq_set(&pm->sci, (fixed || gpe) && (pm->st.pm1_cnt & CNT_SCI_EN));
    if ((pm->st.pm1_en & STS_TMR) && !(pm->st.pm1_sts & STS_TMR))
        timer_arm(&pm->timer,
                  pm_tick_ns(pm, (pm->st.tmr_seen / TMR_HALF + 1) * TMR_HALF));
    else
        timer_cancel(&pm->timer);
}

static void pm_timer(void *opaque)
{
    struct acpi_pm *pm = opaque;

    lock_take(&pm->lock);
    pm_look(pm, clock_now_ns());
    pm_update(pm);
    lock_drop(&pm->lock);
}

/* --- Registers ---------------------------------------------------------- */

/* Bytes of an access within the 32-bit register that it falls into. */
static uint32_t lanes(uint64_t off, unsigned size)
{
    return (uint32_t)(bits_mask(size * 8) << (8 * (off & 3)));
}

static uint16_t merge16(uint16_t old, uint32_t val, uint32_t mask)
{
    return (uint16_t)((old & ~mask) | (val & mask));
}

static uint32_t pm_read_reg(struct acpi_pm *pm, unsigned reg)
{
    uint64_t now = clock_now_ns();

    switch (reg) {
    case ACPI_PM1_EVT:
        pm_look(pm, now);
        return pm->st.pm1_sts | (uint32_t)pm->st.pm1_en << 16;
    case ACPI_PM1_CNT: return pm->st.pm1_cnt;
    case ACPI_PM_TMR: return (uint32_t)pm_ticks(pm, now);
    default: return 0;
    }
}

static uint64_t pm_read(void *dev, uint64_t off, unsigned size)
{
    uint32_t val = pm_read_reg(dev, (unsigned)off & ~3u);

    return (val & lanes(off, size)) >> (8 * (off & 3));
}

static void pm_write_cnt(struct acpi_pm *pm, uint32_t val, uint32_t mask)
{
    uint16_t cnt = merge16(pm->st.pm1_cnt, val, mask);

    pm->st.pm1_cnt = cnt & CNT_KEPT;
    if ((cnt & CNT_SLP_EN) && pm->sleep)
        pm->sleep(pm->opaque, (cnt >> 10) & 7);
}

static void pm_write(void *dev, uint64_t off, unsigned size, uint64_t data)
{
    struct acpi_pm *pm = dev;
    uint32_t mask = lanes(off, size);
    uint32_t val = (uint32_t)data << (8 * (off & 3)) & mask;

    switch ((unsigned)off & ~3u) {
    case ACPI_PM1_EVT:
        pm_look(pm, clock_now_ns());
        pm->st.pm1_sts &= (uint16_t)~val;
        pm->st.pm1_en = merge16(pm->st.pm1_en, val >> 16, mask >> 16) & EN_ALL;
        break;
    case ACPI_PM1_CNT: pm_write_cnt(pm, val, mask); break;
    default: return;
    }
    pm_update(pm);
}

const struct bus_ops acpi_pm_bus_ops = {
    .read = pm_read, .write = pm_write, .min_size = 1, .max_size = 4};

static uint64_t gpe_read(void *dev, uint64_t off, unsigned size)
{
    const struct acpi_pm *pm = dev;
    uint32_t val = pm->st.gpe_sts | (uint32_t)pm->st.gpe_en << 16;

    return (val & lanes(off, size)) >> (8 * (off & 3));
}

static void gpe_write(void *dev, uint64_t off, unsigned size, uint64_t data)
{
    struct acpi_pm *pm = dev;
    uint32_t mask = lanes(off, size);
    uint32_t val = (uint32_t)data << (8 * (off & 3)) & mask;

    pm->st.gpe_sts &= (uint16_t)~val;
    pm->st.gpe_en = merge16(pm->st.gpe_en, val >> 16, mask >> 16);
    pm_update(pm);
}

const struct bus_ops acpi_gpe_bus_ops = {
    .read = gpe_read, .write = gpe_write, .min_size = 1, .max_size = 4};

static uint64_t smi_read(void *dev, uint64_t off, unsigned size)
{
    const struct acpi_pm *pm = dev;

    (void)size;
    return off & 1 ? pm->st.smi_sts : pm->st.smi_cmd;
}

/* What an SMI handler would do, done here: there is no SMM. */
static void smi_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct acpi_pm *pm = dev;

    (void)size;
    if (off & 1) {
        pm->st.smi_sts = (uint8_t)val;
        return;
    }
    pm->st.smi_cmd = (uint8_t)val;
    if (val == ACPI_SMI_ENABLE)
        pm->st.pm1_cnt |= CNT_SCI_EN;
    else if (val == ACPI_SMI_DISABLE)
        pm->st.pm1_cnt &= (uint16_t)~CNT_SCI_EN;
    pm_update(pm);
}

const struct bus_ops acpi_smi_bus_ops = {
    .read = smi_read, .write = smi_write, .min_size = 1, .max_size = 1};

/* --- Events ------------------------------------------------------------- */

void acpi_pm_power_button(struct acpi_pm *pm)
{
    lock_take(&pm->lock);
    pm->st.pm1_sts |= STS_PWRBTN;
    pm_update(pm);
    lock_drop(&pm->lock);
}

void acpi_pm_gpe(struct acpi_pm *pm, unsigned n)
{
    lock_take(&pm->lock);
    pm->st.gpe_sts |= (uint16_t)(1u << (n % ACPI_GPE_BITS));
    pm_update(pm);
    lock_drop(&pm->lock);
}

/* --- Life --------------------------------------------------------------- */

void acpi_pm_reset(struct acpi_pm *pm)
{
    memset(&pm->st, 0, sizeof(pm->st));
    pm->st.pm1_cnt = CNT_SCI_EN;
    pm->st.tmr_base_ns = clock_now_ns();
    pm_update(pm);
}

void acpi_pm_init(struct acpi_pm *pm, struct irq sci, struct loop *loop,
                  void (*sleep)(void *opaque, unsigned type), void *opaque)
{
    memset(pm, 0, sizeof(*pm));
    lock_init_ranked(&pm->lock, LOCK_RANK_DEVICE);
    timer_init(&pm->timer, loop, pm_timer, pm);
    pm->sci = sci;
    pm->sleep = sleep;
    pm->opaque = opaque;
    acpi_pm_reset(pm);
}

void acpi_pm_fini(struct acpi_pm *pm)
{
    timer_cancel(&pm->timer);
    lock_fini(&pm->lock);
}

static const struct state_field acpi_pm_fields[] = {
    STATE_FIELD(1, STATE_U16, struct acpi_pm_state, pm1_sts),
    STATE_FIELD(2, STATE_U16, struct acpi_pm_state, pm1_en),
    STATE_FIELD(3, STATE_U16, struct acpi_pm_state, pm1_cnt),
    STATE_FIELD(4, STATE_U16, struct acpi_pm_state, gpe_sts),
    STATE_FIELD(5, STATE_U16, struct acpi_pm_state, gpe_en),
    STATE_FIELD(6, STATE_U8, struct acpi_pm_state, smi_cmd),
    STATE_FIELD(7, STATE_U8, struct acpi_pm_state, smi_sts),
    STATE_FIELD(8, STATE_U64, struct acpi_pm_state, tmr_base_ns),
    STATE_FIELD(9, STATE_U64, struct acpi_pm_state, tmr_seen),
};

static int acpi_pm_check(const void *state)
{
    const struct acpi_pm_state *st = state;

    return !(st->pm1_sts & ~STS_ALL) && !(st->pm1_en & ~EN_ALL) &&
                   !(st->pm1_cnt & ~CNT_KEPT)
               ? 0
               : -EINVAL;
}

const struct state_desc acpi_pm_state_desc = {
    .name = "acpi_pm",
    .version = 1,
    STATE_LAYOUT(struct acpi_pm_state, acpi_pm_fields),
    .check = acpi_pm_check,
};

static void acpi_pm_class_reset(void *dev)
{
    acpi_pm_reset(dev);
}

static void acpi_pm_loaded(void *dev, int64_t shift_ns)
{
    struct acpi_pm *pm = dev;

    pm->st.tmr_base_ns += (uint64_t)shift_ns;
    pm_update(pm);
}

const struct device_class acpi_pm_class = {
    .state = &acpi_pm_state_desc,
    .state_off = offsetof(struct acpi_pm, st),
    .reset = acpi_pm_class_reset,
    .loaded = acpi_pm_loaded,
};
