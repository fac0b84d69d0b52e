#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "qdiff.h"
#include "tests/powercut/marks.h"

/* See qdiff.h and docs/testing.md. */

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

uint64_t qd_random(struct qdiff *d, uint64_t below)
{
    return mix(d->random++) % below;
}

bool qd_no(struct qdiff *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d->why, sizeof(d->why), fmt, ap);
    va_end(ap);
    return false;
}

void qd_say(struct qdiff *d, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(d->last, sizeof(d->last), fmt, ap);
    va_end(ap);
    if (d->verbose)
        (void)printf("  %s\n", d->last);
}

/* -- The model ----------------------------------------------------------- */

bool qd_disk_resize(struct qd_disk *disk, uint64_t nr, uint32_t version)
{
    uint32_t *more = realloc(disk->version, nr * sizeof(*more));
    uint64_t i;

    if (!more)
        return false;
    for (i = disk->nr; i < nr; i++)
        more[i] = version;
    disk->version = more;
    disk->nr = nr;
    return true;
}

bool qd_disk_copy(struct qd_disk *to, const struct qd_disk *from)
{
    if (!qd_disk_resize(to, from->nr, 0))
        return false;
    memcpy(to->version, from->version, from->nr * sizeof(*to->version));
    return true;
}

void qd_fill(struct qdiff *d, const uint32_t *version, uint64_t first,
             uint64_t n)
{
    uint64_t words[SECTOR_WORDS], i;

    if (n * QD_SECTOR > d->buf_room)
        abort();
    for (i = 0; i < n; i++) {
        sector_fill(words, first + i, version[i]);
        memcpy(d->buf + i * QD_SECTOR, words, QD_SECTOR);
    }
}

void qd_range(struct qdiff *d, uint64_t *first, uint64_t *n)
{
    uint64_t per = (1ULL << d->cluster_bits) / QD_SECTOR;

    *first = qd_random(d, d->disk.nr);
    if (qd_random(d, 2))
        *first -= *first % per;
    *n = qd_random(d, 2) ? 1 + qd_random(d, 4) : 1 + qd_random(d, 3 * per);
    if (qd_random(d, 3) == 0)
        *n = per;
    if (*n > d->disk.nr - *first)
        *n = d->disk.nr - *first;
}

struct qd_snapshot *qd_snapshot_new(struct qdiff *d)
{
    unsigned i;

    for (i = 0; i < QD_SNAPSHOTS; i++) {
        struct qd_snapshot *s = &d->snapshots[i];

        if (s->used)
            continue;
        (void)snprintf(s->name, sizeof(s->name), "s%u", d->next_name++);
        s->opaque = 0;
        return s;
    }
    return NULL;
}

struct qd_snapshot *qd_snapshot_any(struct qdiff *d)
{
    unsigned at = (unsigned)qd_random(d, QD_SNAPSHOTS);

    return d->snapshots[at].used ? &d->snapshots[at] : NULL;
}

/* -- One image ----------------------------------------------------------- */

static bool make_base(struct qdiff *d, const char *name)
{
    uint64_t words[SECTOR_WORDS], i;
    FILE *f = fopen(name, "we");

    for (i = 0; f && i < d->base_sectors; i++) {
        sector_fill(words, i, 1);
        (void)fwrite(words, sizeof(words), 1, f);
    }
    return (f && !fclose(f)) || qd_no(d, "no room for %s", name);
}

/* What kind of image this seed gets. */
static bool choose_image(struct qdiff *d)
{
    static const uint32_t bits[] = {9, 9, 10, 12, 12, 14, 16, 16, 18, 21};
    static const unsigned counts[] = {16, 16, 16, 8, 32, 64, 4, 2, 1};
    uint64_t i;

    d->cluster_bits = bits[qd_random(d, sizeof(bits) / sizeof(bits[0]))];
    d->refcount_bits = counts[qd_random(d, sizeof(counts) / sizeof(counts[0]))];
    /* Full size where it fits: 60 KiB, and a name of 1,023 bytes beside it. */
    d->ext_len = d->cluster_bits >= 16   ? 60 * 1024
                 : d->cluster_bits >= 12 ? 1024
                                         : 48;
    d->base = d->cluster_bits >= 12 ? (int)qd_random(d, 2) : 0;
    d->base_sectors = 300 + qd_random(d, 2000);
    d->buf_room = (4ULL << d->cluster_bits) + (1 << 16);
    d->buf = malloc(d->buf_room);
    d->ext = malloc(d->ext_len);
    if (!d->buf || !d->ext)
        return qd_no(d, "out of memory");
    for (i = 0; i < d->ext_len; i++)
        d->ext[i] = (uint8_t)mix(d->seed * 7919 + i);
    d->seq = 1;
    return qd_disk_resize(&d->disk, d->base_sectors, d->base ? 1 : 0) &&
           (!d->base ||
            (make_base(d, "base1.raw") && make_base(d, "base2.raw")));
}

static bool play(struct qdiff *d, unsigned steps)
{
    unsigned i;

    if (!choose_image(d) || !qd_make_image(d) || !qd_compare(d, true))
        return false;
    for (i = 0; i < steps; i++) {
        d->steps++;
        if (!(qd_random(d, 2) ? qd_husk_step(d) : qd_qemu_step(d)))
            return false;
        if (!qd_compare(d, i % 4 == 3 || i + 1 == steps))
            return false;
    }
    return true;
}

static void forget(struct qdiff *d)
{
    unsigned i;

    free(d->disk.version);
    for (i = 0; i < QD_SNAPSHOTS; i++)
        free(d->snapshots[i].disk.version);
    free(d->buf);
    free(d->ext);
}

static bool one_seed(uint64_t seed, unsigned steps, bool verbose)
{
    struct qdiff d = {.seed = seed, .random = mix(seed), .verbose = verbose};
    bool ok = play(&d, steps);

    (void)printf("seed %" PRIu64
                 ": clusters 2^%u, counts of %u bits%s, %" PRIu64
                 " steps: %s\n",
                 seed, d.cluster_bits, d.refcount_bits,
                 d.base ? ", backing" : "", d.steps, ok ? "same" : "DIFFERENT");
    if (!ok)
        (void)printf("  after '%s': %s\n", d.last, d.why);
    forget(&d);
    return ok;
}

static int usage(void)
{
    (void)fprintf(stderr, "usage: qcow2diff [--seed N] [--seeds N] [--steps N] "
                          "[--verbose] FOLDER\n");
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"seeds", required_argument, NULL, 'n'},
        {"steps", required_argument, NULL, 't'},
        {"verbose", no_argument, NULL, 'v'},
        {NULL, 0, NULL, 0}};
    uint64_t seed = 1, n = 1, i;
    unsigned steps = 40, passed = 0;
    bool verbose = false;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        switch (c) {
        case 's': seed = strtoull(optarg, NULL, 0); break;
        case 'n': n = strtoull(optarg, NULL, 0); break;
        case 't': steps = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'v': verbose = true; break;
        default: return usage();
        }
    }
    if (optind + 1 != argc || chdir(argv[optind]))
        return usage();
    for (i = 0; i < n; i++) {
        passed += one_seed(seed + i, steps, verbose);
        (void)fflush(stdout);
    }
    (void)printf("%u passed, %u failed, 0 skipped\n", passed,
                 (unsigned)n - passed);
    return passed == n ? 0 : 1;
}
