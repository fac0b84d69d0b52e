#include "cpu/jit/h_sys.h"

/*
 * MOV to segment and control registers in 64-bit mode: what a kernel does at
 * every context switch. The argument is the register, the general register
 * that it is loaded from (<< 8) and the instruction's length (<< 16).
 */

int h_mov_seg(struct jit_vcpu *jv, uint64_t arg)
{
    uint32_t key = jv->key;
    uint16_t sel = (uint16_t)jv->st.gpr[arg >> 8 & 15];

    h_flags_out(jv);
    if (x86_load_seg(&jv->cpu, (enum x86_sreg)(arg & 7), sel) < 0)
        return h_fault(jv);
    if (jv->key == key && !(key & KEY_STEP))
        return H_CONTINUE;
    jv->st.rip += arg >> 16;
    return key & KEY_STEP ? h_step_done(jv, 0) : H_DISPATCH;
}

int h_mov_cr(struct jit_vcpu *jv, uint64_t arg)
{
    bool step = jv->key & KEY_STEP;

    h_flags_out(jv);
    if (x86_write_cr(&jv->cpu, arg & 15, jv->st.gpr[arg >> 8 & 15]) < 0)
        return h_fault(jv);
    jv->st.rip += arg >> 16;
    return step ? h_step_done(jv, 0) : H_DISPATCH;
}
