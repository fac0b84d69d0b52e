/*
 * What is under an image: its backing file, and what is under that. Names and
 * formats come from images, so nothing is guessed: no probing (a guest that
 * owned a raw disk may have written any header into it), no "json:", no
 * protocols.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/qcow2_int.h"
#include "block/raw.h"

/* "word:rest" with no slash before the colon: what QEMU takes for a protocol.
 */
static bool has_protocol(const char *name)
{
    size_t n = strcspn(name, ":/");

    return name[n] == ':';
}

static int check_name(const struct qcow2 *q, struct err *err)
{
    const char *name = q->backing_name;

    for (const char *c = name; *c; c++)
        if ((unsigned char)*c < ' ')
            return err_set(err, -EINVAL,
                           "open %s: its backing file's name has a control "
                           "character in it",
                           q->path);
    if (has_protocol(name))
        return err_set(err, -ENOTSUP,
                       "open %s: its backing file '%.200s' is not a plain file "
                       "name; give it one with qemu-img rebase -u",
                       q->path, name);
    if (!q->backing_format)
        return err_set(err, -EINVAL,
                       "open %s: it does not say what format its backing file "
                       "'%.120s' has; say it with qemu-img rebase -u -b FILE "
                       "-F FORMAT",
                       q->path, name);
    if (strcmp(q->backing_format, "raw") != 0 &&
        strcmp(q->backing_format, "qcow2") != 0)
        return err_set(err, -ENOTSUP,
                       "open %s: its backing file '%.120s' has the format "
                       "'%.40s'; only raw and qcow2 can be under an image",
                       q->path, name, q->backing_format);
    return 0;
}

/* Relative names start from the image's folder. Caller frees. */
static char *resolve(const struct qcow2 *q)
{
    const char *slash = strrchr(q->path, '/');
    char *out;

    if (q->backing_name[0] == '/' || !slash)
        return strdup(q->backing_name);
    if (asprintf(&out, "%.*s/%s", (int)(slash - q->path), q->path,
                 q->backing_name) < 0)
        return NULL;
    return out;
}

/* The image itself belongs to the chain, too: a file must not be under itself.
 */
static int note(struct q_chain *chain, int fd, const char *path,
                struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, "open %s", path);
    for (unsigned i = 0; i < chain->depth; i++)
        if (chain->dev[i] == st.st_dev && chain->ino[i] == st.st_ino)
            return err_set(err, -ELOOP,
                           "open %s: it is under itself in its "
                           "chain of backing files",
                           path);
    if (chain->depth == Q_MAX_CHAIN)
        return err_set(err, -ELOOP,
                       "open %s: it is under more than %d other "
                       "images",
                       path, Q_MAX_CHAIN);
    chain->dev[chain->depth] = st.st_dev;
    chain->ino[chain->depth++] = st.st_ino;
    return 0;
}

static int open_named(struct qcow2 *q, const char *path, struct q_chain *chain,
                      struct err *err)
{
    struct qcow2_opts opts = {.flags = BLK_RDONLY | (q->flags & BLK_DIRECT)};
    struct qcow2 *under;
    int rc, fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0)
        return err_sys(err, "open %s, the backing file of %s", path, q->path);
    if (strcmp(q->backing_format, "raw") == 0) {
        rc = note(chain, fd, path, err);
        if (!rc)
            rc = raw_open(path, fd, opts.flags, NULL, NULL, &q->backing, err);
    } else {
        rc = q_open_in_chain(path, fd, &opts, chain, &under, err);
        if (!rc)
            q->backing = qcow2_blk(under);
    }
    if (rc)
        (void)close(fd);
    return rc;
}

int q_backing_open(struct qcow2 *q, struct q_chain *chain, struct err *err)
{
    int rc = note(chain, q->f.fd, q->path, err);
    char *path;

    if (!rc)
        rc = check_name(q, err);
    if (rc)
        return rc;
    path = resolve(q);
    if (!path)
        return err_set(err, -ENOMEM, "open %s: out of memory", q->path);
    rc = open_named(q, path, chain, err);
    free(path);
    return rc;
}
