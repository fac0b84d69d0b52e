#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

/* Selectors (start.S) and fixed addresses; for C and assembler. */
#define SEL_CODE32      0x08
#define SEL_CODE64      0x10
#define SEL_DATA        0x18
#define SEL_USER_CODE32 0x23
#define SEL_USER_DATA   0x2b
#define SEL_USER_CODE64 0x33
#define SEL_CODE16      0x38
#define SEL_TSS         0x40
#define SEL_FREE        0x50 /* and 19 more */

/* Real mode, see real_call in start32.S. */
#define REAL_CODE       0x7000
#define REAL_STACK      0x6ff0
#define REAL_TRAMPOLINE 0x6000

#define AP_START 0x8000 /* code of application processors */
#define AP_STACK 0x7ff8 /* their first stack pointer, 32 bits */

#endif
