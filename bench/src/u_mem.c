/* Memory and C-library string functions (glibc picks AVX paths by CPUID). */
#include "harness.h"
#include <string.h>

#define TRIAD (2u << 20) /* doubles per array: 3 x 16 MiB */
static double *ta, *tb, *tc;
static void triad_setup(void)
{
    ta = big_alloc(TRIAD * 8);
    tb = big_alloc(TRIAD * 8);
    tc = big_alloc(TRIAD * 8);
    for (unsigned i = 0; i < TRIAD; i++) {
        tb[i] = i;
        tc[i] = 2;
    }
}
static void triad_run(long n) /* n slices of 64 Ki elements */
{
    static unsigned at;
    for (long it = 0; it < n; it++) {
        for (unsigned i = at; i < at + 65536; i++)
            ta[i] = tb[i] + 3.0 * tc[i];
        at = (at + 65536) % TRIAD;
    }
    sink += (uint64_t)ta[at];
}

struct line {
    struct line *next;
    char pad[56];
};
static struct line *chase_at;
static void chase_build(struct line *l, size_t bytes)
{
    size_t k = bytes / sizeof *l;
    uint64_t s = 77;
    for (size_t i = 0; i < k; i++)
        l[i].next = &l[i];
    for (size_t i = k - 1; i > 0; i--) { /* Sattolo: one single cycle */
        size_t j = (size_t)(rng(&s) % i);
        struct line *t = l[i].next;
        l[i].next = l[j].next;
        l[j].next = t;
    }
    chase_at = l;
}
static void chase64(void)
{
    chase_build(big_alloc(64u << 20), 64u << 20);
}
static void chase64h(void)
{
    chase_build(huge_alloc(64u << 20), 64u << 20);
}
static void chase256k(void)
{
    chase_build(big_alloc(256u << 10), 256u << 10);
}
static void chase_run(long n)
{
    struct line *p = chase_at;
    for (long i = 0; i < n * 256; i++)
        p = p->next;
    chase_at = p;
    sink += (uintptr_t)p & 1;
}

static char *src, *dst;
static void copy_setup(void)
{
    src = big_alloc(8u << 20);
    dst = big_alloc(8u << 20);
    gen_text(src, 4u << 20);
}
static void copy1k(long n)
{
    for (long i = 0; i < n; i++) {
        memcpy(dst + (i & 15) * 1024, src + (i & 15) * 1024, 1024);
        __asm__ volatile("" ::: "memory");
    }
}
static void copy1m(long n)
{
    for (long i = 0; i < n; i++) {
        memcpy(dst + (i & 3) * 1048576, src + (i & 3) * 1048576, 1048576);
        __asm__ volatile("" ::: "memory");
    }
}
static void set4k(long n)
{
    for (long i = 0; i < n; i++) {
        memset(dst + (i & 15) * 4096, (int)i, 4096);
        __asm__ volatile("" ::: "memory");
    }
}
static void repmovs(long n)
{
    for (long i = 0; i < n; i++) {
        void *d = dst;
        const void *s = src;
        size_t c = 4096;
        __asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(c)::"memory");
    }
}
static void copy_small(long n) /* 1..64 bytes, odd alignments */
{
    static uint64_t s = 9;
    for (long i = 0; i < n; i++) {
        uint64_t r = rng(&s);
        memcpy(dst + (r & 63), src + ((r >> 6) & 63), 1 + ((r >> 12) & 63));
        __asm__ volatile("" ::: "memory");
    }
    sink += (uint64_t)dst[40];
}
static size_t lens[64];
static void str_setup(void)
{
    copy_setup();
    for (int i = 0; i < 64; i++) { /* 64 strings of 3..2000 bytes */
        lens[i] = (size_t)(3 + i * i / 2);
        char *p = dst + i * 2048;
        memcpy(p, src + i * 100, lens[i]);
        p[lens[i]] = 0;
        memcpy(p + (1u << 20), p, 2048);
    }
}
static void strlen_run(long n)
{
    for (long i = 0; i < n; i++)
        sink += strlen(dst + (i & 63) * 2048);
}
static void strcmp_run(long n)
{
    for (long i = 0; i < n; i++)
        sink += (uint64_t)(strcmp(dst + (i & 63) * 2048,
                                  dst + (1u << 20) + (i & 63) * 2048) == 0);
}
static void memchr_run(long n)
{
    for (long i = 0; i < n; i++)
        sink +=
            (uint64_t)((char *)memchr(dst + (i & 63) * 2048, 0, 2048) - dst) &
            0xff;
}
static void strstr_run(long n)
{
    char *e = src + 65536;
    *e = 0;
    for (long i = 0; i < n; i++) {
        char *p = strstr(src + (i & 255), "no such words");
        sink += p ? 2 : 1;
    }
}

const struct test mem_tests[] = {
    {"mem_triad", "mem", "MB/s", 24 * 65536e-6, triad_run, triad_setup, 0, 0},
    {"mem_chase64m", "mem", "Mload/s", 256e-6, chase_run, chase64, 0, 0},
    {"mem_chase64m_thp", "mem", "Mload/s", 256e-6, chase_run, chase64h, 0, 0},
    {"mem_chase256k", "mem", "Mload/s", 256e-6, chase_run, chase256k, 0, 0},
    {"mem_copy1k", "mem", "MB/s", 1024e-6, copy1k, copy_setup, 0, 0},
    {"mem_copy1m", "mem", "MB/s", 1048576e-6, copy1m, copy_setup, 0, 0},
    {"mem_set4k", "mem", "MB/s", 4096e-6, set4k, copy_setup, 0, 0},
    {"mem_repmovs4k", "mem", "MB/s", 4096e-6, repmovs, copy_setup, 0, 0},
    {"str_copy_small", "str", "Mop/s", 1e-6, copy_small, copy_setup, 1000, 0},
    {"str_strlen", "str", "Mop/s", 1e-6, strlen_run, str_setup, 64, 0},
    {"str_strcmp", "str", "Mop/s", 1e-6, strcmp_run, str_setup, 64, 0},
    {"str_memchr", "str", "Mop/s", 1e-6, memchr_run, str_setup, 64, 0},
    {"str_strstr64k", "str", "MB/s", 65536e-6, strstr_run, copy_setup, 3, 0},
    {0}};
