#include "cpu/jit/kept.h"

#include <stdlib.h>
#include <string.h>

/*
 * One entry for all addresses of a hash. It is good for the bytes and the mode
 * key that it was made of, so changed code or another address space costs a
 * decoding and nothing has to be forgotten.
 */
enum { KEPT_BITS = 8 };

struct kept {
    const struct cpuid_model *model;
    struct entry {
        uint32_t key;
        struct insn in; /* d.length 0: none */
    } entry[1 << KEPT_BITS];
};

struct kept *kept_new(const struct cpuid_model *model)
{
    struct kept *k = calloc(1, sizeof(*k));

    if (k)
        k->model = model;
    return k;
}

void kept_free(struct kept *k)
{
    free(k);
}

static struct entry *slot(struct kept *k, uint64_t rip)
{
    return &k->entry[rip * 0x9e3779b97f4a7c15ull >> (64 - KEPT_BITS)];
}

/* What the decoder makes of an instruction depends on no byte behind it. */
static bool is_for(const struct entry *e, const uint8_t *bytes, size_t len,
                   uint32_t key)
{
    size_t n = e->in.d.length;

    return n > 0 && n <= len && e->key == key &&
           memcmp(e->in.bytes, bytes, n) == 0;
}

int kept_decode(struct kept *k, const struct insn **in, const uint8_t *bytes,
                size_t len, uint32_t key, uint64_t rip)
{
    struct entry *e = slot(k, rip);
    int rc;

    *in = &e->in;
    if (is_for(e, bytes, len, key)) {
        e->in.rip = rip;
        return e->in.class == IC_UD;
    }
    e->key = key;
    rc = insn_decode(&e->in, bytes, len, key, k->model, rip);
    if (rc < 0)
        e->in.d.length = 0;
    return rc;
}
