#include <stdint.h>

/* What gdb.sh debugs: 64-bit, CPU 0 alone, calls a function for ever. */
void main(void);
void ap_main(void);
void tick(uint64_t n);

volatile uint64_t counter;

__attribute__((noinline)) void tick(uint64_t n)
{
    counter += n;
}

void main(void)
{
    for (;;)
        tick(3);
}

void ap_main(void)
{
}
