/* Integer user code: no system calls in the timed part. */
#include "harness.h"
#include <stdlib.h>
#include <string.h>

/* ---- core: list, matrix, state machine, crc: one of each an iteration ---- */
struct node {
    struct node *next;
    int key, val;
};
static struct node nodes[256];

static uint16_t crc16(uint16_t crc, uint32_t v, int bits)
{
    for (int i = 0; i < bits; i++) {
        uint16_t x = (uint16_t)((crc ^ v) & 1);
        crc >>= 1;
        v >>= 1;
        if (x)
            crc ^= 0xA001;
    }
    return crc;
}

static NOINLINE struct node *merge_sort(struct node *h, int len)
{
    if (len < 2)
        return h;
    struct node *mid = h;
    for (int i = 1; i < len / 2; i++)
        mid = mid->next;
    struct node *b = mid->next;
    mid->next = NULL;
    struct node *a = merge_sort(h, len / 2);
    b = merge_sort(b, len - len / 2);
    struct node head, *tail = &head;
    while (a && b) {
        struct node **p = a->key <= b->key ? &a : &b;
        tail->next = *p;
        tail = *p;
        *p = tail->next;
    }
    tail->next = a ? a : b;
    return head.next;
}

static int state_machine(const char *s, int *counts)
{
    enum { START, INT, FRAC, EXP, WORD, BAD } st = START;
    int tokens = 0;
    for (; *s; s++) {
        char c = *s;
        if (c == ',') {
            counts[st]++;
            tokens++;
            st = START;
            continue;
        }
        switch (st) {
        case START:
            st = (c >= '0' && c <= '9') || c == '-' ? INT
                 : c == '.'                         ? FRAC
                 : c >= 'a'                         ? WORD
                                                    : BAD;
            break;
        case INT:
            if (c == '.')
                st = FRAC;
            else if (c == 'e')
                st = EXP;
            else if (c < '0' || c > '9')
                st = BAD;
            break;
        case FRAC:
            if (c == 'e')
                st = EXP;
            else if (c < '0' || c > '9')
                st = BAD;
            break;
        case EXP:
            if ((c < '0' || c > '9') && c != '-')
                st = BAD;
            break;
        case WORD:
            if (c < 'a')
                st = BAD;
            break;
        case BAD: break;
        }
    }
    return tokens;
}

static void core_run(long n)
{
    static const char input[] =
        "123,-5.25,0.5e-3,abc,x!y,77e5,.5,hello,12a,99999,1.2.3,zz,";
    static int a[12][12], b[12][12], c[12][12];
    static uint64_t s = 7;
    uint16_t crc = 0;
    for (long it = 0; it < n; it++) {
        int counts[6] = {0};
        for (int i = 0; i < 256; i++) {
            nodes[i].key = (int)(rng(&s) & 0xffff);
            nodes[i].val = i;
            nodes[i].next = i < 255 ? &nodes[i + 1] : NULL;
        }
        struct node *h = merge_sort(nodes, 256);
        for (int i = 0; h; h = h->next, i++)
            if (i % 32 == 0)
                crc = crc16(crc, (uint32_t)h->key, 16);
        for (int i = 0; i < 12; i++)
            for (int j = 0; j < 12; j++) {
                a[i][j] = i * j + (int)it;
                b[i][j] = i - j;
            }
        for (int i = 0; i < 12; i++)
            for (int j = 0; j < 12; j++) {
                int t = 0;
                for (int k = 0; k < 12; k++)
                    t += a[i][k] * b[k][j];
                c[i][j] = t;
            }
        crc = crc16(crc, (uint32_t)c[3][5], 32);
        crc = crc16(
            crc, (uint32_t)state_machine(input, counts) + (uint32_t)counts[1],
            16);
    }
    sink += crc;
}

/* ---- dhry: records, strings, many small calls ---- */
struct rec {
    struct rec *next;
    int kind, ival;
    char name[32];
};
static struct rec r1, r2;
static int garr[50];

static NOINLINE int pick(int a, int b)
{
    return a > b ? a - b : b + 1;
}
static NOINLINE void fill(struct rec *r, int i)
{
    r->kind = i & 3;
    r->ival = pick(i, garr[i % 50]);
    if (r->next)
        *r->next = *r;
}
static NOINLINE int same(const char *x, const char *y, int *pos)
{
    while (x[*pos] == y[*pos + 1])
        ++*pos;
    return strcmp(x, y) > 0;
}
static void dhry_run(long n)
{
    char s1[32] = "DHRY PROGRAM, FIRST STRING", s2[32];
    r1.next = &r2;
    r2.next = NULL;
    int acc = 0;
    for (long i = 0; i < n; i++) {
        strcpy(s2, "DHRY PROGRAM, 2'ND STRING");
        s2[5] = (char)('A' + i % 26);
        int pos = 2;
        acc += same(s1, s2, &pos);
        fill(&r1, (int)i);
        garr[i % 50] = r2.ival / (1 + (int)(i & 7));
        switch (r2.kind) {
        case 0: acc += r2.ival; break;
        case 1: acc ^= pick(acc, 17); break;
        case 2: acc -= 3; break;
        default: memcpy(r1.name, s2, sizeof s2); acc += r1.name[5];
        }
    }
    sink += (uint32_t)acc;
}

/* ---- quicksort of 16 Ki ints ---- */
static int arr[16384];
static void quick(int *a, int lo, int hi)
{
    while (hi - lo > 16) {
        int p = a[lo + (hi - lo) / 2], i = lo - 1, j = hi + 1;
        for (;;) {
            do
                i++;
            while (a[i] < p);
            do
                j--;
            while (a[j] > p);
            if (i >= j)
                break;
            int t = a[i];
            a[i] = a[j];
            a[j] = t;
        }
        if (j - lo < hi - j) {
            quick(a, lo, j);
            lo = j + 1;
        } else {
            quick(a, j + 1, hi);
            hi = j;
        }
    }
    for (int i = lo + 1; i <= hi; i++) {
        int v = a[i], j = i;
        for (; j > lo && a[j - 1] > v; j--)
            a[j] = a[j - 1];
        a[j] = v;
    }
}
static void sort_run(long n)
{
    static uint64_t s = 99;
    for (long k = 0; k < n; k++) {
        for (size_t i = 0; i < COUNT(arr); i++)
            arr[i] = (int)(rng(&s) >> 33);
        quick(arr, 0, (int)COUNT(arr) - 1);
        sink += (uint64_t)arr[1234];
    }
}

/* ---- libc qsort: comparison through a function pointer ---- */
static int cmp_int(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}
static void qsort_run(long n)
{
    static uint64_t s = 5;
    for (long k = 0; k < n; k++) {
        for (int i = 0; i < 1024; i++)
            arr[i] = (int)(rng(&s) >> 33);
        qsort(arr, 1024, sizeof arr[0], cmp_int);
        sink += (uint64_t)arr[100];
    }
}

/* ---- open-addressing hash map ---- */
#define HBITS 16
static uint64_t hkey[1 << HBITS], hval[1 << HBITS];
static void hash_run(long n)
{
    static uint64_t s = 3;
    uint64_t acc = 0;
    for (long i = 0; i < n; i++) {
        uint64_t k = (rng(&s) & 0x7fff) + 1,
                 h = (k * 0x9E3779B97F4A7C15ULL) >> (64 - HBITS);
        while (hkey[h] && hkey[h] != k)
            h = (h + 1) & ((1 << HBITS) - 1);
        hkey[h] = k;
        acc += ++hval[h];
    }
    sink += acc;
}

/* ---- malloc/free mix ---- */
static void malloc_run(long n)
{
    static void *slot[512];
    static uint64_t s = 11;
    for (long i = 0; i < n; i++) {
        uint64_t r = rng(&s);
        size_t k = r & 511;
        free(slot[k]);
        size_t sz = 16 + (size_t)((r >> 10) & (r >> 20 & 1 ? 0xff : 0xfff));
        unsigned char *p = malloc(sz);
        p[0] = (unsigned char)r;
        p[sz - 1] = 1;
        sink += p[0];
        slot[k] = p;
    }
}

/* ---- sha256 in plain C ---- */
static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
    0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
    0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
    0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
    0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
    0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
    0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
    0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
    0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
#define ROR(x, k) ((x) >> (k) | (x) << (32 - (k)))
static void sha_block(uint32_t *h, const uint8_t *p)
{
    uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5],
                    g = h[6], hh = h[7];
    for (int i = 0; i < 16; i++) {
        uint32_t v;
        memcpy(&v, p + 4 * i, 4);
        w[i] = __builtin_bswap32(v);
    }
    for (int i = 16; i < 64; i++)
        w[i] = (ROR(w[i - 2], 17) ^ ROR(w[i - 2], 19) ^ w[i - 2] >> 10) +
               w[i - 7] +
               (ROR(w[i - 15], 7) ^ ROR(w[i - 15], 18) ^ w[i - 15] >> 3) +
               w[i - 16];
    for (int i = 0; i < 64; i++) {
        uint32_t t1 = hh + (ROR(e, 6) ^ ROR(e, 11) ^ ROR(e, 25)) +
                      ((e & f) ^ (~e & g)) + K[i] + w[i];
        uint32_t t2 = (ROR(a, 2) ^ ROR(a, 13) ^ ROR(a, 22)) +
                      ((a & b) ^ (a & c) ^ (b & c));
        hh = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
    h[5] += f;
    h[6] += g;
    h[7] += hh;
}
static void sha_run(long n)
{
    static uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                            0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    static uint8_t blk[64];
    for (long i = 0; i < n; i++) {
        blk[i & 63] = (uint8_t)i;
        sha_block(h, blk);
    }
    sink += h[0];
}

/* ---- branches that do not predict well ---- */
static void branchy_run(long n)
{
    static uint64_t s = 21;
    uint64_t a = 1, b = 2, c = 3;
    for (long i = 0; i < n; i++) {
        uint64_t r = rng(&s);
        for (int k = 0; k < 16; k++, r >>= 4) {
            if (r & 1) {
                if (r & 2)
                    a += b;
                else
                    b ^= a + c;
            } else if (r & 4)
                c -= a;
            else if (a & 8) {
                if (c & 1)
                    b += 7;
                else
                    a = a * 3 + 1;
            } else
                c = c * 5 + b;
            __asm__ volatile("" : "+r"(a), "+r"(b), "+r"(c));
        }
    }
    sink += a + b + c;
}

/* ---- indirect calls through a table, several targets per site ---- */
typedef uint64_t (*op_fn)(uint64_t, uint64_t);
#define OP(name, e)                                                            \
    static NOINLINE uint64_t name(uint64_t x, uint64_t y)                      \
    {                                                                          \
        return e;                                                              \
    }
OP(op0, x + y)
OP(op1, x ^ y)
OP(op2, x - y)
OP(op3, x *(y | 1)) OP(op4, (x << 3) + y) OP(op5, (x >> 5) ^ y) OP(op6, x | y)
    OP(op7, ~x + y) static op_fn
    volatile ops[8] = {op0, op1, op2, op3, op4, op5, op6, op7};
static void icall_run(long n)
{
    static uint64_t s = 4;
    uint64_t x = 1;
    for (long i = 0; i < n; i++) {
        uint64_t r = rng(&s);
        for (int k = 0; k < 16; k++, r >>= 4)
            x = ops[r & 7](x, r);
    }
    sink += x;
}

/* ---- calls and returns ---- */
static NOINLINE long fib(long n)
{
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
static void fib_run(long n)
{
    for (long i = 0; i < n; i++)
        sink += (uint64_t)fib(20);
}

/* ---- bytecode interpreter in C (switch dispatch through a jump table) ---- */
static void vm_run(long n)
{
    /* r0: counter; computes a xor/shift hash of 1..200 */
    static const uint8_t code[] = {
        0, 0, 200, 0, 1, 1, 0, 2, 7, /* ldi r0,200; ldi r1,1; ldi r2,7        */
        1, 1, 2,   2, 2, 1, 3, 1, 5,
        4, 2, 1,   5, 0, 0,  /* add; xor; shl; or; dec                */
        6, 0, 9,   7, 0, 0}; /* jnz r0 -> 9; halt                     */
    uint32_t r[3] = {0};
    for (long it = 0; it < n; it++) {
        const uint8_t *pc = code;
        for (int live = 1; live; pc += 3) {
            switch (*(const volatile uint8_t *)pc) {
            case 0: r[pc[1]] = pc[2]; break;
            case 1: r[pc[1]] += r[pc[2]]; break;
            case 2: r[pc[1]] ^= r[pc[2]]; break;
            case 3: r[pc[1]] = r[pc[1]] << pc[2] | r[pc[1]] >> 13; break;
            case 4: r[pc[1]] |= r[pc[2]] & 0xff; break;
            case 5: r[pc[1]]--; break;
            case 6:
                if (r[pc[1]])
                    pc = code + pc[2] - 3;
                break;
            case 7: live = 0; break;
            case 8: r[0] = 0; break;
            }
        }
        sink += r[1];
    }
}

#ifdef __SIZEOF_INT128__
/* ---- 2048-bit multiplication: mul/adc chains ---- */
__extension__ typedef unsigned __int128 wide;

static void bignum_run(long n)
{
    static uint64_t a[32], b[32], p[64], s = 8;
    for (int i = 0; i < 32; i++) {
        a[i] = rng(&s);
        b[i] = rng(&s);
    }
    for (long it = 0; it < n; it++) {
        memset(p, 0, sizeof p);
        for (int i = 0; i < 32; i++) {
            uint64_t carry = 0;
            for (int j = 0; j < 32; j++) {
                wide t = (wide)a[i] * b[j] + p[i + j] + carry;
                p[i + j] = (uint64_t)t;
                carry = (uint64_t)(t >> 64);
            }
            p[i + 32] = carry;
        }
        a[it & 31] ^= p[it & 63];
    }
    sink += p[5] + p[60];
}
#endif

const struct test int_tests[] = {
    {"int_core", "int", "iter/s", 1, core_run, 0, 50, 0},
    {"int_dhry", "int", "Miter/s", 1e-6, dhry_run, 0, 1000, 0},
    {"int_sort", "int", "Melem/s", 16384e-6, sort_run, 0, 1, 0},
    {"int_qsort", "int", "Melem/s", 1024e-6, qsort_run, 0, 4, 0},
    {"int_hash", "int", "Mop/s", 1e-6, hash_run, 0, 10000, 0},
    {"int_malloc", "int", "Mop/s", 1e-6, malloc_run, 0, 5000, 0},
    {"int_sha256", "int", "MB/s", 64e-6, sha_run, 0, 1000, 0},
    {"int_branchy", "int", "Mop/s", 16e-6, branchy_run, 0, 1000, 0},
    {"int_icall", "int", "Mcall/s", 16e-6, icall_run, 0, 1000, 0},
    {"int_fib", "int", "Mcall/s", 21891e-6, fib_run, 0, 2, 0},
    {"int_switch", "int", "Mop/s", 1204e-6, vm_run, 0, 20, 0},
#ifdef __SIZEOF_INT128__
    {"int_bignum", "int", "Mmul/s", 1024e-6, bignum_run, 0, 50, 0},
#endif
    {0}};
