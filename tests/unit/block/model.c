#include "tests/unit/block/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/test.h"

static int64_t model_preadv(void *arg, int fd, const struct iovec *iov, int n,
                            uint64_t off)
{
    (void)arg;
    return hostfile_kernel.preadv(NULL, fd, iov, n, off);
}

static int64_t model_pwritev(void *arg, int fd, const struct iovec *iov, int n,
                             uint64_t off, bool dsync)
{
    struct model *m = arg;

    m->writes++;
    if (m->fail_write && !--m->fail_write)
        return m->fail_with;
    return hostfile_kernel.pwritev(NULL, fd, iov, n, off, dsync);
}

static int model_datasync(void *arg, int fd, const char *why)
{
    struct model *m = arg;

    (void)fd; /* nobody cuts the power */
    m->syncs++;
    m->last_sync = why;
    return m->fail_sync && !--m->fail_sync ? m->fail_with : 0;
}

static int model_punch(void *arg, int fd, uint64_t off, uint64_t len, bool keep)
{
    (void)arg;
    return hostfile_kernel.punch(NULL, fd, off, len, keep);
}

static int model_truncate(void *arg, int fd, uint64_t size)
{
    (void)arg;
    return hostfile_kernel.truncate(NULL, fd, size);
}

static const struct hostfile_ops model_ops = {.preadv = model_preadv,
                                              .pwritev = model_pwritev,
                                              .datasync = model_datasync,
                                              .punch = model_punch,
                                              .truncate = model_truncate};

const struct hostfile_ops *model_host(void)
{
    return &model_ops;
}

void model_open(struct model *m)
{
    struct qcow2_opts opts = {
        .cache_bytes = m->cache_bytes, .host = &model_ops, .host_arg = m};
    struct err err = {0};

    if (qcow2_open(m->path, -1, &opts, &m->q, &err))
        fail_msg("%s", err.text);
    m->b = qcow2_blk(m->q);
}

void model_make(struct model *m, const struct qcow2_create *c)
{
    struct err err = {0};
    int fd;

    *m = (struct model){.size = c->size, .seed = 1, .cache_bytes = 65536};
    (void)strcpy(m->path, "/tmp/husk-model-XXXXXX");
    fd = mkstemp(m->path);
    assert_true(fd >= 0);
    m->want = calloc(1, c->size);
    m->got = malloc(c->size);
    assert_true(m->want && m->got);
    if (qcow2_create(m->path, fd, c, NULL, &err))
        fail_msg("%s", err.text);
    (void)close(fd);
    model_open(m);
}

void model_close(struct model *m)
{
    assert_int_equal(qcow2_close(m->q), 0);
    m->q = NULL;
    m->b = NULL;
}

void model_free(struct model *m)
{
    if (m->q)
        model_close(m);
    (void)unlink(m->path);
    free(m->want);
    free(m->got);
}

uint64_t model_random(struct model *m, uint64_t below)
{
    m->seed = m->seed * 6364136223846793005ull + 1442695040888963407ull;
    return (m->seed >> 24) % below;
}

static void pick_range(struct model *m, uint64_t *off, uint64_t *len)
{
    uint64_t max = model_random(m, 8) ? 20000 : m->size / 2;

    *off = model_random(m, m->size);
    *len = model_random(m, max) + 1;
    if (model_random(m, 4)) {
        *off &= ~511ull;
        *len = (*len + 511) & ~511ull;
    }
    if (*len > m->size - *off)
        *len = m->size - *off;
}

static int step_write(struct model *m, uint64_t off, uint64_t len)
{
    uint8_t byte = (uint8_t)(model_random(m, 255) + 1);
    int rc;

    for (uint64_t i = 0; i < len; i++)
        m->got[i] = (uint8_t)(byte + i / 512);
    rc = blk_write(m->b, off, m->got, len, model_random(m, 16) ? 0 : BLK_FUA);
    if (!rc)
        memcpy(m->want + off, m->got, len);
    return rc;
}

static int step_zero(struct model *m, uint64_t off, uint64_t len)
{
    int rc = blk_zero(m->b, off, len, model_random(m, 2) ? BLK_UNMAP : 0);

    if (!rc)
        memset(m->want + off, 0, len);
    return rc;
}

/* What is discarded reads as before or as zeroes. */
static int step_discard(struct model *m, uint64_t off, uint64_t len)
{
    int rc = blk_discard(m->b, off, len);

    if (!rc)
        rc = blk_read(m->b, off, m->got, len);
    for (uint64_t i = 0; i < len && !rc; i++)
        assert_true(!m->got[i] || m->got[i] == m->want[off + i]);
    if (!rc)
        memcpy(m->want + off, m->got, len);
    return rc;
}

static int step_read(struct model *m, uint64_t off, uint64_t len)
{
    int rc = blk_read(m->b, off, m->got, len);

    if (!rc)
        assert_memory_equal(m->got, m->want + off, len);
    return rc;
}

/*
 * A change that failed is made again without failures: what it left half done
 * is then known, and it must work.
 */
int model_step(struct model *m)
{
    static int (*const steps[])(struct model *, uint64_t, uint64_t) = {
        step_write, step_write, step_write, step_zero, step_discard, step_read};
    uint64_t off, len, seed, which = model_random(m, ARRAY_LEN(steps) + 1);
    int rc;

    if (which == ARRAY_LEN(steps))
        return blk_flush(m->b);
    pick_range(m, &off, &len);
    seed = m->seed;
    rc = steps[which](m, off, len);
    if (!rc || m->fail_sync)
        return rc;
    m->seed = seed;
    m->fail_write = 0;
    if (which == 4) /* half of it may be gone: read what is left */
        assert_int_equal(blk_read(m->b, off, m->want + off, len), 0);
    if (steps[which](m, off, len) && m->fail_with != -EIO)
        fail_msg("what had failed does not work any more");
    return rc;
}

void model_steps(struct model *m, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(model_step(m), 0);
}

void model_compare(struct model *m)
{
    assert_int_equal(blk_read(m->b, 0, m->got, m->size), 0);
    assert_memory_equal(m->got, m->want, m->size);
}

static void check_sound(struct qcow2 *q)
{
    struct qcow2_check c;
    struct err err;

    assert_int_equal(qcow2_check(q, false, &c, NULL, NULL, &err), 0);
    assert_int_equal(c.leaks, 0);
    assert_int_equal(c.low, 0);
    assert_int_equal(c.copied, 0);
    assert_int_equal(c.remaining, 0);
}

void model_check(struct model *m)
{
    check_sound(m->q);
}

static void copy_file(const char *from, const char *to)
{
    static uint8_t buf[65536];
    int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_TRUNC);
    ssize_t got;

    assert_true(in >= 0 && out >= 0);
    while ((got = read(in, buf, sizeof(buf))) > 0)
        assert_int_equal(write(out, buf, (size_t)got), got);
    (void)close(in);
    (void)close(out);
}

void model_check_copy(struct model *m, const uint8_t *want)
{
    char path[] = "/tmp/husk-copy-XXXXXX";
    int fd = mkstemp(path);
    struct err err = {0};
    struct qcow2 *q;

    assert_true(fd >= 0);
    (void)close(fd);
    copy_file(m->path, path);
    if (qcow2_open(path, -1, NULL, &q, &err))
        fail_msg("%s", err.text);
    check_sound(q);
    if (want) {
        assert_int_equal(blk_read(qcow2_blk(q), 0, m->got, m->size), 0);
        assert_memory_equal(m->got, want, m->size);
    }
    assert_int_equal(qcow2_close(q), 0);
    (void)unlink(path);
}
