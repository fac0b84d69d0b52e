/*
 * The commands that generated scripts use. Every one is either here, or idle
 * (it only changes what a screen shows), or the reason to leave the disk to
 * GRUB itself.
 */
#include <errno.h>
#include <string.h>

#include "bootdisk/grub_int.h"

/* UNKNOWN: whether it succeeds depends on the screen, on fonts, on a person. */
static const struct {
    const char *name;
    enum grub_status status;
} idle[] = {
    {"insmod", GRUB_TRUE},         {"true", GRUB_TRUE},
    {"false", GRUB_FALSE},         {"echo", GRUB_TRUE},
    {"clear", GRUB_TRUE},          {"serial", GRUB_TRUE},
    {"terminal_input", GRUB_TRUE}, {"terminal_output", GRUB_TRUE},
    {"terminal", GRUB_TRUE},       {"password_pbkdf2", GRUB_TRUE},
    {"password", GRUB_TRUE},       {"play", GRUB_UNKNOWN},
    {"loadfont", GRUB_UNKNOWN},    {"background_image", GRUB_UNKNOWN},
    {"load_video", GRUB_UNKNOWN},  {"background_color", GRUB_UNKNOWN},
    {"sleep", GRUB_UNKNOWN},       {"keystatus", GRUB_UNKNOWN},
    {"fwsetup", GRUB_UNKNOWN},     {"videoinfo", GRUB_UNKNOWN},
};

bool grub_is_idle(const char *name, enum grub_status *status)
{
    for (size_t i = 0; i < ARRAY_LEN(idle); i++)
        if (strcmp(name, idle[i].name) == 0) {
            *status = idle[i].status;
            return true;
        }
    return false;
}

/* --- Variables --------------------------------------------------------------
 */

/* In doubt it has this value, or the one from before. */
static int assign(struct grub *g, const char *name, const char *value,
                  bool unknown)
{
    int rc = unknown || g->doubt ? vars_set_unknown(&g->vars, name)
                                 : vars_set(&g->vars, name, value);

    return rc < 0 ? grub_too_big(g) : 0;
}

/* NAME=VALUE; of an argument that is not known, what came first is. */
static int cmd_assign(struct grub *g, const struct grub_arg *a)
{
    const char *eq = strchr(a->text, '=');
    char *name;

    if (!eq && a->unknown)
        return err_set(g->err, -EINVAL, "what it sets is not known");
    if (!eq)
        return 0;
    name = arena_text(g->arena, a->text, (size_t)(eq - a->text));
    if (!name)
        return grub_too_big(g);
    return assign(g, name, eq + 1, a->unknown);
}

static int cmd_set(struct grub *g, const struct grub_args *args)
{
    if (args->n < 2)
        return 0;
    return cmd_assign(g, &args->a[1]);
}

static int cmd_unset(struct grub *g, const struct grub_args *args)
{
    int rc = 0;

    for (unsigned i = 1; rc == 0 && i < args->n; i++)
        rc = assign(g, args->a[i].text, NULL, args->a[i].unknown);
    return rc;
}

static int cmd_export(struct grub *g, const struct grub_args *args)
{
    for (unsigned i = 1; i < args->n; i++)
        if (vars_export(&g->vars, args->a[i].text) < 0)
            return grub_too_big(g);
    return 0;
}

/* --- Files ------------------------------------------------------------------
 */

static int cmd_source(struct grub *g, const struct grub_args *args)
{
    struct bootfiles_stat st;
    const char *path;
    unsigned part;

    if (args->n != 2 || args->a[1].unknown ||
        grub_path(g, args->a[1].text, &part, &path) < 0)
        return err_set(g->err, -EINVAL, "husk cannot see the file it names");
    if (g->files->ops->stat(g->files->opaque, part, path, &st) == -ENOENT) {
        g->status = GRUB_FALSE;
        return 0;
    }
    return grub_source(g, part, path);
}

struct search {
    enum bootfiles_by by;
    const char *var, *what;
    bool known; /* all options are ones that husk understands */
};

static const char *value_of(const struct grub_args *args, unsigned *i,
                            const char *option)
{
    const char *text = args->a[*i].text;
    size_t n = strlen(option);

    if (strncmp(text, option, n) != 0)
        return NULL;
    if (text[n] == '=')
        return text + n + 1;
    return NULL;
}

/* Hints only say where GRUB looks first; what is found is the same. */
static void search_option(const struct grub_args *args, unsigned *i,
                          struct search *s)
{
    static const char *const ignored[] = {"--no-floppy", "-n", "--hint",
                                          "--efidisk-only"};
    const char *text = args->a[*i].text, *value;

    if (strcmp(text, "--fs-uuid") == 0 || strcmp(text, "-u") == 0) {
        s->by = BOOTFILES_UUID;
    } else if (strcmp(text, "--label") == 0 || strcmp(text, "-l") == 0) {
        s->by = BOOTFILES_LABEL;
    } else if (strcmp(text, "--file") == 0 || strcmp(text, "-f") == 0) {
        s->by = BOOTFILES_FILE;
    } else if (strcmp(text, "--set") == 0 || strcmp(text, "-s") == 0) {
        s->var = "root";
    } else if ((value = value_of(args, i, "--set"))) {
        s->var = value;
    } else if (strncmp(text, "--hint", 6) == 0) {
        *i += strchr(text, '=') ? 0 : 1;
    } else {
        for (size_t n = 0; n < ARRAY_LEN(ignored); n++)
            if (strcmp(text, ignored[n]) == 0)
                return;
        s->known = false;
    }
}

static int parse_search(struct grub *g, const struct grub_args *args,
                        struct search *s)
{
    const char *name = args->a[0].text;
    unsigned words = 0;

    *s = (struct search){.by = BOOTFILES_FILE, .known = true};
    if (strcmp(name, "search.fs_uuid") == 0)
        *s = (struct search){BOOTFILES_UUID, "root", NULL, true};
    for (unsigned i = 1; i < args->n; i++) {
        if (args->a[i].unknown || args->a[i].block)
            s->known = false;
        else if (*args->a[i].text == '-')
            search_option(args, &i, s);
        else if (words++ == 0)
            s->what = args->a[i].text;
        else if (words == 2 && strcmp(name, "search") != 0)
            s->var = args->a[i].text;
    }
    /* "--set VAR" has the form of "--set" with a name to look for. */
    if (!s->known || !s->what || (words > 1 && strcmp(name, "search") == 0))
        return err_set(g->err, -EINVAL,
                       "it searches in a way that husk does not know");
    return 0;
}

/* What is not found may be a file system that husk does not read. */
static int cmd_search(struct grub *g, const struct grub_args *args)
{
    const char *device;
    struct search s;
    unsigned part = 0;
    int rc = parse_search(g, args, &s);

    if (rc < 0)
        return rc;
    rc = g->files->ops->find(g->files->opaque, s.by, s.what, &part);
    if (rc < 0 && rc != -ENOENT && rc != -EEXIST)
        return err_set(g->err, rc, "cannot search for '%.60s': %s", s.what,
                       strerrordesc_np(-rc));
    g->status = rc < 0 ? GRUB_UNKNOWN : GRUB_TRUE;
    if (!s.var)
        return 0;
    device = grub_device(g, part);
    return device ? assign(g, s.var, device, rc < 0) : grub_too_big(g);
}

/* --- The rest ---------------------------------------------------------------
 */

/* Ubuntu's: whether the screen is one that has trouble with graphics. None
 * that husk has is on its lists. */
static int cmd_hwmatch(struct grub *g, const struct grub_args *args)
{
    (void)args;
    return assign(g, "match", "0", false);
}

static int cmd_menuentry(struct grub *g, const struct grub_args *args)
{
    return grub_add_entry(g, args, false);
}

static int cmd_submenu(struct grub *g, const struct grub_args *args)
{
    return grub_add_entry(g, args, true);
}

static int cmd_blscfg(struct grub *g, const struct grub_args *args)
{
    if (args->n > 1)
        return err_set(g->err, -EINVAL, "'blscfg' has arguments");
    return grub_blscfg(g);
}

static const struct command {
    const char *name;
    int (*run)(struct grub *g, const struct grub_args *args);
    bool in_doubt; /* it may be run where it is not known whether GRUB would */
    bool unknown;  /* it takes arguments that are not known */
} commands[] = {
    {"set", cmd_set, true, true},
    {"unset", cmd_unset, true, false},
    {"export", cmd_export, true, false},
    {"test", grub_test, true, true},
    {"[", grub_test, true, true},
    {"search", cmd_search, true, false},
    {"search.fs_uuid", cmd_search, true, false},
    {"hwmatch", cmd_hwmatch, true, true},
    {"source", cmd_source, false, false},
    {".", cmd_source, false, false},
    {"load_env", grub_load_env, false, false},
    {"save_env", grub_save_env, false, false},
    {"menuentry", cmd_menuentry, false, false},
    {"submenu", cmd_submenu, false, false},
    {"blscfg", cmd_blscfg, false, false},
    {"linux", grub_linux, false, false},
    {"linux16", grub_linux, false, false},
    {"linuxefi", grub_linux, false, false},
    {"initrd", grub_initrd, false, false},
    {"initrd16", grub_initrd, false, false},
    {"initrdefi", grub_initrd, false, false},
};

static bool all_known(const struct grub_args *args)
{
    for (unsigned i = 0; i < args->n; i++)
        if (args->a[i].unknown)
            return false;
    return true;
}

static int run(struct grub *g, const struct command *c,
               const struct grub_args *args)
{
    if (g->doubt && !c->in_doubt)
        return err_set(g->err, -EINVAL,
                       "whether GRUB gets to this '%s' is not known", c->name);
    if (!c->unknown && !all_known(args))
        return err_set(g->err, -EINVAL,
                       "'%s' depends on something that husk does not know",
                       c->name);
    g->status = GRUB_TRUE;
    return c->run(g, args);
}

int grub_command(struct grub *g, const struct grub_args *args)
{
    const char *name = args->a[0].text;

    if (grub_is_idle(name, &g->status))
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return run(g, &commands[i], args);
    if (strchr(name, '=')) {
        g->status = GRUB_TRUE;
        return cmd_assign(g, &args->a[0]);
    }
    return err_set(g->err, -EINVAL, "'%.60s' is a command husk does not know",
                   name);
}
