#include "state/dump.h"

#include <inttypes.h>
#include <string.h>

#include "base/endian.h"
#include "state/format.h"

enum { DUMP_PER_LINE = 16 };

static uint64_t get_number(const uint8_t *p, unsigned size)
{
    switch (size) {
    case 1: return *p;
    case 2: return get_le16(p);
    case 4: return get_le32(p);
    default: return get_le64(p);
    }
}

/* The numbers of one field, in lines of 16 that continue under the first. */
static void dump_value(FILE *out, unsigned type, const uint8_t *data,
                       size_t len)
{
    unsigned size = state_type_size(type);
    size_t nr;

    if (size == 0) { /* of a later version: its bytes */
        size = 1;
    }
    nr = len / size;
    for (size_t i = 0; i < nr; i++) {
        if (i > 0 && i % DUMP_PER_LINE == 0)
            (void)fputs("\n   ", out);
        (void)fprintf(out, " %0*" PRIx64, (int)(size * 2),
                      get_number(data + i * size, size));
    }
    (void)fputc('\n', out);
}

void state_dump(FILE *out, const struct state_desc *desc, const void *state)
{
    (void)fprintf(out, "%s version %u\n", desc->name, desc->version);
    for (size_t i = 0; i < desc->nr_fields; i++) {
        const struct state_field *f = &desc->fields[i];

        (void)fprintf(out, "  %s:", f->name);
        dump_value(out, f->type, (const uint8_t *)state + f->off, f->len);
    }
}

static const struct state_desc *find_desc(const struct state_desc *const *descs,
                                          const struct state_section *s)
{
    for (; descs && *descs; descs++) {
        if (strlen((*descs)->name) == s->name_len &&
            memcmp((*descs)->name, s->name, s->name_len) == 0)
            return *descs;
    }
    return NULL;
}

static void dump_label(FILE *out, const struct state_desc *desc, uint16_t id)
{
    for (size_t i = 0; desc && i < desc->nr_fields; i++) {
        if (desc->fields[i].id == id) {
            (void)fprintf(out, "  %s:", desc->fields[i].name);
            return;
        }
    }
    (void)fprintf(out, "  field %u:", id);
}

void state_dump_file(FILE *out, const struct state_reader *r,
                     const struct state_desc *const *descs)
{
    struct state_section s = {.start = NULL};

    while (state_next_section(r, &s)) {
        const struct state_desc *desc = find_desc(descs, &s);
        struct state_value v = {.data = NULL};

        (void)fprintf(out, "%.*s %u version %u\n", (int)s.name_len, s.name,
                      s.instance, s.version);
        while (state_next_value(&s, &v)) {
            dump_label(out, desc, v.id);
            dump_value(out, v.type, v.data, v.len);
        }
    }
}
