#include "barrier.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

void barrier_mark(const struct barrier *b, const struct mark *k)
{
    if (write(b->marks, k, sizeof(*k)) != (ssize_t)sizeof(*k))
        abort();
}

void barrier_name(const struct barrier *b, const char *name)
{
    struct mark k = {.op = MARK_BARRIER};

    (void)snprintf(k.name, sizeof(k.name), "%s", name);
    barrier_mark(b, &k);
}

void barrier_step(struct barrier *b)
{
    if (b->end_in && !--b->end_in)
        _exit(BARRIER_KILLED);
}

/* Rather several in a row than each by itself, as on a disk that is full. */
static bool is_full(struct barrier *b)
{
    uint64_t n = atomic_fetch_add(&b->writes, 1) / 4;

    n = (n ^ n >> 7) * 0x9e3779b97f4a7c15ULL;
    return b->full_each && (n >> 32) % b->full_each == 0;
}

static int64_t hook_preadv(void *arg, int fd, const struct iovec *iov, int n,
                           uint64_t off)
{
    (void)arg;
    return hostfile_kernel.preadv(NULL, fd, iov, n, off);
}

static int64_t hook_pwritev(void *arg, int fd, const struct iovec *iov, int n,
                            uint64_t off, bool dsync)
{
    if (is_full(arg))
        return -ENOSPC;
    barrier_step(arg);
    if (dsync)
        barrier_name(arg, "dsync");
    return hostfile_kernel.pwritev(NULL, fd, iov, n, off, dsync);
}

static int hook_datasync(void *arg, int fd, const char *why)
{
    barrier_step(arg);
    barrier_name(arg, why);
    return hostfile_kernel.datasync(NULL, fd, why);
}

static int hook_punch(void *arg, int fd, uint64_t off, uint64_t len, bool keep)
{
    barrier_step(arg);
    return hostfile_kernel.punch(NULL, fd, off, len, keep);
}

static int hook_truncate(void *arg, int fd, uint64_t size)
{
    barrier_step(arg);
    return hostfile_kernel.truncate(NULL, fd, size);
}

const struct hostfile_ops barrier_ops = {.preadv = hook_preadv,
                                         .pwritev = hook_pwritev,
                                         .datasync = hook_datasync,
                                         .punch = hook_punch,
                                         .truncate = hook_truncate};
