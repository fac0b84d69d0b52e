/*
 * Reader of saved states. state_reader_init walks the file once with every
 * check; the iterators after it may then trust lengths, but nothing else.
 */
#include "state/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/crc32.h"
#include "base/endian.h"
#include "state/format.h"

static int damaged(struct err *err, const char *what)
{
    return err_set(err, -EINVAL, "read the saved state: %s", what);
}

static int check_header(const uint8_t *buf, size_t len, struct err *err)
{
    if (len < STATE_HDR_SIZE || memcmp(buf, STATE_MAGIC, STATE_MAGIC_LEN) != 0)
        return damaged(err, "it is not one of husk's");
    /* Before the CRC: a newer format may have another header. */
    if (get_le32(buf + STATE_HDR_VERSION) > STATE_FORMAT_VERSION)
        return err_set(err, -ENOTSUP,
                       "read the saved state: its format %u is newer than "
                       "this husk, which knows %u",
                       get_le32(buf + STATE_HDR_VERSION), STATE_FORMAT_VERSION);
    if (get_le32(buf + STATE_HDR_CRC) != crc32_update(0, buf, STATE_HDR_CRC))
        return damaged(err, "the checksum of its header is wrong");
    if (get_le32(buf + STATE_HDR_VERSION) == 0 ||
        get_le32(buf + STATE_HDR_SECTIONS) > STATE_MAX_SECTIONS)
        return damaged(err, "its header makes no sense");
    if (get_le64(buf + STATE_HDR_LEN) != len)
        return damaged(err, "it is cut short or something follows it");
    return 0;
}

/* Whether the fields from off to the section's end are well formed. */
static bool fields_ok(const uint8_t *sec, size_t off, size_t len)
{
    while (off < len) {
        unsigned unit;
        uint64_t value_len;

        if (!range_ok(off, STATE_FLD_SIZE, len))
            return false;
        unit = state_type_size(sec[off + STATE_FLD_TYPE]);
        value_len = get_le32(sec + off + STATE_FLD_LEN);
        off += STATE_FLD_SIZE;
        if (!range_ok(off, value_len, len))
            return false;
        /* Types of later versions have ids that nobody here asks for. */
        if (unit && value_len % unit != 0)
            return false;
        off += value_len;
    }
    return true;
}

static bool name_ok(const uint8_t *name, size_t len)
{
    if (len == 0 || len > STATE_NAME_MAX)
        return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return false;
    }
    return true;
}

/* Check the section at sec, of which there are at most max bytes; *len is set
 * to its length. */
static int check_section(const uint8_t *sec, size_t max, size_t *len,
                         struct err *err)
{
    size_t name_len;

    if (max < STATE_SEC_SIZE)
        return damaged(err, "its last section is cut short");
    *len = get_le32(sec + STATE_SEC_LEN);
    if (*len < STATE_SEC_SIZE || *len > max)
        return damaged(err, "a section is longer than what is left of it");
    if (get_le32(sec + STATE_SEC_CRC) != state_section_crc(sec, *len))
        return damaged(err, "the checksum of a section is wrong");
    name_len = get_le16(sec + STATE_SEC_NAME_LEN);
    if (!range_ok(STATE_SEC_SIZE, name_len, *len) ||
        !name_ok(sec + STATE_SEC_SIZE, name_len))
        return damaged(err, "a section has no proper name");
    if (!fields_ok(sec, STATE_SEC_SIZE + name_len, *len))
        return damaged(err, "a section's fields make no sense");
    return 0;
}

int state_reader_init(struct state_reader *r, const uint8_t *buf, size_t len,
                      struct err *err)
{
    uint32_t nr;
    size_t off = STATE_HDR_SIZE;
    int rc = check_header(buf, len, err);

    if (rc < 0)
        return rc;
    nr = get_le32(buf + STATE_HDR_SECTIONS);
    while (nr-- > 0) {
        size_t sec_len = 0;

        rc = check_section(buf + off, len - off, &sec_len, err);
        if (rc < 0)
            return rc;
        off += sec_len;
    }
    if (off != len)
        return damaged(err, "something follows its last section");
    r->buf = buf;
    r->len = len;
    return 0;
}

bool state_next_section(const struct state_reader *r, struct state_section *s)
{
    const uint8_t *p = s->start ? s->start + s->len : r->buf + STATE_HDR_SIZE;

    if (p == r->buf + r->len)
        return false;
    s->start = p;
    s->len = get_le32(p + STATE_SEC_LEN);
    s->instance = get_le32(p + STATE_SEC_INSTANCE);
    s->version = get_le16(p + STATE_SEC_VERSION);
    s->name = (const char *)p + STATE_SEC_SIZE;
    s->name_len = get_le16(p + STATE_SEC_NAME_LEN);
    return true;
}

bool state_next_value(const struct state_section *s, struct state_value *v)
{
    size_t off = v->data ? v->next : STATE_SEC_SIZE + s->name_len;
    const uint8_t *p = s->start + off;

    if (off == s->len)
        return false;
    v->id = get_le16(p + STATE_FLD_ID);
    v->type = p[STATE_FLD_TYPE];
    v->len = get_le32(p + STATE_FLD_LEN);
    v->data = p + STATE_FLD_SIZE;
    v->next = off + STATE_FLD_SIZE + v->len;
    return true;
}

static bool find_section(const struct state_reader *r, const char *name,
                         uint32_t instance, struct state_section *s)
{
    size_t name_len = strlen(name);

    *s = (struct state_section){.start = NULL};
    while (state_next_section(r, s)) {
        if (s->instance == instance && s->name_len == name_len &&
            memcmp(s->name, name, name_len) == 0)
            return true;
    }
    return false;
}

static const struct state_field *find_field(const struct state_desc *desc,
                                            uint16_t id)
{
    for (size_t i = 0; i < desc->nr_fields; i++) {
        if (desc->fields[i].id == id)
            return &desc->fields[i];
    }
    return NULL;
}

/* A bool that is neither 0 nor 1 must not even be looked at. */
static bool bools_ok(const struct state_value *v)
{
    for (size_t i = 0; i < v->len; i++) {
        if (v->data[i] > 1)
            return false;
    }
    return true;
}

/* Copy all known fields of s into the scratch copy. */
static int fill(const struct state_section *s, const struct state_desc *desc,
                uint8_t *scratch, struct err *err)
{
    struct state_value v = {.data = NULL};

    while (state_next_value(s, &v)) {
        const struct state_field *f = find_field(desc, v.id);

        if (!f)
            continue;
        if (f->type != v.type || f->len != v.len ||
            (v.type == STATE_BOOL && !bools_ok(&v)))
            return err_set(err, -EINVAL,
                           "load the state of '%s': its field '%s' is not "
                           "as husk saves it",
                           desc->name, f->name);
        memcpy(scratch + f->off, v.data, v.len);
    }
    return 0;
}

int state_load(const struct state_reader *r, const struct state_desc *desc,
               uint32_t instance, void *state, struct err *err)
{
    struct state_section s;
    uint8_t *scratch;
    int rc;

    if (!find_section(r, desc->name, instance, &s))
        return err_set(err, -ENOENT,
                       "load the state of '%s' %u: it was not saved",
                       desc->name, instance);
    if (s.version > desc->version)
        return err_set(err, -ENOTSUP,
                       "load the state of '%s': its version %u is newer than "
                       "this husk, which knows %u",
                       desc->name, s.version, desc->version);
    scratch = malloc(desc->size);
    if (!scratch)
        return err_set(err, -ENOMEM, "load the state of '%s': out of memory",
                       desc->name);
    memcpy(scratch, state, desc->size);
    rc = fill(&s, desc, scratch, err);
    if (rc == 0 && desc->check && desc->check(scratch) < 0)
        rc = err_set(err, -EINVAL,
                     "load the state of '%s': it is not one that the device "
                     "can be in",
                     desc->name);
    if (rc == 0)
        memcpy(state, scratch, desc->size);
    free(scratch);
    return rc;
}
