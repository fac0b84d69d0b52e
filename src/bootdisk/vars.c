#include "bootdisk/vars.h"

#include <errno.h>
#include <string.h>

static struct var *find(const struct vars *v, const char *name)
{
    for (struct var *p = v->first; p; p = p->next)
        if (strcmp(p->name, name) == 0)
            return p;
    return NULL;
}

const struct var *vars_find(const struct vars *v, const char *name)
{
    const struct var *p = find(v, name);

    return p && (p->value || p->unknown) ? p : NULL;
}

const char *vars_text(const struct vars *v, const char *name)
{
    const struct var *p = vars_find(v, name);

    return p && p->value ? p->value : "";
}

static struct var *find_or_add(struct vars *v, const char *name)
{
    struct var *p = find(v, name);

    if (p || v->nr == VARS_MAX)
        return p;
    p = arena_alloc(v->arena, sizeof(*p));
    if (!p)
        return NULL;
    p->name = arena_text(v->arena, name, strlen(name));
    if (!p->name)
        return NULL;
    p->next = v->first;
    v->first = p;
    v->nr++;
    return p;
}

static int set(struct vars *v, const char *name, const char *value,
               bool unknown)
{
    struct var *p = find_or_add(v, name);
    const char *copy = NULL;

    if (!p)
        return -ENOMEM;
    if (value) {
        copy = arena_text(v->arena, value, strlen(value));
        if (!copy)
            return -ENOMEM;
    }
    p->value = copy;
    p->unknown = unknown;
    return 0;
}

int vars_set(struct vars *v, const char *name, const char *value)
{
    return set(v, name, value, false);
}

int vars_set_unknown(struct vars *v, const char *name)
{
    return set(v, name, NULL, true);
}

int vars_export(struct vars *v, const char *name)
{
    struct var *p = find_or_add(v, name);

    if (!p)
        return -ENOMEM;
    p->exported = true;
    return 0;
}

void vars_drop_local(struct vars *v)
{
    for (struct var *p = v->first; p; p = p->next)
        if (!p->exported) {
            p->value = NULL;
            p->unknown = false;
        }
}
