#include "state/writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "state/format.h"

/* Room for len more bytes: where they go, or NULL. */
static uint8_t *reserve(struct state_writer *w, size_t len)
{
    if (w->failed)
        return NULL;
    if (len > w->cap - w->len) {
        size_t cap = (w->len + len) * 2;
        uint8_t *grown = realloc(w->buf, cap);

        if (!grown) {
            w->failed = true;
            return NULL;
        }
        w->buf = grown;
        w->cap = cap;
    }
    memset(w->buf + w->len, 0, len);
    w->len += len;
    return w->buf + w->len - len;
}

void state_writer_init(struct state_writer *w)
{
    *w = (struct state_writer){.buf = NULL};
    (void)reserve(w, STATE_HDR_SIZE);
}

static void put_field(struct state_writer *w, const struct state_field *f,
                      const uint8_t *state)
{
    uint8_t *p = reserve(w, STATE_FLD_SIZE + f->len);

    assert(f->len <= UINT32_MAX && f->len % state_type_size(f->type) == 0);
    if (!p)
        return;
    put_le16(p + STATE_FLD_ID, f->id);
    p[STATE_FLD_TYPE] = f->type;
    put_le32(p + STATE_FLD_LEN, (uint32_t)f->len);
    /* Numbers lie in memory as they do in the file: little-endian. */
    memcpy(p + STATE_FLD_SIZE, state + f->off, f->len);
}

void state_save(struct state_writer *w, const struct state_desc *desc,
                uint32_t instance, const void *state)
{
    size_t start = w->len;
    size_t name_len = strlen(desc->name);
    uint8_t *p = reserve(w, STATE_SEC_SIZE + name_len);
    size_t len;

    assert(name_len > 0 && name_len <= STATE_NAME_MAX);
    if (!p)
        return;
    memcpy(p + STATE_SEC_SIZE, desc->name, name_len);
    for (size_t i = 0; i < desc->nr_fields; i++)
        put_field(w, &desc->fields[i], state);
    if (w->failed)
        return;
    p = w->buf + start; /* the fields may have moved it */
    len = w->len - start;
    assert(len <= UINT32_MAX && w->nr_sections < STATE_MAX_SECTIONS);
    put_le32(p + STATE_SEC_LEN, (uint32_t)len);
    put_le32(p + STATE_SEC_INSTANCE, instance);
    put_le16(p + STATE_SEC_VERSION, desc->version);
    put_le16(p + STATE_SEC_NAME_LEN, (uint16_t)name_len);
    put_le32(p + STATE_SEC_CRC, state_section_crc(p, len));
    w->nr_sections++;
}

int state_writer_finish(struct state_writer *w, uint8_t **buf, size_t *len)
{
    uint8_t *p = w->buf;

    if (w->failed) {
        free(w->buf);
        w->buf = NULL;
        return -ENOMEM;
    }
    memcpy(p, STATE_MAGIC, STATE_MAGIC_LEN);
    put_le32(p + STATE_HDR_VERSION, STATE_FORMAT_VERSION);
    put_le32(p + STATE_HDR_SECTIONS, w->nr_sections);
    put_le64(p + STATE_HDR_LEN, w->len);
    put_le32(p + STATE_HDR_CRC, crc32_update(0, p, STATE_HDR_CRC));
    *buf = w->buf;
    *len = w->len;
    w->buf = NULL;
    return 0;
}
