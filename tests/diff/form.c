#include "form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * The parser of insn.def: its tokens are few, so each is tried in turn.
 */

struct form_text {
    const char *text;
    uint16_t weight;
};

static const struct form_text form_texts[] = {
#define X(text_, weight_) {text_, weight_},
#include "insn.def"
#undef X
};

#define NR_FORMS ((unsigned)(sizeof(form_texts) / sizeof(form_texts[0])))

struct word {
    const char *name;
    unsigned value;
};

static const struct word flag_words[] = {
    {"osz", FORM_OSZ},   {"o16", FORM_O16},
    {"wsz", FORM_WSZ},   {"rep", FORM_REP},
    {"lock", FORM_LOCK}, {"i64", FORM_I64},
    {"o64", FORM_O64},   {"noseq", FORM_NOSEQ},
    {"jb", FORM_JB},     {"ud", FORM_UD | FORM_NOSEQ},
    {"jz", FORM_JZ},     {NULL, 0}};

static const struct word prefix_words[] = {{"NP", FORM_NP},
                                           {"66", FORM_66},
                                           {"F3", FORM_F3},
                                           {"F2", FORM_F2},
                                           {NULL, 0}};

static const struct word map_words[] = {{"0F", FORM_MAP_0F},
                                        {"0F38", FORM_MAP_0F38},
                                        {"0F3A", FORM_MAP_0F3A},
                                        {NULL, 0}};

static const struct word imm_words[] = {{"ib", FORM_IB},     {"iw", FORM_IW},
                                        {"iz", FORM_IZ},     {"iv", FORM_IV},
                                        {"moff", FORM_MOFF}, {NULL, 0}};

static const struct word bit_words[] = {
    {"LZ", FORM_ZERO},     {"LX", FORM_ANY}, {"LIG", FORM_IGNORED},
    {"W0", FORM_ZERO},     {"W1", FORM_ONE}, {"WX", FORM_ANY},
    {"WIG", FORM_IGNORED}, {NULL, 0}};

static int find(const struct word *words, const char *s)
{
    for (; words->name; words++)
        if (!strcmp(words->name, s))
            return (int)words->value;
    return -1;
}

static bool parse_vex(struct form *f, char *s)
{
    char *save = NULL;
    int v[4] = {-1, -1, -1, -1};

    (void)strtok_r(s, ".", &save);
    v[0] = find(bit_words, strtok_r(NULL, ".", &save));
    v[1] = find(prefix_words, strtok_r(NULL, ".", &save));
    v[2] = find(map_words, strtok_r(NULL, ".", &save));
    v[3] = find(bit_words, strtok_r(NULL, ".", &save));
    if (v[0] < 0 || v[1] < 0 || v[2] < 0 || v[3] < 0)
        return false;
    f->vex = true;
    f->vex_l = (uint8_t)v[0];
    f->prefix = (uint8_t)v[1];
    f->map = (uint8_t)v[2];
    f->vex_w = (uint8_t)v[3];
    return true;
}

static bool parse_modrm(struct form *f, const char *s)
{
    size_t len = strlen(s);

    f->modrm = FORM_MODRM;
    if (len > 2 && s[len - 1] == 'm')
        f->modrm = FORM_MODRM_MEM;
    else if (len > 2 && s[len - 1] == 'r')
        f->modrm = FORM_MODRM_REG;
    if (s[1] == 'r')
        return true;
    if (s[1] < '0' || s[1] > '7')
        return false;
    f->has_ext = true;
    f->ext = (uint8_t)(s[1] - '0');
    f->ext_last = s[2] == '-' ? (uint8_t)(s[3] - '0') : f->ext;
    return f->ext_last <= 7;
}

static bool parse_opcode(struct form *f, const char *s)
{
    char *end;
    unsigned long v = strtoul(s, &end, 16);

    if (end != s + 2)
        return false;
    f->opcode = (uint8_t)v;
    f->opcode_last = f->opcode;
    if (*end == '-')
        f->opcode_last = (uint8_t)strtoul(end + 1, &end, 16);
    return !*end && f->opcode_last >= f->opcode;
}

/* have_opcode: a second opcode byte is a fixed ModRM byte (x87). */
static bool parse_token(struct form *f, char *s, bool *have_opcode)
{
    int v;

    if (!strncmp(s, "VEX.", 4))
        return parse_vex(f, s);
    if (s[0] == '/')
        return parse_modrm(f, s);
    v = find(flag_words, s);
    if (v >= 0) {
        f->flags |= (uint16_t)v;
        return true;
    }
    v = find(imm_words, s);
    if (v >= 0) {
        f->imm[f->imm[0] ? 1 : 0] = (uint8_t)v;
        return true;
    }
    v = *have_opcode || f->map != FORM_MAP_1 ? -1 : find(map_words, s);
    if (v >= 0) {
        f->map = (uint8_t)v;
        return true;
    }
    *have_opcode = true;
    return parse_opcode(f, s);
}

/* The x87 forms with a fixed second byte, "D9 E4-E5", and the prefixed ones,
 * "9B D9 /7m", are told apart by their first byte. */
static bool parse_x87(struct form *f, char *first, char *rest)
{
    unsigned long op = strtoul(first, NULL, 16);

    if (op < 0xd8 || op > 0xdf || rest[0] == '/')
        return false;
    if (!parse_opcode(f, rest))
        return false;
    f->ext = f->opcode; /* the whole ModRM byte */
    f->ext_last = f->opcode_last;
    f->modrm = FORM_MODRM_REG;
    f->has_ext = true;
    f->opcode = (uint8_t)op;
    f->opcode_last = (uint8_t)op;
    return true;
}

static bool parse(struct form *f, char *s)
{
    char *save = NULL;
    char *tok = strtok_r(s, " ", &save);
    bool have_opcode = false;
    int v;

    if (!strcmp(tok, "9B") && *save)
        tok = strtok_r(NULL, " ", &save); /* an fwait of its own before it */
    if (*save && strlen(tok) == 2 && parse_x87(f, tok, save))
        return true;
    v = find(prefix_words, tok);
    if (v >= 0 && *save) {
        f->prefix = (uint8_t)v;
        tok = strtok_r(NULL, " ", &save);
    }
    for (; tok; tok = strtok_r(NULL, " ", &save))
        if (!parse_token(f, tok, &have_opcode))
            return false;
    return have_opcode;
}

void form_init(struct form_table *t)
{
    char text[64];

    t->nr = NR_FORMS;
    t->total_weight = 0;
    t->form = calloc(NR_FORMS, sizeof(*t->form));
    if (!t->form)
        abort();
    for (unsigned i = 0; i < NR_FORMS; i++) {
        struct form *f = &t->form[i];

        (void)snprintf(text, sizeof(text), "%s", form_texts[i].text);
        if (!parse(f, text)) {
            (void)fprintf(stderr, "cpudiff: bad form '%s'\n",
                          form_texts[i].text);
            exit(2);
        }
        if (f->vex || f->prefix != FORM_NO_PREFIX ||
            (f->map == FORM_MAP_1 && f->opcode >= 0xd8 && f->opcode < 0xe0))
            f->flags |= FORM_WIDE;
        f->weight = form_texts[i].weight;
        t->total_weight += f->weight;
    }
}

void form_free(struct form_table *t)
{
    free(t->form);
}

const struct form *form_pick(const struct form_table *t, struct rng *r,
                             unsigned bits, unsigned without)
{
    for (;;) {
        unsigned w = rng_below(r, t->total_weight);
        const struct form *f = t->form;

        while (w >= f->weight)
            w -= f++->weight;
        if (f->flags & without)
            continue;
        if (f->flags & (bits == 64 ? FORM_I64 : FORM_O64))
            continue;
        return f;
    }
}
