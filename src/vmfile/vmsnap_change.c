/*
 * Snapshots that are restored and deleted, and what a crash left of that.
 *
 * A restore changes several things, of which a crash can leave some undone, so
 * the settings say first what is going to be done; whoever opens the VM next
 * does it again. A deletion of what another process has mapped is put off: the
 * snapshot is doomed, which hides it, until it can be done.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "vmfile/snapmeta.h"
#include "vmfile/vmlock.h"
#include "vmfile/vmsnap.h"
#include "vmfile/vmvars.h"

/* A key of the settings: {"id": ..., "settings": bool}. */
#define RESTORING "restoring"

/* --- Restoring --------------------------------------------------------------
 */

/* What a VM keeps when it goes back: what it is, not what it has. */
static const char *const kept_keys[] = {"name", "uuid",      "created",
                                        "file", "protected", "mac"};

/* What is restored. */
struct target {
    const struct vmsnap *s;
    const char *settings; /* of its moment; NULL: not known */
    struct vmsnap_state st;
};

/* The snapshot's settings with what stays, and the parent; old's place. */
static int merge(json_t **root, const struct target *t, bool keep_settings)
{
    json_t *new = NULL;

    if (!keep_settings && t->settings)
        new = json_loads(t->settings, JSON_REJECT_DUPLICATES, NULL);
    if (json_is_object(new)) {
        for (size_t i = 0; i < ARRAY_LEN(kept_keys); i++) {
            json_t *v = json_object_get(*root, kept_keys[i]);

            if (v)
                (void)json_object_set(new, kept_keys[i], v);
            else
                (void)json_object_del(new, kept_keys[i]);
        }
        json_decref(*root);
        *root = new;
    } else {
        json_decref(new);
    }
    (void)json_object_del(*root, RESTORING);
    return json_object_set_new(*root, VMSNAP_PARENT, json_string(t->s->id)) < 0
               ? -ENOMEM
               : 0;
}

static int apply_all(struct vmfile *vf, const char *id, struct err *err)
{
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < vf->nr_others; i++) {
        rc = vf->others[i].q ? qcow2_snap_apply(vf->others[i].q, id, err) : 0;
        /* A disk that was added later has no such snapshot. */
        if (rc == -ENOENT)
            rc = 0;
    }
    return rc < 0 ? rc : qcow2_snap_apply(vf->q, id, err);
}

/* The firmware's variables, unless nobody knows what they were: the snapshot
 * is QEMU's, or damaged. */
static int restore_variables(struct vmfile *vf, const struct target *t,
                             struct err *err)
{
    if (t->st.vars)
        return vmvars_write(vf->q, t->st.vars, t->st.vars_len, err);
    return t->settings && !t->st.damaged ? vmvars_drop(vf->q, err) : 0;
}

/* With the settings' lock held; root is given away. */
static int restore_locked(struct vmfile *vf, json_t *root,
                          const struct target *t, bool keep_settings,
                          struct err *err)
{
    const struct vmsnap *s = t->s;
    int rc = json_object_set_new(
        root, RESTORING,
        json_pack("{s:s, s:b}", "id", s->id, "settings", !keep_settings));

    rc = rc < 0 ? err_set(err, -ENOMEM, "restore '%s': out of memory", s->name)
                : vmsnap_write_settings(vf, root, err);
    if (rc == 0)
        rc = apply_all(vf, s->id, err);
    if (rc == 0)
        rc = restore_variables(vf, t, err);
    if (rc == 0 && merge(&root, t, keep_settings) < 0)
        rc = err_set(err, -ENOMEM, "restore '%s': out of memory", s->name);
    if (rc == 0)
        rc = vmsnap_write_settings(vf, root, err);
    json_decref(root);
    return rc;
}

static int restore_target(struct vmfile *vf, const struct target *t,
                          bool keep_settings, struct err *err)
{
    json_t *root = NULL;
    int rc;

    if (!vf->has_settings)
        return apply_all(vf, t->s->id, err);
    rc = vmfile_settings_begin(vf, err);
    if (rc < 0)
        return rc;
    rc = vmsnap_read_settings(vf, &root, err);
    if (rc == 0)
        rc = restore_locked(vf, root, t, keep_settings, err);
    vmfile_settings_end(vf);
    return rc;
}

static int restore(struct vmfile *vf, const struct vmsnap *s,
                   bool keep_settings, struct err *err)
{
    struct target *t = calloc(1, sizeof(*t));
    int rc;

    if (!t)
        return err_set(err, -ENOMEM, "restore '%s': out of memory", s->name);
    t->s = s;
    rc = vmsnap_state_read(vf, s, &t->st, err);
    if (rc == 0) {
        t->settings = s->settings ? s->settings : t->st.settings;
        rc = restore_target(vf, t, keep_settings, err);
        vmsnap_state_free(&t->st);
    }
    free(t);
    return rc;
}

int vmsnap_restore(struct vmfile *vf, const char *name, bool keep_settings,
                   struct err *err)
{
    struct vmsnap *list = NULL;
    size_t n = 0, i = 0;
    int rc = vmsnap_list_and_find(vf, name, &list, &n, &i, err);

    if (rc == 0)
        rc = restore(vf, &list[i], keep_settings, err);
    vmsnap_free(list, n);
    return rc;
}

/* --- Deleting ---------------------------------------------------------------
 */

/* The byte that pins a snapshot: its number, or for an id that is none a
 * number that is made of it. */
uint32_t vmsnap_pin(const char *id)
{
    char *end;
    uint64_t nr = strtoull(id, &end, 10);

    if (isdigit((unsigned char)*id) && !*end && nr && nr < UINT32_MAX)
        return (uint32_t)nr;
    return crc32c_update(0, id, strlen(id)) | 1u << 31;
}

int vmsnap_hold(int fd, const char *id)
{
    return vmpin_hold(fd, vmsnap_pin(id));
}

/* Write a changed record of a snapshot of q, with what m says. */
static int change_record(struct qcow2 *q, const char *id,
                         const struct snapmeta *m, struct err *err)
{
    uint8_t record[QCOW2_SNAP_OPAQUE_MAX];
    size_t len = 0;
    int rc = snapmeta_pack(m, record, sizeof(record), &len, err);

    return rc < 0 ? rc
                  : qcow2_snap_change(q, id, NULL, record, (uint32_t)len, err);
}

/* Hidden from now on; its clusters stay. */
static int doom(struct vmfile *vf, const struct vmsnap *s, struct err *err)
{
    const struct snapmeta m = {.doomed = true,
                               .safety = s->safety,
                               .state_bytes = s->state_bytes,
                               .parent = s->parent,
                               .text = s->text};

    return change_record(vf->q, s->id, &m, err);
}

static void delete_others(struct vmfile *vf, const char *id)
{
    struct err err;

    for (unsigned i = 0; i < vf->nr_others; i++)
        if (vf->others[i].q &&
            qcow2_snap_delete(vf->others[i].q, id, &err) < 0 &&
            err.code != -ENOENT)
            log_warn("vmfile", "%s", err.text);
}

/* Returns 1 if somebody has it mapped; it is then untouched. */
static int delete_now(struct vmfile *vf, const char *id, struct err *err)
{
    uint32_t pin = vmsnap_pin(id);
    int rc = vmpin_take(vf->fd, pin);

    if (rc == -EBUSY)
        return 1;
    rc = qcow2_snap_delete(vf->q, id, err);
    if (rc == 0)
        delete_others(vf, id);
    vmpin_drop(vf->fd, pin);
    return rc;
}

/* Those that came from it come from its parent from now on. */
static int bequeath(struct vmfile *vf, const struct vmsnap *list, size_t n,
                    const struct vmsnap *gone, struct err *err)
{
    char active[QCOW2_SNAP_ID_MAX + 1];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        const struct snapmeta m = {.safety = list[i].safety,
                                   .state_bytes = list[i].state_bytes,
                                   .parent = gone->parent,
                                   .text = list[i].text,
                                   .settings = list[i].settings};

        if (strcmp(list[i].parent, gone->id) == 0)
            rc = change_record(vf->q, list[i].id, &m, err);
    }
    if (rc == 0)
        rc = vmsnap_get_parent(vf, active, err);
    if (rc == 0 && strcmp(active, gone->id) == 0)
        rc = vmsnap_set_parent(vf, gone->parent, err);
    return rc;
}

int vmsnap_delete(struct vmfile *vf, const char *name, struct err *err)
{
    struct vmsnap *list = NULL;
    size_t n = 0, i = 0;
    int rc = vmsnap_list_and_find(vf, name, &list, &n, &i, err);

    if (rc == 0)
        rc = bequeath(vf, list, n, &list[i], err);
    if (rc == 0)
        rc = delete_now(vf, list[i].id, err);
    if (rc > 0)
        rc = doom(vf, &list[i], err) < 0 ? err->code : 1;
    vmsnap_free(list, n);
    return rc;
}

/* --- What a crash left ------------------------------------------------------
 */

int vmsnap_reap(struct vmfile *vf, struct err *err)
{
    struct qcow2_snap *snaps = NULL;
    size_t n = 0;
    int rc = qcow2_snaps(vf->q, &snaps, &n, err);

    for (size_t i = 0; rc >= 0 && i < n; i++) {
        struct snapmeta m;

        if (snapmeta_unpack(&m, snaps[i].opaque, snaps[i].opaque_len) == 0 &&
            m.doomed)
            rc = delete_now(vf, snaps[i].id, err);
        snapmeta_free(&m);
    }
    qcow2_snaps_free(snaps, n);
    return rc < 0 ? rc : 0;
}

/* Do again what the settings say was begun. */
static int resume_restore(struct vmfile *vf, struct err *err)
{
    json_t *root = NULL;
    const json_t *what;
    char id[QCOW2_SNAP_ID_MAX + 1] = "";
    bool settings;
    int rc = vmsnap_read_settings(vf, &root, err);

    if (rc < 0)
        return 0; /* whoever needs the settings says so */
    what = json_object_get(root, RESTORING);
    (void)snprintf(id, sizeof(id), "%s",
                   json_is_object(what) &&
                           json_string_value(json_object_get(what, "id"))
                       ? json_string_value(json_object_get(what, "id"))
                       : "");
    settings = json_is_true(json_object_get(what, "settings"));
    json_decref(root);
    if (!*id)
        return 0;
    rc = vmsnap_restore(vf, id, !settings, err);
    return rc == -ENOENT ? 0 : rc;
}

int vmfile_recover(struct vmfile *vf, struct err *err)
{
    struct qcow2_info info;
    int rc = vf->has_settings ? resume_restore(vf, err) : 0;

    qcow2_info(vf->q, &info);
    return rc < 0 || info.nr_snapshots == 0 ? rc : vmsnap_reap(vf, err);
}

/* Whether the main file has an entry of this id, doomed or not. */
static bool has_id(const struct qcow2_snap *list, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].id, id) == 0)
            return true;
    return false;
}

static int drop_orphans(struct vmfile *vf, struct qcow2 *q, struct err *err)
{
    struct qcow2_snap *mine = NULL, *its = NULL;
    size_t nr_mine = 0, nr_its = 0;
    int rc = qcow2_snaps(vf->q, &mine, &nr_mine, err);

    if (rc < 0)
        return rc;
    rc = qcow2_snaps(q, &its, &nr_its, err);
    for (size_t i = 0; rc == 0 && i < nr_its; i++) {
        struct snapmeta m;

        if (snapmeta_unpack(&m, its[i].opaque, its[i].opaque_len) == 0 &&
            !has_id(mine, nr_mine, its[i].id))
            rc = qcow2_snap_delete(q, its[i].id, err);
        snapmeta_free(&m);
    }
    qcow2_snaps_free(its, nr_its);
    qcow2_snaps_free(mine, nr_mine);
    return rc;
}

int vmfile_span(struct vmfile *vf, const char *path, struct qcow2 *q,
                struct err *err)
{
    struct vmfile_disk *d = &vf->others[vf->nr_others];
    int rc = 0;

    if (vf->nr_others == ARRAY_LEN(vf->others))
        return err_set(err, -E2BIG, "'%s' has more than %d disks", vf->path,
                       VMFILE_MAX_DISKS);
    if (q && vf->locked)
        rc = drop_orphans(vf, q, err);
    if (rc < 0)
        return rc;
    d->path = strdup(path);
    if (!d->path)
        return err_set(err, -ENOMEM, "open '%s': out of memory", path);
    d->q = q;
    vf->nr_others++;
    return 0;
}
