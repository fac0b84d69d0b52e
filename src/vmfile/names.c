#include "vmfile/names.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NAMES = 65536 };

static int add(struct names *n, const char *name)
{
    char *copy;

    if (n->nr == n->room) {
        size_t room = n->room ? 2 * n->room : 16;
        char **more = reallocarray(n->names, room, sizeof(*more));

        if (!more)
            return -ENOMEM;
        n->names = more;
        n->room = room;
    }
    copy = strdup(name);
    if (!copy)
        return -ENOMEM;
    n->names[n->nr++] = copy;
    return 0;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int names_read(struct names *n, const char *dir, bool (*want)(const char *file),
               struct err *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int rc = 0;

    *n = (struct names){.names = NULL};
    if (!d)
        return errno == ENOENT ? 0 : err_sys(err, "read the folder '%s'", dir);
    errno = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this call's own */
    while (rc == 0 && n->nr < MAX_NAMES && (e = readdir(d)))
        if (want(e->d_name))
            rc = add(n, e->d_name);
    if (rc < 0)
        (void)err_set(err, rc, "read the folder '%s': out of memory", dir);
    else if (errno)
        rc = err_sys(err, "read the folder '%s'", dir);
    (void)closedir(d);
    if (n->nr)
        qsort(n->names, n->nr, sizeof(n->names[0]), compare);
    return rc;
}

void names_free(struct names *n)
{
    for (size_t i = 0; i < n->nr; i++)
        free(n->names[i]);
    free(n->names);
    *n = (struct names){.names = NULL};
}
