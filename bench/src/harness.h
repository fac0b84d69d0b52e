/* Tiny rate-measuring harness shared by every test in this directory. */
#ifndef HARNESS_H
#define HARNESS_H
#include <stddef.h>
#include <stdint.h>

struct test {
    const char *name;  /* unique, lower case  */
    const char *group; /* int, interp, fp, simd, mem, ... */
    const char *unit; /* printed after the value; "us" means lower is better  */
    double scale; /* units of work in one iteration of run()               */
    void (*run)(long n); /* do n iterations of work                       */
    void (*setup)(void); /* optional; skip("why") may be called from here */
    long check_n; /* >0: run(check_n) once from a fresh state, print sink  */
    double (*direct)(void); /* instead of run: returns the value itself      */
};

extern volatile uint64_t sink; /* results go here so nothing is elided  */
extern double budget_s;        /* wall-clock budget of one test         */
extern char self_dir[];        /* directory of the running binary       */
extern char tmp_dir[];         /* a tmpfs directory to write in         */

double now_s(void); /* CLOCK_MONOTONIC, seconds              */
_Noreturn void skip(const char *why); /* report SKIP and leave this test */
_Noreturn void die(const char *what); /* report FAIL (with errno) and leave */
void *big_alloc(size_t bytes);    /* mmap, 4 KiB pages, touched            */
void *huge_alloc(size_t bytes);   /* mmap, MADV_HUGEPAGE, touched          */
int helper_fork(void);            /* fork(); the child dies with its parent */
void gen_text(char *p, size_t n); /* deterministic English-like text       */

static inline uint64_t rng(uint64_t *s) /* xorshift64* */
{
    uint64_t x = *s;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *s = x;
    return x * 0x2545F4914F6CDD1DULL;
}

#define NOINLINE __attribute__((noinline))
#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* one table per source file, ended by an entry whose name is NULL */
extern const struct test int_tests[], fp_tests[], simd_tests[], mem_tests[],
    lib_tests[], interp_tests[], kern_tests[], jit_tests[], smp_tests[];
#endif
