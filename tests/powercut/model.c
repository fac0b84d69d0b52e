#include "model.h"

#include <stdlib.h>
#include <string.h>

/* Keys of the flushes that are part of a snapshot. */
#define SNAPSHOT_KEY (1ULL << 63)

/* -- Views --------------------------------------------------------------- */

static bool view_room(struct model_view *v, uint64_t nr)
{
    struct model_sector *more;

    if (nr <= v->room)
        return true;
    more = realloc(v->sectors, nr * sizeof(*more));
    if (!more)
        return false;
    v->sectors = more;
    v->room = nr;
    return true;
}

/* New sectors hold this version. */
static bool view_resize(struct model_view *v, uint64_t nr, uint32_t version)
{
    struct model_sector fresh = {.count = 1, .version = {version}};
    uint64_t i;

    if (!view_room(v, nr))
        return false;
    for (i = v->nr; i < nr; i++)
        v->sectors[i] = fresh;
    v->nr = nr;
    return true;
}

static bool view_copy(struct model_view *to, const struct model_view *from)
{
    if (!view_room(to, from->nr))
        return false;
    memcpy(to->sectors, from->sectors, from->nr * sizeof(*to->sectors));
    to->nr = from->nr;
    return true;
}

/* Versions before the one with this number are gone. */
static void drop_before(struct model_sector *s, uint32_t number)
{
    uint32_t n = number - s->base;

    if (number <= s->base || n >= s->count)
        return;
    s->count -= n;
    memmove(s->version, s->version + n, s->count * sizeof(s->version[0]));
    s->base = number;
}

/* All that has returned is durable. */
static void view_flush(struct model_view *v)
{
    uint64_t i;

    for (i = 0; i < v->nr; i++)
        drop_before(&v->sectors[i], v->sectors[i].done);
}

/* Which of the versions are there nobody knows; the next write is. */
static void view_killed(struct model_view *v)
{
    uint64_t i;

    for (i = 0; i < v->nr; i++)
        v->sectors[i].done = v->sectors[i].base;
}

static void view_free(struct model_view *v)
{
    free(v->sectors);
    memset(v, 0, sizeof(*v));
}

bool model_allows(const struct model_sector *s, uint64_t version)
{
    unsigned i;

    for (i = s->count; i-- > 0;)
        if (s->version[i] == version)
            return true;
    return false;
}

/* -- Marks --------------------------------------------------------------- */

bool model_init(struct model *m)
{
    memset(m, 0, sizeof(*m));
    m->nr_vars = 1; /* none */
    return true;
}

void model_fini(struct model *m)
{
    unsigned i;

    view_free(&m->disk);
    view_free(&m->next);
    free(m->found);
    for (i = 0; i < MODEL_FLUSHES; i++)
        free(m->flushes[i].done);
    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        view_free(&m->snapshots[i].view);
}

struct model_snapshot *model_snapshot(struct model *m, uint32_t id)
{
    unsigned i;

    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        if (m->snapshots[i].used && m->snapshots[i].id == id)
            return &m->snapshots[i];
    return NULL;
}

/* A version that may show from now on. */
static void add_version(struct model *m, struct model_sector *s, uint64_t seq)
{
    if (s->count == MODEL_VERSIONS)
        m->confused = "too many writes to a sector between flushes";
    else
        s->version[s->count++] = (uint32_t)seq;
}

/* The write that added the last version has returned. Requests to one sector
 * follow each other. */
static void returned(struct model_sector *s, bool fua)
{
    s->done = s->base + s->count - 1;
    if (fua)
        drop_before(s, s->done);
}

/* What is written while a snapshot is taken may be in it. */
static void add_to_snapshots(struct model *m, uint64_t sector, uint64_t seq)
{
    unsigned i;

    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        if (m->snapshots[i].used && m->snapshots[i].taking &&
            sector < m->snapshots[i].view.nr)
            add_version(m, &m->snapshots[i].view.sectors[sector], seq);
}

static void view_mark(struct model *m, struct model_view *v,
                      const struct mark *k)
{
    uint64_t seq = k->op == MARK_WRITE ? k->seq : 0, i;
    struct model_sector *s = v->sectors + k->sector;
    bool maybe = k->op == MARK_DISCARD;

    for (i = 0; i < k->count; i++, s++) {
        if (k->phase == MARK_BEGIN) {
            if (maybe && s->version[s->count - 1] == seq)
                continue;
            add_version(m, s, seq);
            if (v == &m->disk)
                add_to_snapshots(m, k->sector + i, seq);
        } else if (k->phase == MARK_END && !maybe) {
            returned(s, k->fua);
        }
    }
}

/* While the disk grows, what is written is on the larger one, too. */
static void data_mark(struct model *m, const struct mark *k)
{
    if (k->sector + k->count > m->disk.nr) {
        m->confused = "a write outside of the disk";
        return;
    }
    view_mark(m, &m->disk, k);
    if (m->changing && m->growing)
        view_mark(m, &m->next, k);
}

/* -- Flushes ----------------------------------------------------------------
 */

static struct model_flush *find_flush(struct model *m, uint64_t key)
{
    unsigned i;

    for (i = 0; i < MODEL_FLUSHES; i++)
        if (m->flushes[i].key == key)
            return &m->flushes[i];
    m->confused = "too many flushes at once, or an unknown one";
    return NULL;
}

static void flush_begins(struct model *m, uint64_t key)
{
    struct model_flush *f = find_flush(m, 0);
    uint64_t i;

    if (!f)
        return;
    if (m->disk.nr > f->room) {
        f->room = m->disk.nr;
        f->done = realloc(f->done, f->room * sizeof(*f->done));
        if (!f->done)
            abort();
    }
    f->key = key;
    f->nr = m->disk.nr;
    for (i = 0; i < f->nr; i++)
        f->done[i] = m->disk.sectors[i].done;
}

static void flush_ends(struct model *m, uint64_t key, bool good)
{
    struct model_flush *f = find_flush(m, key);
    uint64_t i;

    if (!f)
        return;
    f->key = 0;
    for (i = 0; good && i < f->nr && i < m->disk.nr; i++) {
        drop_before(&m->disk.sectors[i], f->done[i]);
        if (m->changing && m->growing)
            drop_before(&m->next.sectors[i], f->done[i]);
    }
}

/* What was found after a kill is now stable. */
static void settle(struct model *m)
{
    unsigned i;

    if (!m->unsettled)
        return;
    m->unsettled = m->changing = false;
    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        m->snapshots[i].used = m->snapshots[i].must =
            m->snapshots[i].used && m->snapshots[i].seen;
}

static void flush_mark(struct model *m, const struct mark *k)
{
    if (k->phase == MARK_BEGIN) {
        flush_begins(m, k->seq);
        return;
    }
    flush_ends(m, k->seq, k->phase == MARK_END);
    if (k->phase == MARK_END)
        settle(m);
}

static bool begin_change(struct model *m, const struct mark *k)
{
    struct model_snapshot *s;

    if (k->op == MARK_APPLY) {
        s = model_snapshot(m, k->id);
        return s && view_copy(&m->next, &s->view);
    }
    return view_copy(&m->next, &m->disk) && view_resize(&m->next, k->seq, 0);
}

static void change_mark(struct model *m, const struct mark *k)
{
    struct model_view old = m->disk;

    m->changing = false;
    if (k->phase == MARK_BEGIN) {
        if (!begin_change(m, k))
            m->confused = "a change to what is not there";
        m->changing = true;
        m->growing = k->op == MARK_RESIZE;
    } else if (k->phase == MARK_END) {
        m->disk = m->next;
        m->next = old;
    }
}

static void snapshot_mark(struct model *m, const struct mark *k)
{
    struct model_snapshot *s = model_snapshot(m, k->id);
    unsigned i;

    if (k->phase == MARK_BEGIN) {
        for (i = 0; !s && i < MODEL_SNAPSHOTS; i++)
            if (!m->snapshots[i].used)
                s = &m->snapshots[i];
        if (!s || !view_copy(&s->view, &m->disk)) {
            m->confused = "too many snapshots";
            return;
        }
        s->id = k->id;
        s->must = false;
        s->used = s->taking = true;
        s->has_state = k->count;
        view_flush(&s->view);
        flush_begins(m, SNAPSHOT_KEY + k->id);
    } else if (s) {
        /* It includes a flush. */
        flush_ends(m, SNAPSHOT_KEY + k->id, k->phase == MARK_END);
        s->taking = false;
        s->must = s->used = k->phase == MARK_END;
    }
}

static void delete_mark(struct model *m, const struct mark *k)
{
    struct model_snapshot *s = model_snapshot(m, k->id);

    if (!s) {
        m->confused = "a deletion of what is not there";
        return;
    }
    s->must = k->phase == MARK_FAILED;
    s->used = k->phase != MARK_END;
}

static void settings_mark(struct model *m, const struct mark *k)
{
    if (k->phase == MARK_END)
        m->nr_settings = 0;
    else if (k->phase == MARK_FAILED)
        return;
    if (m->nr_settings == MODEL_SETTINGS)
        m->confused = "too many settings that were cut short";
    else
        m->settings[m->nr_settings++] = k->seq;
}

static void vars_mark(struct model *m, const struct mark *k)
{
    if (k->phase == MARK_END)
        m->nr_vars = 0;
    else if (k->phase == MARK_FAILED)
        return;
    if (m->nr_vars == MODEL_VARS)
        m->confused = "too many variables that were cut short";
    else
        m->vars[m->nr_vars++] = k->seq;
}

/* -- After a kill
 * -------------------------------------------------------------- */

static void killed_mark(struct model *m)
{
    unsigned i;

    view_killed(&m->disk);
    if (m->changing)
        view_killed(&m->next);
    m->unsettled = true;
    m->nr_found = 0;
    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        m->snapshots[i].seen = m->snapshots[i].taking = false;
    for (i = 0; i < MODEL_FLUSHES; i++)
        m->flushes[i].key = 0;
}

static bool found_fits(const struct model *m, const struct model_view *v)
{
    uint64_t i;

    if (v->nr != m->nr_found)
        return false;
    for (i = 0; i < v->nr; i++)
        if (m->found[i] < 0 ||
            !model_allows(&v->sectors[i], (uint64_t)m->found[i]))
            return false;
    return true;
}

/* Whichever of the two the disk was when the change was cut short. */
static void choose_view(struct model *m)
{
    struct model_view other = m->next;
    uint64_t i;

    if (m->changing && found_fits(m, &m->next)) {
        m->next = m->disk;
        m->disk = other;
    } else if (!found_fits(m, &m->disk)) {
        m->confused = "after a kill the disk is as it never was";
        return;
    }
    for (i = 0; i < m->nr_found; i++) {
        add_version(m, &m->disk.sectors[i], (uint64_t)m->found[i]);
        returned(&m->disk.sectors[i], false);
    }
}

static void seen_mark(struct model *m, const struct mark *k)
{
    uint64_t end = k->sector + k->count, i;
    int64_t *more;

    if (k->phase == MARK_END) {
        choose_view(m);
        return;
    }
    if (end > m->room_found) {
        more = realloc(m->found, end * sizeof(*more));
        if (!more)
            abort();
        m->found = more;
        m->room_found = end;
    }
    for (i = k->sector; i < end; i++)
        m->found[i] = (int64_t)k->seq;
    m->nr_found = end;
}

static void listed_mark(struct model *m, const struct mark *k)
{
    struct model_snapshot *s = model_snapshot(m, k->id);
    unsigned i;

    if (k->phase != MARK_END) {
        if (s)
            s->seen = true;
        else
            m->confused = "after a kill there is an unknown snapshot";
        return;
    }
    for (i = 0; i < MODEL_SNAPSHOTS; i++) {
        s = &m->snapshots[i];
        if (s->used && s->must && !s->seen)
            m->confused = "after a kill a snapshot is gone";
        s->must = s->must && s->used;
    }
}

void model_mark(struct model *m, const struct mark *k)
{
    if (m->closed)
        m->failed = false;
    m->closed = false;
    m->failed |= k->phase == MARK_FAILED;
    switch (k->op) {
    case MARK_READY:
        m->ready = true;
        m->base = k->id ? k->seq : 0;
        if (!view_resize(&m->disk, k->seq, k->id))
            m->confused = "no memory";
        break;
    case MARK_WRITE:
    case MARK_ZERO:
    case MARK_DISCARD: data_mark(m, k); break;
    case MARK_FLUSH: flush_mark(m, k); break;
    case MARK_RESIZE:
    case MARK_APPLY: change_mark(m, k); break;
    case MARK_SNAPSHOT: snapshot_mark(m, k); break;
    case MARK_DELETE: delete_mark(m, k); break;
    case MARK_SETTINGS: settings_mark(m, k); break;
    case MARK_VARS: vars_mark(m, k); break;
    case MARK_CLOSED:
        view_flush(&m->disk);
        settle(m);
        m->closed = true;
        break;
    case MARK_KILLED: killed_mark(m); break;
    case MARK_SEEN: seen_mark(m, k); break;
    case MARK_LISTED: listed_mark(m, k); break;
    case MARK_CREATE: m->creating = true; break;
    case MARK_CARE:
    case MARK_BARRIER: break;
    default: m->confused = "an unknown mark"; break;
    }
}
