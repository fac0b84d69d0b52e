#ifndef HUSK_TESTS_QCOW2DIFF_QDIFF_H
#define HUSK_TESTS_QCOW2DIFF_QDIFF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * qcow2diff: husk's store and QEMU's tools change one image in turn; after
 * each change the image must hold what the model says, whoever reads it, and
 * be without errors, whoever checks it.
 */
enum { QD_SECTOR = 512, QD_SNAPSHOTS = 5, QD_BASES = 2 };

/* Versions of sectors, as tests/powercut/marks.h fills them; 0: zeroes. */
struct qd_disk {
    uint32_t *version;
    uint64_t nr, room; /* sectors */
};

struct qd_snapshot {
    bool used, by_husk;
    char name[16];
    struct qd_disk disk;
    uint32_t opaque; /* bytes that husk keeps with it */
};

struct qdiff {
    uint64_t seed, random, seq;
    const char *dir; /* the current folder of all tools */
    bool verbose;
    /* The image. */
    uint32_t cluster_bits, ext_len;
    unsigned refcount_bits;
    bool old_version, bitmaps;
    int base; /* 0: none, else base1.raw or base2.raw */
    uint64_t base_sectors;
    uint8_t *ext;
    /* The model. */
    struct qd_disk disk;
    struct qd_snapshot snapshots[QD_SNAPSHOTS];
    unsigned next_name;
    /* Scratch. */
    uint8_t *buf;
    uint64_t buf_room;
    char last[200]; /* the last change, for the report */
    char why[400];
    uint64_t steps, comparisons;
};

enum { QD_EXT_MAGIC = 0x6875736b };

uint64_t qd_random(struct qdiff *d, uint64_t below);
/* False with the sentence in d->why. */
bool qd_no(struct qdiff *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* What is being done, for reports. */
void qd_say(struct qdiff *d, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

bool qd_disk_resize(struct qd_disk *disk, uint64_t nr, uint32_t version);
bool qd_disk_copy(struct qd_disk *to, const struct qd_disk *from);
/* Fill d->buf with the sectors' contents. */
void qd_fill(struct qdiff *d, const uint32_t *version, uint64_t first,
             uint64_t n);
/* A range for a request: sectors. */
void qd_range(struct qdiff *d, uint64_t *first, uint64_t *n);
struct qd_snapshot *qd_snapshot_new(struct qdiff *d);
struct qd_snapshot *qd_snapshot_any(struct qdiff *d);

/* One change each, by a random operation. */
bool qd_husk_step(struct qdiff *d);
bool qd_qemu_step(struct qdiff *d);
bool qd_make_image(struct qdiff *d);

/* Whether the image is what the model says. thorough: QEMU's tools read and
 * check it, too. */
bool qd_compare(struct qdiff *d, bool thorough);
/* After a discard: each sector is as before or zeroes; the model learns. */
bool qd_learn_discard(struct qdiff *d, uint64_t first, uint64_t n);
/* husk reads all of it. */
bool qd_husk_compare(struct qdiff *d);

/* Run a tool; its output in out (cut). Returns the exit status. */
int qd_run(char *out, size_t room, const char *const argv[]);

#endif
