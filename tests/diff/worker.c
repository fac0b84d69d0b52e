#include "worker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* A single case takes microseconds; the native side stops its own loops. */
enum { PATIENCE_MS = 5000 };

void shared_code(const struct shared *sh, uint8_t *buf)
{
    memset(buf, 0xcc, DIFF_CODE_SIZE);
    for (uint32_t i = 0; i < DIFF_BATCH; i++)
        memcpy(buf + (size_t)i * DIFF_SLOT_PITCH + DIFF_SLOT_START,
               sh->c[i].code, DIFF_CODE_MAX);
}

void worker_init(struct worker *w, worker_fn *fn, struct shared *sh,
                 enum side side)
{
    *w =
        (struct worker){.fn = fn, .sh = sh, .side = side, .go = -1, .done = -1};
}

static int start(struct worker *w)
{
    int go[2], done[2];
    struct worker_fds fds;

    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0)
        return -1;
    (void)fflush(NULL);
    w->pid = fork();
    if (w->pid < 0)
        return -1;
    if (!w->pid) {
        (void)close(go[1]);
        (void)close(done[0]);
        fds = (struct worker_fds){go[0], done[1]};
        w->fn(w->sh, w->side, &fds);
    }
    (void)close(go[0]);
    (void)close(done[1]);
    w->go = go[1];
    w->done = done[0];
    return 0;
}

void worker_stop(struct worker *w)
{
    if (w->pid <= 0)
        return;
    (void)kill(w->pid, SIGKILL);
    (void)waitpid(w->pid, NULL, 0);
    (void)close(w->go);
    (void)close(w->done);
    w->pid = 0;
}

static int resume(struct worker *w)
{
    if (w->pid <= 0 && start(w) < 0)
        return -1;
    return write(w->go, "g", 1) == 1 ? 0 : -1;
}

int worker_begin(struct worker *w)
{
    w->sh->first = 0;
    atomic_store(&w->sh->side[w->side].running, UINT32_MAX);
    return resume(w);
}

/* 1: the batch is done, 0: no progress for a while or the process ended. */
static int wait_done(struct worker *w)
{
    const struct side_area *area = &w->sh->side[w->side];
    uint32_t seen = atomic_load(&area->running);
    struct pollfd p = {.fd = w->done, .events = POLLIN};
    char byte;

    for (;;) {
        int rc = poll(&p, 1, PATIENCE_MS);
        uint32_t now = atomic_load(&area->running);

        if (rc < 0 && errno == EINTR)
            continue;
        if (rc > 0)
            return read(w->done, &byte, 1) == 1;
        if (now == seen)
            return 0;
        seen = now;
    }
}

int worker_finish(struct worker *w)
{
    struct side_area *area = &w->sh->side[w->side];
    unsigned failures = 0;
    uint32_t i;

    while (!wait_done(w)) {
        worker_stop(w);
        i = atomic_load(&area->running);
        if (i >= DIFF_BATCH) {
            if (++failures == 3) /* it never reaches a case */
                return -1;
            i = w->sh->first;
        } else {
            failures = 0;
            area->result[i].status = DIFF_LOST;
            i++;
        }
        w->sh->first = i;
        if (shared_next(w->sh, i) == DIFF_BATCH)
            return 0;
        atomic_store(&area->running, UINT32_MAX);
        if (resume(w) < 0)
            return -1;
    }
    return 0;
}
