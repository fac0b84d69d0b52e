#include "vmfile/vmvars.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/checked.h"
#include "base/crc32c.h"
#include "base/lock.h"
#include "base/log.h"
#include "vmfile/snapmeta.h"
#include "vmfile/statearea.h"

/* What QEMU's list shows. */
#define VMVARS_NAME "husk: UEFI variables (no snapshot)"

enum { NR_PAGES = VMVARS_MAX / VMVARS_PAGE };

/* Pages of a copy in the file that are not as they should be. */
struct stale {
    bool page[NR_PAGES];
};

/* Both copies, as they were found. */
struct copies {
    int current; /* the one that counts */
    uint64_t generation;
    uint8_t *data; /* its content */
    size_t len;
};

static int damaged(struct err *err)
{
    return err_set(err, -EUCLEAN,
                   "read the firmware's variables: both copies of them are "
                   "damaged; qemu-img snapshot -d '%s' FILE gives them up, and "
                   "the firmware begins anew",
                   VMVARS_NAME);
}

static int failed(int rc, const char *what, struct err *err)
{
    errno = -rc;
    return err_sys(err, "%s the firmware's variables", what);
}

/* --- Copies -----------------------------------------------------------------
 */

static uint64_t base_of(int copy)
{
    return (uint64_t)copy * VMVARS_COPY;
}

static bool is_damage(int rc)
{
    return rc == -ENOENT || rc == -EINVAL || rc == -EUCLEAN;
}

static bool is_there(struct qcow2 *q)
{
    char byte;

    return qcow2_state_read(q, VMVARS_ID, 0, &byte, 0) != -ENOENT;
}

/* -ENOENT: there is nothing; -EUCLEAN: no copy is valid. */
static int load(struct qcow2 *q, struct copies *c)
{
    *c = (struct copies){.current = -1};
    if (!is_there(q))
        return -ENOENT;
    for (int i = 0; i < 2; i++) {
        struct copies one = {.current = i};
        struct statearea a;
        int rc = statearea_read(q, VMVARS_ID, base_of(i), VMVARS_COPY, &a);

        if (rc == 0 && a.generation > c->generation)
            rc = statearea_load(q, VMVARS_ID, base_of(i), &a,
                                STATEAREA_VARIABLES, VMVARS_MAX, &one.data,
                                &one.len);
        if (rc < 0 && !is_damage(rc)) {
            free(c->data);
            return rc;
        }
        if (!one.data)
            continue;
        free(c->data);
        *c = one;
        c->generation = a.generation;
    }
    return c->data ? 0 : -EUCLEAN;
}

/* Head and section of a copy. */
static void describe(uint64_t generation, const void *data, size_t len,
                     uint8_t head[STATEAREA_HEAD])
{
    struct statearea a = {.generation = generation};

    statearea_add(&a, STATEAREA_VARIABLES, STATEAREA_LOW, data, len);
    statearea_pack(&a, head);
}

/* Pages that are stale, in rows. */
static int write_pages(struct qcow2 *q, int copy, const uint8_t *data,
                       size_t len, const struct stale *stale)
{
    size_t n = len / VMVARS_PAGE, end;
    int rc = 0;

    for (size_t i = 0; i < n && rc == 0; i = end) {
        for (end = i; end < n && stale->page[end]; end++)
            ;
        if (end > i)
            rc = qcow2_state_write(
                q, VMVARS_ID, base_of(copy) + STATEAREA_LOW + i * VMVARS_PAGE,
                data + i * VMVARS_PAGE, (end - i) * VMVARS_PAGE);
        else
            end++;
    }
    return rc;
}

/* Make this copy the one that counts. The other one is stable: a change ends
 * with a flush, and the open of an image that was not closed begins with one.
 */
static int write_copy(struct qcow2 *q, int copy, uint64_t generation,
                      const uint8_t *data, size_t len,
                      const struct stale *stale)
{
    uint8_t head[STATEAREA_HEAD];
    int rc = write_pages(q, copy, data, len, stale);

    if (rc < 0)
        return rc;
    describe(generation, data, len, head);
    rc = qcow2_state_write(q, VMVARS_ID, base_of(copy), head, sizeof(head));
    return rc < 0 ? rc : qcow2_ext_sync(q);
}

/* --- What is kept -----------------------------------------------------------
 */

static int check_length(size_t len, struct err *err)
{
    if (len && len % VMVARS_PAGE == 0 && len <= VMVARS_MAX)
        return 0;
    return err_set(err, -EINVAL,
                   "keep the firmware's variables: %zu bytes are not 4 KiB to "
                   "1 MiB in whole pages",
                   len);
}

/* The entry, with room for both copies and the first one in it. */
static int create(struct qcow2 *q, const void *data, size_t len,
                  struct err *err)
{
    uint8_t head[STATEAREA_HEAD], record[QCOW2_SNAP_OPAQUE_MAX];
    char none[1] = "";
    const struct snapmeta m = {.parent = none,
                               .text = none,
                               .state_bytes =
                                   VMVARS_COPY + STATEAREA_LOW + len};
    uint8_t *room = calloc(1, STATEAREA_LOW + len);
    const struct qcow2_piece pieces[] = {
        {0, head, sizeof(head)},
        {STATEAREA_LOW, data, len},
        {VMVARS_COPY, room, STATEAREA_LOW + len},
    };
    struct qcow2_snap_new s = {.id = VMVARS_ID,
                               .name = VMVARS_NAME,
                               .date_sec = (uint32_t)time(NULL),
                               .opaque = record,
                               .state = pieces,
                               .nr_state = ARRAY_LEN(pieces),
                               .no_disk = true};
    size_t record_len = 0;
    int rc = room ? snapmeta_pack(&m, record, sizeof(record), &record_len, err)
                  : failed(-ENOMEM, "keep", err);

    s.opaque_len = (uint32_t)record_len;
    if (rc == 0) {
        describe(1, data, len, head);
        rc = qcow2_snap_create(q, &s, NULL, err);
    }
    free(room);
    return rc;
}

int vmvars_read(struct qcow2 *q, uint8_t **data, size_t *len, struct err *err)
{
    struct copies c;
    int rc = load(q, &c);

    if (rc == -ENOENT)
        return err_set(err, rc, "no variables of a firmware are kept");
    if (rc < 0)
        return rc == -EUCLEAN ? damaged(err) : failed(rc, "read", err);
    *data = c.data;
    *len = c.len;
    return 0;
}

int vmvars_drop(struct qcow2 *q, struct err *err)
{
    return is_there(q) ? qcow2_snap_delete(q, VMVARS_ID, err) : 0;
}

int vmvars_write(struct qcow2 *q, const void *data, size_t len, struct err *err)
{
    struct stale all;
    struct copies c;
    bool same;
    int rc = check_length(len, err);

    if (rc < 0)
        return rc;
    rc = load(q, &c);
    free(c.data);
    if (rc < 0 && !is_damage(rc))
        return failed(rc, "read", err);
    same = rc == 0 && c.len == len && c.generation < UINT64_MAX;
    /* Of another length, or nothing that could be kept: a new entry. */
    if (!same) {
        rc = vmvars_drop(q, err);
        return rc < 0 ? rc : create(q, data, len, err);
    }
    memset(&all, 1, sizeof(all));
    rc = write_copy(q, !c.current, c.generation + 1, data, len, &all);
    return rc < 0 ? failed(rc, "write", err) : 0;
}

/* --- While a machine runs ---------------------------------------------------
 */

struct vmvars {
    struct qcow2 *q;
    size_t len;
    pthread_t thread;
    struct lock lock;
    pthread_cond_t changed; /* CLOCK_MONOTONIC */
    /* Under the lock. */
    uint8_t *data;
    struct stale stale[2]; /* for each copy */
    uint64_t stored, kept; /* changes so far; of them, in the file */
    struct timespec due;   /* of the first that is not */
    unsigned waiting;      /* for all to be kept: now */
    bool stop;
    int rc; /* the host has failed: nothing is kept any more */
    /* The thread's own. */
    uint8_t *copy;
    int current;
    uint64_t generation;
};

static void set_due(struct timespec *due)
{
    (void)clock_gettime(CLOCK_MONOTONIC, due);
    due->tv_nsec += VMVARS_DELAY_NS;
    if (due->tv_nsec >= 1000000000) {
        due->tv_nsec -= 1000000000;
        due->tv_sec++;
    }
}

/* Until there is something to write, and its time has come: true. */
static bool wait_for_work(struct vmvars *v) REQUIRES(v->lock)
{
    while (v->stored == v->kept && !v->stop)
        (void)pthread_cond_wait(&v->changed, &v->lock.m);
    while (v->stored != v->kept && !v->stop && !v->waiting)
        if (pthread_cond_timedwait(&v->changed, &v->lock.m, &v->due) ==
            ETIMEDOUT)
            break;
    return v->stored != v->kept && !v->rc;
}

/* The lock is dropped meanwhile. */
static void keep(struct vmvars *v) REQUIRES(v->lock)
{
    int other = !v->current, rc;
    struct stale stale = v->stale[other];
    uint64_t upto = v->stored;

    memset(&v->stale[other], 0, sizeof(stale));
    memcpy(v->copy, v->data, v->len);
    lock_drop(&v->lock);
    rc = write_copy(v->q, other, v->generation + 1, v->copy, v->len, &stale);
    if (rc < 0)
        log_err("uefi",
                "the firmware's variables cannot be written any more: %s",
                strerrordesc_np(-rc));
    lock_take(&v->lock);
    v->rc = rc;
    v->kept = rc < 0 ? v->kept : upto;
    v->current = rc < 0 ? v->current : other;
    v->generation += rc == 0;
    set_due(&v->due);
    (void)pthread_cond_broadcast(&v->changed);
}

static void *run(void *arg)
{
    struct vmvars *v = arg;

    (void)pthread_setname_np(pthread_self(), "uefi-vars");
    lock_take(&v->lock);
    while (!v->rc) {
        if (wait_for_work(v))
            keep(v);
        else if (v->stop)
            break;
    }
    lock_drop(&v->lock);
    return NULL;
}

static void release(struct vmvars *v)
{
    (void)pthread_cond_destroy(&v->changed);
    lock_fini(&v->lock);
    free(v->data);
    free(v->copy);
    free(v);
}

/* What is kept, into v; or what is in v is kept from now on. */
static int begin(struct vmvars *v, struct err *err)
{
    struct copies c;
    int rc = load(v->q, &c);

    if (rc == -EUCLEAN)
        return damaged(err);
    if (rc < 0 && rc != -ENOENT)
        return failed(rc, "read", err);
    memset(&v->stale[0], 0, sizeof(v->stale[0]));
    memset(&v->stale[1], 1, sizeof(v->stale[1]));
    if (rc == -ENOENT) {
        v->generation = 1;
        return create(v->q, v->data, v->len, err);
    }
    if (c.len == v->len && c.generation < UINT64_MAX / 2)
        memcpy(v->data, c.data, c.len);
    else
        rc = err_set(err, -EINVAL,
                     "use the firmware's variables: %zu bytes are kept, and "
                     "this firmware has %zu: it is another one",
                     c.len, v->len);
    free(c.data);
    v->current = c.current;
    v->generation = c.generation;
    memset(&v->stale[c.current], 0, sizeof(v->stale[0]));
    memset(&v->stale[!c.current], 1, sizeof(v->stale[0]));
    return rc == -ENOENT ? 0 : rc;
}

static struct vmvars *make(struct qcow2 *q, const uint8_t *data, size_t len)
{
    struct vmvars *v = calloc(1, sizeof(*v));
    pthread_condattr_t attr;

    if (!v)
        return NULL;
    v->q = q;
    v->len = len;
    lock_init(&v->lock);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&v->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    v->data = malloc(len);
    v->copy = malloc(len);
    if (v->data && v->copy) {
        memcpy(v->data, data, len);
        return v;
    }
    release(v);
    return NULL;
}

int vmvars_open(struct vmvars **out, struct qcow2 *q, uint8_t *data, size_t len,
                struct err *err)
{
    struct vmvars *v;
    int rc = check_length(len, err);

    if (rc < 0)
        return rc;
    v = make(q, data, len);
    if (!v)
        return failed(-ENOMEM, "keep", err);
    rc = begin(v, err);
    if (rc == 0) {
        memcpy(data, v->data, len);
        rc = -pthread_create(&v->thread, NULL, run, v);
        if (rc < 0)
            (void)failed(rc, "keep", err);
    }
    if (rc < 0)
        release(v);
    else
        *out = v;
    return rc;
}

int vmvars_store(struct vmvars *v, uint64_t off, const uint8_t *p, size_t len)
{
    int rc;

    if (!len || !range_ok(off, len, v->len))
        return len ? -EINVAL : 0;
    lock_take(&v->lock);
    rc = v->rc ? -EIO : 0;
    if (rc == 0) {
        memcpy(v->data + off, p, len);
        for (uint64_t i = off / VMVARS_PAGE; i <= (off + len - 1) / VMVARS_PAGE;
             i++)
            v->stale[0].page[i] = v->stale[1].page[i] = true;
        if (v->stored == v->kept) {
            set_due(&v->due);
            (void)pthread_cond_broadcast(&v->changed);
        }
        v->stored++;
    }
    lock_drop(&v->lock);
    return rc;
}

int vmvars_flush(struct vmvars *v)
{
    uint64_t upto;
    int rc;

    lock_take(&v->lock);
    upto = v->stored;
    v->waiting++;
    (void)pthread_cond_broadcast(&v->changed);
    while (v->kept < upto && !v->rc)
        (void)pthread_cond_wait(&v->changed, &v->lock.m);
    v->waiting--;
    rc = v->kept < upto ? v->rc : 0;
    lock_drop(&v->lock);
    return rc;
}

int vmvars_close(struct vmvars *v)
{
    int rc;

    if (!v)
        return 0;
    lock_take(&v->lock);
    v->stop = true;
    (void)pthread_cond_broadcast(&v->changed);
    lock_drop(&v->lock);
    (void)pthread_join(v->thread, NULL);
    rc = v->kept != v->stored ? v->rc : 0;
    release(v);
    return rc;
}
