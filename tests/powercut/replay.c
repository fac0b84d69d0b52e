#include "replay.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "slotread.h"

enum { GREAT_WRITE = 1 << 19 };

/* -- States that were seen ----------------------------------------------- */

static void seen_grow(struct replay *r)
{
    uint64_t *old = r->seen;
    size_t room = r->room_seen, i, at;

    r->room_seen = room ? 2 * room : 1 << 16;
    r->seen = calloc(r->room_seen, sizeof(*r->seen));
    if (!r->seen)
        abort();
    for (i = 0; i < room; i++) {
        if (!old[i])
            continue;
        at = old[i] & (r->room_seen - 1);
        while (r->seen[at])
            at = (at + 1) & (r->room_seen - 1);
        r->seen[at] = old[i];
    }
    free(old);
}

/* Whether this state at this moment of the model is new. */
static bool is_new(struct replay *r)
{
    uint64_t key = mix64(r->disk.work_hash ^ mix64(r->moment)) | 1;
    size_t at;

    if (r->nr_seen * 2 >= r->room_seen)
        seen_grow(r);
    at = key & (r->room_seen - 1);
    while (r->seen[at]) {
        if (r->seen[at] == key)
            return false;
        at = (at + 1) & (r->room_seen - 1);
    }
    r->seen[at] = key;
    r->nr_seen++;
    return true;
}

/* -- One cut ------------------------------------------------------------- */

static const char *const mode_names[CUT_MODES] = {
    "all",    "none", "drop-one", "keep-one",  "suffix",
    "by-ops", "4K",   "512",      "tear-last", "grow"};

static void keep_image(struct replay *r)
{
    char name[300];
    int fd;

    if (!r->opt->dir)
        return;
    (void)snprintf(name, sizeof(name), "%s/bad-%" PRIu64 ".qcow2", r->opt->dir,
                   r->n.bad);
    fd = open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (write(fd, r->disk.work, r->disk.work_size) < 0)
        perror(name);
    (void)close(fd);
    (void)printf("    kept as %s\n", name);
}

static void report_bad(struct replay *r, const struct cut *c, const char *why)
{
    r->n.bad++;
    if (r->n.bad > r->opt->max_bad)
        return;
    (void)printf(
        "  event %" PRIu64 ", cut %s %zu seed 0x%" PRIx64 " of %zu ops: %s\n",
        r->event, mode_names[c->mode], c->index, c->seed, r->disk.nr_ops, why);
    keep_image(r);
}

/* Being made: no image yet, or a sound one that is empty. */
static const char *judge_new(struct replay *r)
{
    const uint8_t *d = r->disk.work;

    if (r->disk.work_size < 4 || memcmp(d, "QFI\xfb", 4))
        return NULL;
    if (qcheck_image(&r->check, &r->img, d, r->disk.work_size, &r->report))
        return r->report.first;
    return r->img.nr_snapshots || r->report.leaks ? "a new image has leaks"
                                                  : NULL;
}

/*
 * What may be wrong beside leaks: flags while the dirty bit is set, which
 * version 2 does not have. Nothing at all may be where nobody looks for it at
 * the next open: the image says that it is clean.
 */
static const char *judge_flags(struct replay *r)
{
    const struct qreport *rep = &r->report;
    uint32_t flags = rep->not_copied + rep->false_copied;

    if (slotread_mark(&r->img) == MARK_SHUT && (rep->leaks || flags)) {
        (void)snprintf(r->verify.why, sizeof(r->verify.why),
                       "said to be closed in order: %s", rep->first);
        return r->verify.why;
    }
    if (flags && !r->opt->lenient && r->img.version >= 3 &&
        !(r->img.incompatible & QIMG_DIRTY))
        return rep->first;
    return NULL;
}

static const char *judge(struct replay *r, const struct cut *c)
{
    struct qreport *rep = &r->report;
    const char *why;

    if (r->model.confused)
        return r->model.confused;
    if (!r->model.ready)
        return judge_new(r);
    if (qcheck_image(&r->check, &r->img, r->disk.work, r->disk.work_size, rep))
        return rep->first;
    r->n.leaky += rep->leaks != 0;
    why = judge_flags(r);
    if (why)
        return why;
    if (r->model.closed && !r->model.failed &&
        slotread_mark(&r->img) == MARK_OPEN)
        return "was closed in order, and does not say so";
    if (r->model.closed && !r->model.failed && c->mode == CUT_ALL &&
        (rep->leaks || rep->not_copied || rep->false_copied))
        return rep->first;
    if (!verify_image(&r->verify, &r->model, &r->img))
        return r->verify.why;
    return NULL;
}

static bool is_sample(struct replay *r)
{
    const struct replay_options *o = r->opt;

    if (!o->samples || r->n.samples >= o->samples)
        return false;
    /* Spread over the trace: the replayer is told how many, not of what. */
    return mix64(r->disk.work_hash ^ o->seed) % 64 < 1 + o->samples / 1000;
}

static void try_cut(struct replay *r, const struct cut *c)
{
    const char *why;

    disk_cut(&r->disk, c);
    if (!is_new(r)) {
        r->n.same++;
        disk_restore(&r->disk);
        return;
    }
    r->n.cuts++;
    why = judge(r, c);
    if (!why && r->model.ready && is_sample(r)) {
        r->n.samples++;
        if (!sample_check(r))
            why = r->verify.why;
    }
    if (why)
        report_bad(r, c, why);
    disk_restore(&r->disk);
}

/* -- The cuts after an event --------------------------------------------- */

static void try_cuts(struct replay *r, bool wrote)
{
    static const enum cut_mode row[] = {
        CUT_ALL,     CUT_TEAR_LAST, CUT_NONE,     CUT_DROP_ONE, CUT_OPS,
        CUT_TORN_4K, CUT_TORN_512,  CUT_KEEP_ONE, CUT_SUFFIX,   CUT_GROW};
    size_t ops = r->disk.nr_ops;
    struct cut c;
    unsigned i;

    if (!r->model.ready && !r->model.creating)
        return;
    for (i = 0; i < r->opt->cuts && (ops || !i); i++) {
        c.mode = row[i % (sizeof(row) / sizeof(row[0]))];
        c.seed = mix64(r->opt->seed ^ mix64(r->event * 1024 + i));
        c.index = ops ? c.seed % ops : 0;
        if (c.mode == CUT_TEAR_LAST && !wrote)
            continue;
        try_cut(r, &c);
    }
}

/* -- Events -------------------------------------------------------------- */

static bool is_dropped(const struct replay *r, const char *name)
{
    unsigned i;

    for (i = 0; i < r->opt->nr_drops; i++)
        if (!strcmp(r->opt->drops[i], name))
            return true;
    return false;
}

static void on_mark(struct replay *r, const uint8_t *data, uint64_t len)
{
    struct mark k;

    if (len != sizeof(k)) {
        r->model.confused = "a mark of the wrong length";
        return;
    }
    memcpy(&k, data, sizeof(k));
    k.name[sizeof(k.name) - 1] = 0;
    model_mark(&r->model, &k);
    if (k.op == MARK_BARRIER && r->opt->names)
        (void)printf("barrier %s\n", k.name);
    if (k.op == MARK_BARRIER)
        r->drop_next = is_dropped(r, k.name);
    else
        r->moment++;
}

static void on_sync(struct replay *r, const struct trace_event *ev)
{
    if (r->drop_next) {
        r->drop_next = false;
        r->n.dropped++;
    } else if (ev->len) {
        disk_sync_range(&r->disk, ev->off, ev->len);
    } else {
        disk_sync(&r->disk);
    }
}

static void on_event(struct replay *r, const struct trace_event *ev,
                     const uint8_t *data)
{
    bool wrote = true;

    switch (ev->kind) {
    case TRACE_WRITE: disk_write(&r->disk, ev->off, ev->len, data); break;
    case TRACE_ZERO: disk_zero(&r->disk, ev->off, ev->len); break;
    case TRACE_SIZE: disk_resize(&r->disk, ev->off); break;
    case TRACE_SYNC:
        on_sync(r, ev);
        wrote = false;
        break;
    default:
        on_mark(r, data, ev->len);
        wrote = false;
        break;
    }
    try_cuts(r, wrote);
}

/* The greatest size of the file; its id in *file. */
static uint64_t find_room(const struct replay *r, const struct trace *t,
                          int *file)
{
    struct trace_event ev;
    const uint8_t *data;
    uint64_t room = 512, end;
    size_t pos = 0;

    *file = -1;
    while (trace_next(t, &pos, &ev, &data)) {
        if (ev.kind == TRACE_NAME && ev.len == strlen(r->opt->file) &&
            !memcmp(data, r->opt->file, ev.len))
            *file = ev.file;
        if (ev.file != *file ||
            (ev.kind != TRACE_WRITE && ev.kind != TRACE_SIZE))
            continue;
        end = ev.off + (ev.kind == TRACE_WRITE ? ev.len : 0);
        if (end > room)
            room = end;
    }
    return room;
}

/*
 * A file system in user space gets a great write in pieces, which end within a
 * sector if the program's buffer does within a page. They are one write.
 */
static const uint8_t *join(struct replay *r, const struct trace *t, size_t *pos,
                           struct trace_event *ev, const uint8_t *data)
{
    struct trace_event next;
    const uint8_t *more;
    size_t after = *pos;
    uint8_t *both = NULL;

    while (ev->kind == TRACE_WRITE && ev->len >= GREAT_WRITE &&
           (ev->off + ev->len) % DISK_SECTOR &&
           trace_next(t, &after, &next, &more) && next.kind == TRACE_WRITE &&
           next.file == ev->file && next.off == ev->off + ev->len &&
           r->nr_joined < REPLAY_JOINED) {
        both = malloc(ev->len + next.len);
        if (!both)
            abort();
        memcpy(both, data, ev->len);
        memcpy(both + ev->len, more, next.len);
        ev->len += next.len;
        data = r->joined[r->nr_joined++] = both;
        *pos = after;
    }
    return data;
}

bool replay_run(struct replay *r, const struct trace *t)
{
    struct trace_event ev;
    const uint8_t *data;
    size_t pos = 0;
    int file;

    if (!model_init(&r->model) || !disk_init(&r->disk, find_room(r, t, &file)))
        return false;
    if (file < 0)
        return false;
    while (trace_next(t, &pos, &ev, &data)) {
        if (r->opt->first && r->n.bad)
            return true;
        r->event++;
        data = join(r, t, &pos, &ev, data);
        if (ev.kind == TRACE_MARK || (ev.file == file && ev.kind != TRACE_NAME))
            on_event(r, &ev, data);
    }
    r->n.events = r->event;
    return pos == t->size;
}

void replay_fini(struct replay *r)
{
    disk_fini(&r->disk);
    model_fini(&r->model);
    qcheck_free(&r->check);
    free(r->verify.cluster);
    while (r->nr_joined)
        free(r->joined[--r->nr_joined]);
    free(r->seen);
}
