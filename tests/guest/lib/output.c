#include "output.h"

#include "port.h"

/* Of both libraries: compiled for 64 and for 32 bits. */
static unsigned failures;

static void put(char c)
{
    outb(0x402, (uint8_t)c);
    for (unsigned i = 0; i < 1000000 && !(inb(0x3fd) & 0x20); i++)
        ;
    outb(0x3f8, (uint8_t)c);
}

void output_init(void) /* 115200 bit/s, 8n1 */
{
    outb(0x3fb, 0x83);
    outb(0x3f8, 1);
    outb(0x3f9, 0);
    outb(0x3fb, 3);
}

void print(const char *s)
{
    while (*s)
        put(*s++);
}

void print_hex(unsigned long v)
{
    unsigned shift = 8 * sizeof(v) - 4;

    while (shift && !(v >> shift & 15))
        shift -= 4;
    for (;; shift -= 4) {
        put("0123456789abcdef"[v >> shift & 15]);
        if (!shift)
            break;
    }
}

static void print_place(const char *file, int line)
{
    char text[12];
    unsigned n = sizeof(text);

    text[--n] = 0;
    for (unsigned v = (unsigned)line; v; v /= 10)
        text[--n] = (char)('0' + v % 10);
    print(file);
    print(":");
    print(text + n);
    print(": ");
}

void check(bool ok, const char *file, int line, const char *what)
{
    if (ok)
        return;
    failures++;
    print_place(file, line);
    print(what);
    print(" is false\n");
}

void check_equal(unsigned long a, unsigned long b, const char *file, int line,
                 const char *what)
{
    if (a == b)
        return;
    failures++;
    print_place(file, line);
    print(what);
    print(": ");
    print_hex(a);
    print(", not ");
    print_hex(b);
    print("\n");
}

/* The status of the machine's process becomes (v << 1) | 1. */
static _Noreturn void end(uint8_t v)
{
    outb(0xf4, v);
    for (const char *s = "Shutdown"; *s; s++) /* the same for Bochs */
        outb(0x8900, (uint8_t)*s);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void finish(void)
{
    print(failures ? "FAILED\n" : "passed\n");
    end(failures ? 1 : 0);
}

void skip(const char *why)
{
    print("skipped: ");
    print(why);
    print("\n");
    end(failures ? 1 : 2);
}

void fail(void)
{
    failures++;
    finish();
}

/* -- The C library's part that gcc expects --------------------------------- */

void *memcpy(void *dst, const void *src, size_t len)
{
    void *d = dst;

    __asm__ volatile("rep movsb" : "+D"(d), "+S"(src), "+c"(len)::"memory");
    return dst;
}

void *memset(void *dst, int v, size_t len)
{
    void *d = dst;

    __asm__ volatile("rep stosb" : "+D"(d), "+c"(len) : "a"(v) : "memory");
    return dst;
}
