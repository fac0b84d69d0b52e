/*
 * Devices and paths. Only the disk that GRUB was loaded from has a name that
 * husk knows: hd0.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/grub_int.h"

static const char *scheme(const struct grub *g)
{
    return g->files->kind == PTABLE_GPT ? "gpt" : "msdos";
}

const char *grub_device(struct grub *g, unsigned part)
{
    char *p = arena_alloc(g->arena, 32);

    if (!p)
        return NULL;
    if (part)
        (void)snprintf(p, 32, "hd0,%s%u", scheme(g), part);
    else
        (void)snprintf(p, 32, "hd0");
    return p;
}

/* "hd0,gpt3", "hd0,3" or "hd0", of len bytes. -ENOENT: none of ours. */
static int parse_device(const struct grub *g, const char *text, size_t len,
                        unsigned *part)
{
    size_t n = strlen(scheme(g));
    unsigned long v = 0;

    if (len < 3 || memcmp(text, "hd0", 3) != 0)
        return -ENOENT;
    if (len == 3) {
        *part = 0;
        return 0;
    }
    if (text[3] != ',')
        return -ENOENT;
    text += 4;
    len -= 4;
    if (len > n && memcmp(text, scheme(g), n) == 0) {
        text += n;
        len -= n;
    }
    if (len < 1 || len > 4)
        return -ENOENT;
    for (size_t i = 0; i < len; i++) {
        if (!isdigit((unsigned char)text[i]))
            return -ENOENT;
        v = v * 10 + (unsigned long)(text[i] - '0');
    }
    *part = (unsigned)v;
    return v ? 0 : -ENOENT;
}

int grub_path(struct grub *g, const char *text, unsigned *part,
              const char **path)
{
    const struct var *root = vars_find(&g->vars, "root");
    const char *close;

    if (*text == '(') {
        close = strchr(text, ')');
        *path = close ? close + 1 : text;
        if (!close || **path != '/')
            return -ENOENT;
        return parse_device(g, text + 1, (size_t)(close - text - 1), part);
    }
    *path = text;
    if (*text != '/' || !root || root->unknown)
        return -ENOENT;
    return parse_device(g, root->value, strlen(root->value), part);
}
