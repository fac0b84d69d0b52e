#define ZLIB_CONST /* its input is only read */

#include "fetch/unpack.h"

#include <bzlib.h>
#include <errno.h>
#include <lzma.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

enum { SIZE = 5 << 20, ROOM = 6 << 20 };

struct files {
    int in, out;
    uint8_t *plain, *packed;
    size_t len; /* of packed */
};

/* Some that compresses, some that does not, and a long hole. */
static void fill(uint8_t *p)
{
    uint32_t x = 1;

    for (size_t i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = i < SIZE / 4   ? (uint8_t)(i / 1000)
               : i < SIZE / 2 ? (uint8_t)(x >> 24)
               : i < SIZE - 5 ? 0
                              : 7;
    }
}

static int set_up(void **state)
{
    struct files *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    f->in = memfd_create("in", MFD_CLOEXEC);
    f->out = memfd_create("out", MFD_CLOEXEC);
    f->plain = malloc(SIZE);
    f->packed = malloc(ROOM);
    assert_non_null(f->plain);
    assert_non_null(f->packed);
    fill(f->plain);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct files *f = *state;

    (void)close(f->in);
    (void)close(f->out);
    free(f->plain);
    free(f->packed);
    free(f);
    return 0;
}

static size_t pack_gzip(const uint8_t *p, size_t len, uint8_t *out)
{
    z_stream z = {0};

    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, 0), Z_OK);
    z.next_in = p;
    z.avail_in = (unsigned)len;
    z.next_out = out;
    z.avail_out = ROOM;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&z), Z_OK);
    return ROOM - z.avail_out;
}

static size_t pack_xz(const uint8_t *p, size_t len, uint8_t *out)
{
    size_t n = 0;

    assert_int_equal(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, NULL, p, len,
                                             out, &n, ROOM),
                     LZMA_OK);
    return n;
}

static size_t pack_zstd(const uint8_t *p, size_t len, uint8_t *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    size_t n;

    /* with a sum, as zstd(1) does */
    assert_false(
        ZSTD_isError(ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1)));
    n = ZSTD_compress2(c, out, ROOM, p, len);
    assert_false(ZSTD_isError(n));
    (void)ZSTD_freeCCtx(c);
    return n;
}

static size_t pack_bzip2(const uint8_t *p, size_t len, uint8_t *out)
{
    unsigned n = ROOM;
    union {
        const uint8_t *in;
        char *text;
    } u = {.in = p};

    assert_int_equal(BZ2_bzBuffToBuffCompress((char *)out, &n, u.text,
                                              (unsigned)len, 1, 0, 0),
                     BZ_OK);
    return n;
}

static const struct {
    enum unpack_kind kind;
    size_t (*pack)(const uint8_t *p, size_t len, uint8_t *out);
} kinds[] = {{UNPACK_GZIP, pack_gzip},
             {UNPACK_XZ, pack_xz},
             {UNPACK_ZSTD, pack_zstd},
             {UNPACK_BZIP2, pack_bzip2}};
enum { NR_KINDS = sizeof(kinds) / sizeof(kinds[0]) };

static int unpack(struct files *f, enum unpack_kind kind, uint64_t max)
{
    const struct unpack u = {
        .kind = kind, .name = "test", .in = f->in, .out = f->out, .max = max};
    struct err err = {0};
    int rc;

    assert_int_equal(ftruncate(f->in, 0), 0);
    assert_int_equal(ftruncate(f->out, 0), 0);
    assert_int_equal(pwrite(f->in, f->packed, f->len, 0), (ssize_t)f->len);
    rc = unpack_file(&u, &err);
    assert_int_equal(rc, err.code);
    return rc;
}

static void assert_whole(struct files *f)
{
    struct stat st;
    uint8_t *p;

    assert_int_equal(fstat(f->out, &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_true(st.st_blocks * 512 < SIZE / 4 * 3); /* the hole is one */
    p = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, f->out, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    assert_memory_equal(p, f->plain, SIZE);
    assert_int_equal(munmap(p, SIZE), 0);
}

static void each_kind_comes_back_with_its_holes(void **state)
{
    struct files *f = *state;

    for (unsigned i = 0; i < NR_KINDS; i++) {
        f->len = kinds[i].pack(f->plain, SIZE, f->packed);
        assert_int_equal(unpack_guess(f->packed, f->len), kinds[i].kind);
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), 0);
        assert_whole(f);
    }
}

static void several_streams_are_one_file(void **state)
{
    struct files *f = *state;
    enum { CUT = SIZE / 3 };

    for (unsigned i = 0; i < NR_KINDS; i++) {
        f->len = kinds[i].pack(f->plain, CUT, f->packed);
        f->len += kinds[i].pack(f->plain + CUT, SIZE - CUT, f->packed + f->len);
        memset(f->packed + f->len, 0, 1000); /* and a writer's padding */
        f->len += 1000;
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), 0);
        assert_whole(f);
    }
}

static void what_is_cut_or_changed_is_refused(void **state)
{
    struct files *f = *state;

    for (unsigned i = 0; i < NR_KINDS; i++) {
        size_t len = kinds[i].pack(f->plain, SIZE, f->packed);

        f->len = len - 1;
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), -EUCLEAN);
        f->len = 5;
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), -EUCLEAN);
        f->len = len + 1;
        f->packed[len] = 'x';
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), -EUCLEAN);
        f->packed[len / 2] ^= 0x55;
        f->len = len;
        assert_int_equal(unpack(f, kinds[i].kind, SIZE), -EUCLEAN);
    }
}

static void what_grows_too_large_is_refused(void **state)
{
    struct files *f = *state;

    for (unsigned i = 0; i < NR_KINDS; i++) {
        f->len = kinds[i].pack(f->plain, SIZE, f->packed);
        assert_int_equal(unpack(f, kinds[i].kind, SIZE - 1), -EFBIG);
    }
}

static void no_memory_is_an_error(void **state)
{
    struct files *f = *state;

    f->len = pack_gzip(f->plain, SIZE, f->packed);
    for (unsigned n = 1; n <= 2; n++) {
        fail_alloc_at(n);
        assert_int_equal(unpack(f, UNPACK_GZIP, SIZE), -ENOMEM);
    }
    fail_alloc_at(0);
}

static void other_files_are_not_compressed(void **state)
{
    (void)state;
    assert_int_equal(unpack_guess("QFI\xfb", 4), UNPACK_NONE);
    assert_int_equal(unpack_guess("\x1f", 1), UNPACK_NONE);
    assert_int_equal(unpack_guess("", 0), UNPACK_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_kind_comes_back_with_its_holes,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(several_streams_are_one_file, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_cut_or_changed_is_refused,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_grows_too_large_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(no_memory_is_an_error, set_up,
                                        tear_down),
        cmocka_unit_test(other_files_are_not_compressed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
