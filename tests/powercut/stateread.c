#include "stateread.h"

#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "marks.h"
#include "slotread.h"

enum {
    HEAD = 4096,
    SECTION = 32,
    COPY = 2 << 20,
    SECTOR = 512,
    MAX = 1 << 20,
    UEFI = 0x75656669
};

static uint64_t state_start(const struct qimg *q, const struct qview *v)
{
    uint64_t span = qimg_l2_entries(q) * q->cluster;

    if (span < COPY)
        span = COPY;
    return (v->disk_size + span - 1) / span * span;
}

bool state_read(const struct qimg *q, const struct qview *v, uint64_t off,
                void *buf, uint64_t len)
{
    uint8_t *cluster = malloc(q->cluster), *to = buf;
    uint64_t at = state_start(q, v) + off, n;
    bool ok = cluster;

    for (; len && ok; at += n, to += n, len -= n) {
        uint64_t in = at % q->cluster;

        n = q->cluster - in < len ? q->cluster - in : len;
        ok = qimg_read(q, v, at / q->cluster, cluster, false);
        if (ok)
            memcpy(to, cluster + in, n);
    }
    free(cluster);
    return ok;
}

static uint32_t sum_of_head(const uint8_t *head)
{
    uint8_t copy[HEAD];

    memcpy(copy, head, HEAD);
    memset(copy + 24, 0, 4);
    return slotread_crc32c(copy, HEAD);
}

/* The version of a copy's sectors; its generation in *generation, 0 if the copy
 * is not valid. */
static int64_t read_copy(const struct qimg *q, const struct qview *v,
                         uint64_t base, uint64_t *generation)
{
    uint8_t head[HEAD], *data;
    const uint8_t *s = head + SECTION;
    int64_t version = -1;
    uint64_t off, len;

    *generation = 0;
    if (!state_read(q, v, base, head, HEAD) ||
        memcmp(head, "HUSKSTAT\0\0\0\1\0\0\0\1", 16) ||
        get_be32(head + 24) != sum_of_head(head) || get_be32(s) != UEFI)
        return -1;
    off = get_be64(s + 8);
    len = get_be64(s + 16);
    if (off < HEAD || off > MAX || !len || len > MAX || len % SECTOR)
        return -1;
    data = malloc(len);
    if (data && state_read(q, v, base + off, data, len) &&
        slotread_crc32c(data, len) == get_be32(s + 24)) {
        *generation = get_be64(head + 16);
        version = sector_version(data, 0);
        for (uint64_t i = 1; i < len / SECTOR; i++)
            if (sector_version(data + i * SECTOR, i) != version)
                version = -1;
    }
    free(data);
    return version;
}

int64_t state_variables(const struct qimg *q)
{
    uint64_t g0, g1;
    int64_t v0, v1;
    unsigned i;

    for (i = 0; i < q->nr_snapshots; i++)
        if (!strcmp(q->snapshots[i].id, STATE_VARIABLES))
            break;
    if (i == q->nr_snapshots)
        return 0;
    v0 = read_copy(q, &q->snapshots[i].view, 0, &g0);
    v1 = read_copy(q, &q->snapshots[i].view, COPY, &g1);
    return !g0 && !g1 ? -1 : g1 > g0 ? v1 : v0;
}
