#ifndef HUSK_BLOCK_IOV_H
#define HUSK_BLOCK_IOV_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

/* Buffers in pieces. Skips and lengths are bytes; none reaches beyond the end
 * of the list but where that is said. */

enum { IOV_BATCH = 64 };

/* Bytes that are only read, in one piece: an iovec has no word for that. */
static inline struct iovec iov_const(const void *p, uint64_t len)
{
    struct iovec v = {.iov_len = len};

    memcpy(&v.iov_base, &p, sizeof(p));
    return v;
}

/* Sum of the pieces, UINT64_MAX if it does not fit. */
uint64_t iov_len(const struct iovec *iov, int n);
/*
 * The pieces that make up `len` bytes after the first `skip`, as far as they
 * fit into out[max]; *got (may be NULL) is how many bytes those are. Returns
 * the number of pieces.
 */
int iov_slice(const struct iovec *iov, int n, uint64_t skip, uint64_t len,
              struct iovec *out, int max, uint64_t *got);
void iov_get(const struct iovec *iov, int n, uint64_t skip, void *dst,
             uint64_t len);
void iov_put(const struct iovec *iov, int n, uint64_t skip, const void *src,
             uint64_t len);
void iov_zero(const struct iovec *iov, int n, uint64_t skip, uint64_t len);

#endif
