#include "block/aio.h"

#include <errno.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { AIO_DEPTH = 512, AIO_EVENTS = 64 };

struct aio {
    aio_context_t ctx;
    pthread_t thread;
    aio_done *done;
    void *opaque;
    /* What was stored before io_submit is there after io_getevents: the kernel
     * sees to that, and this tells the thread sanitizer. */
    _Atomic unsigned submits;
};

static void *reap(void *arg)
{
    struct aio *a = arg;
    struct io_event ev[AIO_EVENTS];

    (void)pthread_setname_np(pthread_self(), "aio");
    for (;;) {
        long n =
            syscall(SYS_io_getevents, a->ctx, 1L, (long)AIO_EVENTS, ev, NULL);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) /* EINVAL: aio_free */
            return NULL;
        (void)atomic_load_explicit(&a->submits, memory_order_acquire);
        for (long i = 0; i < n; i++)
            a->done(a->opaque, (struct blk_req *)(uintptr_t)ev[i].data,
                    ev[i].res);
    }
}

struct aio *aio_new(aio_done *done, void *opaque)
{
    struct aio *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->done = done;
    a->opaque = opaque;
    if (syscall(SYS_io_setup, (long)AIO_DEPTH, &a->ctx) < 0)
        goto free_a;
    if (pthread_create(&a->thread, NULL, reap, a) == 0)
        return a;
    (void)syscall(SYS_io_destroy, a->ctx);
free_a:
    free(a);
    return NULL;
}

void aio_free(struct aio *a)
{
    if (!a)
        return;
    /* Wakes the thread, whose next call fails. */
    (void)syscall(SYS_io_destroy, a->ctx);
    (void)pthread_join(a->thread, NULL);
    free(a);
}

unsigned aio_submit(struct aio *a, struct blk_req *const *r, unsigned n)
{
    struct iocb cb[AIO_MAX_BATCH], *cbp[AIO_MAX_BATCH];
    long rc;

    for (unsigned i = 0; i < n; i++) {
        cb[i] = (struct iocb){
            .aio_data = (uintptr_t)r[i],
            .aio_lio_opcode =
                r[i]->op == BLK_OP_READ ? IOCB_CMD_PREADV : IOCB_CMD_PWRITEV,
            .aio_rw_flags = RWF_NOWAIT,
            .aio_fildes = (uint32_t)r[i]->ext.fd,
            .aio_buf = (uintptr_t)r[i]->iov,
            .aio_nbytes = (__u64)r[i]->nr_iov,
            .aio_offset = (int64_t)r[i]->ext.off,
        };
        cbp[i] = &cb[i];
    }
    atomic_fetch_add_explicit(&a->submits, 1, memory_order_release);
    do
        rc = syscall(SYS_io_submit, a->ctx, (long)n, cbp);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? 0 : (unsigned)rc;
}
