#ifndef HUSK_VMFILE_VMVARS_H
#define HUSK_VMFILE_VMVARS_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "block/qcow2.h"

/*
 * The variables of UEFI firmware, inside the VM file: the bytes of its flash
 * chip. They are in the state area of an entry of the snapshot table that is no
 * snapshot, with two copies of a head and a section (statearea.h), VMVARS_COPY
 * apart. A change writes the other copy in place, with the next generation, and
 * flushes it; the valid one of the higher generation counts. So at any
 * moment either all of the old or all of the new is there, whatever tears.
 */
enum {
    VMVARS_MAX = 1 << 20,  /* bytes of variables */
    VMVARS_COPY = 2 << 20, /* from one copy to the other */
    VMVARS_PAGE = 4096     /* a multiple of this long they are */
};

#define VMVARS_ID "husk-uefi"

/*
 * What is kept now; the caller frees *data. -ENOENT: nothing is; -EUCLEAN with
 * err: it is damaged; or the host's, with err.
 */
MUST_CHECK int vmvars_read(struct qcow2 *q, uint8_t **data, size_t *len,
                           struct err *err);
/* From now on this is kept, on stable storage on return; all or nothing.
 * -EINVAL: not a multiple of VMVARS_PAGE, or longer than VMVARS_MAX. */
MUST_CHECK int vmvars_write(struct qcow2 *q, const void *data, size_t len,
                            struct err *err);
/* Nothing is kept any more. */
MUST_CHECK int vmvars_drop(struct qcow2 *q, struct err *err);

/*
 * The same for a machine that runs: changes are taken at once and written by a
 * thread of its own, VMVARS_DELAY_NS after the first that it has not written.
 */
struct vmvars;

#define VMVARS_DELAY_NS 50000000

/*
 * data[len], what the firmware's package has, becomes what is kept; if nothing
 * is, it is kept from now on. q must outlive *out. -EINVAL with err: what is
 * kept is of another length, hence of another firmware.
 */
MUST_CHECK int vmvars_open(struct vmvars **out, struct qcow2 *q, uint8_t *data,
                           size_t len, struct err *err);
/* Bytes have changed. Any thread; never waits for the disk. -EIO if they cannot
 * be kept because the host has failed to write. */
MUST_CHECK int vmvars_store(struct vmvars *v, uint64_t off, const uint8_t *p,
                            size_t len);
/* All that was stored is on stable storage. -errno if that failed. */
MUST_CHECK int vmvars_flush(struct vmvars *v);
/* Flush, and end. NULL is fine. */
MUST_CHECK int vmvars_close(struct vmvars *v);

#endif
