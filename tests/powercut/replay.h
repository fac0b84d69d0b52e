#ifndef HUSK_TESTS_POWERCUT_REPLAY_H
#define HUSK_TESTS_POWERCUT_REPLAY_H

#include "disk.h"
#include "trace.h"
#include "verify.h"

enum { REPLAY_DROPS = 8, REPLAY_JOINED = 4096 };

struct replay_options {
    unsigned cuts;    /* tried after each event, at most */
    unsigned samples; /* of all cuts, given to other programs */
    unsigned max_bad; /* reported */
    uint64_t seed;
    const char *file;                /* name in the trace */
    const char *drops[REPLAY_DROPS]; /* barriers that do not happen */
    unsigned nr_drops;
    const char *opener; /* program that opens an image with husk's store */
    const char *dir;    /* for images */
    bool lenient;       /* a missing "refcount is one" is no failure */
    bool names;         /* print that of each sync */
    bool first;         /* end with the first failure */
};

struct replay_counts {
    uint64_t events, cuts, same, bad, leaky, samples, dropped;
};

/* One trace being replayed. */
struct replay {
    const struct replay_options *opt;
    struct replay_counts n;
    struct disk disk;
    struct model model;
    struct qcheck check;
    struct verify verify;
    struct qimg img;
    struct qreport report;
    uint64_t moment; /* counts marks: what may be there depends on them */
    uint64_t event;
    bool drop_next;
    uint8_t *joined[REPLAY_JOINED]; /* writes that came in pieces */
    unsigned nr_joined;
    uint64_t *seen; /* states that were looked at already */
    size_t nr_seen, room_seen;
};

/* False if the trace cannot be replayed. */
bool replay_run(struct replay *r, const struct trace *t);
void replay_fini(struct replay *r);

/* The image in r->disk.work through qemu-img and husk's own store; false with
 * the reason in r->verify.why. */
bool sample_check(struct replay *r);

#endif
