/*
 * The table of snapshots (qcow2.txt, "Snapshots"): read, looked at, written.
 * What taking and restoring one does to clusters: qcow2_snapop.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "block/qcow2_int.h"

/* Byte offsets of an entry's fields. */
enum {
    S_L1_OFF = 0,
    S_L1_SIZE = 8,
    S_ID_LEN = 12,
    S_NAME_LEN = 14,
    S_DATE_SEC = 16,
    S_DATE_NSEC = 20,
    S_VM_CLOCK = 24,
    S_VM_SIZE = 32,
    S_EXTRA_LEN = 36,
    S_FIXED = 40,
    /* Within the extra data. */
    X_VM_SIZE = 0,
    X_DISK_SIZE = 8,
    X_ICOUNT = 16
};

void q_snap_free(struct q_snap *s)
{
    free(s->s.id);
    free(s->s.name);
    free(s->s.opaque);
}

void q_snaps_free(struct q_snap *list, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        q_snap_free(&list[i]);
    free(list);
}

/* -- Reading -------------------------------------------------------------- */

static void *copy_bytes(const void *src, size_t len)
{
    char *p = malloc(len + 1);

    if (p) {
        if (len) /* an empty one may be NULL */
            memcpy(p, src, len);
        p[len] = '\0';
    }
    return p;
}

static void read_extra(const struct qcow2 *q, struct q_snap *s,
                       const uint8_t *x, uint32_t len)
{
    s->extra_len = len;
    if (len >= X_DISK_SIZE)
        s->s.vm_state_size = get_be64(x + X_VM_SIZE);
    s->s.disk_size = len >= X_ICOUNT ? get_be64(x + X_DISK_SIZE) : q->h.size;
    s->s.no_disk = s->s.disk_size == Q_NO_DISK;
    s->icount = len >= Q_SNAP_EXTRA_KNOWN ? get_be64(x + X_ICOUNT) : UINT64_MAX;
}

static int check_snap(const struct qcow2 *q, const struct q_snap *s)
{
    uint64_t end;

    if (s->l1_size > Q_MAX_L1_BYTES / 8 ||
        !is_aligned(s->l1_off, q->cluster_size) ||
        !add_ok(s->l1_off, s->l1_size * 8ull, &end) || end > INT64_MAX)
        return -EINVAL;
    if (s->s.disk_size > INT64_MAX ||
        (s->s.disk_size % Q_SECTOR && !s->s.no_disk) ||
        q_l1_entries(q, s->s.disk_size) > s->l1_size)
        return -EINVAL;
    return 0;
}

/* One entry at *at, whose fixed part is in fixed[]. *at moves to the next. */
static int read_entry(struct qcow2 *q, const uint8_t *fixed, uint64_t *at,
                      struct q_snap *s)
{
    uint32_t extra = get_be32(fixed + S_EXTRA_LEN);
    uint16_t id = get_be16(fixed + S_ID_LEN);
    uint16_t name = get_be16(fixed + S_NAME_LEN);
    uint64_t rest = (uint64_t)extra + id + name;
    uint32_t known =
        extra < Q_SNAP_EXTRA_KNOWN ? extra : (uint32_t)Q_SNAP_EXTRA_KNOWN;
    uint8_t *buf;
    int rc;

    if (extra > Q_MAX_SNAP_EXTRA)
        return -EINVAL;
    buf = malloc(rest + 1);
    if (!buf)
        return -ENOMEM;
    rc = hostfile_read(&q->f, *at + S_FIXED, buf, rest);
    if (rc)
        goto out;
    s->l1_off = get_be64(fixed + S_L1_OFF);
    s->l1_size = get_be32(fixed + S_L1_SIZE);
    s->s.l1_bytes = s->l1_size * 8ull;
    s->s.date_sec = get_be32(fixed + S_DATE_SEC);
    s->s.date_nsec = get_be32(fixed + S_DATE_NSEC);
    s->s.vm_clock_ns = get_be64(fixed + S_VM_CLOCK);
    s->s.vm_state_size = get_be32(fixed + S_VM_SIZE);
    read_extra(q, s, buf, extra);
    s->s.state_room = q_state_room(q, s);
    s->s.opaque_len = extra - known;
    s->s.opaque = copy_bytes(buf + known, extra - known);
    s->s.id = copy_bytes(buf + extra, id);
    s->s.name = copy_bytes(buf + extra + id, name);
    rc = s->s.opaque && s->s.id && s->s.name ? check_snap(q, s) : -ENOMEM;
    *at = align_down(*at + S_FIXED + rest + 7, 8);
out:
    free(buf);
    return rc;
}

static int read_table(struct qcow2 *q)
{
    uint64_t at = q->h.snaps_off;
    int rc = 0;

    for (uint32_t i = 0; i < q->h.nr_snaps && !rc; i++) {
        uint8_t fixed[S_FIXED];

        rc = hostfile_read(&q->f, at, fixed, sizeof(fixed));
        if (rc)
            return rc;
        q->nr_snaps = i + 1; /* to be freed, whatever comes */
        rc = read_entry(q, fixed, &at, &q->snaps[i]);
        if (!rc && at - q->h.snaps_off > Q_MAX_SNAP_TABLE)
            rc = -EINVAL;
    }
    q->snaps_bytes = at - q->h.snaps_off;
    return rc;
}

/* A table that cannot be in the file must not make us allocate for it. */
static bool table_fits(struct qcow2 *q)
{
    uint64_t size;

    return !hostfile_size(&q->f, &size) &&
           range_ok(q->h.snaps_off, (uint64_t)q->h.nr_snaps * S_FIXED, size);
}

int q_snaps_load(struct qcow2 *q, struct err *err)
{
    int rc = 0;

    q->snaps_bytes = 0;
    if (!q->h.nr_snaps)
        return 0;
    if (!table_fits(q)) {
        rc = -EINVAL;
    } else {
        q->snaps = calloc(q->h.nr_snaps, sizeof(*q->snaps));
        rc = q->snaps ? read_table(q) : -ENOMEM;
    }
    if (!rc)
        return 0;
    if (rc == -EINVAL)
        return err_set(err, rc, "open %s: its snapshot table is broken",
                       q->path);
    return err_rc(err, rc, "read the snapshots of %s", q->path);
}

/* -- Looking at ----------------------------------------------------------- */

int q_snap_copy(struct qcow2_snap *out, const struct qcow2_snap *s)
{
    *out = *s;
    out->id = strdup(s->id);
    out->name = strdup(s->name);
    out->opaque = copy_bytes(s->opaque, s->opaque_len);
    if (out->id && out->name && out->opaque)
        return 0;
    free(out->id);
    free(out->name);
    free(out->opaque);
    return -ENOMEM;
}

int qcow2_snaps(struct qcow2 *q, struct qcow2_snap **list, size_t *n,
                struct err *err)
{
    struct qcow2_snap *out;
    size_t i;
    int rc;

    lock_take(&q->lock);
    out = calloc(q->nr_snaps + 1ull, sizeof(*out));
    rc = out ? 0 : -ENOMEM;
    for (i = 0; i < q->nr_snaps && !rc; i++)
        rc = q_snap_copy(&out[i], &q->snaps[i].s);
    lock_drop(&q->lock);
    if (rc) {
        if (out)
            qcow2_snaps_free(out, i ? i - 1 : 0);
        return err_set(err, rc, "list the snapshots of %s: out of memory",
                       q->path);
    }
    *list = out;
    *n = i;
    return 0;
}

void qcow2_snaps_free(struct qcow2_snap *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].id);
        free(list[i].name);
        free(list[i].opaque);
    }
    free(list);
}

struct q_snap *q_snap_find(struct qcow2 *q, const char *id)
{
    for (uint32_t i = 0; i < q->nr_snaps; i++)
        if (!strcmp(q->snaps[i].s.id, id))
            return &q->snaps[i];
    return NULL;
}

/* -- Writing -------------------------------------------------------------- */

static uint64_t entry_bytes(const struct q_snap *s)
{
    return align_down(S_FIXED + Q_SNAP_EXTRA_KNOWN + s->s.opaque_len +
                          strlen(s->s.id) + strlen(s->s.name) + 7,
                      8);
}

/* Entries are always written with all of the extra data that is defined. */
static void put_entry(uint8_t *p, const struct q_snap *s)
{
    size_t id = strlen(s->s.id), name = strlen(s->s.name);
    uint8_t *x = p + S_FIXED;

    put_be64(p + S_L1_OFF, s->l1_off);
    put_be32(p + S_L1_SIZE, s->l1_size);
    put_be16(p + S_ID_LEN, (uint16_t)id);
    put_be16(p + S_NAME_LEN, (uint16_t)name);
    put_be32(p + S_DATE_SEC, s->s.date_sec);
    put_be32(p + S_DATE_NSEC, s->s.date_nsec);
    put_be64(p + S_VM_CLOCK, s->s.vm_clock_ns);
    put_be32(p + S_VM_SIZE, s->s.vm_state_size <= UINT32_MAX
                                ? (uint32_t)s->s.vm_state_size
                                : 0);
    put_be32(p + S_EXTRA_LEN, Q_SNAP_EXTRA_KNOWN + s->s.opaque_len);
    put_be64(x + X_VM_SIZE, s->s.vm_state_size);
    put_be64(x + X_DISK_SIZE, s->s.disk_size);
    put_be64(x + X_ICOUNT, s->icount);
    memcpy(x + Q_SNAP_EXTRA_KNOWN, s->s.opaque, s->s.opaque_len);
    x += Q_SNAP_EXTRA_KNOWN + s->s.opaque_len;
    memcpy(x, s->s.id, id);
    memcpy(x + id, s->s.name, name);
}

int q_snaps_write(struct qcow2 *q, const struct q_snap *list, uint32_t n,
                  uint64_t *off, uint64_t *bytes)
{
    uint64_t total = 0, at = 0, first;
    uint8_t *buf;
    int rc;

    for (uint32_t i = 0; i < n; i++)
        total += entry_bytes(&list[i]);
    *off = *bytes = 0;
    if (!n)
        return 0;
    if (total > Q_MAX_SNAP_TABLE)
        return -EFBIG;
    buf = calloc(1, q_clusters(q, total) << q->cluster_bits);
    if (!buf)
        return -ENOMEM;
    for (uint32_t i = 0; i < n; i++) {
        put_entry(buf + at, &list[i]);
        at += entry_bytes(&list[i]);
    }
    rc = q_alloc_row(q, q_clusters(q, total), &first);
    if (!rc) {
        *off = first << q->cluster_bits;
        *bytes = total;
        rc =
            q_write_meta(q, *off, buf, q_clusters(q, total) << q->cluster_bits);
        if (rc)
            q_unalloc(q, first, q_clusters(q, total));
    }
    free(buf);
    return rc;
}
