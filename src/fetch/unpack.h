#ifndef HUSK_FETCH_UNPACK_H
#define HUSK_FETCH_UNPACK_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * Compressed files, as disk images come: gzip (RFC 1952), xz, zstd (RFC 8878)
 * and bzip2, each also as several streams one after the other. The bytes are
 * anybody's: the libraries are given bounded memory, and a file that does not
 * go on is refused.
 */
enum unpack_kind {
    UNPACK_NONE,
    UNPACK_GZIP,
    UNPACK_XZ,
    UNPACK_ZSTD,
    UNPACK_BZIP2
};

/* By a file's first bytes. */
enum unpack_kind unpack_guess(const void *head, size_t len);

struct unpack {
    enum unpack_kind kind;
    const char *name; /* of the file, for err */
    int in, out;      /* from in's beginning; out is empty, and gets holes where
                         there are zeroes */
    uint64_t max;     /* bytes of out at most */
    void (*progress)(void *opaque, uint64_t done, uint64_t total); /* or NULL */
    void *opaque;
};

/* -EUCLEAN: damaged, cut short, or in need of too much memory; -EFBIG: longer
 * than max; else what reading or writing gave. With err. */
MUST_CHECK int unpack_file(const struct unpack *u, struct err *err);

#endif
