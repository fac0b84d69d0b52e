/*
 * The mark of an orderly close: a header extension that other programs carry
 * along unseen. With it, and with the file as long as it says, refcounts are
 * exact: the next open need not count them. (Another program that wrote since
 * has kept them so, or left leaks; if it did neither it set the dirty bit.)
 *
 * It also has the time of modification that the file was given last. If that is
 * still so, nobody has written since.
 *
 * An autoclear feature bit would be the format's own way. But QEMU (7.2 at
 * least) that opens an image with an unknown one for repair clears it before
 * it has read the snapshot table, and writes a header without snapshots: they
 * are all lost. So husk sets no such bit.
 *
 * offset  size  what
 *      0     4  1: closed in order; 0: open, or not closed in order
 *      4     4  CRC-32 of bytes 8 to 23
 *      8     8  length of the file
 *     16     8  its time of modification, seconds since 1970 (no fraction, so
 *               that copies that keep times keep it)
 *
 * Bytes 0 to 7 are in one sector. A mark torn behind them does not match.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/crc32.h"
#include "block/qcow2_int.h"

enum { M_STATE = 0, M_SUM = 4, M_LENGTH = 8, M_TIME = 16 };

static uint32_t sum(const uint8_t *m)
{
    return crc32_update(0, m + M_LENGTH, Q_MARK_SIZE - M_LENGTH);
}

int q_mark_find(struct qcow2 *q)
{
    uint64_t off;
    uint32_t len;
    int rc = q_ext_locate(q, (uint32_t)Q_EXT_MARK, &off, &len);

    q->mark = 0;
    if (rc == -ENOENT)
        return 0;
    if (!rc && len == Q_MARK_SIZE)
        q->mark = off + 8;
    return rc;
}

bool q_mark_is_set(struct qcow2 *q, bool *same)
{
    uint8_t m[Q_MARK_SIZE];
    struct stat st;

    *same = false;
    if (!q->mark || hostfile_read(&q->f, q->mark, m, sizeof(m)) ||
        get_be32(m + M_STATE) != 1 || get_be32(m + M_SUM) != sum(m) ||
        q->f.is_device || fstat(q->f.fd, &st) < 0 ||
        (uint64_t)st.st_size != get_be64(m + M_LENGTH))
        return false;
    *same = (uint64_t)st.st_mtim.tv_sec == get_be64(m + M_TIME) &&
            !st.st_mtim.tv_nsec;
    return true;
}

int q_mark_clear(struct qcow2 *q)
{
    uint8_t none[M_LENGTH] = {0};
    int rc;

    if (!q->mark)
        return 0;
    rc = q_write_meta(q, q->mark, none, sizeof(none));
    return rc ? rc : q_sync(q, "session");
}

int q_mark_set(struct qcow2 *q)
{
    struct timespec at[2] = {{.tv_nsec = UTIME_OMIT}, {0}};
    uint8_t m[Q_MARK_SIZE];
    uint64_t size;
    int rc = q->mark ? hostfile_size(&q->f, &size) : -ENOENT;

    if (rc)
        return rc == -ENOENT ? 0 : rc;
    at[1].tv_sec = time(NULL);
    put_be32(m + M_STATE, 1);
    put_be64(m + M_LENGTH, size);
    put_be64(m + M_TIME, (uint64_t)at[1].tv_sec);
    put_be32(m + M_SUM, sum(m));
    rc = q_write_meta(q, q->mark, m, sizeof(m));
    if (!rc)
        rc = q_sync(q, "close");
    /* It need not be stable: another time only means "perhaps". */
    if (!rc && futimens(q->f.fd, at) < 0)
        rc = -errno;
    return rc;
}
