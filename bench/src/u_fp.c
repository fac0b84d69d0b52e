/* Scalar floating point. */
#include "harness.h"
#include <math.h>

static uint64_t bits_of(double v)
{
    return (uint64_t)(int64_t)(v * 1e6);
}

struct body {
    double x, y, z, vx, vy, vz, m;
};
static void nbody_run(long n)
{
    static struct body b[5] = {
        {0, 0, 0, 0, 0, 0, 39.47841760435743},
        {4.84143144246472090, -1.16032004402742839, -0.10362204447112311,
         0.60632639299583202, 2.81198684491626019, -0.02521836165988763,
         0.03769367487038949},
        {8.34336671824457987, 4.12479856412430479, -0.40352341711432138,
         -1.01077434617879236, 1.82566237123041186, 0.00841576137658415,
         0.01128632613196877},
        {12.8943695621391310, -15.1111514016986312, -0.22330757889265573,
         1.08279100644153536, 0.86871301816960822, -0.01083263740136364,
         0.00172372405705971},
        {15.3796971148509165, -25.9193146099879641, 0.17925877295037118,
         0.97909073224389798, 0.59469899864767617, -0.03475595557275360,
         0.00203368686992463}};
    for (long it = 0; it < n; it++) {
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                double dx = b[i].x - b[j].x, dy = b[i].y - b[j].y,
                       dz = b[i].z - b[j].z;
                double d2 = dx * dx + dy * dy + dz * dz,
                       mag = 0.001 / (d2 * sqrt(d2));
                b[i].vx -= dx * b[j].m * mag;
                b[i].vy -= dy * b[j].m * mag;
                b[i].vz -= dz * b[j].m * mag;
                b[j].vx += dx * b[i].m * mag;
                b[j].vy += dy * b[i].m * mag;
                b[j].vz += dz * b[i].m * mag;
            }
        for (int i = 0; i < 5; i++) {
            b[i].x += 0.001 * b[i].vx;
            b[i].y += 0.001 * b[i].vy;
            b[i].z += 0.001 * b[i].vz;
        }
    }
    sink += bits_of(b[0].x) + bits_of(b[1].y);
}

static void mandel_run(long n)
{
    long inside = 0;
    for (long it = 0; it < n; it++) {
        double cy = -1.0 + 2.0 * (double)(it & 63) / 64;
        for (int px = 0; px < 64; px++) {
            double cx = -2.0 + 3.0 * px / 64, x = 0, y = 0;
            int k = 0;
            for (; k < 100 && x * x + y * y < 4; k++) {
                double t = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = t;
            }
            inside += k;
        }
    }
    sink += (uint64_t)inside;
}

static void x87_run(long n) /* long double: x87 code on every x86 ABI */
{
    volatile long double one = 1.0L;
    long double s = 0, x = one;
    for (long i = 0; i < n; i++) {
        x = x * 1.0000001L + 0.5L / (x + one);
        s += x - (long double)(int)x;
        if (x > 1000)
            x = one;
    }
    sink += (uint64_t)(s * 1000);
}

static void libm_run(long n)
{
    double s = 0;
    for (long i = 0; i < n; i++) {
        double a = (double)(i % 1000) * 0.01 + 0.1;
        s += sin(a) * exp(-a) + log(a) * cos(a) + pow(a, 0.3);
    }
    sink += (uint64_t)(int64_t)(s * 1000);
}

static void cvt_run(long n) /* int <-> double <-> float conversions, compares */
{
    double acc = 0;
    for (long i = 0; i < n; i++) {
        int v = (int)(i * 7919 & 0xffff);
        float f = (float)v * 0.37f;
        double d = (double)f;
        if (d > acc)
            acc += 0.5;
        else
            acc -= (double)(int)(f * 0.01f);
        __asm__ volatile("" : "+m"(acc));
    }
    sink += bits_of(acc);
}

const struct test fp_tests[] = {
    {"fp_nbody", "fp", "Mstep/s", 1e-6, nbody_run, 0, 500, 0},
    {"fp_mandel", "fp", "Mpixel/s", 64e-6, mandel_run, 0, 64, 0},
    {"fp_x87", "fp", "Miter/s", 1e-6, x87_run, 0, 10000, 0},
    {"fp_libm", "fp", "Miter/s", 1e-6, libm_run, 0, 1000, 0},
    {"fp_cvt", "fp", "Miter/s", 1e-6, cvt_run, 0, 10000, 0},
    {0}};
