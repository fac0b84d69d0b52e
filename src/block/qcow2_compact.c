#include <errno.h>

#include "block/qcow2_int.h"

int qcow2_compact(struct qcow2 *q, qcow2_progress *progress, void *arg,
                  uint64_t *saved, struct err *err)
{
    (void)progress;
    (void)arg;
    (void)saved;
    return err_set(err, -ENOTSUP, "compact %s: not there yet", q->path);
}
