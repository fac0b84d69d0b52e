/* Two CPUs. */
#include "harness.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void pin(int cpu)
{
    cpu_set_t s;
    CPU_ZERO(&s);
    CPU_SET((size_t)cpu, &s);
    if (sched_setaffinity(0, sizeof s, &s))
        die("sched_setaffinity");
}
static void need2(void)
{
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
        skip("needs 2 CPUs");
    pin(0);
}

/* integer mix whose state is all on the caller's stack */
static NOINLINE void mix(long n)
{
    uint64_t t[64], s = (uint64_t)n | 1, acc = 0;
    for (int i = 0; i < 64; i++)
        t[i] = rng(&s);
    for (long it = 0; it < n; it++)
        for (int i = 0; i < 64; i++) {
            uint64_t r = t[i] * 0x9E3779B97F4A7C15ULL + acc;
            if (r & 64)
                acc ^= r >> 7;
            else
                acc += t[r & 63];
            t[i] = r;
        }
    sink += acc;
}
static void *mix_thread(void *n)
{
    pin(1);
    mix((long)n);
    return NULL;
}
static void par1_run(long n)
{
    mix(n);
}
static void par2_run(long n) /* the same work on both CPUs at once */
{
    pthread_t t;
    if (pthread_create(&t, NULL, mix_thread, (void *)n))
        die("pthread_create");
    mix(n);
    pthread_join(t, NULL);
}

static int word;
static volatile int stop;
static long count __attribute__((aligned(64)));
static void *add_thread(void *a)
{
    pin(1);
    for (long i = (long)a; i > 0; i--)
        __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    return NULL;
}
static void lockadd_run(long n)
{
    pthread_t t;
    count = 0;
    if (pthread_create(&t, NULL, add_thread, (void *)n))
        die("pthread_create");
    for (long i = 0; i < n; i++)
        __atomic_fetch_add(&count, 1, __ATOMIC_SEQ_CST);
    pthread_join(t, NULL);
    if (count != 2 * n)
        die("atomic add lost an update");
}

static void fx(int op, int v)
{
    syscall(SYS_futex, &word, op, v, NULL, NULL, 0);
}
static void *fut_thread(void *a)
{
    (void)a;
    pin(1);
    for (;;) {
        while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != 1)
            fx(FUTEX_WAIT_PRIVATE, 0);
        __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
        fx(FUTEX_WAKE_PRIVATE, 1);
    }
    return NULL;
}
static void fut_setup(void)
{
    pthread_t t;
    need2();
    if (pthread_create(&t, NULL, fut_thread, NULL))
        die("pthread_create");
}
static void fut_run(long n)
{
    for (long i = 0; i < n; i++) {
        __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
        fx(FUTEX_WAKE_PRIVATE, 1);
        while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != 0)
            fx(FUTEX_WAIT_PRIVATE, 1);
    }
}
static void *spin_thread(void *a)
{
    (void)a;
    pin(1);
    for (;;) {
        while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != 1)
            __builtin_ia32_pause();
        __atomic_store_n(&word, 0, __ATOMIC_RELEASE);
    }
    return NULL;
}
static void spin_setup(void)
{
    pthread_t t;
    need2();
    if (pthread_create(&t, NULL, spin_thread, NULL))
        die("pthread_create");
}
static void spin_run(long n)
{
    for (long i = 0; i < n; i++) {
        __atomic_store_n(&word, 1, __ATOMIC_RELEASE);
        while (__atomic_load_n(&word, __ATOMIC_ACQUIRE) != 0)
            __builtin_ia32_pause();
    }
}
static char *shoot;
static void *touch_thread(void *a)
{
    (void)a;
    pin(1);
    while (!stop)
        for (int k = 0; k < 65536; k += 4096)
            sink += (uint64_t)shoot[k];
    return NULL;
}
static void shoot_setup(void)
{
    pthread_t t;
    need2();
    shoot = big_alloc(65536);
    if (pthread_create(&t, NULL, touch_thread, NULL))
        die("pthread_create");
}
static void shoot_run(long n) /* every mprotect must interrupt the other CPU */
{
    for (long i = 0; i < n; i++) {
        mprotect(shoot, 65536, PROT_READ);
        mprotect(shoot, 65536, PROT_READ | PROT_WRITE);
        shoot[0] = 1;
    }
}

const struct test smp_tests[] = {
    {"smp_compute1", "smp", "Mop/s", 64e-6, par1_run, need2, 0, 0},
    {"smp_compute2", "smp", "Mop/s", 2 * 64e-6, par2_run, need2, 0, 0},
    {"smp_lockadd", "smp", "Mop/s", 2e-6, lockadd_run, need2, 0, 0},
    {"smp_futex", "smp", "ktrip/s", 1e-3, fut_run, fut_setup, 0, 0},
    {"smp_spin", "smp", "ktrip/s", 1e-3, spin_run, spin_setup, 0, 0},
    {"smp_shootdown", "smp", "kcall/s", 2e-3, shoot_run, shoot_setup, 0, 0},
    {0}};
