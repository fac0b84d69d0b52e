#ifndef HUSK_X86_TASK_H
#define HUSK_X86_TASK_H

#include "x86/system.h"

/* Task state segments (Intel SDM vol. 3, 8). Internal to src/x86. */

enum x86_task_reason {
    X86_TASK_JMP,
    X86_TASK_CALL,
    X86_TASK_IRET,
    X86_TASK_GATE /* interrupt or exception through a task gate */
};

/*
 * Hardware task switch to the TSS that sel names; next_rip is where the old
 * task goes on. Privilege and gates have been checked by the caller. Up to
 * the point where the new task is loaded a fault leaves st as it was; a fault
 * behind that (a bad selector in the new TSS) belongs to the new task, and st
 * is the new task's.
 */
MUST_CHECK int x86_task_switch(struct x86_cpu *cpu, uint16_t sel,
                               enum x86_task_reason reason, uint64_t next_rip);

/*
 * Stack for code of privilege level dpl from the current TSS (legacy modes):
 * its SS as a checked, present segment with the RPL in sel, and its ESP.
 * Faults are #TS and #SS as in vol. 3, 6.12.1.
 */
MUST_CHECK int x86_task_stack(struct x86_cpu *cpu, unsigned dpl,
                              struct x86_seg *ss, uint64_t *sp);

/* RSP0..2 (n 0..2) or IST1..7 (n 3 + ist) of a 64-bit TSS. */
MUST_CHECK int x86_task_rsp(struct x86_cpu *cpu, unsigned n, uint64_t *rsp);

/* Link field of the current TSS, for IRET with NT. */
MUST_CHECK int x86_task_link(struct x86_cpu *cpu, uint16_t *sel);

#endif
