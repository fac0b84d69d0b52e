/* What stands for what: variables in the words of a command. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"

/* A field that grows, and whether it is one even if it is empty. */
struct field {
    char *text;
    size_t len;
    bool exists, unknown;
};

static int append(struct grub *g, struct field *f, const char *text, size_t len)
{
    char *p = arena_alloc(g->arena, f->len + len + 1);

    if (!p)
        return grub_too_big(g);
    if (f->len)
        memcpy(p, f->text, f->len);
    memcpy(p + f->len, text, len);
    f->text = p;
    f->len += len;
    return 0;
}

static int end_field(struct grub *g, struct field *f, struct grub_args *out)
{
    if (!f->exists && f->len == 0 && !f->unknown)
        return 0;
    if (out->n == GRUB_MAX_ARGS)
        return grub_too_big(g);
    out->a[out->n++] = (struct grub_arg){.text = f->text ? f->text : "",
                                         .unknown = f->unknown};
    *f = (struct field){.text = NULL};
    return 0;
}

/* The value without quotes: blanks end a word. */
static int append_split(struct grub *g, struct field *f, const char *value,
                        struct grub_args *out)
{
    int rc = 0;

    while (rc == 0 && *value) {
        size_t n = strcspn(value, " \t\n");

        rc = append(g, f, value, n);
        value += n;
        if (rc == 0 && *value) {
            rc = end_field(g, f, out);
            value += strspn(value, " \t\n");
        }
    }
    return rc;
}

static int all_args(struct grub *g, char **value)
{
    size_t len = 0;
    char *p;

    for (unsigned i = 1; g->args && i < g->args->n; i++)
        len += strlen(g->args->a[i].text) + 1;
    p = *value = arena_alloc(g->arena, len + 1);
    if (!p)
        return grub_too_big(g);
    for (unsigned i = 1; g->args && i < g->args->n; i++)
        p += sprintf(p, "%s%s", i > 1 ? " " : "", g->args->a[i].text);
    return 0;
}

/* $1 ... $N, $#, $*, $@ of the function that runs. */
static int positional(struct grub *g, const char *name, const char **value,
                      bool *unknown)
{
    unsigned n = g->args ? g->args->n - 1 : 0;
    unsigned long i;
    char *text;
    int rc;

    if (isdigit((unsigned char)*name)) {
        i = strtoul(name, NULL, 10);
        *value = i >= 1 && i <= n ? g->args->a[i].text : "";
        *unknown = i >= 1 && i <= n && g->args->a[i].unknown;
        return 0;
    }
    for (i = 1; i <= n; i++)
        *unknown = *unknown || g->args->a[i].unknown;
    if (*name != '#') {
        rc = all_args(g, &text);
        if (rc == 0)
            *value = text;
        return rc;
    }
    text = arena_alloc(g->arena, 16);
    if (!text)
        return grub_too_big(g);
    (void)snprintf(text, 16, "%u", n);
    *value = text;
    *unknown = false;
    return 0;
}

static int lookup(struct grub *g, const char *name, const char **value,
                  bool *unknown)
{
    const struct var *v;

    *value = "";
    *unknown = false;
    if (strcmp(name, "?") == 0) {
        *value = g->status == GRUB_TRUE ? "0" : "1";
        *unknown = g->status == GRUB_UNKNOWN;
        return 0;
    }
    if (isdigit((unsigned char)*name) || strchr("#*@", *name))
        return positional(g, name, value, unknown);
    v = vars_find(&g->vars, name);
    *unknown = v && v->unknown;
    *value = v && v->value ? v->value : "";
    return 0;
}

static int expand_piece(struct grub *g, const struct grub_piece *pc,
                        struct field *f, struct grub_args *out)
{
    const char *value;
    bool unknown;
    int rc;

    if (!pc->var) {
        f->exists = true;
        if (f->unknown)
            return 0;
        return append(g, f, pc->text, strlen(pc->text));
    }
    rc = lookup(g, pc->text, &value, &unknown);
    if (rc < 0)
        return rc;
    f->exists = f->exists || pc->quoted;
    if (f->unknown || unknown) { /* the text ends with what is known */
        f->unknown = true;
        return 0;
    }
    if (pc->quoted)
        return append(g, f, value, strlen(value));
    return append_split(g, f, value, out);
}

static int expand_word(struct grub *g, const struct grub_word *w,
                       struct grub_args *out)
{
    struct field f = {.exists = !w->pieces};
    int rc = 0;

    if (w->is_block) {
        if (out->n == GRUB_MAX_ARGS)
            return grub_too_big(g);
        out->a[out->n++] = (struct grub_arg){.text = "", .block = w};
        return 0;
    }
    for (const struct grub_piece *pc = w->pieces; rc == 0 && pc; pc = pc->next)
        rc = expand_piece(g, pc, &f, out);
    return rc < 0 ? rc : end_field(g, &f, out);
}

int grub_expand(struct grub *g, const struct grub_word *words,
                struct grub_args *out)
{
    int rc = 0;

    out->n = 0;
    for (; rc == 0 && words; words = words->next)
        rc = expand_word(g, words, out);
    return rc;
}
