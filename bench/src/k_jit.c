/* Code that writes code: what a JIT, a trampoline or a module loader does. */
#include "harness.h"
#include <string.h>
#include <sys/mman.h>

typedef uint32_t (*code_fn)(uint32_t);
static uint8_t *buf;
#define BUF (1u << 20)

static void rwx_setup(void)
{
    buf = mmap(NULL, BUF, PROT_READ | PROT_WRITE | PROT_EXEC,
               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (buf == MAP_FAILED)
        die("mmap rwx");
    memset(buf, 0xc3, BUF);
}

static code_fn as_code(uint8_t *p)
{
    code_fn f;
    memcpy(&f, &p, sizeof f);
    return f;
}
static uint8_t *put(uint8_t *p, const void *b, size_t n)
{
    memcpy(p, b, n);
    return p + n;
}

/* a function of nb basic blocks: eax = mix(edi), some never-taken branches */
static size_t emit(uint8_t *at, int nb, uint64_t *seed)
{
    uint8_t *p = at;
    p = put(p, "\x89\xf8", 2); /* mov eax,edi      */
    for (int i = 0; i < nb; i++) {
        uint64_t r = rng(seed);
        uint32_t imm = (uint32_t)(r >> 32);
        switch (r & 3) {
        case 0:
            *p++ = 0x05;
            p = put(p, &imm, 4);
            break; /* add eax,imm      */
        case 1:
            *p++ = 0x35;
            p = put(p, &imm, 4);
            break; /* xor eax,imm      */
        case 2:
            p = put(p, "\xc1\xc0", 2);
            *p++ = (uint8_t)(imm & 31);
            break; /* rol eax,k */
        default:
            p = put(p, "\x69\xc0", 2);
            imm |= 1;
            p = put(p, &imm, 4); /* imul eax,eax,imm */
        }
        p = put(p, "\x8d\x48\x07", 3); /* lea ecx,[rax+7]  */
        p = put(p, "\x31\xc8", 2);     /* xor eax,ecx      */
        p = put(p, "\x85\xff", 2);     /* test edi,edi     */
        p = put(p, "\x78\x02", 2);     /* js +2 (not taken)*/
        p = put(p, "\xff\xc8", 2);     /* dec eax          */
    }
    *p++ = 0xc3; /* ret              */
    return (size_t)(p - at);
}

static void patch_run(long n) /* change an immediate in hot code, call it */
{
    uint8_t *p = buf;
    memcpy(p, "\xb8\0\0\0\0\x01\xf8\xc3",
           8); /* mov eax,imm; add eax,edi; ret */
    code_fn f = as_code(p);
    for (long i = 0; i < n; i++) {
        uint32_t v = (uint32_t)i;
        memcpy(p + 1, &v, 4);
        if (f(3) != v + 3)
            die("stale code was run");
    }
}
static void fresh_run(long n) /* write a ~200-byte function, call it 10 times */
{
    static uint64_t s = 17;
    static unsigned at;
    for (long i = 0; i < n; i++) {
        emit(buf + at, 12, &s);
        code_fn f = as_code(buf + at);
        for (uint32_t k = 0; k < 10; k++)
            sink += f(k);
        at = (at + 256) & (BUF - 1);
    }
}
static void cold_run(long n) /* 64 KiB of new code in a new mapping, run once */
{
    static uint64_t s = 23;
    for (long i = 0; i < n; i++) {
        uint8_t *p = mmap(NULL, 65536 + 4096, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            die("mmap");
        size_t len = 0;
        while (len < 65536 - 256) {
            len += emit(p + len, 12, &s);
            len--;
        } /* fall into the next: no ret */
        p[len] = 0xc3;
        if (mprotect(p, 65536 + 4096, PROT_READ | PROT_EXEC))
            die("mprotect");
        sink += as_code(p)(5);
        munmap(p, 65536 + 4096);
    }
}
static void samepage_run(long n) /* code increments a counter in its own page */
{
    uint8_t *p = buf;
    int32_t rel = 2048 - 7;
    /* add dword [rip+rel],1 ; mov eax,edi ; ret */
    memcpy(p, "\x83\x05\0\0\0\0\x01\x89\xf8\xc3", 10);
    memcpy(p + 2, &rel, 4);
    memset(p + 2048, 0, 4);
    code_fn f = as_code(p);
    for (long i = 0; i < n; i++)
        f(1);
    uint32_t v;
    memcpy(&v, p + 2048, 4);
    if (v != (uint32_t)n)
        die("lost a store");
}

const struct test jit_tests[] = {
    {"jit_patch", "jit", "kpatch/s", 1e-3, patch_run, rwx_setup, 0, 0},
    {"jit_fresh", "jit", "kfunc/s", 1e-3, fresh_run, rwx_setup, 50, 0},
    {"jit_cold", "jit", "MBcode/s", 65536e-6, cold_run, 0, 1, 0},
    {"jit_samepage", "jit", "kstore/s", 1e-3, samepage_run, rwx_setup, 0, 0},
    {0}};
