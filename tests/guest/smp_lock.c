#include "device.h"
#include "smp.h"

/* Two CPUs on the same words: locked instructions lose nothing, also across
 * cache lines and pages, and stores are seen in order. */

enum { ROUNDS = 50000 };

static volatile uint64_t counter, done, ticket, turn, plain,
    pair[2] __attribute__((aligned(16)));
static volatile uint64_t flag_a, flag_b;
static uint64_t split; /* address of a counter across two pages */

static void add_all(void)
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t v, old;

        __asm__ volatile("lock incq %0" : "+m"(counter));
        __asm__ volatile("lock xaddq %0, %1" : "=r"(v), "+m"(counter) : "0"(1));
        do {
            old = counter;
            v = old + 1;
            __asm__ volatile("lock cmpxchgq %2, %1"
                             : "+a"(old), "+m"(counter)
                             : "r"(v)
                             : "cc");
        } while (old + 1 != v);
        if (i % 64 == 0)
            __asm__ volatile("lock addq $1, (%0)" ::"r"(split) : "memory");
    }
}

/* A ticket lock around plain increments. */
static void locked_plain(void)
{
    for (unsigned i = 0; i < ROUNDS / 5; i++) {
        uint64_t mine = __atomic_fetch_add(&ticket, 1, __ATOMIC_SEQ_CST);

        while (turn != mine)
            pause();
        plain++;
        turn = mine + 1;
    }
}

/* CMPXCHG16B keeps both halves together. */
static void wide(void)
{
    for (unsigned i = 0; i < ROUNDS / 5; i++) {
        uint64_t lo = pair[0], hi = pair[1], nlo, nhi;
        bool ok;

        do {
            nlo = lo + 1;
            nhi = hi - 1;
            __asm__ volatile("lock cmpxchg16b %1\n sete %0"
                             : "=q"(ok), "+m"(pair), "+a"(lo), "+d"(hi)
                             : "b"(nlo), "c"(nhi)
                             : "cc", "memory");
        } while (!ok);
    }
}

static void worker(unsigned id)
{
    (void)id;
    add_all();
    locked_plain();
    wide();
    __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
    /* Then the other half of an exchange of messages. */
    for (uint64_t i = 1; i <= ROUNDS / 10; i++) {
        while (flag_a != i)
            pause();
        flag_b = i;
    }
}

int main(void)
{
    uint64_t p = page_alloc(), q;

    (void)page_alloc();
    q = page_alloc();
    map_page(TEST_VA, q, PTE_P | PTE_W);
    map_page(TEST_VA + 4096, p, PTE_P | PTE_W);
    split = TEST_VA + 4096 - 3;
    apic_enable();
    CHECK(smp_start(1, worker));
    add_all();
    locked_plain();
    wide();
    CHECK(wait_for(&done, 1));
    CHECK_EQ(counter, 2 * 3 * ROUNDS);
    CHECK_EQ(plain, 2 * (ROUNDS / 5));
    CHECK_EQ(pair[0], 2 * (ROUNDS / 5));
    CHECK_EQ(pair[1], -(uint64_t)(2 * (ROUNDS / 5)));
    CHECK_EQ(mem_read64(split), 2 * ((ROUNDS + 63) / 64));
    for (uint64_t i = 1; i <= ROUNDS / 10; i++) {
        flag_a = i;
        CHECK(wait_for(&flag_b, i));
    }
    return 0;
}
