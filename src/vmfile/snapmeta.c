#include "vmfile/snapmeta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "vmfile/slots.h"

enum {
    VERSION = 4,
    FLAGS = 5,
    PARENT_LEN = 6,
    TEXT_LEN = 8,
    STORED_LEN = 10,
    SETTINGS_LEN = 12,
    CRC = 16,
    HEAD = 20,
    STATE_LEN = 8, /* bytes of the state area's length */
    FLAG_DOOMED = 1 << 0,
    FLAG_SAFETY = 1 << 1,
    FLAG_STATE = 1 << 2
};

static const char magic[4] = {'h', 'u', 's', 'k'};

/* With 0 where the sum is kept. */
static uint32_t sum(const uint8_t *buf, size_t len)
{
    static const uint8_t none[4];
    uint32_t crc = crc32c_update(0, buf, CRC);

    crc = crc32c_update(crc, none, sizeof(none));
    return crc32c_update(crc, buf + HEAD, len - HEAD);
}

static int too_big(struct err *err)
{
    return err_set(err, -E2BIG,
                   "keep the settings with the snapshot: they, and the text, "
                   "are too long; shorten labels, command line or text");
}

/* The settings behind used bytes of buf; *stored is what they took there. */
static int pack_settings(const char *settings, uint8_t *buf, size_t size,
                         size_t used, size_t *stored, struct err *err)
{
    size_t len = strlen(settings);
    uLongf room = (uLongf)(size - used);

    if (len > SLOTS_MAX_TEXT)
        return too_big(err);
    if (compress2(buf + used, &room, (const Bytef *)settings, (uLong)len,
                  Z_BEST_COMPRESSION) == Z_OK &&
        room < len) {
        *stored = (size_t)room;
        return 0;
    }
    if (len > size - used)
        return too_big(err);
    memcpy(buf + used, settings, len);
    *stored = len;
    return 0;
}

int snapmeta_pack(const struct snapmeta *m, uint8_t *buf, size_t size,
                  size_t *len, struct err *err)
{
    size_t parent = strlen(m->parent), text = strlen(m->text), stored = 0;
    size_t used = HEAD + parent + text, state = m->state_bytes ? STATE_LEN : 0;
    int rc = 0;

    if (size > UINT16_MAX)
        size = UINT16_MAX;
    if (size < state)
        return too_big(err);
    size -= state;
    if (parent > size || text > size || used > size)
        return too_big(err);
    memset(buf, 0, HEAD);
    memcpy(buf, magic, sizeof(magic));
    buf[VERSION] = 1;
    buf[FLAGS] = (uint8_t)((m->doomed ? FLAG_DOOMED : 0) |
                           (m->safety ? FLAG_SAFETY : 0) |
                           (m->state_bytes ? FLAG_STATE : 0));
    memcpy(buf + HEAD, m->parent, parent);
    memcpy(buf + HEAD + parent, m->text, text);
    if (m->settings)
        rc = pack_settings(m->settings, buf, size, used, &stored, err);
    if (rc < 0)
        return rc;
    put_be16(buf + PARENT_LEN, (uint16_t)parent);
    put_be16(buf + TEXT_LEN, (uint16_t)text);
    put_be16(buf + STORED_LEN, (uint16_t)stored);
    put_be32(buf + SETTINGS_LEN,
             m->settings ? (uint32_t)strlen(m->settings) : 0);
    *len = used + stored + state;
    if (state)
        put_be64(buf + used + stored, m->state_bytes);
    put_be32(buf + CRC, sum(buf, *len));
    return 0;
}

static char *copy(const uint8_t *p, size_t len)
{
    return strndup((const char *)p, len);
}

static int unpack_settings(struct snapmeta *m, const uint8_t *p, size_t stored,
                           size_t len)
{
    uLongf got = (uLongf)len;

    if (len == 0)
        return 0;
    if (len > SLOTS_MAX_TEXT)
        return -EINVAL;
    if (stored == len) {
        m->settings = copy(p, len);
        return m->settings ? 0 : -ENOMEM;
    }
    m->settings = calloc(1, len + 1);
    if (!m->settings)
        return -ENOMEM;
    if (uncompress((Bytef *)m->settings, &got, p, (uLong)stored) == Z_OK &&
        got == len)
        return 0;
    return -EINVAL;
}

static int unpack(struct snapmeta *m, const uint8_t *buf, size_t len)
{
    size_t parent, text, stored, used, state;

    if (len < HEAD || memcmp(buf, magic, sizeof(magic)) != 0)
        return -ENOENT;
    parent = get_be16(buf + PARENT_LEN);
    text = get_be16(buf + TEXT_LEN);
    stored = get_be16(buf + STORED_LEN);
    state = buf[FLAGS] & FLAG_STATE ? STATE_LEN : 0;
    used = HEAD + parent + text + stored;
    if (buf[VERSION] != 1 || used + state > len ||
        get_be32(buf + CRC) != sum(buf, used + state))
        return -EINVAL;
    free(m->parent);
    free(m->text);
    m->parent = copy(buf + HEAD, parent);
    m->text = copy(buf + HEAD + parent, text);
    m->doomed = buf[FLAGS] & FLAG_DOOMED;
    m->safety = buf[FLAGS] & FLAG_SAFETY;
    m->state_bytes = state ? get_be64(buf + used) : 0;
    if (!m->parent || !m->text)
        return -ENOMEM;
    return unpack_settings(m, buf + used - stored, stored,
                           get_be32(buf + SETTINGS_LEN));
}

static int make_empty(struct snapmeta *m)
{
    *m = (struct snapmeta){.parent = strdup(""), .text = strdup("")};
    return m->parent && m->text ? 0 : -ENOMEM;
}

int snapmeta_unpack(struct snapmeta *m, const uint8_t *buf, size_t len)
{
    int rc = make_empty(m), again;

    if (rc == 0)
        rc = unpack(m, buf, len);
    if (rc == 0 || rc == -ENOENT)
        return rc;
    snapmeta_free(m);
    again = make_empty(m);
    return again < 0 ? again : rc;
}

void snapmeta_free(struct snapmeta *m)
{
    free(m->parent);
    free(m->text);
    free(m->settings);
    *m = (struct snapmeta){.parent = NULL};
}
