#ifndef HUSK_FETCH_SUM_H
#define HUSK_FETCH_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* SHA-256 and SHA-512 sums of files (FIPS 180-4), and the lists of them that
 * lie beside images. */
enum sum_kind { SUM_SHA256, SUM_SHA512 };

enum { SUM_MAX = 64, SUM_TEXT = 2 * SUM_MAX + 1 };

struct sum {
    enum sum_kind kind;
    uint8_t bytes[SUM_MAX]; /* 32 or 64 of them */
};

/* len hexadecimal digits: 64 or 128 of them say which it is. -EINVAL. */
MUST_CHECK int sum_parse(const char *hex, size_t len, struct sum *out);
void sum_print(const struct sum *s, char text[SUM_TEXT]);
bool sum_same(const struct sum *a, const struct sum *b);

/* Of len bytes; of all of a file, from its beginning (-errno if it cannot be
 * read). */
void sum_of(const void *buf, size_t len, enum sum_kind kind, struct sum *out);
MUST_CHECK int sum_of_fd(int fd, enum sum_kind kind, struct sum *out);

/*
 * The sum of the file called name in a list as sha256sum(1) prints it, also
 * with --tag: "SUM  NAME", "SUM *NAME", "SHA256 (NAME) = SUM". Lines that are
 * none of these do not matter. -ENOENT: it is not in there.
 */
MUST_CHECK int sum_find(const char *list, size_t len, const char *name,
                        struct sum *out);

#endif
