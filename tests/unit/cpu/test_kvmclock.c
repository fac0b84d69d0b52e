#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "cpu/kvmclock.h"
#include "tests/unit/cpu/fake_engine.h"
#include "tests/unit/test.h"

/* As the guest sees them: written down again, since they are its ABI. */
struct time_page {
    uint32_t version, pad;
    uint64_t tsc_timestamp, system_time;
    uint32_t mul;
    int8_t shift;
    uint8_t flags, pad2[2];
};

struct wall_page {
    uint32_t version, sec, nsec;
};

enum { PAGE = 0x2000, RAM = 0x4000, NR = 2, MSRS_NOT_THERE = 3 };

struct fixture {
    struct gmem gm;
    struct vcpu_set *set;
    struct x86_state st[NR];
};

static void on_stopped(void *opaque, enum vcpu_stop_reason why)
{
    (void)opaque;
    (void)why;
}

static void setup(struct fixture *f)
{
    struct gmem_layout layout = {.start = 0, .size = RAM};
    struct err err;
    unsigned i;

    memset(f, 0, sizeof(*f));
    assert_int_equal(gmem_init(&f->gm, &layout, 1, &err), 0);
    assert_int_equal(vcpu_set_new(&f->set,
                                  &(struct vcpu_config){
                                      .nr = NR,
                                      .ops = &fake_engine_ops,
                                      .model = &fake_model,
                                      .gmem = &f->gm,
                                      .stopped = on_stopped,
                                  },
                                  &err),
                     0);
    for (i = 0; i < NR; i++)
        vcpu_get_state(vcpu_get(f->set, i), &f->st[i]);
}

static void teardown(struct fixture *f)
{
    vcpu_set_free(f->set);
    gmem_fini(&f->gm);
}

static int wrmsr(struct fixture *f, unsigned cpu, uint32_t msr, uint64_t val)
{
    return kvmclock_wrmsr(vcpu_get(f->set, cpu), &f->st[cpu], msr, val);
}

static struct time_page time_page(struct fixture *f, gpa_t gpa)
{
    struct time_page t;

    assert_int_equal(gmem_read(&f->gm, gpa, &t, sizeof(t)), 0);
    return t;
}

/* The guest's computation (KVM: x86/msr.rst). */
static uint64_t guest_ns(const struct time_page *t, uint64_t guest_tsc)
{
    uint64_t d = guest_tsc - t->tsc_timestamp;
    uint64_t high, low;

    d = t->shift < 0 ? d >> -t->shift : d << t->shift;
    high = (d >> 32) * t->mul;
    low = ((d & 0xffffffff) * t->mul) >> 32;
    return t->system_time + high + low;
}

static void the_scale_is_exact_for_any_frequency(void **state)
{
    static const uint64_t hz[] = {100000000,  999999999,  1000000000,
                                  1000000001, 1996249000, 2000000000,
                                  2000000001, 3700000000, 6200000000};
    struct kvmclock kc;
    size_t i;

    (void)state;
    for (i = 0; i < ARRAY_LEN(hz); i++) {
        uint64_t day = 86400 * NS_PER_SEC, ns;

        kvmclock_start(&kc, 12345, hz[i]);
        assert_true(kc.mul >= 0x80000000 || hz[i] == 2000000000);
        assert_int_equal(kvmclock_ns(&kc, 12345), 0);
        ns = kvmclock_ns(&kc, 12345 + 86400 * hz[i]);
        assert_true(ns <= day && day - ns < 50000); /* 1e-9 of a day */
    }
}

static void the_guest_reads_the_time_since_reset(void **state)
{
    struct fixture f;
    struct time_page t;
    uint64_t tsc, ns, now;

    (void)state;
    setup(&f);
    now = clock_now_ns();
    vcpu_set_reset(f.set);
    vcpu_get_state(vcpu_get(f.set, 0), &f.st[0]);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, PAGE | 1), 0);
    t = time_page(&f, PAGE);
    assert_int_equal(t.version & 1, 0);
    assert_true(t.version > 0);
    assert_int_equal(t.flags, 1);
    tsc = clock_rdtsc();
    ns = guest_ns(&t, tsc + f.st[0].tsc_offset);
    now = clock_now_ns() - now;
    assert_true(ns <= now + now / 10 + 1000); /* the TSC may be measured */
    teardown(&f);
}

static void all_cpus_read_the_same_time(void **state)
{
    struct fixture f;
    struct time_page a, b;
    uint64_t tsc = clock_rdtsc();

    (void)state;
    setup(&f);
    f.st[1].tsc_offset += 1000000; /* the guest wrote its TSC */
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, PAGE | 1), 0);
    assert_int_equal(wrmsr(&f, 1, KVM_MSR_SYSTEM_TIME, (PAGE + 64) | 1), 0);
    a = time_page(&f, PAGE);
    b = time_page(&f, PAGE + 64);
    tsc += 1000000000;
    assert_int_equal(guest_ns(&a, tsc + f.st[0].tsc_offset),
                     guest_ns(&b, tsc + f.st[1].tsc_offset));
    teardown(&f);
}

static void a_new_tsc_offset_leaves_the_time_alone(void **state)
{
    struct fixture f;
    struct time_page a, b;
    uint64_t tsc = clock_rdtsc() + 1000000000;

    (void)state;
    setup(&f);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, PAGE | 1), 0);
    a = time_page(&f, PAGE);
    f.st[0].tsc_offset -= 777;
    vcpu_tsc_changed(vcpu_get(f.set, 0), &f.st[0]);
    b = time_page(&f, PAGE);
    assert_int_equal(b.version, a.version + 2);
    assert_int_equal(guest_ns(&a, tsc + f.st[0].tsc_offset + 777),
                     guest_ns(&b, tsc + f.st[0].tsc_offset));
    teardown(&f);
}

static void the_wall_clock_is_that_of_the_reset(void **state)
{
    struct fixture f;
    struct wall_page w = {.version = 7}; /* junk that looks like an update */
    uint64_t now, start;

    (void)state;
    setup(&f);
    assert_int_equal(gmem_write(&f.gm, PAGE, &w, sizeof(w)), 0);
    now = clock_wall_ns();
    assert_int_equal(wrmsr(&f, 1, KVM_MSR_WALL_CLOCK, PAGE), 0);
    assert_int_equal(gmem_read(&f.gm, PAGE, &w, sizeof(w)), 0);
    assert_int_equal(w.version & 1, 0);
    assert_true(w.nsec < NS_PER_SEC);
    start = w.sec * NS_PER_SEC + w.nsec;
    assert_true(start <= now + NS_PER_SEC && now - start < 60 * NS_PER_SEC);
    teardown(&f);
}

static void a_disabled_clock_is_not_written(void **state)
{
    struct fixture f;

    (void)state;
    setup(&f);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, PAGE), 0);
    assert_int_equal(time_page(&f, PAGE).version, 0);
    teardown(&f);
}

static void a_page_outside_ram_is_the_guests_problem(void **state)
{
    struct fixture f;
    uint64_t val;

    (void)state;
    setup(&f);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, UINT64_MAX), 0);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_SYSTEM_TIME, (RAM - 16) | 1), 0);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_WALL_CLOCK, UINT64_MAX), 0);
    assert_int_equal(kvmclock_rdmsr(vcpu_get(f.set, 0), &f.st[0],
                                    KVM_MSR_SYSTEM_TIME_OLD, &val),
                     0);
    assert_int_equal(val, (RAM - 16) | 1);
    teardown(&f);
}

static void what_is_not_advertised_is_a_fault(void **state)
{
    static const uint32_t msr[MSRS_NOT_THERE] = {0x4b564d02, 0x4b564d03,
                                                 0x4b564d06};
    struct fixture f;
    uint64_t val;
    size_t i;

    (void)state;
    setup(&f);
    for (i = 0; i < ARRAY_LEN(msr); i++) {
        assert_int_equal(wrmsr(&f, 0, msr[i], 0), -EINVAL);
        assert_int_equal(
            kvmclock_rdmsr(vcpu_get(f.set, 0), &f.st[0], msr[i], &val),
            -EINVAL);
    }
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_POLL_CONTROL, 2), -EINVAL);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_POLL_CONTROL, 1), 0);
    assert_int_equal(wrmsr(&f, 0, KVM_MSR_PV_EOI, 1), -EINVAL); /* no APIC */
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_scale_is_exact_for_any_frequency),
        cmocka_unit_test(the_guest_reads_the_time_since_reset),
        cmocka_unit_test(all_cpus_read_the_same_time),
        cmocka_unit_test(a_new_tsc_offset_leaves_the_time_alone),
        cmocka_unit_test(the_wall_clock_is_that_of_the_reset),
        cmocka_unit_test(a_disabled_clock_is_not_written),
        cmocka_unit_test(a_page_outside_ram_is_the_guests_problem),
        cmocka_unit_test(what_is_not_advertised_is_a_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
