#include "bootdisk/bls.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- Lines ------------------------------------------------------------------
 */

/* Texts of lines with the same key, with a blank between. */
static int join(struct arena *arena, const char **all, const char *text,
                size_t len)
{
    size_t had = *all ? strlen(*all) + 1 : 0;
    char *p = arena_alloc(arena, had + len + 1);

    if (!p)
        return -ENOMEM;
    if (had) {
        memcpy(p, *all, had - 1);
        p[had - 1] = ' ';
    }
    memcpy(p + had, text, len);
    *all = p;
    return 0;
}

static int set_once(struct bls *b, struct arena *arena, const char **to,
                    const char *text, size_t len)
{
    b->other = b->other || *to;
    *to = arena_text(arena, text, len);
    return *to ? 0 : -ENOMEM;
}

static bool key_is(const char *key, size_t len, const char *name)
{
    return strlen(name) == len && memcmp(key, name, len) == 0;
}

static int set_key(struct bls *b, struct arena *arena, const char *key,
                   size_t key_len, const char *value, size_t len)
{
    if (key_is(key, key_len, "title"))
        return set_once(b, arena, &b->title, value, len);
    if (key_is(key, key_len, "version"))
        return set_once(b, arena, &b->version, value, len);
    if (key_is(key, key_len, "linux"))
        return set_once(b, arena, &b->linux, value, len);
    if (key_is(key, key_len, "initrd"))
        return join(arena, &b->initrds, value, len);
    if (key_is(key, key_len, "options"))
        return set_once(b, arena, &b->options, value, len);
    b->users = b->users || key_is(key, key_len, "grub_users");
    b->other = b->other || key_is(key, key_len, "devicetree") ||
               key_is(key, key_len, "early_initrd") ||
               key_is(key, key_len, "efi") || key_is(key, key_len, "uki");
    return 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* *ended: there was a line without a value, behind which GRUB reads no more. */
static int parse_line(struct bls *b, struct arena *arena, const char *p,
                      const char *end, bool *ended)
{
    const char *key, *value;
    size_t key_len;

    while (p < end && is_blank(*p))
        p++;
    while (end > p && is_blank(end[-1]))
        end--;
    if (p < end && *p == '#')
        return 0;
    if (p < end && *ended)
        b->other = true;
    for (key = p; p < end && !is_blank(*p);)
        p++;
    key_len = (size_t)(p - key);
    while (p < end && is_blank(*p))
        p++;
    value = p;
    if (value == end) {
        *ended = true;
        return 0;
    }
    return set_key(b, arena, key, key_len, value, (size_t)(end - value));
}

int bls_parse(const char *name, const char *text, size_t len,
              struct arena *arena, struct bls *out)
{
    const char *p = text, *end = text + len;
    size_t id = strlen(name);
    bool ended = false;
    int rc = 0;

    *out = (struct bls){.id = NULL};
    if (id > 5 && strcmp(name + id - 5, ".conf") == 0)
        id -= 5;
    out->id = arena_text(arena, name, id);
    if (!out->id)
        return -ENOMEM;
    while (rc == 0 && p < end) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));

        if (!stop)
            stop = end;
        rc = parse_line(out, arena, p, stop, &ended);
        p = stop < end ? stop + 1 : end;
    }
    if (rc == 0 && !out->title)
        out->title = out->linux ? out->linux : out->id;
    return rc;
}

/* --- Order ------------------------------------------------------------------
 */

/* A part of a name that is compared by itself. */
struct span {
    const char *p, *end;
};

static bool is_mark(const struct span *s, char c)
{
    return s->p < s->end && *s->p == c;
}

static void skip_separators(struct span *s)
{
    while (s->p < s->end && !isalnum((unsigned char)*s->p) && *s->p != '~' &&
           *s->p != '+')
        s->p++;
}

static struct span take_run(struct span *s, bool digits)
{
    struct span run = {s->p, s->p};

    while (run.end < s->end && (digits ? isdigit((unsigned char)*run.end)
                                       : isalpha((unsigned char)*run.end)))
        run.end++;
    s->p = run.end;
    return run;
}

static int compare_text(struct span a, struct span b)
{
    size_t n = (size_t)(a.end - a.p), m = (size_t)(b.end - b.p);
    int c = memcmp(a.p, b.p, n < m ? n : m);

    return c ? c : (n > m) - (n < m);
}

static int compare_number(struct span a, struct span b)
{
    while (a.p < a.end && *a.p == '0')
        a.p++;
    while (b.p < b.end && *b.p == '0')
        b.p++;
    if (a.end - a.p != b.end - b.p)
        return a.end - a.p > b.end - b.p ? 1 : -1;
    return compare_text(a, b);
}

/* *done: what it returns is the answer. */
static int compare_marks(struct span *a, struct span *b, bool *done)
{
    bool a_tilde = is_mark(a, '~'), b_tilde = is_mark(b, '~');
    bool a_plus = is_mark(a, '+'), b_plus = is_mark(b, '+');

    *done = true;
    if (a_tilde != b_tilde)
        return a_tilde ? -1 : 1;
    if (a_plus != b_plus) {
        if (a->p == a->end || b->p == b->end)
            return a->p == a->end ? -1 : 1;
        return a_plus ? -1 : 1;
    }
    *done = false;
    if (a_tilde || a_plus) {
        a->p++;
        b->p++;
    }
    return 0;
}

static int compare_versions(struct span a, struct span b)
{
    while (a.p < a.end || b.p < b.end) {
        bool done, digits;
        struct span ra, rb;
        int c;

        skip_separators(&a);
        skip_separators(&b);
        c = compare_marks(&a, &b, &done);
        if (done)
            return c;
        if (a.p == a.end || b.p == b.end)
            break;
        digits = isdigit((unsigned char)*a.p);
        ra = take_run(&a, digits);
        rb = take_run(&b, digits);
        if (ra.p == ra.end && rb.p == rb.end)
            continue;       /* marks in both */
        if (rb.p == rb.end) /* a number is newer than a word */
            return digits ? 1 : -1;
        c = digits ? compare_number(ra, rb) : compare_text(ra, rb);
        if (c)
            return c;
    }
    return (a.p < a.end) - (b.p < b.end);
}

/* NAME-VERSION-RELEASE, cut at its last two dashes; NAME-VERSION, at one. */
static void split(const char *text, struct span part[3])
{
    const char *end = text + strlen(text);
    const char *release = memrchr(text, '-', (size_t)(end - text));
    const char *version =
        release ? memrchr(text, '-', (size_t)(release - text)) : NULL;

    part[0] = (struct span){text, end};
    part[1] = part[2] = (struct span){end, end};
    if (version) {
        part[0].end = version;
        part[1] = (struct span){version + 1, release};
        part[2] = (struct span){release + 1, end};
    } else if (release) {
        part[0].end = release;
        part[1] = (struct span){release + 1, end};
    }
}

int bls_compare(const char *a, const char *b)
{
    struct span pa[3], pb[3];
    int c = 0;

    split(a, pa);
    split(b, pb);
    for (unsigned i = 0; c == 0 && i < 3; i++)
        c = compare_versions(pa[i], pb[i]);
    return c;
}
