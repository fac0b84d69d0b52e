#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>

#include "replay.h"

/* replay: cut the power at each event of a trace; see docs/testing.md. */

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: replay [--file NAME] [--cuts N] [--seed N]\n"
                  "              [--drop BARRIER]... [--samples N --dir DIR]\n"
                  "              [--opener PROGRAM] [--lenient] [--max-bad N] "
                  "[--names] [--first]\n"
                  "              TRACE...\n"
                  "Status 0: every cut leaves a sound image, 1: not, 2: wrong "
                  "usage or no trace\n");
    return 2;
}

static bool parse(struct replay_options *o, int argc, char **argv)
{
    static const struct option longs[] = {
        {"file", required_argument, NULL, 'f'},
        {"cuts", required_argument, NULL, 'c'},
        {"seed", required_argument, NULL, 's'},
        {"drop", required_argument, NULL, 'd'},
        {"samples", required_argument, NULL, 'n'},
        {"dir", required_argument, NULL, 'D'},
        {"opener", required_argument, NULL, 'o'},
        {"max-bad", required_argument, NULL, 'm'},
        {"lenient", no_argument, NULL, 'l'},
        {"names", no_argument, NULL, 'N'},
        {"first", no_argument, NULL, 'F'},
        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        switch (c) {
        case 'f': o->file = optarg; break;
        case 'c': o->cuts = (unsigned)strtoul(optarg, NULL, 0); break;
        case 's': o->seed = strtoull(optarg, NULL, 0); break;
        case 'n': o->samples = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'D': o->dir = optarg; break;
        case 'o': o->opener = optarg; break;
        case 'm': o->max_bad = (unsigned)strtoul(optarg, NULL, 0); break;
        case 'l': o->lenient = true; break;
        case 'N': o->names = true; break;
        case 'F': o->first = true; break;
        case 'd':
            if (o->nr_drops == REPLAY_DROPS)
                return false;
            o->drops[o->nr_drops++] = optarg;
            break;
        default: return false;
        }
    }
    return optind < argc && (!o->samples || o->dir);
}

static bool one_trace(const struct replay_options *o, const char *path,
                      struct replay_counts *sum)
{
    struct replay *r = calloc(1, sizeof(*r));
    struct trace t;
    bool ok;

    if (!r || trace_open(&t, path)) {
        perror(path);
        free(r);
        return false;
    }
    r->opt = o;
    ok = replay_run(r, &t);
    if (!ok)
        (void)fprintf(stderr, "%s: is cut, or does not have %s\n", path,
                      o->file);
    (void)printf("%s: %" PRIu64 " events, %" PRIu64 " cuts (%" PRIu64
                 " leak), %" PRIu64 " samples, %" PRIu64 " bad\n",
                 path, r->n.events, r->n.cuts, r->n.leaky, r->n.samples,
                 r->n.bad);
    sum->cuts += r->n.cuts;
    sum->samples += r->n.samples;
    sum->bad += r->n.bad;
    sum->dropped += r->n.dropped;
    replay_fini(r);
    free(r);
    trace_unmap(&t);
    return ok;
}

int main(int argc, char **argv)
{
    struct replay_options o = {
        .file = "disk.qcow2", .cuts = 20, .max_bad = 3, .seed = 1};
    struct replay_counts sum = {0};
    int i, status = 0;

    if (!parse(&o, argc, argv))
        return usage();
    for (i = optind; i < argc; i++)
        if (!one_trace(&o, argv[i], &sum))
            status = 2;
    (void)printf("total: %" PRIu64 " cuts, %" PRIu64 " samples, %" PRIu64
                 " syncs dropped, %" PRIu64 " bad\n",
                 sum.cuts, sum.samples, sum.dropped, sum.bad);
    return status ? status : sum.bad ? 1 : 0;
}
