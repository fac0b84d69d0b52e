#include "guest.h"

/* XSAVE, XRSTOR and their kin in ring 0: areas across pages, faults, XCR0,
 * headers that are refused (SDM vol. 1, 13). */

#define AREA TEST_VA /* two pages that are no neighbours */

static uint64_t first, second;

static void xsetbv(uint64_t v)
{
    __asm__ volatile("xsetbv" ::"a"((uint32_t)v), "d"((uint32_t)(v >> 32)),
                     "c"(0));
}

static uint64_t xgetbv(uint32_t i)
{
    uint32_t lo, hi;

    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(i));
    return lo | (uint64_t)hi << 32;
}

static void save(uint64_t va)
{
    __asm__ volatile("xsave64 (%0)" ::"r"(va), "a"(7), "d"(0) : "memory");
}

static void restore(uint64_t va)
{
    __asm__ volatile("xrstor64 (%0)" ::"r"(va), "a"(7), "d"(0) : "memory");
}

static void set_ymm(uint64_t v)
{
    __asm__ volatile("vmovq %0, %%xmm3\n"
                     "vinsertf128 $1, %%xmm3, %%ymm3, %%ymm3\n"
                     "vmovdqa %%ymm3, %%ymm12" ::"r"(v));
}

static uint64_t get_ymm12_high(void)
{
    uint64_t v;

    __asm__ volatile("vextractf128 $1, %%ymm12, %%xmm0\n vmovq %%xmm0, %0"
                     : "=r"(v));
    return v;
}

static uint64_t get_xmm3(void)
{
    uint64_t v;

    __asm__ volatile("movq %%xmm3, %0" : "=r"(v));
    return v;
}

static void clear_vectors(void)
{
    __asm__ volatile("vzeroall");
}

static void test_crossing(void)
{
    /* All 64-byte steps around the boundary. */
    for (uint64_t off = 4096 - 832; off < 4096; off += 64) {
        uint64_t va = AREA + off;

        memset((void *)va, 0, 832);
        set_ymm(0x1234567890 + off);
        save(va);
        clear_vectors();
        CHECK_EQ(get_xmm3(), 0);
        restore(va);
        CHECK_EQ(get_xmm3(), 0x1234567890 + off);
        CHECK_EQ(get_ymm12_high(), 0x1234567890 + off);
    }
}

static void test_faults(void)
{
    uint64_t va = AREA + 4096 - 256;
    struct fault f;

    map_page(AREA + 4096, 0, 0);
    f = guarded(save, va);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 2);
    CHECK_EQ(f.cr2 & ~0xfffull, AREA + 4096);
    f = guarded(restore, va);
    CHECK_EQ(f.f.vector, 14);
    CHECK_EQ(f.f.error, 0);
    map_page(AREA + 4096, second, PTE_P | PTE_W);
    CHECK_EQ(guarded(save, AREA + 16).f.vector, 13); /* not aligned to 64 */
    CHECK_EQ(guarded(restore, AREA + 16).f.vector, 13);
    WRITE_CR(4, READ_CR(4) & ~0x40000ull);
    CHECK_EQ(guarded(save, AREA).f.vector, 6);
    CHECK_EQ(guarded(xsetbv, 3).f.vector, 6);
    WRITE_CR(4, READ_CR(4) | 0x40000);
    WRITE_CR(0, READ_CR(0) | 8);
    CHECK_EQ(guarded(save, AREA).f.vector, 7);
    __asm__ volatile("clts");
}

static void test_headers(void)
{
    uint8_t *area = (uint8_t *)AREA;

    memset(area, 0, 832);
    save(AREA);
    CHECK_EQ(guarded(restore, AREA).f.vector, NO_FAULT);
    area[512 + 1] = 0x80; /* a component that XCR0 does not have */
    CHECK_EQ(guarded(restore, AREA).f.vector, 13);
    area[512 + 1] = 0;
    area[512 + 8] = 1; /* XCOMP_BV without bit 63 */
    CHECK_EQ(guarded(restore, AREA).f.vector, 13);
    area[512 + 8] = 0;
    area[512 + 16] = 1; /* reserved */
    CHECK_EQ(guarded(restore, AREA).f.vector, 13);
    area[512 + 16] = 0;
    area[24 + 2] = 1; /* reserved bit of MXCSR */
    CHECK_EQ(guarded(restore, AREA).f.vector, 13);
    area[24 + 2] = 0;
    CHECK_EQ(guarded(restore, AREA).f.vector, NO_FAULT);
    set_ymm(77);
    area[512] = 3; /* AVX in its initial state */
    restore(AREA);
    CHECK_EQ(get_ymm12_high(), 0);
}

static void test_xcr0(void)
{
    CHECK_EQ(xgetbv(0), 7);
    CHECK_EQ(guarded(xsetbv, 6).f.vector, 13); /* without x87 */
    CHECK_EQ(guarded(xsetbv, 5).f.vector, 13); /* AVX without SSE */
    CHECK_EQ(guarded(xsetbv, 1ull << 62 | 7).f.vector, 13);
    CHECK_EQ(cpuid(13, 0).ebx, 832);
    CHECK(cpuid(13, 0).ecx >= 832);
    CHECK_EQ(cpuid(13, 0).eax & 7, 7);
    CHECK_EQ(cpuid(13, 2).eax, 256);
    CHECK_EQ(cpuid(13, 2).ebx, 576);
    xsetbv(3);
    CHECK_EQ(cpuid(13, 0).ebx, 576);
    CHECK_EQ(guarded(set_ymm, 1).f.vector, 6); /* AVX is off now */
    xsetbv(7);
    CHECK_EQ(guarded(set_ymm, 1).f.vector, NO_FAULT);
}

/* XSAVEC (compacted) and XSAVEOPT, if there. */
static void savec(uint64_t va)
{
    __asm__ volatile("xsavec64 (%0)" ::"r"(va), "a"(6), "d"(0) : "memory");
}

static void saveopt(uint64_t va)
{
    __asm__ volatile("xsaveopt64 (%0)" ::"r"(va), "a"(7), "d"(0) : "memory");
}

static void test_variants(void)
{
    uint32_t have = cpuid(13, 1).eax;

    if (have & 1) {
        memset((void *)AREA, 0, 832);
        set_ymm(0x777);
        saveopt(AREA);
        clear_vectors();
        restore(AREA);
        CHECK_EQ(get_ymm12_high(), 0x777);
    } else {
        CHECK_EQ(guarded(saveopt, AREA).f.vector, 6);
    }
    if (have & 2) {
        memset((void *)AREA, 0, 8192); /* XSAVEC leaves most of the header */
        set_ymm(0x999);
        savec(AREA + 4096 - 640);
        CHECK_EQ(mem_read64(AREA + 4096 - 640 + 520), 1ull << 63 | 6);
        clear_vectors();
        restore(AREA + 4096 - 640);
        CHECK_EQ(get_ymm12_high(), 0x999);
    } else {
        CHECK_EQ(guarded(savec, AREA).f.vector, 6);
    }
}

int main(void)
{
    if (!has_xsave() || !has_avx())
        skip("no AVX");
    second = page_alloc();
    (void)page_alloc();
    first = page_alloc();
    map_page(AREA, first, PTE_P | PTE_W);
    map_page(AREA + 4096, second, PTE_P | PTE_W);
    test_crossing();
    test_faults();
    test_headers();
    test_xcr0();
    test_variants();
    return 0;
}
