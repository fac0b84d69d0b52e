#include "vmfile/statearea.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/endian.h"

enum {
    VERSION = 8,
    COUNT = 12,
    GENERATION = 16,
    CRC = 24,
    TABLE = 32,
    /* Of a section. */
    S_TYPE = 0,
    S_OFF = 8,
    S_LEN = 16,
    S_CRC = 24,
    S_SIZE = 32
};

_Static_assert(TABLE + STATEAREA_SECTIONS * S_SIZE <= STATEAREA_HEAD,
               "the sections do not fit into the head");

static const char magic[8] = {'H', 'U', 'S', 'K', 'S', 'T', 'A', 'T'};

/* With 0 where the sum is kept. */
static uint32_t sum(const uint8_t *head)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c_update(0, head, CRC);

    crc = crc32c_update(crc, none, sizeof(none));
    return crc32c_update(crc, head + CRC + sizeof(none),
                         STATEAREA_HEAD - CRC - sizeof(none));
}

/* --- Making -----------------------------------------------------------------
 */

uint64_t statearea_end(const struct statearea *a)
{
    return a->nr ? a->section[a->nr - 1].off + a->section[a->nr - 1].len
                 : STATEAREA_HEAD;
}

void statearea_add(struct statearea *a, uint32_t type, uint64_t off,
                   const void *data, size_t len)
{
    assert(a->nr < STATEAREA_SECTIONS && len && off >= statearea_end(a));
    a->section[a->nr++] =
        (struct statearea_section){.type = type,
                                   .crc = crc32c_update(0, data, len),
                                   .off = off,
                                   .len = len};
}

void statearea_pack(const struct statearea *a, uint8_t head[STATEAREA_HEAD])
{
    memset(head, 0, STATEAREA_HEAD);
    memcpy(head, magic, sizeof(magic));
    put_be32(head + VERSION, 1);
    put_be32(head + COUNT, a->nr);
    put_be64(head + GENERATION, a->generation);
    for (unsigned i = 0; i < a->nr; i++) {
        const struct statearea_section *s = &a->section[i];
        uint8_t *p = head + TABLE + (size_t)i * S_SIZE;

        put_be32(p + S_TYPE, s->type);
        put_be64(p + S_OFF, s->off);
        put_be64(p + S_LEN, s->len);
        put_be32(p + S_CRC, s->crc);
    }
    put_be32(head + CRC, sum(head));
}

/* --- Reading ----------------------------------------------------------------
 */

int statearea_parse(struct statearea *a, const uint8_t head[STATEAREA_HEAD],
                    uint64_t room)
{
    uint32_t nr = get_be32(head + COUNT);

    *a = (struct statearea){.generation = get_be64(head + GENERATION)};
    if (memcmp(head, magic, sizeof(magic)) != 0)
        return -ENOENT;
    if (get_be32(head + VERSION) != 1 || get_be32(head + CRC) != sum(head) ||
        nr > STATEAREA_SECTIONS || !a->generation)
        return -EINVAL;
    for (uint32_t i = 0; i < nr; i++) {
        const uint8_t *p = head + TABLE + (size_t)i * S_SIZE;
        const struct statearea_section s = {.type = get_be32(p + S_TYPE),
                                            .crc = get_be32(p + S_CRC),
                                            .off = get_be64(p + S_OFF),
                                            .len = get_be64(p + S_LEN)};

        if (!s.len || s.off < statearea_end(a) || !range_ok(s.off, s.len, room))
            return -EINVAL;
        a->section[a->nr++] = s;
    }
    return 0;
}

const struct statearea_section *statearea_find(const struct statearea *a,
                                               uint32_t type)
{
    for (unsigned i = 0; i < a->nr; i++)
        if (a->section[i].type == type)
            return &a->section[i];
    return NULL;
}

int statearea_read(struct qcow2 *q, const char *id, uint64_t base,
                   uint64_t room, struct statearea *a)
{
    uint8_t head[STATEAREA_HEAD];
    int rc = qcow2_state_read(q, id, base, head, sizeof(head));

    return rc < 0 ? rc : statearea_parse(a, head, room);
}

int statearea_load(struct qcow2 *q, const char *id, uint64_t base,
                   const struct statearea *a, uint32_t type, size_t max,
                   uint8_t **data, size_t *len)
{
    const struct statearea_section *s = statearea_find(a, type);
    uint8_t *buf;
    int rc;

    if (!s)
        return -ENOENT;
    if (s->len > max)
        return -EINVAL;
    buf = malloc(s->len + 1);
    if (!buf)
        return -ENOMEM;
    rc = qcow2_state_read(q, id, base + s->off, buf, s->len);
    if (rc == 0 && crc32c_update(0, buf, s->len) != s->crc)
        rc = -EINVAL;
    if (rc < 0) {
        free(buf);
        return rc;
    }
    buf[s->len] = '\0';
    *data = buf;
    *len = s->len;
    return 0;
}
