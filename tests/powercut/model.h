#ifndef HUSK_TESTS_POWERCUT_MODEL_H
#define HUSK_TESTS_POWERCUT_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "marks.h"

/*
 * What a disk may hold after a cut, from the marks before it: each sector one
 * of the versions since the last flush that had returned, each snapshot all or
 * nothing, the size, the settings and the firmware's variables the old ones or
 * the new.
 */
enum {
    MODEL_VERSIONS = 24, /* of a sector between two flushes */
    MODEL_SNAPSHOTS = 64,
    MODEL_SETTINGS = 32,
    MODEL_VARS = 32,
    MODEL_FLUSHES = 32
};

struct model_sector {
    /* The oldest is durable; a discard leaves what was before, too. Their
     * numbers count from base. */
    uint32_t version[MODEL_VERSIONS];
    uint32_t base, count;
    uint32_t done; /* number of the last that has returned and is no discard */
};

struct model_view {
    struct model_sector *sectors;
    uint64_t nr, room;
};

struct model_snapshot {
    uint32_t id;
    bool taking;     /* it is under way, beside writes */
    bool must, used; /* !must: it is being made or deleted */
    bool seen;       /* after a kill; stable with the next flush */
    bool has_state;
    struct model_view view;
};

/* A flush under way covers what had returned when it began. */
struct model_flush {
    uint64_t key; /* 0: unused */
    uint32_t *done;
    uint64_t nr, room;
};

struct model {
    bool creating, ready;
    uint64_t base; /* sectors that a backing file has, of version 1 */
    struct model_view disk;
    /* While the whole disk changes (apply, resize): what it becomes. */
    bool changing, growing;
    struct model_view next;
    struct model_snapshot snapshots[MODEL_SNAPSHOTS];
    /* Those that may be there; a kill can leave more than two. */
    uint64_t settings[MODEL_SETTINGS];
    unsigned nr_settings;
    uint64_t vars[MODEL_VARS]; /* of the firmware's variables; 0: none */
    unsigned nr_vars;
    bool closed;
    bool failed; /* something did since the last close: leaks are allowed */
    struct model_flush flushes[MODEL_FLUSHES];
    /* After a kill: what is there is known, but not yet stable. */
    bool unsettled;
    int64_t *found; /* versions that were read; -1: not read */
    uint64_t nr_found, room_found;
    const char *confused; /* the marks make no sense */
};

bool model_init(struct model *m);
void model_fini(struct model *m);
void model_mark(struct model *m, const struct mark *k);
bool model_allows(const struct model_sector *s, uint64_t version);
struct model_snapshot *model_snapshot(struct model *m, uint32_t id);

#endif
