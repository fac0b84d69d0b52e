#ifndef GUEST_OUTPUT_H
#define GUEST_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a bare guest says, and its verdict. */
void output_init(void);
void print(const char *s);
void print_hex(unsigned long v);
void check(bool ok, const char *file, int line, const char *what);
void check_equal(unsigned long a, unsigned long b, const char *file, int line,
                 const char *what);
#define CHECK(x)       check((x), __FILE__, __LINE__, #x)
#define CHECK_EQ(a, b) check_equal((a), (b), __FILE__, __LINE__, #a " == " #b)
/* End the machine: by what was checked, failed, or not possible here. */
_Noreturn void finish(void);
_Noreturn void fail(void);
_Noreturn void skip(const char *why);

void *memcpy(void *dst, const void *src, size_t len);
void *memset(void *dst, int v, size_t len);

#endif
