#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "barrier.h"
#include "block/qcow2.h"
#include "vmfile/slots.h"
#include "vmfile/vmvars.h"

/*
 * workload: random changes of a disk through husk's store, each noted in the
 * file "marks" before and after. Sessions run in children that close the image
 * or just end; what they must know of each other is in shared memory.
 */
enum {
    SECTOR = 512,
    MAX_RUN = 512, /* sectors of a request, or */
    MAX_CLUSTERS = 4,
    MAX_SNAPSHOTS = 6,
    VARS = 3 * VMVARS_PAGE, /* of a firmware with little to say */
    MAX_THREADS = 8,
    DIRTY_MAX = 10 /* requests between flushes */
};

struct shared {
    uint64_t seed, sectors, settings, vars;
    _Atomic uint64_t shared; /* sectors that the threads have parts of */
    _Atomic uint64_t seq, flushes;
    uint32_t next_id, snapshots[MAX_SNAPSHOTS], nr_snapshots;
    unsigned ops_left;
    bool killed; /* the last session was */
};

/* One of several threads has a part of the disk to itself for writing, and does
 * not share its buffer or its dice. */
struct work {
    struct shared *s;
    uint64_t dice;
    unsigned part, parts;
    unsigned since_flush;
    pthread_rwlock_t *whole; /* read: requests; write: the disk changes size */
    _Atomic bool *stop;
    struct barrier barrier;
    const char *path, *create_by;
    uint64_t max_sectors;
    uint32_t cluster_bits, refcount_order, cache_bytes;
    unsigned ops, full_each;
    bool with_settings, with_state, direct, no_snapshots, no_kills;
    unsigned slot_syncs; /* of one change */
    struct qcow2 *q;
    struct blk *blk;
    uint8_t *buf;
};

static uint64_t mix64(uint64_t x)
{
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
    return x ^ x >> 31;
}

static uint64_t next_random(struct work *w)
{
    return mix64(w->dice += 0x9e3779b97f4a7c15ULL);
}

static uint64_t below(struct work *w, uint64_t n)
{
    return next_random(w) % n;
}

/* What may fail when there is no space. */
static bool failed(const struct work *w, int rc)
{
    return rc && !(w->barrier.full_each && rc == -ENOSPC);
}

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "workload: %s: %s\n", what, why);
    exit(1);
}

static struct mark begin(struct work *w, struct mark k)
{
    k.phase = MARK_BEGIN;
    barrier_mark(&w->barrier, &k);
    return k;
}

static void end(struct work *w, struct mark k, int rc)
{
    k.phase = rc < 0 ? MARK_FAILED : MARK_END;
    barrier_mark(&w->barrier, &k);
}

/* -- Requests ------------------------------------------------------------ */

static void pick_range(struct work *w, struct mark *k)
{
    uint64_t cluster = (1ULL << w->cluster_bits) / SECTOR;
    uint64_t max = MAX_CLUSTERS * cluster;
    uint64_t nr = w->s->shared;
    uint64_t first = nr * w->part / w->parts;
    uint64_t end = nr * (w->part + 1) / w->parts;

    /* What the disk has grown by belongs to who lets it grow. */
    if (!w->part && nr < w->s->sectors && (w->parts == 1 || !below(w, 3))) {
        first = w->parts == 1 ? 0 : nr;
        end = w->s->sectors;
    }

    if (below(w, 4))
        max = cluster < 4 ? 4 : cluster;
    k->sector = first + below(w, end - first);
    /* Half of the ranges fill whole clusters. */
    if (below(w, 2) && k->sector - k->sector % cluster >= first)
        k->sector -= k->sector % cluster;
    k->count = 1 + below(w, max);
    if (below(w, 2))
        k->count = 1 + below(w, 4);
    else if (below(w, 2))
        k->count = cluster;
    else if (!below(w, 8))
        k->count = MAX_RUN;
    if (k->count > end - k->sector)
        k->count = end - k->sector;
}

static void do_write(struct work *w)
{
    struct mark k = {.op = MARK_WRITE, .fua = !below(w, 8)};
    uint64_t i;
    int rc;

    pick_range(w, &k);
    k.seq = ++w->s->seq;
    for (i = 0; i < k.count; i++) {
        uint64_t words[SECTOR_WORDS];

        sector_fill(words, k.sector + i, k.seq);
        memcpy(w->buf + i * SECTOR, words, SECTOR);
    }
    k = begin(w, k);
    rc = blk_write(w->blk, k.sector * SECTOR, w->buf, k.count * SECTOR,
                   k.fua ? BLK_FUA : 0);
    end(w, k, rc);
    if (failed(w, rc))
        die("write", strerror(-rc));
}

static void do_zero(struct work *w)
{
    struct mark k = {.op = MARK_ZERO, .fua = !below(w, 8)};
    unsigned flags = (k.fua ? BLK_FUA : 0) | (below(w, 2) ? BLK_UNMAP : 0);
    int rc;

    pick_range(w, &k);
    k = begin(w, k);
    rc = blk_zero(w->blk, k.sector * SECTOR, k.count * SECTOR, flags);
    end(w, k, rc);
    if (failed(w, rc))
        die("zero", strerror(-rc));
}

static void do_discard(struct work *w)
{
    struct mark k = {.op = MARK_DISCARD};
    int rc;

    pick_range(w, &k);
    k = begin(w, k);
    rc = blk_discard(w->blk, k.sector * SECTOR, k.count * SECTOR);
    end(w, k, rc);
    if (failed(w, rc))
        die("discard", strerror(-rc));
}

static struct mark flush_mark(struct work *w)
{
    return (struct mark){.op = MARK_FLUSH,
                         .seq = atomic_fetch_add(&w->s->flushes, 1) + 1};
}

static bool do_flush(struct work *w)
{
    struct mark k = begin(w, flush_mark(w));
    int rc = blk_flush(w->blk);

    end(w, k, rc);
    if (failed(w, rc))
        die("flush", strerror(-rc));
    w->since_flush = 0;
    return !rc;
}

/* -- The whole image ----------------------------------------------------- */

static void do_resize(struct work *w)
{
    struct mark k = {.op = MARK_RESIZE};
    struct err err;
    int rc;

    if (w->s->sectors >= w->max_sectors)
        return;
    k.seq = w->s->sectors + 1 + below(w, w->max_sectors / 4);
    if (k.seq > w->max_sectors)
        k.seq = w->max_sectors;
    k = begin(w, k);
    rc = blk_resize(w->blk, k.seq * SECTOR, &err);
    end(w, k, rc);
    if (failed(w, rc))
        die("resize", err.text);
    w->s->sectors = blk_size(w->blk) / SECTOR;
}

/* The pieces of a snapshot's state, in bytes. */
static void fill_state(uint32_t id, struct qcow2_piece piece[2])
{
    static uint8_t bytes[2][64 * SECTOR];

    for (unsigned n = 0; n < 2; n++) {
        struct state_piece p = state_piece(id, n);

        for (uint64_t i = 0; i < p.count; i++) {
            uint64_t words[SECTOR_WORDS];

            sector_fill(words, p.first + i, id + 1);
            memcpy(bytes[n] + i * SECTOR, words, SECTOR);
        }
        piece[n] =
            (struct qcow2_piece){p.first * SECTOR, bytes[n], p.count * SECTOR};
    }
}

static void do_vars(struct work *w)
{
    struct mark k = {.op = MARK_VARS};
    static uint8_t data[VARS];
    struct err err;
    int rc;

    if (!w->with_state)
        return;
    k.seq = ++w->s->vars;
    for (uint64_t i = 0; i < VARS / SECTOR; i++) {
        uint64_t words[SECTOR_WORDS];

        sector_fill(words, i, k.seq);
        memcpy(data + i * SECTOR, words, SECTOR);
    }
    k = begin(w, k);
    rc = vmvars_write(w->q, data, VARS, &err);
    end(w, k, rc);
    if (failed(w, rc))
        die("variables", err.text);
}

static void do_snapshot(struct work *w)
{
    struct mark k = {.op = MARK_SNAPSHOT,
                     .id = w->s->next_id,
                     .count = w->with_state && below(w, 4)};
    struct qcow2_piece state[2];
    char id[16];
    struct qcow2_snap_new new = {.id = id, .name = id};
    struct err err;
    int rc;

    if (w->s->nr_snapshots == MAX_SNAPSHOTS || !w->refcount_order ||
        w->no_snapshots)
        return;
    w->s->next_id++;
    (void)snprintf(id, sizeof(id), "%u", k.id);
    if (k.count) {
        fill_state(k.id, state);
        new.state = state;
        new.nr_state = 2;
    }
    k = begin(w, k);
    rc = qcow2_snap_create(w->q, &new, NULL, &err);
    end(w, k, rc);
    if (rc == -EOVERFLOW)
        return;
    if (failed(w, rc))
        die("snapshot", err.text);
    if (!rc)
        w->s->snapshots[w->s->nr_snapshots++] = k.id;
}

/* Apply may change the size of the disk. */
static void do_apply(struct work *w)
{
    struct mark k = {.op = MARK_APPLY};
    char id[16];
    struct err err;
    int rc;

    if (!w->s->nr_snapshots)
        return;
    k.id = w->s->snapshots[below(w, w->s->nr_snapshots)];
    (void)snprintf(id, sizeof(id), "%u", k.id);
    k = begin(w, k);
    rc = qcow2_snap_apply(w->q, id, &err);
    end(w, k, rc);
    if (failed(w, rc) && rc != -EOVERFLOW)
        die("apply", err.text);
    w->s->sectors = blk_size(w->blk) / SECTOR;
    if (w->s->shared > w->s->sectors)
        w->s->shared = w->s->sectors;
}

static void do_delete(struct work *w)
{
    struct mark k = {.op = MARK_DELETE};
    char id[16];
    struct err err;
    uint64_t i;
    int rc;

    if (!w->s->nr_snapshots)
        return;
    i = below(w, w->s->nr_snapshots);
    k.id = w->s->snapshots[i];
    (void)snprintf(id, sizeof(id), "%u", k.id);
    k = begin(w, k);
    rc = qcow2_snap_delete(w->q, id, &err);
    end(w, k, rc);
    if (failed(w, rc))
        die("delete", err.text);
    if (!rc)
        w->s->snapshots[i] = w->s->snapshots[--w->s->nr_snapshots];
}

static void do_compact(struct work *w)
{
    struct mark k = begin(w, (struct mark){.op = MARK_CARE});
    uint64_t saved;
    struct err err;
    int rc = qcow2_compact(w->q, NULL, NULL, &saved, &err);

    end(w, k, rc);
    if (failed(w, rc))
        die("compact", err.text);
}

static void do_check(struct work *w)
{
    struct mark k = begin(w, (struct mark){.op = MARK_CARE});
    struct qcow2_check c;
    struct err err;
    int rc = qcow2_check(w->q, true, &c, NULL, NULL, &err);

    end(w, k, rc);
    if (failed(w, rc))
        die("check", err.text);
    if (rc)
        return;
    if (c.low + c.overlaps + c.outside + c.invalid + c.copied)
        die("check", "there is damage");
}

/* Another name and what goes with it; the id stays. */
static void do_rename(struct work *w)
{
    struct mark k = {.op = MARK_CARE};
    uint32_t i = (uint32_t)below(w, MAX_SNAPSHOTS);
    char id[16], name[16];
    struct err err;
    int rc;

    if (i >= w->s->nr_snapshots)
        return;
    (void)snprintf(id, sizeof(id), "%u", w->s->snapshots[i]);
    (void)snprintf(name, sizeof(name), "n%u", (unsigned)below(w, 1000));
    k = begin(w, k);
    rc = qcow2_snap_change(w->q, id, name, w->buf, (uint32_t)below(w, 900),
                           &err);
    end(w, k, rc);
    if (failed(w, rc))
        die("rename", err.text);
}

static int slot_write(void *arg, const void *buf, uint32_t len, uint64_t off)
{
    struct work *w = arg;
    int fd = open(w->path, O_RDWR | O_CLOEXEC);
    ssize_t n;

    barrier_step(&w->barrier);
    n = pwrite(fd, buf, len, (off_t)off);

    (void)close(fd);
    return n == (ssize_t)len ? 0 : -EIO;
}

static int slot_sync(void *arg)
{
    struct work *w = arg;
    int fd = open(w->path, O_RDWR | O_CLOEXEC), rc;

    barrier_step(&w->barrier);
    barrier_name(&w->barrier, w->slot_syncs++ ? "settings" : "settings-others");
    rc = fdatasync(fd);
    (void)close(fd);
    return rc;
}

static size_t settings_text(struct work *w, char *text, size_t room,
                            uint64_t tag)
{
    size_t len = 100 + below(w, room - 200);
    int n = snprintf(text, room, "{\"powercut\":%llu,\"padding\":\"",
                     (unsigned long long)tag);

    memset(text + n, 'x', len - (size_t)n);
    memcpy(text + len, "\"}", 3);
    return len + 2;
}

static void do_settings(struct work *w)
{
    struct slots_io io = {.write = slot_write, .sync = slot_sync, .arg = w};
    struct mark k = {.op = MARK_SETTINGS};
    static char text[SLOTS_MAX_TEXT];
    struct err err;
    size_t len;
    int fd, rc;

    if (!w->with_settings)
        return;
    k.seq = ++w->s->settings;
    len = settings_text(w, text, below(w, 2) ? 1000 : sizeof(text), k.seq);
    fd = open(w->path, O_RDWR | O_CLOEXEC);
    w->slot_syncs = 0;
    k = begin(w, k);
    rc = slots_write(fd, w->path, &io, text, len, &err);
    end(w, k, rc);
    (void)close(fd);
    if (rc)
        die("settings", err.text);
}

/* -- Sessions ------------------------------------------------------------ */

/* False: there was no space for its recovery. */
static bool open_image(struct work *w)
{
    struct qcow2_opts opts = {.flags = w->direct ? BLK_DIRECT : 0,
                              .cache_bytes = w->cache_bytes,
                              .host = &barrier_ops,
                              .host_arg = &w->barrier};
    struct err err;
    int rc = qcow2_open(w->path, -1, &opts, &w->q, &err);

    if (failed(w, rc))
        die("open", err.text);
    if (rc)
        return false;
    w->blk = qcow2_blk(w->q);
    w->s->sectors = blk_size(w->blk) / SECTOR;
    w->s->shared = w->s->sectors;
    return true;
}

/* False: there was no space for what was still to be written. */
static bool close_image(struct work *w)
{
    struct mark k = begin(w, flush_mark(w));
    int rc = qcow2_close(w->q);

    end(w, k, rc);
    if (failed(w, rc))
        die("close", strerror(-rc));
    if (rc)
        return false;
    end(w, (struct mark){.op = MARK_CLOSED}, 0);
    w->since_flush = 0;
    return true;
}

/* -- After a kill -------------------------------------------------------- */

/* Tell of what is there: runs of sectors of one version. */
static void tell_contents(struct work *w)
{
    uint64_t i, nr = blk_size(w->blk) / SECTOR;
    struct mark k = {.op = MARK_SEEN};

    for (i = 0; i < nr; i++) {
        int64_t version;
        int rc = blk_read(w->blk, i * SECTOR, w->buf, SECTOR);

        if (rc)
            die("read after a kill", strerror(-rc));
        version = sector_version(w->buf, i);
        if (k.count && version == (int64_t)k.seq) {
            k.count++;
            continue;
        }
        if (k.count)
            begin(w, k);
        k.sector = i;
        k.count = 1;
        k.seq = (uint64_t)version;
    }
    begin(w, k);
    end(w, (struct mark){.op = MARK_SEEN}, 0);
    w->s->sectors = nr;
}

static void tell_snapshots(struct work *w)
{
    struct mark k = {.op = MARK_LISTED};
    struct qcow2_snap *list;
    struct err err;
    size_t n, i;

    if (qcow2_snaps(w->q, &list, &n, &err))
        die("list of snapshots after a kill", err.text);
    w->s->nr_snapshots = 0;
    for (i = 0; i < n && w->s->nr_snapshots < MAX_SNAPSHOTS; i++) {
        if (list[i].no_disk)
            continue;
        k.id = (uint32_t)strtoul(list[i].id, NULL, 10);
        w->s->snapshots[w->s->nr_snapshots++] = k.id;
        begin(w, k);
    }
    end(w, k, 0);
    qcow2_snaps_free(list, n);
}

/* A request to the disk. */
static void one_request(struct work *w, unsigned dice)
{
    (void)pthread_rwlock_rdlock(w->whole);
    if (w->since_flush++ >= DIRTY_MAX || dice < 20)
        (void)do_flush(w);
    else if (dice < 60)
        do_write(w);
    else if (dice < 68)
        do_zero(w);
    else
        do_discard(w);
    (void)pthread_rwlock_unlock(w->whole);
}

static void one_op(struct work *w)
{
    unsigned dice = (unsigned)below(w, 100);

    if (w->with_settings && !below(w, 6)) {
        do_settings(w);
        return;
    }
    if (w->with_state && !below(w, 7)) {
        do_vars(w);
        return;
    }
    if (dice < 78) {
        one_request(w, dice);
        return;
    }
    if (dice < 81) {
        do_resize(w); /* beside the others' requests */
    } else if (dice < 84) {
        (void)pthread_rwlock_wrlock(w->whole);
        do_apply(w);
        (void)pthread_rwlock_unlock(w->whole);
    } else if (dice < 89) {
        do_snapshot(w);
    } else if (dice < 92) {
        do_delete(w);
    } else if (dice < 94) {
        do_compact(w);
    } else if (dice < 95) {
        do_check(w);
    } else if (dice < 96) {
        do_rename(w);
    } else {
        do_settings(w);
    }
}

/* -- Other threads, which only write ----------------------------------------
 */

static uint8_t *new_buf(const struct work *w)
{
    uint8_t *buf = aligned_alloc(
        4096, ((size_t)MAX_CLUSTERS << w->cluster_bits) + MAX_RUN * SECTOR);

    if (!buf)
        die("memory", strerror(errno));
    return buf;
}

static void *requests(void *arg)
{
    struct work *w = arg;

    while (!atomic_load(w->stop) && w->ops--)
        one_request(w, (unsigned)below(w, 78));
    free(w->buf);
    return NULL;
}

static void start_threads(struct work *w, struct work *others,
                          pthread_t *threads, unsigned ops)
{
    unsigned i;

    for (i = 1; i < w->parts; i++) {
        others[i] = *w;
        others[i].part = i;
        others[i].dice = next_random(w);
        others[i].ops = 2 * ops;
        others[i].buf = new_buf(w);
        if (pthread_create(&threads[i], NULL, requests, &others[i]))
            die("thread", strerror(errno));
    }
}

static void stop_threads(struct work *w, const pthread_t *threads)
{
    unsigned i;

    atomic_store(w->stop, true);
    for (i = 1; i < w->parts; i++)
        (void)pthread_join(threads[i], NULL);
}

/* One process: 0 if it closed the image, BARRIER_KILLED if it just ended. */
static int session(struct work *w)
{
    unsigned ops;
    /* Or else nobody ever gets it for writing. */
    pthread_rwlock_t whole = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
    struct work others[MAX_THREADS];
    pthread_t threads[MAX_THREADS];
    _Atomic bool stop = false;

    w->whole = &whole;
    w->stop = &stop;
    w->dice = mix64(w->s->seed += 0x632be59bd9b4e019ULL);
    ops = 1 + (unsigned)below(w, below(w, 3) ? 80 : 3);
    if (!w->no_kills && !below(w, 3))
        w->barrier.end_in = 1 + (unsigned)below(w, below(w, 2) ? 8 : 120);
    w->barrier.full_each = w->full_each;
    atomic_store(&w->barrier.writes, next_random(w));
    /* As `husk set` does: whatever the last writer left, nobody has synced. */
    if (!below(w, 2))
        do_settings(w);
    if (!open_image(w))
        return BARRIER_KILLED;
    if (w->s->killed) {
        tell_snapshots(w);
        tell_contents(w);
        if (!do_flush(w))
            return BARRIER_KILLED;
        w->s->killed = false;
    }
    start_threads(w, others, threads, ops);
    for (; ops && w->s->ops_left; ops--) {
        w->s->ops_left--;
        one_op(w);
    }
    if (w->s->ops_left && !below(w, 3) && !w->no_kills)
        return BARRIER_KILLED;
    stop_threads(w, threads);
    return close_image(w) ? 0 : BARRIER_KILLED;
}

static void run(struct work *w)
{
    int status;
    pid_t pid;

    while (w->s->ops_left) {
        pid = fork();
        if (!pid)
            _exit(session(w));
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
            die("fork", strerror(errno));
        if (!WIFEXITED(status) || WEXITSTATUS(status) == 1)
            die("session", "failed");
        if (WEXITSTATUS(status) == BARRIER_KILLED) {
            end(w, (struct mark){.op = MARK_KILLED}, 0);
            w->since_flush = 0;
            w->s->killed = true;
        }
    }
}

static void make_image(struct work *w)
{
    static uint8_t ext[SLOTS_LENGTH];
    struct qcow2_ext x = {SLOTS_EXTENSION, SLOTS_LENGTH, ext};
    struct qcow2_create c = {.size = w->s->sectors * SECTOR,
                             .cluster_bits = w->cluster_bits,
                             .refcount_order = w->refcount_order,
                             .mark_husk = true};
    struct qcow2_opts opts = {.host = &barrier_ops, .host_arg = &w->barrier};
    static char text[1000];
    struct err err;
    int fd;

    if (w->with_settings) {
        w->s->settings = 1;
        if (slots_format(ext, text, settings_text(w, text, sizeof(text), 1),
                         &err))
            die("settings", err.text);
        c.ext = &x;
        c.nr_ext = 1;
    }
    fd = open(w->path, O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0)
        die(w->path, strerror(errno));
    begin(w, (struct mark){.op = MARK_CREATE});
    if (qcow2_create(w->path, fd, &c, &opts, &err))
        die("create", err.text);
    (void)close(fd);
}

/* The contents of every image that is said to exist: version 1. */
static int make_base(uint64_t sectors)
{
    uint64_t words[SECTOR_WORDS], i;
    FILE *f = fopen("base.raw", "we");

    if (!f)
        die("base.raw", strerror(errno));
    for (i = 0; i < sectors; i++) {
        sector_fill(words, i, 1);
        (void)fwrite(words, sizeof(words), 1, f);
    }
    return fclose(f) ? 1 : 0;
}

static int usage(void)
{
    (void)fprintf(stderr,
                  "usage: workload [--seed N] [--ops N] [--sectors N]\n"
                  "                [--max-sectors N] [--cluster-bits N]\n"
                  "                [--refcount-order N] [--cache BYTES]\n"
                  "                [--settings] [--state] [--direct]\n"
                  "                [--no-snapshots] [--no-kills] "
                  "[--threads N] [--full N]\n"
                  "                [--existing VERSION] | --base SECTORS\n"
                  "Works on disk.qcow2 in this folder, which it makes unless "
                  "it exists with\nevery sector holding VERSION (--base: makes "
                  "base.raw, of "
                  "version 1)\n");
    return 2;
}

static bool parse(struct work *w, int argc, char **argv, long *existing)
{
    static const struct option longs[] = {
        {"seed", required_argument, NULL, 's'},
        {"ops", required_argument, NULL, 'n'},
        {"sectors", required_argument, NULL, 'S'},
        {"max-sectors", required_argument, NULL, 'M'},
        {"cluster-bits", required_argument, NULL, 'b'},
        {"refcount-order", required_argument, NULL, 'r'},
        {"cache", required_argument, NULL, 'c'},
        {"settings", no_argument, NULL, 't'},
        {"state", no_argument, NULL, 'a'},
        {"direct", no_argument, NULL, 'd'},
        {"no-snapshots", no_argument, NULL, 'N'},
        {"no-kills", no_argument, NULL, 'K'},
        {"threads", required_argument, NULL, 'T'},
        {"full", required_argument, NULL, 'f'},
        {"existing", required_argument, NULL, 'e'},
        {"base", required_argument, NULL, 'B'},
        {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
        uint64_t n = optarg ? strtoull(optarg, NULL, 0) : 0;

        switch (c) {
        case 's': w->s->seed = n; break;
        case 'n': w->s->ops_left = (unsigned)n; break;
        case 'S': w->s->sectors = n; break;
        case 'M': w->max_sectors = n; break;
        case 'b': w->cluster_bits = (uint32_t)n; break;
        case 'r': w->refcount_order = (uint32_t)n; break;
        case 'c': w->cache_bytes = (uint32_t)n; break;
        case 't': w->with_settings = true; break;
        case 'a': w->with_state = true; break;
        case 'd': w->direct = true; break;
        case 'N': w->no_snapshots = true; break;
        case 'K': w->no_kills = true; break;
        case 'f': w->full_each = (unsigned)n; break;
        case 'T': w->parts = n < MAX_THREADS ? (unsigned)n : MAX_THREADS; break;
        case 'e': *existing = (long)n; break;
        case 'B': exit(make_base(n));
        default: return false;
        }
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct work w = {.path = "disk.qcow2",
                     .cluster_bits = 9,
                     .refcount_order = 4,
                     .parts = 1};
    struct mark ready = {.op = MARK_READY, .phase = MARK_END};
    long existing = -1;

    w.s = mmap(NULL, sizeof(*w.s), PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (w.s == MAP_FAILED)
        die("memory", strerror(errno));
    *w.s = (struct shared){.seed = 1, .seq = 1, .sectors = 256, .next_id = 1};
    w.s->ops_left = 200;
    if (!parse(&w, argc, argv, &existing))
        return usage();
    if (w.max_sectors < w.s->sectors)
        w.max_sectors = 2 * w.s->sectors;
    w.buf = new_buf(&w);
    w.barrier.marks =
        open("marks", O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
    if (!w.buf || w.barrier.marks < 0)
        die("marks", strerror(errno));
    if (existing < 0)
        make_image(&w);
    ready.seq = w.s->sectors;
    ready.id = existing > 0 ? (uint32_t)existing : 0;
    barrier_mark(&w.barrier, &ready);
    if (w.with_settings)
        end(&w, (struct mark){.op = MARK_SETTINGS, .seq = 1}, 0);
    run(&w);
    free(w.buf);
    return 0;
}
