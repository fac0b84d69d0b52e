/*
 * Keywords in any case, one a line. What stands before the first LABEL is for
 * all. With a menu (UI, or DEFAULT with a .c32) the label marked MENU DEFAULT
 * or else the first is booted when the time is up.
 */
#include "bootdisk/extlinux.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_LABELS = 256 };

struct label {
    const char *name, *kernel, *append, *initrd;
    bool other; /* boots something that is no Linux kernel, or in a way that
                   husk does not know */
};

struct config {
    struct arena *arena;
    struct err *err;
    struct label label[MAX_LABELS];
    unsigned nr;
    const char *append, *deflt, *ontimeout;
    const struct label *menu_default;
    bool menu, prompt;
    unsigned long timeout;
};

static int too_big(struct err *err)
{
    return err_set(err, -E2BIG, "its configuration is too big");
}

/* --- Lines ------------------------------------------------------------------
 */

static int set(struct config *c, const char **to, const char *value)
{
    *to = arena_text(c->arena, value, strlen(value));
    return *to ? 0 : too_big(c->err);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n >= m && strcasecmp(text + n - m, end) == 0;
}

static int add_label(struct config *c, const char *name)
{
    struct label *l = &c->label[c->nr];

    if (c->nr == MAX_LABELS)
        return too_big(c->err);
    *l = (struct label){.append = c->append};
    c->nr++;
    return set(c, &l->name, name);
}

static int set_kernel(struct config *c, struct label *l, const char *value)
{
    static const char *const others[] = {".c32", ".0",   ".bin", ".bs",
                                         ".bss", ".com", ".cbt", ".img"};

    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        l->other = l->other || ends_with(value, others[i]);
    return set(c, &l->kernel, value);
}

/* Of the whole file or of a label; *known tells whether it was one. */
static int set_label_key(struct config *c, const char *key, const char *value,
                         bool *known)
{
    struct label *l = c->nr ? &c->label[c->nr - 1] : NULL;

    *known = true;
    if (strcasecmp(key, "append") == 0)
        return set(c, l ? &l->append : &c->append,
                   strcmp(value, "-") == 0 ? "" : value);
    if (l && strcasecmp(key, "kernel") == 0)
        return set_kernel(c, l, value);
    if (l && strcasecmp(key, "linux") == 0)
        return set(c, &l->kernel, value);
    if (l && strcasecmp(key, "initrd") == 0)
        return set(c, &l->initrd, value);
    *known = false;
    return 0;
}

static int set_menu_key(struct config *c, const char *value)
{
    if (strcasecmp(value, "default") == 0 && c->nr)
        c->menu_default = &c->label[c->nr - 1];
    else if (strncasecmp(value, "begin", 5) == 0 ||
             strncasecmp(value, "include", 7) == 0 ||
             strncasecmp(value, "master passwd", 13) == 0 ||
             strncasecmp(value, "passwd", 6) == 0)
        return err_set(c->err, -EINVAL, "'MENU %.30s' is more than husk knows",
                       value);
    return 0;
}

static bool is_about_looks(const char *key)
{
    static const char *const keys[] = {
        "say",    "display",  "font",         "serial",     "console",
        "f1",     "f2",       "f3",           "f4",         "f5",
        "f6",     "f7",       "f8",           "f9",         "f10",
        "f11",    "f12",      "text",         "endtext",    "help",
        "kbdmap", "noescape", "allowoptions", "nocomplete", "totaltimeout",
        "path"};

    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (strcasecmp(key, keys[i]) == 0)
            return true;
    return false;
}

static int set_global_key(struct config *c, const char *key, const char *value)
{
    if (strcasecmp(key, "label") == 0)
        return add_label(c, value);
    if (strcasecmp(key, "menu") == 0)
        return set_menu_key(c, value);
    if (strcasecmp(key, "default") == 0)
        return set(c, &c->deflt, value);
    if (strcasecmp(key, "ontimeout") == 0)
        return set(c, &c->ontimeout, value);
    if (strcasecmp(key, "ui") == 0)
        c->menu = true;
    else if (strcasecmp(key, "prompt") == 0)
        c->prompt = strtoul(value, NULL, 10) != 0;
    else if (strcasecmp(key, "timeout") == 0)
        c->timeout = strtoul(value, NULL, 10);
    else if (!is_about_looks(key) && c->nr)
        c->label[c->nr - 1].other = true;
    else if (!is_about_looks(key))
        return err_set(c->err, -EINVAL,
                       "'%.30s' is a keyword husk does not "
                       "know",
                       key);
    return 0;
}

static int parse_line(struct config *c, char *line)
{
    char *key = line + strspn(line, " \t\r"), *value, *end;
    bool known;
    int rc;

    end = key + strlen(key);
    while (end > key && isspace((unsigned char)end[-1]))
        *--end = '\0';
    if (!*key || *key == '#')
        return 0;
    value = key + strcspn(key, " \t");
    if (*value) {
        *value++ = '\0';
        value += strspn(value, " \t");
    }
    rc = set_label_key(c, key, value, &known);
    return rc < 0 || known ? rc : set_global_key(c, key, value);
}

/* Help texts of entries are free text. */
static int parse(struct config *c, char *text)
{
    bool help = false;
    int rc = 0;

    for (char *next; rc == 0 && text; text = next) {
        next = strchr(text, '\n');
        if (next)
            *next++ = '\0';
        if (help)
            help = strncasecmp(text + strspn(text, " \t"), "endtext", 7) != 0;
        else if (strncasecmp(text + strspn(text, " \t"), "text help", 9) == 0)
            help = true;
        else
            rc = parse_line(c, text);
    }
    return rc;
}

/* --- The default ------------------------------------------------------------
 */

static const struct label *find_label(const struct config *c, const char *name)
{
    for (unsigned i = 0; name && i < c->nr; i++)
        if (strcmp(c->label[i].name, name) == 0)
            return &c->label[i];
    return NULL;
}

static int pick(struct config *c, const struct label **out)
{
    const struct label *l;

    if (c->deflt && ends_with(c->deflt, ".c32")) {
        c->menu = true;
        c->deflt = NULL;
    }
    if ((c->menu || c->prompt) && c->timeout == 0)
        return err_set(c->err, -EINVAL, "its menu waits for a person");
    l = c->menu && c->menu_default ? c->menu_default : find_label(c, c->deflt);
    if (!l && c->menu && !c->deflt && c->nr)
        l = &c->label[0];
    if (c->ontimeout && (c->menu || c->prompt))
        l = find_label(c, c->ontimeout);
    if (!l)
        return err_set(c->err, -EINVAL, "its default is none of its labels");
    if (l->other || !l->kernel)
        return err_set(c->err, -EINVAL,
                       "'%.60s' boots something else than a Linux kernel",
                       l->name);
    *out = l;
    return 0;
}

/* --- What it loads ----------------------------------------------------------
 */

struct place {
    const struct bootfiles *files;
    unsigned part;
    const char *dir; /* of the configuration, with a slash at its end */
};

static int file_of(struct config *c, const struct place *at, const char *text,
                   size_t len, const char **path)
{
    size_t dir = len && *text == '/' ? 0 : strlen(at->dir);
    char *p = arena_alloc(c->arena, dir + len + 1);
    struct bootfiles_stat st;

    if (!p)
        return too_big(c->err);
    memcpy(p, at->dir, dir);
    memcpy(p + dir, text, len);
    if (strstr(p, "::") ||
        at->files->ops->stat(at->files->opaque, at->part, p, &st) < 0 || st.dir)
        return err_set(c->err, -EINVAL, "there is no file '%.80s'", p);
    *path = p;
    return 0;
}

static int add_initrds(struct config *c, const struct place *at,
                       const char *list, size_t len, struct bootentry *out)
{
    int rc = 0;

    while (rc == 0 && len) {
        size_t n = 0;

        while (n < len && list[n] != ',')
            n++;
        if (out->nr_initrds == BOOTENTRY_MAX_INITRDS)
            return err_set(c->err, -EINVAL, "it has too many initrds");
        out->initrd[out->nr_initrds].part = at->part;
        rc = file_of(c, at, list, n, &out->initrd[out->nr_initrds].path);
        out->nr_initrds++;
        n += n < len;
        list += n;
        len -= n;
    }
    return rc;
}

/* APPEND may name the initrds, too, as an argument of the kernel. */
static int load(struct config *c, const struct place *at, const struct label *l,
                struct bootentry *out)
{
    const char *append = l->append ? l->append : "";
    const char *list = l->initrd, *arg = NULL;
    size_t len = list ? strlen(list) : 0;
    int rc;

    for (const char *p = append; !list && (p = strstr(p, "initrd=")); p++)
        if (p == append || p[-1] == ' ')
            arg = p + strlen("initrd=");
    if (arg) {
        list = arg;
        len = strcspn(arg, " ");
    }
    out->title = l->name;
    out->cmdline = append;
    out->kernel_part = at->part;
    rc = file_of(c, at, l->kernel, strlen(l->kernel), &out->kernel);
    return rc < 0 ? rc : add_initrds(c, at, list, len, out);
}

/* --- Marks in the loader's own file ----------------------------------------
 */

/* "extlinux --once" leaves a label in the last sectors of ldlinux.sys, which is
 * taken away when it was booted. */
static int check_once(struct config *c, const struct place *at)
{
    static const char adv[] = "\xa5\x2f\x2d\x5a"; /* libinstaller/setadv.c */
    const char *path = arena_print(c->arena, "%sldlinux.sys", at->dir);
    char *text = NULL;
    size_t len = 0;
    int rc;

    if (!path)
        return too_big(c->err);
    rc = at->files->ops->read(at->files->opaque, at->part, path, &text, &len);
    if (rc < 0)
        return 0;
    /* Tag 1 with a length: a label for the next start. */
    for (size_t i = len < 1024 ? 0 : len - 1024; rc == 0 && i + 10 < len; i++)
        if (memcmp(text + i, adv, 4) == 0 && text[i + 8] == 1 && text[i + 9])
            rc = err_set(c->err, -EINVAL,
                         "a label was chosen for one start only");
    free(text);
    return rc;
}

static int choose(struct config *c, const struct place *at,
                  struct bootentry *choice)
{
    const struct label *l = NULL;
    int rc = pick(c, &l);

    if (rc == 0)
        rc = check_once(c, at);
    return rc < 0 ? rc : load(c, at, l, choice);
}

int extlinux_choose(const struct bootfiles *files, unsigned part,
                    const char *path, struct arena *arena,
                    struct bootentry *choice, struct err *err)
{
    struct config *c = arena_alloc(arena, sizeof(*c));
    struct place at = {.files = files, .part = part};
    char *text = NULL;
    size_t len = 0;
    int rc;

    memset(choice, 0, sizeof(*choice));
    if (c)
        at.dir =
            arena_text(arena, path, (size_t)(strrchr(path, '/') + 1 - path));
    if (!c || !at.dir)
        return too_big(err);
    c->arena = arena;
    c->err = err;
    rc = files->ops->read(files->opaque, part, path, &text, &len);
    if (rc < 0)
        return err_set(err, rc, "'%s' cannot be read: %s", path,
                       strerrordesc_np(-rc));
    if (strlen(text) != len)
        rc = err_set(err, -EINVAL, "it is no text");
    else
        rc = parse(c, text);
    free(text);
    return rc < 0 ? rc : choose(c, &at, choice);
}
