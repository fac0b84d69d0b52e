/* A bit of everything that a C library and compiler do, with one answer. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static sigjmp_buf back;
static volatile int faults;

static void on_signal(int sig)
{
    faults++;
    siglongjmp(back, sig);
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static uint32_t next(uint32_t *seed)
{
    return *seed = *seed * 1664525 + 1013904223;
}

static void sort(void)
{
    static uint32_t v[100000];
    uint32_t seed = 1, sum = 0;
    unsigned i;

    for (i = 0; i < 100000; i++)
        v[i] = next(&seed);
    qsort(v, 100000, sizeof(v[0]), compare);
    for (i = 0; i < 100000; i++)
        sum = sum * 31 + v[i];
    printf("sort %08x\n", (unsigned)sum);
}

static void floats(void)
{
    double s = 0;
    long double l = 0;
    int i;

    for (i = 1; i < 20000; i++) {
        s += 1.0 / i * (i % 2 ? 1 : -1);
        l += 1.0L / i / i;
    }
    printf("floats %.9f %.12Lf\n", s, l);
}

static void trap(void)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
    volatile int zero = 0;
    char *page =
        mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned i;
    int sig;

    for (i = 0; i < 4; i++)
        signal(signals[i], on_signal);
    for (i = 0; i < 1000; i++) {
        sig = sigsetjmp(back, 1);
        if (sig)
            continue;
        switch (i % 3) {
        case 0: *(volatile char *)page = 1; break;
        case 1: zero = (int)i / zero; break;
        case 2: __asm__ volatile(".byte 0x0f, 0x0b"); break;
        }
    }
    printf("traps %d\n", faults);
}

/* Code that is written, run, and written again. */
static void jit(void)
{
    unsigned char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t sum = 0, i;

    p[0] = 0xb8; /* mov eax, imm32 */
    p[5] = 0xc3;
    for (i = 0; i < 20000; i++) {
        memcpy(p + 1, &i, 4);
        sum += ((uint32_t(*)(void))(uintptr_t)p)();
    }
    printf("jit %u\n", (unsigned)sum);
}

static void forks(void)
{
    int i, status, sum = 0;

    for (i = 0; i < 50; i++) {
        pid_t pid = fork();

        if (pid == 0)
            _exit(i);
        if (waitpid(pid, &status, 0) == pid && WIFEXITED(status))
            sum += WEXITSTATUS(status);
    }
    printf("forks %d\n", sum);
}

int main(void)
{
    sort();
    floats();
    trap();
    jit();
    fflush(stdout);
    forks();
    return faults == 1000 ? 0 : 1;
}
