/*
 * The interpreter's middle: lists, conditions, functions, files. What it does
 * not know for sure ends it, for then only GRUB itself can tell.
 */
#include "bootdisk/grub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"

int grub_too_big(struct grub *g)
{
    return err_set(g->err, -E2BIG, "its script is too big");
}

/* --- Commands ---------------------------------------------------------------
 */

static const struct grub_function *find_function(const struct grub *g,
                                                 const char *name)
{
    for (const struct grub_function *f = g->functions; f; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f;
    return NULL;
}

/* The last one of a name counts. */
static int define(struct grub *g, const struct grub_node *n)
{
    struct grub_function *f = arena_alloc(g->arena, sizeof(*f));

    if (!f || g->nr_functions == GRUB_MAX_FUNCTIONS)
        return grub_too_big(g);
    if (g->doubt)
        return err_set(g->err, -EINVAL,
                       "line %u: whether there is a function '%s' is not "
                       "known",
                       n->line, n->name);
    *f = (struct grub_function){g->functions, n->name, n->body};
    g->functions = f;
    g->nr_functions++;
    return 0;
}

static int call(struct grub *g, const struct grub_function *f,
                const struct grub_args *args)
{
    const struct grub_args *outer = g->args;
    int rc;

    if (g->calls == GRUB_MAX_CALLS)
        return err_set(g->err, -EINVAL,
                       "its functions call each other too "
                       "deep");
    g->calls++;
    g->args = args;
    rc = grub_exec(g, f->body);
    g->args = outer;
    g->calls--;
    return rc;
}

static int exec_args(struct grub *g, const struct grub_args *args)
{
    const struct grub_function *f;

    if (args->n == 0) {
        g->status = GRUB_TRUE;
        return 0;
    }
    if (args->a[0].unknown || args->a[0].block)
        return err_set(g->err, -EINVAL, "the name of a command is not known");
    f = find_function(g, args->a[0].text);
    return f ? call(g, f, args) : grub_command(g, args);
}

static int exec_command(struct grub *g, const struct grub_node *n)
{
    struct grub_args *args = malloc(sizeof(*args));
    unsigned line = n->line;
    int rc;

    if (!args)
        return grub_too_big(g);
    rc = grub_expand(g, n->words, args);
    if (rc == 0)
        rc = exec_args(g, args);
    free(args);
    if (rc == -EINVAL && strncmp(g->err->text, "line ", 5) != 0) {
        struct err why = *g->err;

        return err_set(g->err, rc, "line %u: %s", line, why.text);
    }
    return rc;
}

/* --- Lists and conditions ---------------------------------------------------
 */

static int exec_if(struct grub *g, const struct grub_node *n)
{
    int rc;

    g->status = GRUB_FALSE; /* of an empty condition */
    rc = grub_exec(g, n->cond);
    if (rc < 0)
        return rc;
    if (g->status == GRUB_UNKNOWN) {
        g->doubt++;
        rc = grub_exec(g, n->body);
        if (rc == 0)
            rc = grub_exec(g, n->other);
        g->doubt--;
        g->status = GRUB_UNKNOWN;
        return rc;
    }
    if (g->status == GRUB_TRUE)
        return grub_exec(g, n->body);
    g->status = GRUB_TRUE;
    return grub_exec(g, n->other);
}

static int exec_one(struct grub *g, const struct grub_node *n)
{
    int rc = 0;

    if (++g->steps > GRUB_MAX_STEPS)
        return err_set(g->err, -EINVAL, "its script does not end");
    switch (n->kind) {
    case GRUB_COMMAND: rc = exec_command(g, n); break;
    case GRUB_IF: rc = exec_if(g, n); break;
    case GRUB_FUNCTION: rc = define(g, n); break;
    }
    if (n->invert && g->status != GRUB_UNKNOWN)
        g->status = g->status == GRUB_TRUE ? GRUB_FALSE : GRUB_TRUE;
    return rc;
}

int grub_exec(struct grub *g, const struct grub_node *list)
{
    int rc = 0;

    for (; rc == 0 && list; list = list->next)
        rc = exec_one(g, list);
    return rc;
}

int grub_source(struct grub *g, unsigned part, const char *path)
{
    struct grub_node *list = NULL;
    char *text = NULL;
    size_t len = 0;
    int rc;

    if (g->calls == GRUB_MAX_CALLS)
        return err_set(g->err, -EINVAL, "its files name each other too deep");
    rc = g->files->ops->read(g->files->opaque, part, path, &text, &len);
    if (rc < 0)
        return err_set(g->err, rc, "'%s' cannot be read: %s", path,
                       strerrordesc_np(-rc));
    rc = grub_parse(text, len, g->arena, &list, g->err);
    free(text);
    if (rc < 0)
        return rc;
    g->calls++;
    rc = grub_exec(g, list);
    g->calls--;
    return rc;
}

/* --- From the beginning ----------------------------------------------------
 */

/* What GRUB says of itself from version 2.02 on, and of this machine. */
static const char *const first_vars[][2] = {
    {"grub_platform", "pc"},
    {"grub_cpu", "i386"},
    {"feature_chainloader_bpb", "y"},
    {"feature_ntldr", "y"},
    {"feature_platform_search_hint", "y"},
    {"feature_default_font_path", "y"},
    {"feature_all_video_module", "y"},
    {"feature_menuentry_id", "y"},
    {"feature_menuentry_options", "y"},
    {"feature_200_final", "y"},
    {"feature_nativedisk_cmd", "y"},
    {"feature_timeout_style", "y"},
};

static int set_exported(struct grub *g, const char *name, const char *value)
{
    int rc = vars_set(&g->vars, name, value);

    if (rc == 0)
        rc = vars_export(&g->vars, name);
    return rc < 0 ? grub_too_big(g) : 0;
}

/* "(hd0,gpt3)/boot/grub" */
static const char *directory_of(struct grub *g, const char *device,
                                const char *path)
{
    int dir = (int)(strrchr(path, '/') - path);

    return arena_print(g->arena, "(%s)%.*s", device, dir, path);
}

static int set_first_vars(struct grub *g, unsigned part, const char *path)
{
    const char *device = grub_device(g, part);
    const char *dir = device ? directory_of(g, device, path) : NULL;
    int rc = 0;

    if (!dir)
        return grub_too_big(g);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(first_vars); i++)
        rc = set_exported(g, first_vars[i][0], first_vars[i][1]);
    if (rc == 0)
        rc = set_exported(g, "root", device);
    if (rc == 0)
        rc = set_exported(g, "prefix", dir);
    if (rc == 0)
        rc = set_exported(g, "config_directory", dir);
    return rc;
}

int grub_choose(const struct bootfiles *files, unsigned part, const char *path,
                struct arena *arena, struct bootentry *choice, struct err *err)
{
    struct grub g = {.files = files,
                     .arena = arena,
                     .err = err,
                     .vars = {.arena = arena},
                     .env = {.arena = arena},
                     .choice = choice};
    int rc;

    memset(choice, 0, sizeof(*choice));
    g.menu.tail = &g.menu.first;
    rc = set_first_vars(&g, part, path);
    if (rc == 0)
        rc = grub_source(&g, part, path);
    return rc < 0 ? rc : grub_boot_default(&g);
}
