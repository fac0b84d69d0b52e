/*
 * Compressed clusters, which are read only: raw deflate with a window of 4 KiB,
 * or one zstd frame (qcow2.txt, "Compressed Clusters Descriptor" and
 * "compression_type"). A write replaces one by a plain cluster.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "block/iov.h"
#include "block/qcow2_int.h"

enum { WINDOW_BITS = -12 };

static int decode_zlib(const uint8_t *src, uint64_t src_len, uint8_t *dst,
                       uint64_t dst_len)
{
    z_stream z = {0};
    int rc;

    if (inflateInit2(&z, WINDOW_BITS) != Z_OK)
        return -ENOMEM;
    /* zlib's header asks for a pointer to writable bytes; it only reads. */
    z.next_in = iov_const(src, src_len).iov_base;
    z.avail_in = (uInt)src_len;
    z.next_out = dst;
    z.avail_out = (uInt)dst_len;
    rc = inflate(&z, Z_FINISH);
    /* The input ends on a sector, the stream before it: Z_BUF_ERROR is what
     * full output without an end marker looks like. */
    rc = (rc == Z_STREAM_END || rc == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
    (void)inflateEnd(&z);
    return rc;
}

static int decode_zstd(const uint8_t *src, uint64_t src_len, uint8_t *dst,
                       uint64_t dst_len)
{
    ZSTD_inBuffer in = {src, src_len, 0};
    ZSTD_outBuffer out = {dst, dst_len, 0};
    ZSTD_DCtx *d = ZSTD_createDCtx();
    size_t rc = 1;

    if (!d)
        return -ENOMEM;
    /* The frame's end is not known, so it is read as a stream. */
    while (out.pos < out.size) {
        size_t in_pos = in.pos, out_pos = out.pos;

        rc = ZSTD_decompressStream(d, &out, &in);
        if (ZSTD_isError(rc) || (in.pos == in_pos && out.pos == out_pos))
            break;
    }
    (void)ZSTD_freeDCtx(d);
    return out.pos == out.size && !ZSTD_isError(rc) ? 0 : -EIO;
}

int q_decode(bool zstd, const uint8_t *src, uint64_t src_len, uint8_t *dst,
             uint64_t dst_len)
{
    return zstd ? decode_zstd(src, src_len, dst, dst_len)
                : decode_zlib(src, src_len, dst, dst_len);
}

static int decode_entry(struct qcow2 *q, uint64_t entry, uint8_t *dst)
{
    uint64_t off, len;
    uint8_t *src;
    int rc;

    q_packed_range(q, entry, &off, &len);
    /* At most twice a cluster by the width of its field, and more than one is
     * nothing that an encoder makes. */
    src = malloc(len);
    if (!src)
        return -ENOMEM;
    rc = hostfile_read(&q->f, off, src, len);
    if (!rc)
        rc = q_decode(q->h.compression == 1, src, len, dst, q->cluster_size);
    free(src);
    return rc;
}

/* The cluster decoded last is kept: neighbouring sectors come one by one. An
 * entry's bytes never change while something refers to it; q_decoded_forget is
 * called when its clusters are given back. */
int q_read_packed(struct qcow2 *q, uint64_t entry, uint64_t at,
                  const struct iovec *iov, int n, uint64_t skip, uint64_t len)
{
    struct q_decoded *d = &q->decoded;
    int rc = 0;

    lock_take(&d->lock);
    if (!d->data)
        d->data = malloc(q->cluster_size);
    if (!d->data) {
        rc = -ENOMEM;
    } else if (d->entry != entry) {
        d->entry = 0;
        rc = decode_entry(q, entry, d->data);
        if (!rc)
            d->entry = entry;
    }
    if (!rc)
        iov_put(iov, n, skip, d->data + at, len);
    lock_drop(&d->lock);
    return rc;
}

void q_decoded_forget(struct qcow2 *q)
{
    lock_take(&q->decoded.lock);
    q->decoded.entry = 0;
    lock_drop(&q->decoded.lock);
}
