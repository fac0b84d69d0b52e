#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <time.h>

#include "compare.h"
#include "gen.h"
#include "report.h"
#include "worker.h"

/*
 * cpudiff: random instructions on the real CPU and in an engine, compared bit
 * for bit. docs/testing.md says what is covered and how to read a report.
 */

struct options {
    uint64_t seed, count, first;
    unsigned max_reports;
    const char *only, *engine;
    bool forever, verbose, seed_given, one;
};

struct run {
    struct options opt;
    struct gen gen;
    struct shared *sh;
    struct worker worker[NR_SIDES];
    uint64_t cases, mismatches, lost;
    uint32_t by_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
    uint32_t wrong[ZYDIS_MNEMONIC_MAX_VALUE + 1];
    uint32_t fields[ZYDIS_MNEMONIC_MAX_VALUE + 1];
    uint64_t wrong_sequences, faults;
};

static void usage(FILE *f)
{
    (void)fprintf(
        f, "usage: cpudiff [--seed N] [--first N] [--count N | --forever]\n"
           "               [--case N] [--only MNEMONIC]\n"
           "               [--bits 16|32|64] [--sequences PERCENT]\n"
           "               [--engine jit|native] [--max-reports N]\n"
           "               [--chaos] [--verbose]\n"
           "Runs generated cases on the real CPU and in husk's engine and\n"
           "compares registers, flags, memory and faults. Status 0: all\n"
           "agree, 1: mismatches, 2: wrong usage, 3: it could not run.\n");
}

static void parse_options(struct run *run, int argc, char **argv)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"count", required_argument, NULL, 'n'},
        {"case", required_argument, NULL, 'c'},
        {"first", required_argument, NULL, 'i'},
        {"forever", no_argument, NULL, 'f'},
        {"only", required_argument, NULL, 'o'},
        {"bits", required_argument, NULL, 'b'},
        {"sequences", required_argument, NULL, 'q'},
        {"engine", required_argument, NULL, 'e'},
        {"max-reports", required_argument, NULL, 'm'},
        {"chaos", no_argument, NULL, 'x'},
        {"verbose", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0}};
    struct options *o = &run->opt;
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        switch (c) {
        case 's':
            o->seed = strtoull(optarg, NULL, 0);
            o->seed_given = true;
            break;
        case 'n': o->count = strtoull(optarg, NULL, 0); break;
        case 'i': o->first = strtoull(optarg, NULL, 0); break;
        case 'c':
            o->first = strtoull(optarg, NULL, 0);
            o->count = 1;
            o->one = true;
            break;
        case 'f': o->forever = true; break;
        case 'o': o->only = optarg; break;
        case 'b': run->gen.bits = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'q':
            run->gen.sequence_percent = (unsigned)strtoul(optarg, NULL, 0);
            break;
        case 'e': o->engine = optarg; break;
        case 'm': o->max_reports = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'x': run->sh->chaos = true; break;
        case 'v': o->verbose = true; break;
        case 'h': usage(stdout); exit(0);
        default: usage(stderr); exit(2);
        }
    }
    if (optind < argc) {
        usage(stderr);
        exit(2);
    }
}

static const char *mnemonic_name(unsigned m)
{
    const char *s = m ? ZydisMnemonicGetString((ZydisMnemonic)m) : NULL;

    return s ? s : "(undefined)";
}

static bool is_wanted(const struct run *run, const struct diff_case *c)
{
    const char *only = run->opt.only;

    if (!only)
        return true;
    return c->kind == DIFF_ONE && !strcasecmp(only, mnemonic_name(c->mnemonic));
}

/* Fill the batch that holds case number n; cases outside [n, end) are left
 * out. The slot of a case follows from its number alone. */
static void fill(struct run *run, uint64_t n, uint64_t end)
{
    uint64_t base = n - n % DIFF_BATCH;

    run->sh->last = DIFF_BATCH;
    for (uint32_t i = 0; i < DIFF_BATCH; i++) {
        run->sh->skip[i] = base + i < n || base + i >= end;
        if (run->sh->skip[i])
            continue;
        gen_case(&run->gen, base + i, &run->sh->c[i]);
        run->sh->skip[i] = !is_wanted(run, &run->sh->c[i]);
    }
}

static void check_case(struct run *run, uint32_t i)
{
    const struct diff_case *c = &run->sh->c[i];
    const struct diff_result *a = &run->sh->side[SIDE_NATIVE].result[i];
    const struct diff_result *b = &run->sh->side[SIDE_ENGINE].result[i];
    unsigned fields = compare(c, a, b);

    run->cases++;
    run->faults += a->out.vector != 3;
    run->by_mnemonic[c->mnemonic]++;
    if (run->opt.verbose) {
        report_code(c);
        report_input(c);
        (void)printf("    native: status %u, vector %" PRIu64 " error %" PRIx64
                     " rip %" PRIx64 "\n",
                     a->status, a->out.vector, a->out.error, a->out.rip);
    }
    if (!fields)
        return;
    run->mismatches++;
    if (c->kind == DIFF_SEQUENCE) {
        run->wrong_sequences++;
    } else {
        run->wrong[c->mnemonic]++;
        run->fields[c->mnemonic] |= fields;
    }
    if (run->mismatches > run->opt.max_reports ||
        (c->kind == DIFF_ONE && run->wrong[c->mnemonic] > 3))
        return;
    report_difference(c, fields, a, b);
    (void)printf("    again: cpudiff --seed %" PRIu64 " --case %" PRIu64
                 " --verbose\n",
                 run->opt.seed, c->number);
}

/* Endless loops happen; the engine need not show that it has them too. */
static void skip_runaways(struct run *run)
{
    for (uint32_t i = 0; i < DIFF_BATCH; i++) {
        if (run->sh->skip[i] ||
            run->sh->side[SIDE_NATIVE].result[i].status == DIFF_DONE)
            continue;
        run->sh->skip[i] = 1;
        run->lost++;
    }
}

static int run_batch(struct run *run, uint64_t n, uint64_t end)
{
    fill(run, n, end);
    if (shared_next(run->sh, 0) == DIFF_BATCH)
        return 0;
    for (unsigned i = 0; i < NR_SIDES; i++) {
        if (worker_begin(&run->worker[i]) < 0 ||
            worker_finish(&run->worker[i]) < 0)
            return -1;
        if (i == SIDE_NATIVE)
            skip_runaways(run);
    }
    for (uint32_t i = 0; i < DIFF_BATCH; i++)
        if (!run->sh->skip[i])
            check_case(run, i);
    (void)fflush(stdout);
    return 0;
}

static void print_summary(const struct run *run)
{
    unsigned covered = 0;

    for (unsigned m = 1; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++)
        covered += run->by_mnemonic[m] > 0;
    if (run->mismatches)
        (void)printf("mismatches by instruction:\n");
    for (unsigned m = 0; m <= ZYDIS_MNEMONIC_MAX_VALUE; m++) {
        if (!run->wrong[m])
            continue;
        (void)printf("  %-14s %6u of %6u:", mnemonic_name(m), run->wrong[m],
                     run->by_mnemonic[m]);
        for (unsigned f = run->fields[m]; f; f &= f - 1)
            (void)printf(" %s", compare_name(f));
        (void)printf("\n");
    }
    if (run->wrong_sequences)
        (void)printf("  %-14s %6" PRIu64 "\n", "sequences",
                     run->wrong_sequences);
    (void)printf("cpudiff: seed %" PRIu64 ": %" PRIu64 " cases of %u "
                 "instructions, %" PRIu64 " faults, %" PRIu64
                 " ran away, %" PRIu64 " mismatches\n",
                 run->opt.seed, run->cases, covered, run->faults, run->lost,
                 run->mismatches);
}

static int run_seed(struct run *run)
{
    uint64_t n = run->opt.first, end = n + run->opt.count;

    while (n < end) {
        if (run_batch(run, n, end) < 0) {
            (void)fprintf(stderr, "cpudiff: a side does not run\n");
            return 3;
        }
        n += DIFF_BATCH - n % DIFF_BATCH;
    }
    print_summary(run);
    return run->mismatches ? 1 : 0;
}

static struct run *run_new(void)
{
    struct run *run = calloc(1, sizeof(*run));

    if (!run)
        return NULL;
    run->sh =
        mmap((void *)0x510000000000, sizeof(*run->sh), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (run->sh == MAP_FAILED) {
        free(run);
        return NULL;
    }
    run->opt = (struct options){
        .seed = 1, .count = 200000, .engine = "jit", .max_reports = 60};
    gen_init(&run->gen, 0);
    return run;
}

static int run_all(struct run *run)
{
    int status;

    do {
        if (run->opt.forever && !run->opt.seed_given)
            run->opt.seed = (uint64_t)time(NULL) + run->opt.seed;
        run->gen.seed = run->opt.seed;
        status = run_seed(run);
        run->opt.seed++;
    } while (run->opt.forever && status != 3);
    return status;
}

int main(int argc, char **argv)
{
    struct run *run = run_new();
    int status;

    if (!run) {
        (void)fprintf(stderr, "cpudiff: out of memory\n");
        return 3;
    }
    parse_options(run, argc, argv);
    worker_init(&run->worker[SIDE_NATIVE], native_main, run->sh, SIDE_NATIVE);
    worker_init(&run->worker[SIDE_ENGINE],
                strcmp(run->opt.engine, "native") ? engine_main : native_main,
                run->sh, SIDE_ENGINE);
    status = run_all(run);
    for (unsigned i = 0; i < NR_SIDES; i++)
        worker_stop(&run->worker[i]);
    gen_fini(&run->gen);
    (void)munmap(run->sh, sizeof(*run->sh));
    free(run);
    return status;
}
