#ifndef GUEST_DEVICE_H
#define GUEST_DEVICE_H

#include "guest.h"

/* Interrupt controllers and timers, just enough to be driven by tests. */

#define APIC_ID    0x020
#define APIC_TPR   0x080
#define APIC_EOI   0x0b0
#define APIC_SVR   0x0f0
#define APIC_ISR   0x100
#define APIC_IRR   0x200
#define APIC_ESR   0x280
#define APIC_ICR   0x300
#define APIC_ICR2  0x310
#define APIC_LVTT  0x320
#define APIC_LVT0  0x350
#define APIC_LVT1  0x360
#define APIC_TMICT 0x380
#define APIC_TMCCT 0x390
#define APIC_TDCR  0x3e0

/* Registers by their xAPIC offset, in whichever mode the APIC is. */
void apic_write(unsigned reg, uint32_t v);
uint32_t apic_read(unsigned reg);
/* Software-enable with spurious vector 0xff; the 8259s are masked. */
void apic_enable(void);
void apic_enable_x2(void);
void apic_eoi(void);
/* Send an IPI: the low half of the ICR, to an APIC id. */
void apic_send(uint32_t id, uint32_t icr);
unsigned apic_id(void);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
/* Redirection entry n (flags as in its low half: bit 15 level, 16 masked). */
void ioapic_route(unsigned n, uint32_t low, unsigned id);

/* Both 8259s at vectors 0x20 and 0x28, everything masked. */
void pic_init(void);
void pic_unmask(unsigned irq);
void pic_eoi(unsigned irq);

/* 8254 channel 0: mode 0 (one shot) or 2 (rate), count in 1/1193182 s. */
void pit_start(unsigned mode, uint16_t count);

/* Spin for about so many microseconds (by the 8254's channel 2). */
void delay_us(unsigned us);

#endif
