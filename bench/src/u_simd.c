/* Vector code: SSE2, SSSE3, AVX2+FMA, AVX-512 if the CPU says so. */
#include "harness.h"
#include <immintrin.h>
#include <string.h>

#define N 4096
static float fx[N] __attribute__((aligned(64))),
    fy[N] __attribute__((aligned(64)));
static float ma[64 * 64] __attribute__((aligned(64))),
    mb[64 * 64] __attribute__((aligned(64))),
    mc[64 * 64] __attribute__((aligned(64)));
static double da[64 * 64] __attribute__((aligned(64))),
    db[64 * 64] __attribute__((aligned(64))),
    dc[64 * 64] __attribute__((aligned(64)));
static uint8_t ba[N] __attribute__((aligned(64))),
    bb[N] __attribute__((aligned(64)));

static void init(void)
{
    for (int i = 0; i < N; i++) {
        fx[i] = (float)(i % 17) * 0.25f;
        fy[i] = (float)(i % 5);
        ma[i] = (float)(i % 7);
        mb[i] = (float)(i % 11) * 0.5f;
        da[i] = i % 7;
        db[i] = (i % 11) * 0.5;
        ba[i] = (uint8_t)(i * 7);
        bb[i] = (uint8_t)(i * 13);
    }
}
#define NEED(f)                                                                \
    do {                                                                       \
        init();                                                                \
        __builtin_cpu_init();                                                  \
        if (!__builtin_cpu_supports(f))                                        \
            skip("CPU has no " f);                                             \
    } while (0)
static void need_avx2(void)
{
    NEED("fma");
    NEED("avx2");
}
static void need_ssse3(void)
{
    NEED("ssse3");
}
static void need_avx512(void)
{
    NEED("avx512f");
    NEED("avx512bw");
}

static void saxpy_sse(long n)
{
    for (long it = 0; it < n; it++) {
        __m128 k = _mm_set1_ps(it & 1 ? 0.5f : -0.25f);
        for (int i = 0; i < N; i += 4)
            _mm_store_ps(fy + i, _mm_add_ps(_mm_mul_ps(k, _mm_load_ps(fx + i)),
                                            _mm_load_ps(fy + i)));
    }
    sink += (uint64_t)(fy[10] * 100);
}
__attribute__((target("avx2,fma"))) static void saxpy_avx2(long n)
{
    for (long it = 0; it < n; it++) {
        __m256 k = _mm256_set1_ps(it & 1 ? 0.5f : -0.25f);
        for (int i = 0; i < N; i += 8)
            _mm256_store_ps(fy + i, _mm256_fmadd_ps(k, _mm256_load_ps(fx + i),
                                                    _mm256_load_ps(fy + i)));
    }
    sink += (uint64_t)(fy[10] * 100);
}
__attribute__((target("avx512f,avx512bw"))) static void saxpy_avx512(long n)
{
    for (long it = 0; it < n; it++) {
        __m512 k = _mm512_set1_ps(it & 1 ? 0.5f : -0.25f);
        for (int i = 0; i < N; i += 16)
            _mm512_store_ps(fy + i, _mm512_fmadd_ps(k, _mm512_load_ps(fx + i),
                                                    _mm512_load_ps(fy + i)));
    }
    sink += (uint64_t)(fy[10] * 100);
}
static void matmul_sse2(long n)
{
    for (long it = 0; it < n; it++) {
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j += 4) {
                __m128d s0 = _mm_setzero_pd(), s1 = _mm_setzero_pd();
                for (int k = 0; k < 64; k++) {
                    __m128d a = _mm_set1_pd(da[i * 64 + k]);
                    s0 = _mm_add_pd(
                        s0, _mm_mul_pd(a, _mm_load_pd(db + k * 64 + j)));
                    s1 = _mm_add_pd(
                        s1, _mm_mul_pd(a, _mm_load_pd(db + k * 64 + j + 2)));
                }
                _mm_store_pd(dc + i * 64 + j, s0);
                _mm_store_pd(dc + i * 64 + j + 2, s1);
            }
        da[it & 63] = dc[5] * 1e-6;
    }
    sink += (uint64_t)(dc[100] * 100);
}
__attribute__((target("avx2,fma"))) static void matmul_avx2(long n)
{
    for (long it = 0; it < n; it++) {
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j += 16) {
                __m256 s0 = _mm256_setzero_ps(), s1 = _mm256_setzero_ps();
                for (int k = 0; k < 64; k++) {
                    __m256 a = _mm256_broadcast_ss(ma + i * 64 + k);
                    s0 =
                        _mm256_fmadd_ps(a, _mm256_load_ps(mb + k * 64 + j), s0);
                    s1 = _mm256_fmadd_ps(a, _mm256_load_ps(mb + k * 64 + j + 8),
                                         s1);
                }
                _mm256_store_ps(mc + i * 64 + j, s0);
                _mm256_store_ps(mc + i * 64 + j + 8, s1);
            }
    }
    sink += (uint64_t)(mc[100] * 100);
}
static void
bytes_sse2(long n) /* sum of absolute differences + saturating adds */
{
    __m128i acc = _mm_setzero_si128();
    for (long it = 0; it < n; it++)
        for (int i = 0; i < N; i += 16) {
            __m128i a = _mm_load_si128((const void *)(ba + i)),
                    b = _mm_load_si128((const void *)(bb + i));
            acc = _mm_add_epi64(acc, _mm_sad_epu8(a, b));
            acc = _mm_add_epi64(
                acc, _mm_and_si128(_mm_adds_epu8(a, b), _mm_cmpgt_epi8(a, b)));
        }
    uint64_t v[2];
    memcpy(v, &acc, 16);
    sink += v[0] + v[1];
}
__attribute__((target("ssse3"))) static void shuf_ssse3(long n)
{
    __m128i acc = _mm_setzero_si128(),
            m = _mm_set_epi8(0, 3, 6, 9, 12, 15, 2, 5, 8, 11, 14, 1, 4, 7, 10,
                             13);
    for (long it = 0; it < n; it++)
        for (int i = 0; i < N; i += 16)
            acc = _mm_xor_si128(
                _mm_shuffle_epi8(acc, m),
                _mm_maddubs_epi16(_mm_load_si128((const void *)(ba + i)),
                                  _mm_set1_epi8(3)));
    uint64_t v[2];
    memcpy(v, &acc, 16);
    sink += v[0] + v[1];
}
__attribute__((target("avx2"))) static void bytes_avx2(long n)
{
    __m256i acc = _mm256_setzero_si256();
    for (long it = 0; it < n; it++)
        for (int i = 0; i < N; i += 32) {
            __m256i a = _mm256_load_si256((const void *)(ba + i)),
                    b = _mm256_load_si256((const void *)(bb + i));
            acc = _mm256_add_epi64(acc, _mm256_sad_epu8(a, b));
            acc = _mm256_add_epi64(acc,
                                   _mm256_and_si256(_mm256_adds_epu8(a, b),
                                                    _mm256_cmpgt_epi8(a, b)));
        }
    uint64_t v[4];
    memcpy(v, &acc, 32);
    sink += v[0] + v[1] + v[2] + v[3];
}

const struct test simd_tests[] = {
    {"simd_saxpy_sse", "simd", "Mflop/s", 2e-6 * N, saxpy_sse, init, 100, 0},
    {"simd_saxpy_avx2", "simd", "Mflop/s", 2e-6 * N, saxpy_avx2, need_avx2, 100,
     0},
    {"simd_saxpy_avx512", "simd", "Mflop/s", 2e-6 * N, saxpy_avx512,
     need_avx512, 100, 0},
    {"simd_matmul_sse2", "simd", "Mflop/s", 2e-6 * 64 * 64 * 64, matmul_sse2,
     init, 3, 0},
    {"simd_matmul_avx2", "simd", "Mflop/s", 2e-6 * 64 * 64 * 64, matmul_avx2,
     need_avx2, 3, 0},
    {"simd_bytes_sse2", "simd", "MB/s", 1e-6 * N, bytes_sse2, init, 10, 0},
    {"simd_shuf_ssse3", "simd", "MB/s", 1e-6 * N, shuf_ssse3, need_ssse3, 10,
     0},
    {"simd_bytes_avx2", "simd", "MB/s", 1e-6 * N, bytes_avx2, need_avx2, 10, 0},
    {0}};
