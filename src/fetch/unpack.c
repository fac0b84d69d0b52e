#define ZLIB_CONST /* its input is only read */

#include "fetch/unpack.h"

#include <bzlib.h>
#include <errno.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/fdio.h"

enum {
    IN_PIECE = 256 << 10,
    OUT_PIECE = 1 << 20,
    GRAIN = 64 << 10, /* what is a hole or not */
    ZSTD_WINDOW = 27  /* log2: 128 MiB, as zstd(1) without --long */
};

/* xz -9 needs 65 MiB, --lzma2=dict=512MiB somewhat more than that. */
#define XZ_MEMORY ((uint64_t)640 << 20)

/* What lies between the file and its decoder. */
struct window {
    const uint8_t *in;
    size_t in_len;
    uint8_t *out;
    size_t out_len;
};

union decoder {
    z_stream gzip;
    lzma_stream xz;
    ZSTD_DStream *zstd;
    bz_stream bzip2;
};

/*
 * A decoder goes on until it has no input or no room. step returns 1 at the end
 * of a stream, after which the decoder is made anew if there is more.
 */
struct decoder_ops {
    int (*begin)(union decoder *d); /* 0 or -ENOMEM */
    int (*step)(union decoder *d, struct window *w);
    void (*end)(union decoder *d);
};

/* --- gzip -------------------------------------------------------------------
 */

static int gzip_begin(union decoder *d)
{
    enum { ONLY_GZIP = 16 };

    memset(&d->gzip, 0, sizeof(d->gzip));
    return inflateInit2(&d->gzip, MAX_WBITS + ONLY_GZIP) == Z_OK ? 0 : -ENOMEM;
}

static int gzip_step(union decoder *d, struct window *w)
{
    z_stream *z = &d->gzip;
    int rc;

    z->next_in = w->in;
    z->avail_in = (unsigned)w->in_len;
    z->next_out = w->out;
    z->avail_out = (unsigned)w->out_len;
    rc = inflate(z, Z_NO_FLUSH);
    w->in = z->next_in;
    w->in_len = z->avail_in;
    w->out = z->next_out;
    w->out_len = z->avail_out;
    if (rc == Z_STREAM_END)
        return 1;
    if (rc == Z_MEM_ERROR)
        return -ENOMEM;
    return rc == Z_OK || rc == Z_BUF_ERROR ? 0 : -EUCLEAN;
}

static void gzip_end(union decoder *d)
{
    (void)inflateEnd(&d->gzip);
}

/* --- xz ---------------------------------------------------------------------
 */

static int xz_begin(union decoder *d)
{
    const lzma_stream none = LZMA_STREAM_INIT;

    d->xz = none;
    return lzma_stream_decoder(&d->xz, XZ_MEMORY, 0) == LZMA_OK ? 0 : -ENOMEM;
}

static int xz_step(union decoder *d, struct window *w)
{
    lzma_stream *x = &d->xz;
    lzma_ret rc;

    x->next_in = w->in;
    x->avail_in = w->in_len;
    x->next_out = w->out;
    x->avail_out = w->out_len;
    rc = lzma_code(x, LZMA_RUN);
    w->in = x->next_in;
    w->in_len = x->avail_in;
    w->out = x->next_out;
    w->out_len = x->avail_out;
    if (rc == LZMA_STREAM_END)
        return 1;
    if (rc == LZMA_MEM_ERROR)
        return -ENOMEM;
    return rc == LZMA_OK || rc == LZMA_BUF_ERROR ? 0 : -EUCLEAN;
}

static void xz_end(union decoder *d)
{
    lzma_end(&d->xz);
}

/* --- zstd -------------------------------------------------------------------
 */

static int zstd_begin(union decoder *d)
{
    d->zstd = ZSTD_createDStream();
    if (!d->zstd)
        return -ENOMEM;
    (void)ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, ZSTD_WINDOW);
    return 0;
}

static int zstd_step(union decoder *d, struct window *w)
{
    ZSTD_inBuffer in = {w->in, w->in_len, 0};
    ZSTD_outBuffer out = {w->out, w->out_len, 0};
    size_t rc = ZSTD_decompressStream(d->zstd, &out, &in);

    w->in += in.pos;
    w->in_len -= in.pos;
    w->out += out.pos;
    w->out_len -= out.pos;
    if (ZSTD_isError(rc))
        return -EUCLEAN;
    return rc == 0;
}

static void zstd_end(union decoder *d)
{
    (void)ZSTD_freeDStream(d->zstd);
}

/* --- bzip2 ------------------------------------------------------------------
 */

static int bzip2_begin(union decoder *d)
{
    memset(&d->bzip2, 0, sizeof(d->bzip2));
    return BZ2_bzDecompressInit(&d->bzip2, 0, 0) == BZ_OK ? 0 : -ENOMEM;
}

static int bzip2_step(union decoder *d, struct window *w)
{
    bz_stream *b = &d->bzip2;
    union { /* the library only reads, but does not say so */
        const uint8_t *in;
        char *next;
    } u = {.in = w->in};
    int rc;

    b->next_in = u.next;
    b->avail_in = (unsigned)w->in_len;
    b->next_out = (char *)w->out;
    b->avail_out = (unsigned)w->out_len;
    rc = BZ2_bzDecompress(b);
    w->in += w->in_len - b->avail_in;
    w->in_len = b->avail_in;
    w->out += w->out_len - b->avail_out;
    w->out_len = b->avail_out;
    if (rc == BZ_STREAM_END)
        return 1;
    if (rc == BZ_MEM_ERROR)
        return -ENOMEM;
    return rc == BZ_OK ? 0 : -EUCLEAN;
}

static void bzip2_end(union decoder *d)
{
    (void)BZ2_bzDecompressEnd(&d->bzip2);
}

static const struct decoder_ops decoders[] = {
    [UNPACK_GZIP] = {gzip_begin, gzip_step, gzip_end},
    [UNPACK_XZ] = {xz_begin, xz_step, xz_end},
    [UNPACK_ZSTD] = {zstd_begin, zstd_step, zstd_end},
    [UNPACK_BZIP2] = {bzip2_begin, bzip2_step, bzip2_end},
};

enum unpack_kind unpack_guess(const void *head, size_t len)
{
    static const struct {
        enum unpack_kind kind;
        const char *magic;
        size_t len;
    } known[] = {{UNPACK_GZIP, "\x1f\x8b\x08", 3},
                 {UNPACK_XZ,
                  "\xfd"
                  "7zXZ\0",
                  6},
                 {UNPACK_ZSTD, "\x28\xb5\x2f\xfd", 4},
                 {UNPACK_BZIP2, "BZh", 3}};

    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (len >= known[i].len &&
            memcmp(head, known[i].magic, known[i].len) == 0)
            return known[i].kind;
    return UNPACK_NONE;
}

/* --- The file ---------------------------------------------------------------
 */

struct work {
    const struct unpack *u;
    const struct decoder_ops *ops;
    union decoder d;
    bool open;  /* d is within a stream */
    bool ended; /* a stream came to its end, and no other began */
    uint8_t *in, *out;
    struct window w;
    uint64_t read_off, write_off;
    uint64_t total; /* bytes of the file, for progress */
};

static bool is_zero(const uint8_t *p, size_t len)
{
    return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

static int write_out(struct work *k, size_t len, struct err *err)
{
    for (size_t at = 0; at < len; at += GRAIN) {
        size_t n = len - at < GRAIN ? len - at : GRAIN;
        int rc =
            is_zero(k->out + at, n)
                ? 0
                : fd_pwrite_full(k->u->out, k->out + at, n, k->write_off + at);

        if (rc < 0) {
            errno = -rc;
            return err_sys(err, "unpack '%.200s'", k->u->name);
        }
    }
    k->write_off += len;
    if (k->write_off > k->u->max)
        return err_set(err, -EFBIG,
                       "unpack '%.200s': what is in it is too large",
                       k->u->name);
    return 0;
}

static int refill(struct work *k, struct err *err)
{
    ssize_t n = fd_pread_full(k->u->in, k->in, IN_PIECE, k->read_off);

    if (n < 0) {
        errno = (int)-n;
        return err_sys(err, "read '%.200s'", k->u->name);
    }
    k->w.in = k->in;
    k->w.in_len = (size_t)n;
    k->read_off += (uint64_t)n;
    if (k->u->progress)
        k->u->progress(k->u->opaque, k->read_off, k->total);
    return n > 0;
}

/* What may follow a stream: another, or zeroes as tapes and some writers leave
 * them. */
static int next_stream(struct work *k)
{
    int rc;

    if (k->ended && is_zero(k->w.in, k->w.in_len)) {
        k->w.in_len = 0;
        return 0;
    }
    rc = k->ops->begin(&k->d);
    k->open = rc == 0;
    k->ended = false;
    return rc;
}

/* Decode until there is no room (1), or no input (0). */
static int decode(struct work *k)
{
    while (k->w.out_len) {
        size_t in_len = k->w.in_len, out_len = k->w.out_len;
        int rc = k->open || !in_len ? 0 : next_stream(k);

        if (rc < 0)
            return rc;
        if (!k->open)
            return 0;
        /* Also without input: it may have kept what there was no room for. */
        rc = k->ops->step(&k->d, &k->w);
        if (rc < 0)
            return rc;
        if (rc > 0) {
            k->ops->end(&k->d);
            k->open = false;
            k->ended = true;
        } else if (k->w.in_len == in_len && k->w.out_len == out_len) {
            return in_len ? -EUCLEAN : 0;
        }
    }
    return 1;
}

/* What can be made of the input; 1 if there may be more. */
static int turn(struct work *k, struct err *err)
{
    int rc = decode(k), wrote;
    size_t have = (size_t)(k->w.out - k->out);

    if (rc == -ENOMEM)
        return err_set(err, rc, "unpack '%.200s': out of memory", k->u->name);
    if (rc < 0)
        return err_set(err, rc,
                       "unpack '%.200s': it is damaged, or needs too much "
                       "memory",
                       k->u->name);
    if (rc == 0)
        return 0;
    k->w.out = k->out;
    k->w.out_len = OUT_PIECE;
    wrote = write_out(k, have, err);
    return wrote < 0 ? wrote : 1;
}

static int unpack_all(struct work *k, struct err *err)
{
    int more, rc;

    while ((more = refill(k, err)) > 0)
        while ((rc = turn(k, err)) != 0)
            if (rc < 0)
                return rc;
    if (more < 0)
        return more;
    if (!k->ended)
        return err_set(err, -EUCLEAN, "unpack '%.200s': its end is missing",
                       k->u->name);
    rc = write_out(k, (size_t)(k->w.out - k->out), err);
    if (rc == 0 && ftruncate(k->u->out, (off_t)k->write_off) < 0)
        rc = err_sys(err, "unpack '%.200s'", k->u->name);
    return rc;
}

int unpack_file(const struct unpack *u, struct err *err)
{
    struct work k = {.u = u,
                     .ops = &decoders[u->kind],
                     .in = malloc(IN_PIECE),
                     .out = malloc(OUT_PIECE)};
    struct stat st;
    int rc;

    if (fstat(u->in, &st) == 0)
        k.total = (uint64_t)st.st_size;
    k.w.out = k.out;
    k.w.out_len = OUT_PIECE;
    if (k.in && k.out)
        rc = unpack_all(&k, err);
    else
        rc = err_set(err, -ENOMEM, "unpack '%.200s': out of memory", u->name);
    if (k.open)
        k.ops->end(&k.d);
    free(k.in);
    free(k.out);
    return rc;
}
