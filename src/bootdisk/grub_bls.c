/*
 * blscfg, Fedora's command: entries of the menu from the files of
 * /loader/entries, the newest first. Their values may name variables of the
 * script ($kernelopts, $tuned_params).
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/bls.h"
#include "bootdisk/grub_int.h"

enum { MAX_FILES = 256 };

struct names {
    struct grub *g;
    const char *name[MAX_FILES];
    unsigned nr;
};

static int add_name(void *ctx, const char *name)
{
    struct names *n = ctx;
    size_t len = strlen(name);

    if (len <= 5 || name[0] == '.' || strcmp(name + len - 5, ".conf") != 0)
        return 0;
    if (n->nr == MAX_FILES)
        return -E2BIG;
    n->name[n->nr] = arena_text(n->g->arena, name, len - 5);
    return n->name[n->nr++] ? 0 : -E2BIG;
}

static int newest_first(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    int c = bls_compare(*y, *x);

    return c ? c : strcmp(*y, *x);
}

/* --- Files ------------------------------------------------------------------
 */

static int add_file(struct grub *g, unsigned part, const char *dir,
                    const char *name)
{
    struct bls *b = arena_alloc(g->arena, sizeof(*b));
    const char *path = arena_print(g->arena, "%s/%s.conf", dir, name);
    struct grub_entry e = {.restricted = false};
    char *text = NULL;
    size_t len = 0;
    int rc;

    if (!b || !path)
        return grub_too_big(g);
    rc = g->files->ops->read(g->files->opaque, part, path, &text, &len);
    if (rc < 0)
        return err_set(g->err, rc, "'%.80s' cannot be read: %s", path,
                       strerrordesc_np(-rc));
    rc = bls_parse(name, text, len, g->arena, b);
    free(text);
    if (rc < 0)
        return grub_too_big(g);
    e.title = b->title;
    e.id = b->id;
    e.bls = b;
    e.restricted = b->users;
    return grub_add(g, &e);
}

/* 1: there is no such directory. */
static int list_directory(struct grub *g, unsigned part, const char *dir,
                          struct names *n)
{
    int rc = g->files->ops->list(g->files->opaque, part, dir, add_name, n);

    if (rc == -ENOENT || rc == -ENOTDIR)
        return 1;
    if (rc < 0)
        return err_set(g->err, rc, "'%.80s' cannot be read: %s", dir,
                       strerrordesc_np(-rc));
    return 0;
}

/* The file system of root. Some versions prefer that of the variable boot. */
static int entries_part(struct grub *g, unsigned *part)
{
    static const char *const moves[] = {"blsdir", "blslinuxdir", "early_initrd",
                                        "devicetree"};
    const struct var *boot = vars_find(&g->vars, "boot");
    const struct var *root = vars_find(&g->vars, "root");
    bool sure = !boot || (root && !boot->unknown && !root->unknown &&
                          strcmp(boot->value, root->value) == 0);
    const char *path;

    for (size_t i = 0; i < ARRAY_LEN(moves); i++)
        sure = sure && !vars_find(&g->vars, moves[i]);
    if (!sure)
        return err_set(g->err, -EINVAL,
                       "its entries are where husk does not look");
    return grub_path(g, "/", part, &path) < 0
               ? err_set(g->err, -EINVAL,
                         "its entries are on a file system that husk does "
                         "not see")
               : 0;
}

int grub_blscfg(struct grub *g)
{
    static const char *const dirs[] = {"/loader/entries",
                                       "/boot/loader/entries"};
    struct names n = {.g = g};
    unsigned part = 0;
    const char *dir = dirs[0];
    int rc = entries_part(g, &part);

    if (rc == 0)
        rc = list_directory(g, part, dir, &n);
    if (rc == 1)
        rc = list_directory(g, part, dir = dirs[1], &n);
    if (n.nr)
        qsort(n.name, n.nr, sizeof(n.name[0]), newest_first);
    for (unsigned k = 0; rc == 0 && k < n.nr; k++) {
        if (k && bls_compare(n.name[k - 1], n.name[k]) == 0)
            return err_set(g->err, -EINVAL,
                           "of '%.60s' and '%.60s' none is the newer",
                           n.name[k - 1], n.name[k]);
        rc = add_file(g, part, dir, n.name[k]);
    }
    return rc < 0 ? rc : 0;
}

/* --- Booting one ------------------------------------------------------------
 */

/* The value of the variable whose name begins at *p; moves behind it. */
static int variable(struct grub *g, const char **p, const char **value)
{
    const struct var *v;
    const char *from = *p;
    char *name;

    while (isalnum((unsigned char)**p) || **p == '_')
        (*p)++;
    name = arena_text(g->arena, from, (size_t)(*p - from));
    if (!name)
        return grub_too_big(g);
    v = vars_find(&g->vars, name);
    if (v && v->unknown)
        return err_set(g->err, -EINVAL, "'%.60s' is not known", name);
    *value = v ? v->value : "";
    return 0;
}

static int append(struct grub *g, char **all, const char *text, size_t len)
{
    size_t had = strlen(*all);
    char *p = arena_alloc(g->arena, had + len + 1);

    if (!p)
        return grub_too_big(g);
    memcpy(p, *all, had);
    memcpy(p + had, text, len);
    *all = p;
    return 0;
}

/* A variable that stands by itself is replaced; of others, and of words of one
 * letter, versions of GRUB lose a part. */
static bool is_plain(const char *text)
{
    bool vars = strchr(text, '$') != NULL;

    for (const char *p = text; *p;) {
        size_t len = strcspn(p, " \t"), var = 0;

        if (*p == '$')
            while (var + 1 < len &&
                   (isalnum((unsigned char)p[var + 1]) || p[var + 1] == '_'))
                var++;
        if ((vars && len == 1) || (*p == '$' && var + 1 != len) ||
            (*p != '$' && memchr(p, '$', len)))
            return false;
        p += len;
        p += strspn(p, " \t");
    }
    return true;
}

/* GRUB makes a line of script of it, so what means something there is not just
 * text. */
static int expand(struct grub *g, const char *text, char **out)
{
    static char empty[1];
    int rc = 0;

    *out = empty;
    if (strpbrk(text, "'\"\\;{}|&<>*?#") || !is_plain(text))
        return err_set(g->err, -EINVAL,
                       "an entry's line has quotes or the like");
    while (rc == 0 && *text) {
        size_t n = strcspn(text, "$");
        const char *value = "";

        rc = append(g, out, text, n);
        text += n;
        if (rc < 0 || !*text)
            break;
        text++;
        rc = variable(g, &text, &value);
        if (rc == 0)
            rc = append(g, out, value, strlen(value));
    }
    return rc;
}

/* Each word an argument. */
static int add_words(struct grub *g, struct grub_args *args, const char *text)
{
    char *line;
    int rc;

    if (!text)
        return 0;
    rc = expand(g, text, &line);
    while (rc == 0 && *line) {
        size_t n = strspn(line, " \t"), len;

        line += n;
        len = strcspn(line, " \t");
        if (len == 0)
            break;
        if (args->n == GRUB_MAX_ARGS)
            return grub_too_big(g);
        args->a[args->n] =
            (struct grub_arg){.text = arena_text(g->arena, line, len)};
        if (!args->a[args->n++].text)
            return grub_too_big(g);
        line += len;
    }
    return rc;
}

/* It is written down as "($root)/vmlinuz", and so the kernel is told. */
static int name_device(struct grub *g, struct grub_arg *a)
{
    a->text =
        arena_print(g->arena, "(%s)%s", vars_text(&g->vars, "root"), a->text);
    return a->text ? 0 : grub_too_big(g);
}

/* With save_default, GRUB notes what it boots. */
static int check_saved(struct grub *g)
{
    const char *chosen = vars_text(&g->vars, "chosen");

    if (strcmp(vars_text(&g->vars, "save_default"), "true") != 0 ||
        strcmp(vars_text(&g->env, "saved_entry"), chosen) == 0)
        return 0;
    return err_set(g->err, -EINVAL,
                   "GRUB has to write 'saved_entry' to its environment first");
}

static int load(struct grub *g, const struct bls *b, struct grub_args *args)
{
    const char *options = b->options;
    int rc;

    if (!options)
        options = vars_text(&g->vars, "default_kernelopts");
    args->n = 1;
    args->a[0] = (struct grub_arg){.text = "linux"};
    rc = add_words(g, args, b->linux);
    if (rc == 0 && args->n != 2)
        rc = err_set(g->err, -EINVAL, "'%.80s' names no kernel", b->title);
    if (rc == 0)
        rc = name_device(g, &args->a[1]);
    if (rc == 0)
        rc = add_words(g, args, options);
    if (rc == 0)
        rc = grub_linux(g, args);
    if (rc < 0)
        return rc;
    args->n = 1;
    args->a[0] = (struct grub_arg){.text = "initrd"};
    rc = add_words(g, args, b->initrds);
    return rc == 0 && args->n > 1 ? grub_initrd(g, args) : rc;
}

int grub_boot_bls(struct grub *g, const struct bls *b)
{
    struct grub_args *args;
    int rc;

    if (b->other || !b->linux)
        return err_set(g->err, -EINVAL,
                       "'%.80s' boots something else than a kernel and its "
                       "initrds",
                       b->title);
    rc = check_saved(g);
    if (rc < 0)
        return rc;
    args = malloc(sizeof(*args));
    if (!args)
        return grub_too_big(g);
    rc = load(g, b, args);
    free(args);
    return rc;
}
