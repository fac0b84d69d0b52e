#ifndef HUSK_GDB_REGS_H
#define HUSK_GDB_REGS_H

#include <stddef.h>

#include "base/compiler.h"
#include "x86/regs.h"

/*
 * The registers that gdb sees, numbered from 0 in the order of its amd64
 * layout, whatever mode the CPU is in: core, SSE, AVX, segment bases, and the
 * system registers as a feature of our own. Values are little-endian bytes.
 */
enum { GDB_REG_RIP = 16, GDB_REG_MAX_BYTES = 16 };

unsigned gdb_regs_count(void);

/* Size of register n in bytes, 0 if there is none. */
size_t gdb_reg_size(unsigned n);

/* Read register n into buf (GDB_REG_MAX_BYTES); returns its size or 0. */
size_t gdb_reg_get(const struct x86_state *st, unsigned n, void *buf);

/*
 * Write register n of st. 0, -EINVAL if there is none or the value is none
 * that the CPU could hold, or -EPERM if it cannot be written: control
 * registers, and selectors where loading one takes a descriptor.
 */
int gdb_reg_set(struct x86_state *st, unsigned n, const void *buf);

/* The target description (Debugging with GDB, G) as snprintf would: at most
 * size bytes with a final NUL; returns the length without a limit. */
size_t gdb_regs_xml(char *buf, size_t size);

#endif
