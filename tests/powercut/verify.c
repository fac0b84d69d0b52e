#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "slotread.h"
#include "stateread.h"

enum { SECTOR = 512 };

static bool no(struct verify *v, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static bool no(struct verify *v, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(v->why, sizeof(v->why), fmt, ap);
    va_end(ap);
    return false;
}

/* What a wrong sector holds, for the report. */
static bool wrong_sector(struct verify *v, const char *what, uint64_t n,
                         const struct model_sector *s, const uint8_t *buf)
{
    uint64_t w[3];

    memcpy(w, buf, sizeof(w));
    if (sector_version(buf, n) >= 0)
        return no(v,
                  "%s: sector %" PRIu64 " holds version %" PRId64
                  ", not one of %u..%u",
                  what, n, sector_version(buf, n), s->version[0],
                  s->version[s->count - 1]);
    if (w[1] < UINT32_MAX && sector_version(buf, w[1]) > 0)
        return no(v,
                  "%s: sector %" PRIu64 " holds version %" PRIu64
                  " of sector %" PRIu64,
                  what, n, w[2], w[1]);
    return no(v,
              "%s: sector %" PRIu64 " holds rubbish (%016" PRIx64
              "...), not version %u..%u",
              what, n, w[0], s->version[0], s->version[s->count - 1]);
}

static bool verify_cluster(struct verify *v, const char *what,
                           const struct model_view *mv, uint64_t first,
                           uint64_t count, const uint8_t *buf)
{
    static const uint8_t zeroes[SECTOR];
    const uint8_t *p = buf ? buf : zeroes;
    uint64_t i;

    for (i = first; i < first + count && i < mv->nr; i++) {
        int64_t version = buf ? sector_version(p, i) : 0;

        if (version < 0 || !model_allows(&mv->sectors[i], (uint64_t)version))
            return wrong_sector(v, what, i, &mv->sectors[i], p);
        if (buf)
            p += SECTOR;
    }
    return true;
}

/* A backing file holds version 1 of each of its sectors. */
static void fill_backing(const struct verify *v, uint64_t len, uint64_t n)
{
    uint64_t i, words[SECTOR_WORDS];

    for (i = 0; i < len / SECTOR; i++) {
        uint64_t s = n * (len / SECTOR) + i;

        sector_fill(words, s, s < v->base);
        memcpy(v->cluster + i * SECTOR, words, SECTOR);
    }
}

/* Where the cluster's bytes are, NULL for zeroes; false if unreadable. */
static bool locate(struct verify *v, const struct qimg *q,
                   const struct qview *view, uint64_t n, const uint8_t **buf)
{
    struct qmap m = qimg_map(q, view, n);

    *buf = NULL;
    if (m.kind == QMAP_ABSENT && q->backing_offset) {
        fill_backing(v, q->cluster, n);
        *buf = v->cluster;
        return true;
    }
    if (m.kind == QMAP_ZERO || (m.kind == QMAP_ABSENT && !m.subclusters))
        return true;
    if (m.kind == QMAP_DATA && !(q->incompatible & QIMG_EXTENDED_L2) &&
        qimg_range_ok(q, m.off, q->cluster)) {
        *buf = q->data + m.off;
        return true;
    }
    *buf = v->cluster;
    return qimg_read(q, view, n, v->cluster, false);
}

static bool verify_view(struct verify *v, const char *what,
                        const struct model_view *mv, const struct qimg *q,
                        const struct qview *view)
{
    uint64_t per = q->cluster / SECTOR, n;
    const uint8_t *buf;

    if (view->disk_size != mv->nr * SECTOR)
        return no(v, "%s: %" PRIu64 " bytes, not %" PRIu64, what,
                  view->disk_size, mv->nr * SECTOR);
    for (n = 0; n * per < mv->nr; n++) {
        if (!locate(v, q, view, n, &buf))
            return no(v, "%s: cluster %" PRIu64 " cannot be read", what, n);
        if (!verify_cluster(v, what, mv, n * per, per, buf))
            return false;
    }
    return true;
}

static bool verify_state(struct verify *v, uint32_t id, const struct qimg *q,
                         const struct qview *view)
{
    uint8_t buf[SECTOR];

    for (unsigned n = 0; n < 2; n++) {
        struct state_piece p = state_piece(id, n);

        for (uint64_t i = p.first; i < p.first + p.count; i++)
            if (!state_read(q, view, i * SECTOR, buf, SECTOR) ||
                sector_version(buf, i) != (int64_t)id + 1)
                return no(v, "snapshot %u: sector %" PRIu64 " of its state", id,
                          i);
    }
    return true;
}

static bool verify_variables(struct verify *v, const struct model *m,
                             const struct qimg *q)
{
    int64_t version = state_variables(q);

    for (unsigned i = 0; i < m->nr_vars; i++)
        if (version == (int64_t)m->vars[i])
            return true;
    return no(v,
              "the firmware's variables are of version %" PRId64
              ", not %" PRIu64 "..%" PRIu64,
              version, m->vars[0], m->vars[m->nr_vars - 1]);
}

static bool verify_snapshots(struct verify *v, struct model *m,
                             const struct qimg *q)
{
    struct model_snapshot *s;
    bool seen[MODEL_SNAPSHOTS] = {false};
    unsigned i;

    for (i = 0; i < q->nr_snapshots; i++) {
        if (!strcmp(q->snapshots[i].id, STATE_VARIABLES))
            continue;
        s = model_snapshot(m, (uint32_t)strtoul(q->snapshots[i].id, NULL, 10));
        if (!s)
            return no(v, "there is a snapshot '%s'", q->snapshots[i].id);
        if (seen[s - m->snapshots])
            return no(v, "snapshot '%s' is there twice", q->snapshots[i].id);
        seen[s - m->snapshots] = true;
        if (!verify_view(v, "snapshot", &s->view, q, &q->snapshots[i].view) ||
            (s->has_state && !verify_state(v, s->id, q, &q->snapshots[i].view)))
            return false;
    }
    for (i = 0; i < MODEL_SNAPSHOTS; i++)
        if (m->snapshots[i].used && m->snapshots[i].must && !seen[i])
            return no(v, "snapshot %u is gone", m->snapshots[i].id);
    return true;
}

static bool verify_settings(struct verify *v, const struct model *m,
                            const struct qimg *q)
{
    uint64_t tag;
    unsigned i;

    if (!m->nr_settings)
        return true;
    if (!slotread_tag(q, &tag))
        return no(v, "the settings cannot be read");
    for (i = 0; i < m->nr_settings; i++)
        if (tag == m->settings[i])
            return true;
    return no(v,
              "the settings are those of change %" PRIu64 ", not %" PRIu64
              "..%" PRIu64,
              tag, m->settings[0], m->settings[m->nr_settings - 1]);
}

static bool grow(struct verify *v, const struct qimg *q)
{
    uint8_t *more = realloc(v->cluster, q->cluster);

    if (!more)
        return no(v, "no memory");
    v->cluster = more;
    return true;
}

bool verify_image(struct verify *v, struct model *m, const struct qimg *q)
{
    if (!grow(v, q))
        return false;
    v->base = m->base;
    if (!verify_view(v, "disk", &m->disk, q, &q->active) &&
        (!m->changing || !verify_view(v, "disk", &m->next, q, &q->active)))
        return false;
    return verify_snapshots(v, m, q) && verify_settings(v, m, q) &&
           verify_variables(v, m, q);
}

static bool verify_bytes(struct verify *v, const struct model_view *mv,
                         const uint8_t *data, uint64_t size)
{
    if (size != mv->nr * SECTOR)
        return no(v, "disk: %" PRIu64 " bytes, not %" PRIu64, size,
                  mv->nr * SECTOR);
    return verify_cluster(v, "disk", mv, 0, mv->nr, data);
}

bool verify_contents(struct verify *v, const struct model *m,
                     const uint8_t *data, uint64_t size)
{
    return verify_bytes(v, &m->disk, data, size) ||
           (m->changing && verify_bytes(v, &m->next, data, size));
}
