/*
 * The menu: its entries, and which one GRUB takes when nobody presses a key.
 * In "1>Older kernels>2" each part names an entry of one submenu by its number,
 * its id or its title; what names none is the first (GRUB manual, "default").
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"

enum { MAX_SUBMENUS = 8 };

/* --- Entries ----------------------------------------------------------------
 */

int grub_add(struct grub *g, const struct grub_entry *e)
{
    struct grub_entry *copy = arena_alloc(g->arena, sizeof(*copy));

    if (!copy || g->menu.nr == GRUB_MAX_ENTRIES)
        return grub_too_big(g);
    *copy = *e;
    copy->next = NULL;
    *g->menu.tail = copy;
    g->menu.tail = &copy->next;
    g->menu.nr++;
    return 0;
}

static const char *const with_value[] = {"--class", "--users", "--hotkey",
                                         "--source", "--id"};

/* One option; false if husk does not know it. */
static bool entry_option(const struct grub_args *args, unsigned *i,
                         struct grub_entry *e)
{
    const char *text = args->a[*i].text, *value;

    if (strcmp(text, "--unrestricted") == 0) {
        e->restricted = false;
        return true;
    }
    for (size_t n = 0; n < ARRAY_LEN(with_value); n++) {
        size_t len = strlen(with_value[n]);

        if (strncmp(text, with_value[n], len) != 0)
            continue;
        if (text[len] == '=')
            value = text + len + 1;
        else if (text[len] == '\0' && *i + 1 < args->n)
            value = args->a[++*i].text;
        else
            return false;
        if (strcmp(with_value[n], "--id") == 0)
            e->id = value;
        return true;
    }
    return false;
}

int grub_add_entry(struct grub *g, const struct grub_args *args, bool submenu)
{
    struct grub_entry e = {.submenu = submenu, .restricted = true};
    const struct grub_word *block = args->n ? args->a[args->n - 1].block : NULL;

    if (!block)
        return err_set(g->err, -EINVAL, "an entry of the menu has no body");
    e.body = block->block;
    for (unsigned i = 1; i + 1 < args->n; i++) {
        const char *text = args->a[i].text;

        if (args->a[i].block)
            return err_set(g->err, -EINVAL, "an entry has two bodies");
        if (text[0] == '-' && text[1] == '-') {
            if (!entry_option(args, &i, &e))
                return err_set(g->err, -EINVAL,
                               "'%.30s' is an option husk does not know", text);
        } else if (e.title) {
            return err_set(g->err, -EINVAL, "an entry has arguments");
        } else {
            e.title = text;
        }
    }
    if (!e.title)
        return err_set(g->err, -EINVAL, "an entry of the menu has no title");
    e.title = arena_text(g->arena, e.title, strlen(e.title));
    e.id = e.id ? arena_text(g->arena, e.id, strlen(e.id)) : e.title;
    return e.title && e.id ? grub_add(g, &e) : grub_too_big(g);
}

/* --- The default ------------------------------------------------------------
 */

/* Whether spec begins with this name; ">>" in it is a ">" of the name. */
static bool names(const char *name, const char *spec)
{
    for (; *name; name++, spec++) {
        if (*name != *spec)
            return false;
        if (*spec == '>' && *++spec != '>')
            return false;
    }
    return *spec == '\0' || (*spec == '>' && spec[1] != '>');
}

/* What is behind the first part, or NULL. */
static const char *rest_of(const char *spec)
{
    for (; *spec; spec++) {
        if (spec[0] == '>' && spec[1] == '>')
            spec++;
        else if (*spec == '>')
            return spec[1] ? spec + 1 : NULL;
    }
    return NULL;
}

static const struct grub_entry *pick(const struct grub_menu *m,
                                     const char *spec)
{
    const struct grub_entry *e;
    char *end;
    unsigned long n;

    if (!spec || !*spec)
        return m->first;
    errno = 0;
    n = strtoul(spec, &end, 0);
    if (end != spec && errno == 0 && (*end == '\0' || *end == '>')) {
        for (e = m->first; e && n; n--)
            e = e->next;
        return e ? e : m->first;
    }
    for (e = m->first; e; e = e->next)
        if (names(e->title, spec) || names(e->id, spec))
            return e;
    return m->first;
}

/* --- Booting it -------------------------------------------------------------
 */

/* A menu that nobody answers is shown for ever without a timeout. */
static int check_waits(struct grub *g)
{
    const struct var *v = vars_find(&g->vars, "timeout");
    char *end;

    if (v && !v->unknown) {
        (void)strtoul(v->value, &end, 0);
        if (end != v->value && *end == '\0' && v->value[0] != '-')
            return 0;
    }
    return err_set(g->err, -EINVAL, "its menu waits for a person");
}

static int check_rights(struct grub *g, const struct grub_entry *e)
{
    const struct var *v = vars_find(&g->vars, "superusers");

    if (!e->restricted || !v || (!v->unknown && !*v->value))
        return 0;
    return err_set(g->err, -EINVAL, "'%.80s' asks for a password", e->title);
}

/* "outer>inner", as GRUB notes what it has taken. */
static int set_chosen(struct grub *g, const char *outer, const char *id,
                      const char **chosen)
{
    char *name = arena_alloc(g->arena, 2 * strlen(id) + 1), *p = name;

    if (!name)
        return grub_too_big(g);
    for (; *id; id++) {
        *p++ = *id;
        if (*id == '>')
            *p++ = '>';
    }
    *chosen = arena_print(g->arena, "%s%s%s", outer ? outer : "",
                          outer ? ">" : "", name);
    if (!*chosen)
        return grub_too_big(g);
    if (vars_set(&g->vars, "chosen", *chosen) < 0 ||
        vars_export(&g->vars, "chosen") < 0)
        return grub_too_big(g);
    return 0;
}

/* Each submenu is a script that makes the next menu. */
static int open_submenu(struct grub *g, const struct grub_entry *e,
                        const char *spec)
{
    int rc;

    g->menu = (struct grub_menu){.first = NULL};
    g->menu.tail = &g->menu.first;
    vars_drop_local(&g->vars);
    rc = spec ? vars_set(&g->vars, "default", spec)
              : vars_set(&g->vars, "default", NULL);
    return rc < 0 ? grub_too_big(g) : grub_exec(g, e->body);
}

static int boot_entry(struct grub *g, const struct grub_entry *e)
{
    int rc;

    g->choosing = true;
    g->choice->title = e->title;
    rc = e->bls ? grub_boot_bls(g, e->bls) : grub_exec(g, e->body);
    if (rc == 0 && !g->choice->kernel)
        rc =
            err_set(g->err, -EINVAL, "'%.80s' loads no Linux kernel", e->title);
    return rc;
}

int grub_boot_default(struct grub *g)
{
    const char *chosen = NULL, *spec;
    const struct grub_entry *e;
    const struct var *v;
    int rc = check_waits(g);

    for (unsigned i = 0; rc == 0 && i <= MAX_SUBMENUS; i++) {
        v = vars_find(&g->vars, "default");
        if (v && v->unknown)
            return err_set(g->err, -EINVAL, "its default is not known");
        spec = v ? v->value : NULL;
        e = pick(&g->menu, spec);
        if (!e)
            return err_set(g->err, -EINVAL, "its menu is empty");
        rc = check_rights(g, e);
        if (rc == 0)
            rc = set_chosen(g, chosen, e->id, &chosen);
        if (rc < 0)
            return rc;
        if (!e->submenu)
            return boot_entry(g, e);
        rc = open_submenu(g, e, spec ? rest_of(spec) : NULL);
    }
    return rc < 0 ? rc : err_set(g->err, -EINVAL, "its submenus nest too deep");
}
