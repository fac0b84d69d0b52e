#include "block/iov.h"

#include <string.h>

#include "base/checked.h"

uint64_t iov_len(const struct iovec *iov, int n)
{
    uint64_t sum = 0;

    for (int i = 0; i < n; i++)
        if (!add_ok(sum, iov[i].iov_len, &sum))
            return UINT64_MAX;
    return sum;
}

int iov_slice(const struct iovec *iov, int n, uint64_t skip, uint64_t len,
              struct iovec *out, int max, uint64_t *got)
{
    uint64_t sum = 0;
    int m = 0;

    for (int i = 0; i < n && len && m < max; i++) {
        uint64_t take = iov[i].iov_len;

        if (skip >= take) {
            skip -= take;
            continue;
        }
        take -= skip;
        if (take > len)
            take = len;
        out[m].iov_base = (char *)iov[i].iov_base + skip;
        out[m++].iov_len = take;
        skip = 0;
        len -= take;
        sum += take;
    }
    if (got)
        *got = sum;
    return m;
}

enum copy { COPY_GET, COPY_PUT, COPY_ZERO };

static void copy_bytes(enum copy how, void *piece, void *buf, uint64_t len)
{
    if (how == COPY_GET)
        memcpy(buf, piece, len);
    else if (how == COPY_PUT)
        memcpy(piece, buf, len);
    else
        memset(piece, 0, len);
}

static void copy(enum copy how, const struct iovec *iov, int n, uint64_t skip,
                 char *buf, uint64_t len)
{
    for (int i = 0; i < n && len; i++) {
        uint64_t take = iov[i].iov_len;

        if (skip >= take) {
            skip -= take;
            continue;
        }
        take -= skip;
        if (take > len)
            take = len;
        copy_bytes(how, (char *)iov[i].iov_base + skip, buf, take);
        skip = 0;
        len -= take;
        if (buf)
            buf += take;
    }
}

void iov_get(const struct iovec *iov, int n, uint64_t skip, void *dst,
             uint64_t len)
{
    copy(COPY_GET, iov, n, skip, dst, len);
}

void iov_put(const struct iovec *iov, int n, uint64_t skip, const void *src,
             uint64_t len)
{
    /* COPY_PUT only reads from it. */
    copy(COPY_PUT, iov, n, skip, iov_const(src, len).iov_base, len);
}

void iov_zero(const struct iovec *iov, int n, uint64_t skip, uint64_t len)
{
    copy(COPY_ZERO, iov, n, skip, NULL, len);
}
