#include "guest.h"

/*
 * Random code, changed at random, through either of two mappings, by stores of
 * all kinds, against a model that reads the bytes. Each slot adds a number and
 * jumps on to a later slot or returns; slots lie across pages.
 */

enum { PAGES = 3, SLOTS = 40, SLOT = 300, ROUNDS = 10000 };

#define RUN   TEST_VA
#define WRITE (TEST_VA + 0x100000)

static uint64_t state = 0x2545f4914f6cdd1dull;
static uint64_t frame[PAGES + 1];

static unsigned random_below(unsigned n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (unsigned)((state >> 20) % n);
}

/* add $imm32, %eax (5 bytes); jmp rel32 (5) or ret */
static void make_slot(unsigned i, uint8_t code[10])
{
    uint32_t imm = (uint32_t)state;
    unsigned next = i + 1 + random_below(6);
    int32_t rel = (int32_t)((next - i) * SLOT - 10);

    code[0] = 0x05;
    memcpy(code + 1, &imm, 4);
    code[5] = next < SLOTS && random_below(4) ? 0xe9 : 0xc3;
    memcpy(code + 6, &rel, 4);
}

/* What the code at slot i adds up to, as it is now in the frames. */
static uint32_t model(unsigned i)
{
    uint32_t sum = 0;

    for (;;) {
        uint8_t code[10];
        uint32_t imm;
        int32_t rel;

        for (unsigned k = 0; k < 10; k++) {
            unsigned off = i * SLOT + k;

            code[k] = *(volatile uint8_t *)(frame[off >> 12] + (off & 4095));
        }
        memcpy(&imm, code + 1, 4);
        memcpy(&rel, code + 6, 4);
        sum += imm;
        if (code[5] == 0xc3)
            return sum;
        i = (unsigned)((int)(i * SLOT) + 10 + rel) / SLOT;
    }
}

static uint32_t run(unsigned i)
{
    uint32_t v = 0;

    __asm__ volatile("call *%1"
                     : "+a"(v)
                     : "r"(RUN + (uint64_t)i * SLOT)
                     : "memory", "cc");
    return v;
}

static void store(uint64_t va, const uint8_t *src, unsigned len)
{
    uint64_t n = len;
    void *d = (void *)va;
    const void *s = src;

    switch (random_below(4)) {
    case 0:
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
        break;
    case 1:
        for (unsigned i = 0; i < len; i++)
            ((volatile uint8_t *)va)[i] = src[i];
        break;
    case 2: /* 8 at once, then the rest backwards */
        for (unsigned i = len; i-- > 8;)
            ((volatile uint8_t *)va)[i] = src[i];
        __asm__ volatile("movq (%1), %%rax\n movq %%rax, (%0)" ::"r"(va),
                         "r"(src)
                         : "rax", "memory");
        break;
    default: /* locked exchanges */
        for (unsigned i = 0; i < len; i++) {
            uint8_t v = src[i];

            __asm__ volatile("xchgb %0, %1"
                             : "+q"(v), "+m"(*(volatile uint8_t *)(va + i)));
        }
        break;
    }
}

static void change(void)
{
    unsigned i = random_below(SLOTS);
    uint64_t base = random_below(2) ? RUN : WRITE;
    uint8_t code[10];

    if (random_below(3)) { /* one byte of the number */
        code[0] = (uint8_t)state;
        *(volatile uint8_t *)(base + i * SLOT + 1 + random_below(4)) = code[0];
        return;
    }
    make_slot(i, code);
    store(base + (uint64_t)i * SLOT, code, 10);
}

/* Another frame with the same bytes, or with one that differs. */
static void remap(void)
{
    unsigned i = random_below(PAGES);
    uint64_t old = frame[i];

    frame[i] = frame[PAGES];
    frame[PAGES] = old;
    memcpy((void *)frame[i], (void *)old, 4096);
    map_page(RUN + 4096 * i, frame[i], PTE_P | PTE_W);
    map_page(WRITE + 4096 * i, frame[i], PTE_P | PTE_W);
}

int main(void)
{
    unsigned wrong = 0;

    for (unsigned i = 0; i <= PAGES; i++) {
        frame[i] = page_alloc();
        (void)page_alloc();
    }
    for (unsigned i = 0; i < PAGES; i++) {
        map_page(RUN + 4096 * i, frame[i], PTE_P | PTE_W);
        map_page(WRITE + 4096 * i, frame[i], PTE_P | PTE_W);
    }
    for (unsigned i = 0; i < SLOTS; i++) {
        uint8_t code[10];

        make_slot(i, code);
        store(WRITE + (uint64_t)i * SLOT, code, 10);
        (void)random_below(2);
    }
    for (unsigned n = 0; n < ROUNDS && wrong < 5; n++) {
        unsigned what = random_below(20), i = random_below(SLOTS);
        uint32_t want;

        if (what < 7)
            change();
        else if (what == 7)
            remap();
        want = model(i);
        if (run(i) != want) {
            wrong++;
            CHECK_EQ(run(i), want);
            print("round ");
            print_hex(n);
            print("\n");
        }
    }
    CHECK_EQ(wrong, 0);
    return 0;
}
