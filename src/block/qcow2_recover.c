#include "block/qcow2_int.h"
int q_recover(struct qcow2 *q, struct err *err)
{
    (void)q;
    (void)err;
    return 0;
}
int qcow2_snap_create(struct qcow2 *q, const struct qcow2_snap_new *s,
                      char *id_out, struct err *err)
{
    (void)q;
    (void)s;
    (void)id_out;
    return err_set(err, -38, "not yet");
}
int qcow2_snap_apply(struct qcow2 *q, const char *id, struct err *err)
{
    (void)q;
    (void)id;
    return err_set(err, -38, "not yet");
}
int qcow2_snap_delete(struct qcow2 *q, const char *id, struct err *err)
{
    (void)q;
    (void)id;
    return err_set(err, -38, "not yet");
}
int qcow2_snap_unique(struct qcow2 *q, const char *id, uint64_t *b,
                      struct err *err)
{
    (void)q;
    (void)id;
    (void)b;
    return err_set(err, -38, "not yet");
}
int qcow2_snap_change(struct qcow2 *q, const char *id, const char *name,
                      const void *o, uint32_t l, struct err *err)
{
    (void)q;
    (void)id;
    (void)name;
    (void)o;
    (void)l;
    return err_set(err, -38, "not yet");
}
int qcow2_check(struct qcow2 *q, bool repair, struct qcow2_check *c,
                qcow2_progress *progress, void *arg, struct err *err)
{
    (void)q;
    (void)repair;
    (void)c;
    (void)progress;
    (void)arg;
    return err_set(err, -38, "not yet");
}
int qcow2_compact(struct qcow2 *q, qcow2_progress *progress, void *arg,
                  uint64_t *saved, struct err *err)
{
    (void)q;
    (void)progress;
    (void)arg;
    (void)saved;
    return err_set(err, -38, "not yet");
}
