#include "device.h"
#include "smp.h"

/* Interrupts between two CPUs, from running and from halted code; none is
 * lost. */

enum { PING = 0x71, PONG = 0x72, ROUNDS = 2000 };

static volatile uint64_t pings, pongs, stop, nmis, ready;

static void on_ping(struct frame *f)
{
    (void)f;
    pings++;
    apic_eoi();
    apic_send(0, 0x4000 | PONG);
}

static void on_pong(struct frame *f)
{
    (void)f;
    pongs++;
    apic_eoi();
}

static void on_nmi(struct frame *f)
{
    (void)f;
    nmis++;
}

static void worker(unsigned id)
{
    (void)id;
    apic_write(APIC_SVR, 0x1ff);
    ready = 1; /* before, its APIC takes no interrupt */
    while (!stop) {
        if (pings % 3) { /* now halted, now running */
            sti();
            for (unsigned i = 0; i < 100; i++)
                pause();
            cli();
        } else {
            __asm__ volatile("sti\n hlt\n cli" ::: "memory");
        }
    }
}

static void ping_pong(void)
{
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        uint64_t before = pongs;

        apic_send(1, 0x4000 | PING);
        sti();
        if (!wait_for(&pongs, before + 1)) {
            CHECK_EQ(pongs, before + 1);
            break;
        }
        cli();
    }
}

int main(void)
{
    uint64_t before;

    apic_enable();
    set_handler(PING, on_ping);
    set_handler(PONG, on_pong);
    set_handler(2, on_nmi);
    CHECK(smp_start(1, worker));
    while (!ready)
        pause();
    ping_pong();
    CHECK_EQ(pongs, ROUNDS);
    CHECK_EQ(pings, ROUNDS);
    /* "All but self" and the logical destination reach it as well. */
    before = pongs;
    apic_send(0, 0xc4000 | PING);
    sti();
    CHECK(wait_for(&pongs, before + 1));
    cli();
    apic_send(1, 0x4400);
    CHECK(wait_for(&nmis, 1));
    stop = 1;
    apic_send(1, 0x4000 | PING);
    return 0;
}
