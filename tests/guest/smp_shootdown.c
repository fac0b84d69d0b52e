#include "device.h"
#include "smp.h"

/* A page is taken from both CPUs: after the other has answered the interrupt
 * in which it flushes, it never uses the old page again. */

enum { FLUSH = 0x73, ROUNDS = 300 };

static volatile uint64_t flushed, stop, ready, errors, allowed[2];

static void on_flush(struct frame *f)
{
    (void)f;
    invlpg(TEST_VA);
    apic_eoi();
    flushed++;
}

/* Writes through the mapping all the time; what it reads back must be from a
 * page that it may see now. */
static void worker(unsigned id)
{
    (void)id;
    apic_write(APIC_SVR, 0x1ff);
    ready = 1;
    while (!stop) {
        sti();
        for (unsigned i = 0; i < 50; i++)
            *(volatile uint64_t *)(TEST_VA + 8) += 1;
        cli();
    }
    ready = 2;
}

int main(void)
{
    uint64_t a = page_alloc(), b = page_alloc();

    map_page(TEST_VA, a, PTE_P | PTE_W);
    apic_enable();
    set_handler(FLUSH, on_flush);
    CHECK(smp_start(1, worker));
    CHECK(wait_for(&ready, 1));
    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t page = i & 1 ? a : b, old = i & 1 ? b : a, before = flushed, v;

        map_page(TEST_VA, page, PTE_P | PTE_W);
        apic_send(1, 0x4000 | FLUSH);
        if (!wait_for(&flushed, before + 1)) {
            CHECK(false);
            break;
        }
        v = mem_read64(old + 8);
        for (unsigned k = 0; k < 200; k++)
            pause();
        errors += mem_read64(old + 8) != v;
    }
    CHECK_EQ(errors, 0);
    stop = 1;
    CHECK(wait_for(&ready, 2));
    CHECK(mem_read64(a + 8) + mem_read64(b + 8) > 0);
    return 0;
}
