/* linux and initrd: what the entry that was chosen loads. */
#include <errno.h>
#include <string.h>

#include "bootdisk/grub_int.h"

static int file_of(struct grub *g, const char *text, unsigned *part,
                   const char **path)
{
    struct bootfiles_stat st;
    int rc = grub_path(g, text, part, path);

    if (rc < 0)
        return err_set(g->err, -EINVAL,
                       "'%.80s' is on a file system that husk does not see",
                       text);
    rc = g->files->ops->stat(g->files->opaque, *part, *path, &st);
    if (rc < 0 || st.dir)
        return err_set(g->err, -EINVAL, "there is no file '%.80s'", text);
    *path = arena_text(g->arena, *path, strlen(*path));
    return *path ? 0 : grub_too_big(g);
}

/* GRUB's way to write down an argument: with quotes if it has blanks, and
 * backslashes before quotes and backslashes. */
static char *put_arg(char *p, const char *text)
{
    bool quotes = strchr(text, ' ') != NULL;

    if (quotes)
        *p++ = '"';
    for (; *text; text++) {
        if (strchr("\\'\"", *text))
            *p++ = '\\';
        *p++ = *text;
    }
    if (quotes)
        *p++ = '"';
    *p = '\0';
    return p;
}

/* The first argument is the kernel as the script names it. */
static int put_cmdline(struct grub *g, const struct grub_args *args)
{
    static const char first[] = "BOOT_IMAGE=";
    size_t len = sizeof(first);
    char *p, *line;

    for (unsigned i = 1; i < args->n; i++)
        len += 2 * strlen(args->a[i].text) + 3;
    line = arena_alloc(g->arena, len);
    if (!line)
        return grub_too_big(g);
    memcpy(line, first, sizeof(first));
    p = line + sizeof(first) - 1;
    for (unsigned i = 1; i < args->n; i++) {
        if (i > 1)
            *p++ = ' ';
        p = put_arg(p, args->a[i].text);
    }
    g->choice->cmdline = line;
    return 0;
}

static int not_now(struct grub *g)
{
    return err_set(g->err, -EINVAL, "it loads a kernel outside of an entry");
}

int grub_linux(struct grub *g, const struct grub_args *args)
{
    struct bootentry *c = g->choice;
    int rc;

    if (!g->choosing)
        return not_now(g);
    if (args->n < 2)
        return err_set(g->err, -EINVAL, "'linux' names no kernel");
    c->nr_initrds = 0;
    rc = file_of(g, args->a[1].text, &c->kernel_part, &c->kernel);
    return rc < 0 ? rc : put_cmdline(g, args);
}

int grub_initrd(struct grub *g, const struct grub_args *args)
{
    struct bootentry *c = g->choice;
    int rc = 0;

    if (!g->choosing)
        return not_now(g);
    if (!c->kernel || c->nr_initrds)
        return err_set(g->err, -EINVAL, "an initrd without a kernel, or twice");
    for (unsigned i = 1; rc == 0 && i < args->n; i++) {
        const char *text = args->a[i].text;

        if (*text == '-' || strncmp(text, "newc:", 5) == 0 ||
            c->nr_initrds == BOOTENTRY_MAX_INITRDS)
            return err_set(g->err, -EINVAL,
                           "its initrds are more than husk puts together");
        rc = file_of(g, text, &c->initrd[c->nr_initrds].part,
                     &c->initrd[c->nr_initrds].path);
        c->nr_initrds++;
    }
    return rc;
}
