#include "cpu/kvmclock.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stddef.h>

#include "base/clock.h"
#include "base/log.h"
#include "cpu/vcpu_set.h"

/*
 * The structures that the guest reads (KVM: x86/msr.rst). A
 * version that is odd means that an update is under way; the guest reads
 * until it sees the same even version before and after.
 */
struct pvclock_time {
    uint32_t version;
    uint32_t pad0;
    uint64_t tsc_timestamp; /* guest TSC at which ... */
    uint64_t system_time;   /* ... this was the time, in ns */
    uint32_t mul;
    int8_t shift;
    uint8_t flags;
    uint8_t pad[2];
};

struct pvclock_wall {
    uint32_t version;
    uint32_t sec; /* the wall clock when the system time was 0 */
    uint32_t nsec;
};

_Static_assert(sizeof(struct pvclock_time) == 32, "a guest's ABI");
_Static_assert(sizeof(struct pvclock_wall) == 12, "a guest's ABI");

#define PVCLOCK_TSC_STABLE 1u /* all CPUs' times agree: no need to compare */
#define SYSTEM_TIME_ENABLE 1u
#define POLL_CONTROL_POLL  1u

__extension__ typedef unsigned __int128 wide; /* product of two 64-bit ones */

/* --- The scale ---------------------------------------------------------- */

/* Shift hz into (1 GHz, 2 GHz], so that mul has 32 significant bits. */
void kvmclock_start(struct kvmclock *kc, uint64_t base_tsc, uint64_t hz)
{
    wide ns = (wide)NS_PER_SEC << 32;
    int shift = 0;

    assert(hz > 0);
    for (; hz >> -shift > 2 * NS_PER_SEC; shift--)
        ns <<= 1;
    if (shift == 0)
        for (; hz <= NS_PER_SEC; shift++)
            hz <<= 1;
    kc->base_tsc = base_tsc;
    kc->shift = (int8_t)shift;
    kc->mul = (uint32_t)(ns / hz);
}

uint64_t kvmclock_ns(const struct kvmclock *kc, uint64_t tsc)
{
    uint64_t ticks = tsc - kc->base_tsc;

    ticks = kc->shift < 0 ? ticks >> -kc->shift : ticks << kc->shift;
    return (uint64_t)(((wide)ticks * kc->mul) >> 32);
}

/* --- What the guest reads ----------------------------------------------- */

/*
 * Put data, which begins with its version, to gpa. The version is made odd
 * before and even after; a junk odd one that the guest left there becomes
 * even first. Readers on other CPUs see this order because x86 keeps stores
 * in order, and the fences keep the compiler from changing it.
 */
static int pvclock_put(const struct gmem *gm, gpa_t gpa, void *data, size_t len)
{
    uint32_t *version = data;
    int rc = gmem_read(gm, gpa, version, sizeof(*version));

    if (rc < 0)
        return rc;
    *version = (*version + 1) | 1;
    rc = gmem_write(gm, gpa, version, sizeof(*version));
    atomic_thread_fence(memory_order_seq_cst);
    if (rc == 0)
        rc = gmem_write(gm, gpa, data, len);
    atomic_thread_fence(memory_order_seq_cst);
    *version += 1;
    return rc < 0 ? rc : gmem_write(gm, gpa, version, sizeof(*version));
}

void kvmclock_refresh(struct vcpu *v, const struct x86_state *st)
{
    const struct kvmclock *kc = &v->set->clock;
    uint64_t msr = st->msr.kvm_system_time;
    struct pvclock_time t = {
        .tsc_timestamp = kc->base_tsc + st->tsc_offset,
        .system_time = 0,
        .mul = kc->mul,
        .shift = kc->shift,
        .flags = PVCLOCK_TSC_STABLE,
    };

    if (!(msr & SYSTEM_TIME_ENABLE))
        return;
    if (pvclock_put(v->set->cfg.gmem, msr & ~(uint64_t)SYSTEM_TIME_ENABLE, &t,
                    sizeof(t)) < 0)
        log_guest("kvmclock", "time page of CPU %u is not in RAM", v->index);
}

/* The guest adds the system time to this to know the time of day. */
static void kvmclock_put_wall(struct vcpu *v, gpa_t gpa)
{
    uint64_t now = kvmclock_ns(&v->set->clock, clock_rdtsc());
    uint64_t start = clock_wall_ns() - now;
    struct pvclock_wall w = {
        .sec = (uint32_t)(start / NS_PER_SEC),
        .nsec = (uint32_t)(start % NS_PER_SEC),
    };

    if (pvclock_put(v->set->cfg.gmem, gpa, &w, sizeof(w)) < 0)
        log_guest("kvmclock", "wall clock of CPU %u is not in RAM", v->index);
}

/* --- The MSRs ----------------------------------------------------------- */

/* Bit 0 enables, bit 1 is reserved, the rest is a gpa aligned to 4. */
static int kvmclock_set_pv_eoi(struct vcpu *v, struct x86_state *st,
                               uint64_t val)
{
    int rc = -EINVAL;

    if (v->intc && !(val & 2))
        rc = v->intc_ops->wrmsr(v->intc, KVM_MSR_PV_EOI, val);
    if (rc == 0)
        st->msr.kvm_pv_eoi = val;
    return rc;
}

int kvmclock_wrmsr(struct vcpu *v, struct x86_state *st, uint32_t msr,
                   uint64_t val)
{
    switch (msr) {
    case KVM_MSR_WALL_CLOCK:
    case KVM_MSR_WALL_CLOCK_OLD:
        st->msr.kvm_wall_clock = val;
        kvmclock_put_wall(v, val);
        return 0;
    case KVM_MSR_SYSTEM_TIME:
    case KVM_MSR_SYSTEM_TIME_OLD:
        st->msr.kvm_system_time = val;
        kvmclock_refresh(v, st);
        return 0;
    case KVM_MSR_PV_EOI: return kvmclock_set_pv_eoi(v, st, val);
    case KVM_MSR_POLL_CONTROL:
        if (val & ~(uint64_t)POLL_CONTROL_POLL)
            return -EINVAL;
        st->msr.kvm_poll_control = val;
        return 0;
    default: return -EINVAL; /* steal time, async page faults: no such MSR */
    }
}

int kvmclock_rdmsr(struct vcpu *v, const struct x86_state *st, uint32_t msr,
                   uint64_t *val)
{
    (void)v;
    switch (msr) {
    case KVM_MSR_WALL_CLOCK:
    case KVM_MSR_WALL_CLOCK_OLD: *val = st->msr.kvm_wall_clock; return 0;
    case KVM_MSR_SYSTEM_TIME:
    case KVM_MSR_SYSTEM_TIME_OLD: *val = st->msr.kvm_system_time; return 0;
    case KVM_MSR_PV_EOI: *val = st->msr.kvm_pv_eoi; return 0;
    case KVM_MSR_POLL_CONTROL: *val = st->msr.kvm_poll_control; return 0;
    default: return -EINVAL;
    }
}
