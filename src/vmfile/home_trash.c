/*
 * The trash of a home: a deleted VM waits in trash/NAME@TIME.husk, where TIME
 * is when it was deleted, in UTC, until it is recovered or purged. Its other
 * disks go after it and come back before it, so that a crash in between leaves
 * them at one of the two places, and the VM in the trash.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "vmfile/home.h"
#include "vmfile/names.h"

enum { STAMP = sizeof("20260131T235959Z") - 1, SAME_SECOND = 100 };

static int trash_dir(const struct home *h, char dir[PATH_MAX], struct err *err)
{
    int n = snprintf(dir, PATH_MAX, "%s/trash", h->dir);

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path of the trash is too long");
    return 0;
}

/* Seconds since 1970 of "20260131T235959Z..."; false if it is no time. */
static bool parse_stamp(const char *text, uint64_t *seconds)
{
    struct tm tm = {.tm_isdst = 0};
    time_t t;

    if (strptime(text, "%Y%m%dT%H%M%SZ", &tm) != text + STAMP)
        return false;
    t = timegm(&tm);
    *seconds = t > 0 ? (uint64_t)t : 0;
    return true;
}

/* NAME@TIME.husk, or NAME@TIME-N.husk for more in one second. */
static bool parse_file(const char *file, struct home_trashed *t)
{
    const char *at = strchr(file, '@');
    const char *dot = strrchr(file, '.');
    struct err err;

    if (!at || !dot || dot < at || strcmp(dot, ".husk") != 0 ||
        at - file > HOME_NAME_MAX)
        return false;
    memcpy(t->name, file, (size_t)(at - file));
    t->name[at - file] = '\0';
    return parse_stamp(at + 1, &t->deleted) &&
           home_check_name(t->name, &err) == 0;
}

static bool is_trashed(const char *file)
{
    struct home_trashed t;

    return parse_file(file, &t);
}

/* The VM's name if the trash can keep it; a file can have any. */
static void trash_name(const char *path, char name[HOME_NAME_MAX + 1])
{
    char whole[NAME_MAX + 1];
    struct err err;

    home_name(path, whole);
    if (home_check_name(whole, &err) < 0)
        (void)snprintf(whole, sizeof(whole), "unnamed");
    (void)snprintf(name, HOME_NAME_MAX + 1, "%.*s", HOME_NAME_MAX, whole);
}

int home_trash(const struct home *h, const char *path, char trashed[PATH_MAX],
               struct err *err)
{
    char dir[PATH_MAX], to[PATH_MAX], name[HOME_NAME_MAX + 1];
    char stamp[STAMP + 1] = "", nth[16] = "";
    time_t now = time(NULL);
    struct tm tm;
    int rc = trash_dir(h, dir, err);

    if (rc == 0)
        rc = home_create(h, err);
    if (rc < 0)
        return rc;
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return err_sys(err, "create the folder '%s'", dir);
    if (gmtime_r(&now, &tm))
        (void)strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    trash_name(path, name);
    for (int i = 2; i < SAME_SECOND; i++) {
        int n =
            snprintf(to, sizeof(to), "%s/%s@%s%s.husk", dir, name, stamp, nth);

        if (n < 0 || n >= PATH_MAX)
            return err_set(err, -ENAMETOOLONG,
                           "the path of the trash is too long");
        rc = home_rename(path, to, err);
        if (rc != -EEXIST)
            break;
        (void)snprintf(nth, sizeof(nth), "-%d", i);
    }
    if (rc == 0)
        memcpy(trashed, to, strlen(to) + 1);
    return rc;
}

/* --- What goes with a VM ----------------------------------------------------
 */

static int join(char dst[PATH_MAX], const char *a, const char *between,
                const char *b, struct err *err)
{
    int n = snprintf(dst, PATH_MAX, "%s%s%s", a, between, b);

    if (n < 0 || n >= PATH_MAX)
        return err_set(err, -ENAMETOOLONG, "the path '%.80s...' is too long",
                       a);
    return 0;
}

int home_trash_beside(const char *trashed, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    char to[PATH_MAX];
    int rc = join(to, trashed, "+", slash ? slash + 1 : path, err);

    return rc < 0 ? rc : home_rename(path, to, err);
}

static bool has_plus(const char *file)
{
    return strchr(file, '+');
}

typedef int beside_fn(const char *path, const char *file, const char *dir,
                      struct err *err);

/* Call f for the files that go with the VM that is trashed. */
static int each_beside(const char *trashed, beside_fn *f, const char *arg,
                       struct err *err)
{
    const char *slash = strrchr(trashed, '/');
    const char *file = slash ? slash + 1 : trashed;
    size_t len = strlen(file);
    char dir[PATH_MAX], path[PATH_MAX];
    struct names files;
    int rc;

    (void)snprintf(dir, sizeof(dir), "%.*s", (int)(file - trashed), trashed);
    rc = names_read(&files, *dir ? dir : ".", has_plus, err);
    for (size_t i = 0; rc == 0 && i < files.nr; i++) {
        if (strncmp(files.names[i], file, len) != 0 ||
            files.names[i][len] != '+')
            continue;
        rc = join(path, dir, "", files.names[i], err);
        if (rc == 0)
            rc = f(path, files.names[i] + len + 1, arg, err);
    }
    names_free(&files);
    return rc;
}

static int look_for(const char *path, const char *file, const char *dir,
                    struct err *err)
{
    char to[PATH_MAX];
    int rc = join(to, dir, "/", file, err);

    (void)path;
    if (rc == 0 && access(to, F_OK) == 0)
        rc = err_set(err, -EEXIST, "recover: '%s' is there already", to);
    return rc;
}

static int move_back(const char *path, const char *file, const char *dir,
                     struct err *err)
{
    char to[PATH_MAX];
    int rc = join(to, dir, "/", file, err);

    return rc < 0 ? rc : home_rename(path, to, err);
}

static int remove_one(const char *path, const char *file, const char *dir,
                      struct err *err)
{
    (void)file;
    (void)dir;
    return unlink(path) < 0 ? err_sys(err, "delete '%s'", path) : 0;
}

int home_recover_beside(const char *trashed, const char *dir, struct err *err)
{
    int rc = each_beside(trashed, look_for, dir, err);

    return rc < 0 ? rc : each_beside(trashed, move_back, dir, err);
}

int home_purge_beside(const char *trashed, struct err *err)
{
    return each_beside(trashed, remove_one, NULL, err);
}

/* --- Looking into it --------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
    const struct home_trashed *x = a, *y = b;

    if (x->deleted != y->deleted)
        return x->deleted < y->deleted ? -1 : 1;
    return strcmp(x->path, y->path);
}

int home_each_trashed(const struct home *h, home_trashed_fn *f, void *opaque,
                      struct err *err)
{
    struct names files;
    struct home_trashed *all = NULL;
    char dir[PATH_MAX];
    int rc = trash_dir(h, dir, err);

    if (rc < 0)
        return rc;
    rc = names_read(&files, dir, is_trashed, err);
    if (rc == 0 && files.nr)
        all = calloc(files.nr, sizeof(*all));
    if (rc == 0 && files.nr && !all)
        rc = err_set(err, -ENOMEM, "read the trash: out of memory");
    for (size_t i = 0; rc == 0 && all && i < files.nr; i++) {
        int n = snprintf(all[i].path, PATH_MAX, "%s/%s", dir, files.names[i]);

        if (n < 0 || n >= PATH_MAX || !parse_file(files.names[i], &all[i]))
            rc = err_set(err, -ENAMETOOLONG,
                         "the path of the trash is too long");
    }
    if (rc == 0 && all)
        qsort(all, files.nr, sizeof(*all), compare);
    for (size_t i = 0; rc == 0 && all && i < files.nr; i++)
        rc = f(opaque, &all[i]);
    names_free(&files);
    free(all);
    return rc;
}

struct search {
    const char *name;
    struct home_trashed *found;
    bool any;
};

static int keep_latest(void *opaque, const struct home_trashed *t)
{
    struct search *s = opaque;

    if (strcmp(t->name, s->name) == 0) {
        *s->found = *t;
        s->any = true;
    }
    return 0;
}

int home_find_trashed(const struct home *h, const char *name,
                      struct home_trashed *t, struct err *err)
{
    struct search s = {.name = name, .found = t};
    int rc = home_each_trashed(h, keep_latest, &s, err);

    if (rc == 0 && !s.any)
        rc = err_set(err, -ENOENT,
                     "there is no VM '%.80s' in the trash: 'husk list --trash' "
                     "shows what is",
                     name);
    return rc;
}
