#include "cli/snapdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/out.h"
#include "cli/vm.h"

/* Somebody else's end may take away what was lent before it is pinned. */
enum { TRIES = 3 };

int snapdisk_open(struct snapdisk *d, const struct args *a, const char *path,
                  const char *id, struct err *err)
{
    const struct qcow2_opts opts = {.flags = BLK_RDONLY, .snapshot = id};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), rc;

    *d = (struct snapdisk){.a = a};
    (void)snprintf(d->path, sizeof(d->path), "%s", path);
    if (fd < 0)
        return err_sys(err, "open '%s'", path);
    /* The lock is the description's, which becomes the image's. */
    rc = vmsnap_hold(fd, id);
    if (rc < 0) {
        errno = -rc;
        rc = err_sys(err, "keep snapshot %s of '%s'", id, path);
    } else {
        rc = qcow2_open(path, fd, &opts, &d->q, err);
    }
    if (rc < 0)
        (void)close(fd);
    return rc;
}

static int ask(const struct args *a, const char *path, const char *what,
               json_t **answer, struct err *err)
{
    return vm_ask(a, path, json_pack("{s:s}", "do", what), VM_ASK_MS, answer,
                  err);
}

static int borrow(struct snapdisk *d, const struct args *a, const char *path,
                  struct err *err)
{
    json_t *answer = NULL;
    const char *id;
    int rc = ask(a, path, "disk-lend", &answer, err);

    if (rc < 0)
        return rc;
    id = json_string_value(json_object_get(answer, "id"));
    rc = id ? snapdisk_open(d, a, path, id, err)
            : err_set(err, -EPROTO, "'%s' does not say what it lends", path);
    /* Not the code of a VM that does not run. */
    if (rc == -ENOENT)
        rc = -EAGAIN;
    d->lent = rc == 0;
    json_decref(answer);
    return rc;
}

int snapdisk_borrow(struct snapdisk *d, const struct args *a, const char *path,
                    struct err *err)
{
    int rc = borrow(d, a, path, err);

    for (int i = 1; i < TRIES && rc == -EAGAIN; i++)
        rc = borrow(d, a, path, err);
    return rc;
}

/* A VM that has ended meanwhile deletes it when it is next opened. */
void snapdisk_close(struct snapdisk *d)
{
    json_t *answer = NULL;
    struct err err;

    if (qcow2_close(d->q) < 0)
        say_error("close the disk: input/output error");
    if (d->lent && ask(d->a, d->path, "disk-reclaim", &answer, &err) < 0 &&
        err.code != -ENOENT)
        say_error(err.text);
    json_decref(answer);
}
