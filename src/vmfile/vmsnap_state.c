/*
 * What a snapshot of a VM has beside its disk and its record: a state area with
 * settings that are too long for the record, and the firmware's variables.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "vmfile/slots.h"
#include "vmfile/vmsnap.h"
#include "vmfile/vmvars.h"

/* A piece with a section of the head that describes it. */
static void add(struct vmsnap_state *st, uint32_t type, uint64_t off,
                const void *data, size_t len)
{
    statearea_add(&st->area, type, off, data, len);
    st->pieces[st->nr_pieces++] = (struct qcow2_piece){off, data, len};
}

int vmsnap_state_take(struct vmfile *vf, const char *settings,
                      struct vmsnap_state *st, struct err *err)
{
    size_t len = settings ? strlen(settings) : 0;
    int rc;

    *st = (struct vmsnap_state){.area.generation = 1, .nr_pieces = 1};
    st->pieces[0] = (struct qcow2_piece){0, st->head, sizeof(st->head)};
    rc = vmvars_read(vf->q, &st->vars, &st->vars_len, err);
    if (rc < 0 && rc != -ENOENT)
        return rc;
    if (len)
        add(st, STATEAREA_SETTINGS, STATEAREA_LOW, settings, len);
    if (st->vars)
        add(st, STATEAREA_VARIABLES, STATEAREA_DEVICES, st->vars, st->vars_len);
    if (st->nr_pieces == 1) {
        st->nr_pieces = 0; /* no head of nothing */
        return 0;
    }
    statearea_pack(&st->area, st->head);
    st->bytes = statearea_end(&st->area);
    return 0;
}

/* A section that is damaged is said to be so, and then as if it were not there:
 * the disk is what counts. */
static int load(struct vmfile *vf, const struct vmsnap *s,
                const struct vmsnap_state *st, uint32_t type, size_t max,
                uint8_t **data, size_t *len)
{
    int rc = statearea_load(vf->q, s->id, 0, &st->area, type, max, data, len);

    if (rc == -EINVAL || rc == -EUCLEAN)
        log_warn("vmfile",
                 "what snapshot '%.80s' keeps beside its disk is damaged: that "
                 "stays as it is",
                 s->name);
    return rc == -EINVAL || rc == -EUCLEAN || rc == -ENOENT ? 0 : rc;
}

int vmsnap_state_read(struct vmfile *vf, const struct vmsnap *s,
                      struct vmsnap_state *st, struct err *err)
{
    uint8_t *text = NULL;
    size_t len = 0;
    int rc;

    *st = (struct vmsnap_state){.nr_pieces = 0};
    if (!s->state_bytes)
        return 0;
    rc = statearea_read(vf->q, s->id, 0, s->state_bytes, &st->area);
    if (rc == -ENOENT || rc == -EINVAL || rc == -EUCLEAN) {
        log_warn("vmfile",
                 "what snapshot '%.80s' keeps beside its disk is damaged: that "
                 "stays as it is",
                 s->name);
        st->damaged = true;
        return 0;
    }
    if (rc == 0)
        rc = load(vf, s, st, STATEAREA_SETTINGS, SLOTS_MAX_TEXT, &text, &len);
    if (rc == 0)
        rc = load(vf, s, st, STATEAREA_VARIABLES, VMVARS_MAX, &st->vars,
                  &st->vars_len);
    st->settings = (char *)text;
    st->damaged =
        rc == 0 &&
        ((statearea_find(&st->area, STATEAREA_SETTINGS) && !text) ||
         (statearea_find(&st->area, STATEAREA_VARIABLES) && !st->vars));
    if (rc == 0)
        return 0;
    vmsnap_state_free(st);
    errno = -rc;
    return err_sys(err, "read what snapshot '%.80s' keeps beside its disk",
                   s->name);
}

void vmsnap_state_free(struct vmsnap_state *st)
{
    free(st->settings);
    free(st->vars);
    *st = (struct vmsnap_state){.nr_pieces = 0};
}
