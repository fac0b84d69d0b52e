/*
 * test EXPRESSION and [ EXPRESSION ]: GRUB manual, "test". Comparisons of file
 * times and GRUB's own operators with prefixes are left out: husk is not sure
 * then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"

enum { MAX_DEPTH = 16 };

struct expr {
    struct grub *g;
    const struct grub_arg *a;
    unsigned n, i, depth;
};

static int not_sure(const struct expr *e)
{
    return err_set(e->g->err, -EINVAL,
                   "it tests something that husk does not know");
}

/* Of a part of an expression; an unknown one decides if the other does not. */
static enum grub_status both(enum grub_status a, enum grub_status b)
{
    if (a == GRUB_FALSE || b == GRUB_FALSE)
        return GRUB_FALSE;
    return a == GRUB_UNKNOWN || b == GRUB_UNKNOWN ? GRUB_UNKNOWN : GRUB_TRUE;
}

static enum grub_status opposite(enum grub_status s)
{
    if (s == GRUB_UNKNOWN)
        return s;
    return s == GRUB_TRUE ? GRUB_FALSE : GRUB_TRUE;
}

static enum grub_status status_if(bool yes)
{
    return yes ? GRUB_TRUE : GRUB_FALSE;
}

static enum grub_status test_file(struct expr *e, char op, const char *text)
{
    const struct bootfiles *f = e->g->files;
    struct bootfiles_stat st = {.dir = false};
    const char *path;
    unsigned part;
    int rc = grub_path(e->g, text, &part, &path);

    if (rc < 0)
        return GRUB_UNKNOWN;
    rc = f->ops->stat(f->opaque, part, path, &st);
    if (rc < 0)
        return rc == -ENOENT || rc == -ENOTDIR ? GRUB_FALSE : GRUB_UNKNOWN;
    switch (op) {
    case 'd': return status_if(st.dir);
    case 'f': return status_if(!st.dir);
    case 's': return status_if(st.size > 0);
    default: return GRUB_TRUE; /* e */
    }
}

static bool is_one_of(const char *op, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(op, list[i]) == 0)
            return true;
    return false;
}

static bool is_binary(const char *op)
{
    static const char *const ops[] = {"=",   "==",  "!=",  "-eq", "-ne",
                                      "-lt", "-le", "-gt", "-ge"};

    return is_one_of(op, ops, ARRAY_LEN(ops));
}

static bool is_unary(const char *op)
{
    static const char *const ops[] = {"-n", "-z", "-d", "-e", "-f", "-s"};

    return is_one_of(op, ops, ARRAY_LEN(ops));
}

static enum grub_status compare(const char *l, const char *op, const char *r)
{
    long long a = strtoll(l, NULL, 0), b = strtoll(r, NULL, 0);

    if (op[0] == '=')
        return status_if(strcmp(l, r) == 0);
    if (op[0] == '!')
        return status_if(strcmp(l, r) != 0);
    switch (op[1] << 8 | op[2]) {
    case 'e' << 8 | 'q': return status_if(a == b);
    case 'n' << 8 | 'e': return status_if(a != b);
    case 'l' << 8 | 't': return status_if(a < b);
    case 'l' << 8 | 'e': return status_if(a <= b);
    case 'g' << 8 | 't': return status_if(a > b);
    default: return status_if(a >= b);
    }
}

static int parse_or(struct expr *e, enum grub_status *out);

static int parse_primary(struct expr *e, enum grub_status *out)
{
    const struct grub_arg *a = e->a + e->i;
    unsigned left = e->n - e->i;

    if (left == 0)
        return not_sure(e);
    if (left >= 3 && is_binary(a[1].text)) {
        *out = a[0].unknown || a[2].unknown
                   ? GRUB_UNKNOWN
                   : compare(a[0].text, a[1].text, a[2].text);
        e->i += 3;
        return 0;
    }
    if (left >= 2 && is_unary(a[0].text)) {
        if (a[1].unknown)
            *out = GRUB_UNKNOWN;
        else if (a[0].text[1] == 'n' || a[0].text[1] == 'z')
            *out = status_if((*a[1].text == '\0') == (a[0].text[1] == 'z'));
        else
            *out = test_file(e, a[0].text[1], a[1].text);
        e->i += 2;
        return 0;
    }
    if (*a[0].text == '-' && a[0].text[1])
        return not_sure(e);
    *out = a[0].unknown ? GRUB_UNKNOWN : status_if(*a[0].text != '\0');
    e->i++;
    return 0;
}

static bool take(struct expr *e, const char *word)
{
    if (e->i == e->n || e->a[e->i].unknown ||
        strcmp(e->a[e->i].text, word) != 0)
        return false;
    e->i++;
    return true;
}

static int parse_not(struct expr *e, enum grub_status *out)
{
    bool invert = false;
    int rc;

    while (take(e, "!"))
        invert = !invert;
    if (take(e, "(")) {
        if (++e->depth > MAX_DEPTH)
            return not_sure(e);
        rc = parse_or(e, out);
        if (rc == 0 && !take(e, ")"))
            rc = not_sure(e);
        e->depth--;
    } else {
        rc = parse_primary(e, out);
    }
    if (rc == 0 && invert)
        *out = opposite(*out);
    return rc;
}

static int parse_and(struct expr *e, enum grub_status *out)
{
    enum grub_status more = GRUB_FALSE;
    int rc = parse_not(e, out);

    while (rc == 0 && take(e, "-a")) {
        rc = parse_not(e, &more);
        if (rc == 0)
            *out = both(*out, more);
    }
    return rc;
}

static int parse_or(struct expr *e, enum grub_status *out)
{
    enum grub_status more = GRUB_FALSE;
    int rc = parse_and(e, out);

    while (rc == 0 && take(e, "-o")) {
        rc = parse_and(e, &more);
        if (rc == 0)
            *out = opposite(both(opposite(*out), opposite(more)));
    }
    return rc;
}

int grub_test(struct grub *g, const struct grub_args *args)
{
    bool bracket = strcmp(args->a[0].text, "[") == 0;
    struct expr e = {.g = g, .a = args->a + 1, .n = args->n - 1};
    enum grub_status s = GRUB_FALSE;
    int rc = 0;

    for (unsigned i = 0; i < e.n; i++)
        if (e.a[i].block)
            return not_sure(&e);
    if (bracket && (e.n == 0 || strcmp(e.a[--e.n].text, "]") != 0))
        return not_sure(&e);
    if (e.n)
        rc = parse_or(&e, &s);
    if (rc == 0 && e.i != e.n)
        rc = not_sure(&e);
    g->status = s;
    return rc;
}
