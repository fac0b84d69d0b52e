/*
 * load_env and save_env. husk never writes to the guest's file system, so a
 * script that would really change the environment (grub-reboot's next_entry,
 * which counts once) has to be carried out by GRUB itself. Writing what is
 * there already changes nothing, and some variables only decide how the menu
 * looks.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"
#include "bootdisk/grubenv.h"

/* The file that the options name, else $prefix/grubenv; *first is the first
 * argument behind them. */
static int file_of(struct grub *g, const struct grub_args *args,
                   const char **text, unsigned *first)
{
    const char *prefix = vars_text(&g->vars, "prefix");
    unsigned i = 1;

    *text = NULL;
    for (; i < args->n && *args->a[i].text == '-'; i++) {
        const char *o = args->a[i].text;

        if (strncmp(o, "--file=", 7) == 0)
            *text = o + 7;
        else if ((strcmp(o, "-f") == 0 || strcmp(o, "--file") == 0) &&
                 i + 1 < args->n)
            *text = args->a[++i].text;
        else if (strcmp(o, "-s") != 0 && strcmp(o, "--skip-sig") != 0)
            return err_set(g->err, -EINVAL,
                           "'%.20s' is an option husk does not know", o);
    }
    *first = i;
    if (*text)
        return 0;
    *text = arena_print(g->arena, "%s/grubenv", prefix);
    return *text ? 0 : grub_too_big(g);
}

static int copy_wanted(struct grub *g, const struct grub_args *args,
                       unsigned first)
{
    for (const struct var *v = g->env.first; v; v = v->next) {
        bool wanted = first == args->n;

        for (unsigned i = first; i < args->n; i++)
            wanted = wanted || strcmp(args->a[i].text, v->name) == 0;
        if (v->value && wanted && vars_set(&g->vars, v->name, v->value) < 0)
            return grub_too_big(g);
    }
    return 0;
}

int grub_load_env(struct grub *g, const struct grub_args *args)
{
    const char *name, *path;
    unsigned first = 0, part = 0;
    char *text = NULL;
    size_t len = 0;
    int rc = file_of(g, args, &name, &first);

    if (rc < 0)
        return rc;
    if (grub_path(g, name, &part, &path) < 0)
        return err_set(g->err, -EINVAL, "husk cannot see '%.60s'", name);
    g->env = (struct vars){.arena = g->arena};
    rc = g->files->ops->read(g->files->opaque, part, path, &text, &len);
    if (rc == 0)
        rc = grubenv_load(text, len, &g->env);
    free(text);
    g->has_env = rc == 0;
    if (rc == -ENOENT || rc == -EINVAL) { /* GRUB says so and goes on */
        g->status = GRUB_FALSE;
        return 0;
    }
    if (rc < 0)
        return err_set(g->err, rc, "'%.60s' cannot be read: %s", name,
                       strerrordesc_np(-rc));
    return copy_wanted(g, args, first);
}

/*
 * Ubuntu shows the menu for longer after a boot that was not marked as good;
 * Fedora does not hide it then. Only with boot_counter such a mark chooses
 * another entry (greenboot).
 */
static bool only_looks(const struct grub *g, const char *name)
{
    if (strcmp(name, "recordfail") == 0)
        return true;
    if (strcmp(name, "boot_success") != 0 &&
        strcmp(name, "boot_indeterminate") != 0)
        return false;
    return !vars_find(&g->vars, "boot_counter");
}

static bool is_saved(const struct grub *g, const char *name)
{
    const struct var *now = vars_find(&g->vars, name);
    const struct var *then = vars_find(&g->env, name);

    if (now && now->unknown)
        return false;
    if (!now || !then)
        return !now && !then;
    return strcmp(now->value, then->value) == 0;
}

int grub_save_env(struct grub *g, const struct grub_args *args)
{
    const char *name;
    unsigned i = 0;
    int rc = file_of(g, args, &name, &i);

    if (rc < 0)
        return rc;
    if (!g->has_env) { /* there is no file, and GRUB makes none */
        g->status = GRUB_FALSE;
        return 0;
    }
    for (; i < args->n; i++)
        if (!only_looks(g, args->a[i].text) && !is_saved(g, args->a[i].text))
            return err_set(g->err, -EINVAL,
                           "GRUB has to write '%.60s' to its environment "
                           "first",
                           args->a[i].text);
    return 0;
}
