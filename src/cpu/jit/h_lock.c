#include "cpu/jit/jit.h"

#include <linux/futex.h>
#include <sys/syscall.h>

/*
 * A futex mutex that code without libc and vector registers may take: 0 free,
 * 1 taken, 2 taken and somebody may sleep.
 */
static long futex(_Atomic uint32_t *word, int op, uint32_t val)
{
    register long r10 __asm__("r10") = 0;
    long rc;

    __asm__ volatile("syscall"
                     : "=a"(rc)
                     : "a"((long)SYS_futex), "D"(word), "S"((long)op),
                       "d"((long)val), "r"(r10)
                     : "rcx", "r11", "memory");
    return rc;
}

void jit_lock_take(struct jit_lock *l)
{
    uint32_t free_word = 0;

    if (atomic_compare_exchange_strong(&l->word, &free_word, 1))
        return;
    for (unsigned i = 0; i < 200; i++) {
        free_word = 0;
        if (atomic_compare_exchange_strong(&l->word, &free_word, 1))
            return;
        __builtin_ia32_pause();
    }
    while (atomic_exchange(&l->word, 2) != 0)
        (void)futex(&l->word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 2);
}

void jit_lock_drop(struct jit_lock *l)
{
    if (atomic_exchange(&l->word, 0) == 2)
        (void)futex(&l->word, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}
