#ifndef HUSK_TESTS_POWERCUT_MARKS_H
#define HUSK_TESTS_POWERCUT_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/*
 * What the workload tells the replayer: each change of the disk before it is
 * asked for and after it has returned.
 */
enum mark_op {
    /* From here on the file must be an image, of seq sectors, all of which
     * hold version id. */
    MARK_READY = 1,
    MARK_WRITE, /* sectors now hold version seq */
    MARK_ZERO,
    MARK_DISCARD, /* they are as before, or zeroes */
    MARK_FLUSH,
    MARK_RESIZE,   /* to seq sectors */
    MARK_SNAPSHOT, /* id; count is not 0: with a state (state_piece) */
    MARK_APPLY,
    MARK_DELETE,
    MARK_SETTINGS, /* generation seq, a text that names it */
    MARK_VARS,     /* the firmware's variables: sectors of version seq */
    MARK_BARRIER,  /* the store is about to sync, for the reason in name */
    MARK_CLOSED,   /* properly: nothing may leak */
    MARK_CREATE,   /* from here on the file is no image yet, or a sound one */
    MARK_SEEN,     /* after that: so many sectors are read as version seq */
    MARK_LISTED,   /* and snapshot id is there; an end ends each of the two */
    MARK_CARE,     /* compact, check, a new name: nothing is to change */
    MARK_KILLED    /* and opened again: what was not flushed may be lost */
};

enum mark_phase { MARK_BEGIN, MARK_END, MARK_FAILED };

struct mark {
    uint8_t op, phase, fua, unused;
    uint32_t id;
    uint64_t sector, count, seq;
    char name[32];
};

_Static_assert(sizeof(struct mark) == 64, "marks are records of a file");

enum { SECTOR_WORDS = 64 };

/*
 * The contents of a sector tell which sector it is, and which write wrote it;
 * version 0 is zeroes. Whatever else is found in its place shows.
 */
static inline void sector_fill(uint64_t *w, uint64_t sector, uint64_t seq)
{
    uint64_t x = (sector + 1) * 0x9e3779b97f4a7c15ULL ^
                 (seq + 1) * 0xd6e8feb86659fd93ULL;
    unsigned i;

    if (!seq) {
        memset(w, 0, SECTOR_WORDS * sizeof(*w));
        return;
    }
    w[0] = 0x5455432d52574f50ULL; /* "POWR-CUT" */
    w[1] = sector;
    w[2] = seq;
    /* Version 1 can be compressed. */
    for (i = 3; i < SECTOR_WORDS; i++)
        w[i] = seq == 1 ? sector : (x + i) * 0xff51afd7ed558ccdULL;
}

/* The state of snapshot id is two pieces: the n-th sector of a piece holds
 * version id + 1 of the sector that it is in the state. */
struct state_piece {
    uint64_t first, count; /* sectors */
};

static inline struct state_piece state_piece(uint32_t id, unsigned n)
{
    return n ? (struct state_piece){100 + id % 50, 1 + id % 3}
             : (struct state_piece){id % 2, 1 + id % 40};
}

/* The version that buf holds of the sector; -1 if it holds none. */
static inline int64_t sector_version(const void *buf, uint64_t sector)
{
    uint64_t w[SECTOR_WORDS], want[SECTOR_WORDS];

    memcpy(w, buf, sizeof(w));
    if (w[0] && (w[1] != sector || !w[2]))
        return -1;
    sector_fill(want, sector, w[0] ? w[2] : 0);
    return memcmp(w, want, sizeof(w)) ? -1 : (int64_t)(w[0] ? w[2] : 0);
}

#endif
