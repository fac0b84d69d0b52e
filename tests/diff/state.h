#ifndef HUSK_DIFF_STATE_H
#define HUSK_DIFF_STATE_H

#include "case.h"
#include "rng.h"

/* Offsets in the XSAVE area (SDM vol. 1, 10.5.1 and 13.4). */
enum {
    FX_FCW = 0,
    FX_FSW = 2,
    FX_FTW = 4,
    FX_FOP = 6,
    FX_MXCSR = 24,
    FX_ST = 32,
    FX_XMM = 160,
    XSAVE_HEADER = 512,
    XSAVE_YMMH = 576
};

/* Random registers of all kinds; RIP and the stack pointer come later. */
void state_random(struct rng *r, struct diff_regs *regs, unsigned bits);

/* A general-purpose value: edges of the sizes, small, or random. */
uint64_t state_gpr(struct rng *r);
/* The 80 bits of an x87 register. */
void state_x87(struct rng *r, uint8_t dst[10]);
/* len bytes as vector elements: floats with their edges, integers, bits. */
void state_vector(struct rng *r, uint8_t *dst, unsigned len);
/* Control words that do not fault when loaded. */
uint16_t state_fcw(struct rng *r);
uint32_t state_mxcsr(struct rng *r);
/* Flags that user code may load, without TF. */
uint64_t state_flags(struct rng *r);
/* A valid FXSAVE image (512 bytes). */
void state_fxsave(struct rng *r, uint8_t *dst);

#endif
