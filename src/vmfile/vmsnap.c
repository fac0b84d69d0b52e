/*
 * Snapshots of a VM: entries in the qcow2 file's own list, with snapmeta.h's
 * record in each; other disks have entries of the same ids. The main file's
 * entry makes a snapshot: it is written last and removed first, and an entry
 * of another disk without one in the main file is a left-over.
 *
 * A restore changes several things, of which a crash can leave some undone, so
 * the settings say first what is going to be done; whoever opens the VM next
 * does it again.
 */
#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/crc32c.h"
#include "base/log.h"
#include "vmfile/slots.h"
#include "vmfile/snapmeta.h"
#include "vmfile/vmfile_int.h"
#include "vmfile/vmlock.h"

/* Keys of the settings that are written here. */
#define PARENT    "parent"    /* id of the snapshot that the disk comes from */
#define RESTORING "restoring" /* {"id": ..., "settings": bool} */

/* --- Settings, as far as snapshots touch them ------------------------------
 */

static int read_settings(struct vmfile *vf, json_t **root, struct err *err)
{
    char *text = NULL;
    size_t len = 0;
    int rc = vmfile_settings(vf, &text, &len, err);

    if (rc < 0)
        return rc;
    *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    free(text);
    if (json_is_object(*root))
        return 0;
    json_decref(*root);
    return err_set(err, -EUCLEAN, "read the settings of '%s': they are damaged",
                   vf->path);
}

static int write_settings(struct vmfile *vf, const json_t *root,
                          struct err *err)
{
    char *text = json_dumps(root, JSON_COMPACT);
    int rc;

    if (!text)
        return err_set(err, -ENOMEM,
                       "write the settings of '%s': out of memory", vf->path);
    rc = vmfile_settings_write(vf, text, strlen(text), err);
    free(text);
    return rc;
}

/* The active disk now comes from this snapshot ("": from none). */
static int set_parent(struct vmfile *vf, const char *id, struct err *err)
{
    json_t *root = NULL;
    int rc;

    if (!vf->has_settings)
        return 0;
    rc = vmfile_settings_begin(vf, err);
    if (rc < 0)
        return rc;
    rc = read_settings(vf, &root, err);
    if (rc == 0) {
        (void)(*id ? json_object_set_new(root, PARENT, json_string(id))
                   : json_object_del(root, PARENT));
        rc = write_settings(vf, root, err);
        json_decref(root);
    }
    vmfile_settings_end(vf);
    return rc;
}

/* The parent of what is active; "" if none. */
static int get_parent(struct vmfile *vf, char id[QCOW2_SNAP_ID_MAX + 1],
                      struct err *err)
{
    json_t *root = NULL;
    const char *parent;
    int rc;

    id[0] = '\0';
    if (!vf->has_settings)
        return 0;
    rc = read_settings(vf, &root, err);
    if (rc < 0)
        return rc;
    parent = json_string_value(json_object_get(root, PARENT));
    if (parent)
        (void)snprintf(id, QCOW2_SNAP_ID_MAX + 1, "%s", parent);
    json_decref(root);
    return 0;
}

/* --- The list ---------------------------------------------------------------
 */

static int take(struct vmsnap *to, const struct qcow2_snap *from,
                struct snapmeta *m)
{
    *to = (struct vmsnap){.id = strdup(from->id),
                          .name = strdup(from->name),
                          .text = m->text,
                          .parent = m->parent,
                          .settings = m->settings,
                          .created = from->date_sec,
                          .disk_bytes = from->disk_size,
                          .safety = m->safety};
    m->text = m->parent = m->settings = NULL;
    return to->id && to->name ? 0 : -ENOMEM;
}

int vmsnap_list(struct vmfile *vf, struct vmsnap **list, size_t *n,
                struct err *err)
{
    struct qcow2_snap *snaps = NULL;
    struct vmsnap *all = NULL;
    size_t nr = 0, kept = 0;
    int rc = qcow2_snaps(vf->q, &snaps, &nr, err);

    if (rc < 0)
        return rc;
    all = calloc(nr + 1, sizeof(*all));
    rc = all ? 0 : -ENOMEM;
    for (size_t i = 0; rc == 0 && i < nr; i++) {
        struct snapmeta m;

        rc = snapmeta_unpack(&m, snaps[i].opaque, snaps[i].opaque_len);
        if (rc == -ENOENT || rc == -EINVAL)
            rc = 0; /* QEMU's, or damaged: the disk is what counts */
        if (rc == 0 && !m.doomed)
            rc = take(&all[kept++], &snaps[i], &m);
        snapmeta_free(&m);
    }
    qcow2_snaps_free(snaps, nr);
    if (rc < 0) {
        vmsnap_free(all, kept);
        return err_set(err, rc, "list the snapshots of '%s': out of memory",
                       vf->path);
    }
    *list = all;
    *n = kept;
    return 0;
}

void vmsnap_free(struct vmsnap *list, size_t n)
{
    for (size_t i = 0; list && i < n; i++) {
        free(list[i].id);
        free(list[i].name);
        free(list[i].text);
        free(list[i].settings);
        free(list[i].parent);
    }
    free(list);
}

static bool find(const struct vmsnap *list, size_t n, const char *name,
                 size_t *index)
{
    for (size_t i = n; i-- > 0;)
        if (strcmp(list[i].name, name) == 0) {
            *index = i;
            return true;
        }
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].id, name) == 0) {
            *index = i;
            return true;
        }
    return false;
}

int vmsnap_find(const struct vmfile *vf, const struct vmsnap *list, size_t n,
                const char *name, size_t *index, struct err *err)
{
    if (find(list, n, name, index))
        return 0;
    return err_set(err, -ENOENT,
                   "'%s' has no snapshot '%.80s': 'husk snapshots' lists those "
                   "that it has",
                   vf->path, name);
}

/* Its list and the place of the one of that name. The caller frees the list,
 * also on an error. */
static int list_and_find(struct vmfile *vf, const char *name,
                         struct vmsnap **list, size_t *n, size_t *index,
                         struct err *err)
{
    int rc = vmsnap_list(vf, list, n, err);

    return rc < 0 ? rc : vmsnap_find(vf, *list, *n, name, index, err);
}

/* --- Creating ---------------------------------------------------------------
 */

static int check_name(const char *name, struct err *err)
{
    size_t len = strlen(name);
    bool ok = len >= 1 && len <= 64 && isalnum((unsigned char)name[0]);

    for (size_t i = 0; ok && i < len; i++)
        ok = isalnum((unsigned char)name[i]) || strchr("._-", name[i]);
    if (ok)
        return 0;
    return err_set(err, -EINVAL,
                   "'%.80s' cannot be the name of a snapshot: use 1 to 64 "
                   "letters, digits and . _ -, with a letter or digit first",
                   name);
}

/* The first of PREFIX1, PREFIX2, ... that is free. */
static void pick_name(const struct vmsnap *list, size_t n, const char *prefix,
                      char name[QCOW2_SNAP_NAME_MAX + 1])
{
    size_t unused;

    for (size_t i = 1; i <= n + 1; i++) {
        (void)snprintf(name, QCOW2_SNAP_NAME_MAX + 1, "%s%zu", prefix, i);
        if (!find(list, n, name, &unused))
            return;
    }
}

static int choose_name(struct vmfile *vf, const struct vmsnap_new *s,
                       char name[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    struct vmsnap *list = NULL;
    size_t n = 0, unused;
    int rc = s->name ? check_name(s->name, err) : 0;

    if (rc == 0)
        rc = vmsnap_list(vf, &list, &n, err);
    if (rc < 0)
        return rc;
    if (!s->name)
        pick_name(list, n, s->safety ? "before-restore" : "snap", name);
    else if (find(list, n, s->name, &unused))
        rc = err_set(err, -EEXIST, "'%s' has a snapshot '%s' already", vf->path,
                     s->name);
    else
        (void)snprintf(name, QCOW2_SNAP_NAME_MAX + 1, "%s", s->name);
    vmsnap_free(list, n);
    return rc;
}

/* The greatest number among the ids of q, in *max. */
static int greatest_id(struct qcow2 *q, uint64_t *max, struct err *err)
{
    struct qcow2_snap *snaps = NULL;
    size_t n = 0;
    int rc = qcow2_snaps(q, &snaps, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        uint64_t id = strtoull(snaps[i].id, NULL, 10);

        if (id > *max && id < UINT32_MAX)
            *max = id;
    }
    if (rc == 0)
        qcow2_snaps_free(snaps, n);
    return rc;
}

/* An id that none of the disks has. */
static int choose_id(struct vmfile *vf, char id[QCOW2_SNAP_ID_MAX + 1],
                     struct err *err)
{
    uint64_t max = 0;
    int rc = greatest_id(vf->q, &max, err);

    for (unsigned i = 0; rc == 0 && i < vf->nr_others; i++) {
        if (!vf->others[i].q)
            return err_set(err, -ENOTSUP,
                           "the disk '%s' is raw, and only qcow2 disks can be "
                           "snapshotted: convert it, or take it out",
                           vf->others[i].path);
        rc = greatest_id(vf->others[i].q, &max, err);
    }
    (void)snprintf(id, QCOW2_SNAP_ID_MAX + 1, "%llu",
                   (unsigned long long)max + 1);
    return rc;
}

/* The same entry in every disk, the main file's last. */
static int create_all(struct vmfile *vf, const struct qcow2_snap_new *s,
                      struct err *err)
{
    unsigned made = 0;
    int rc = 0;

    while (rc == 0 && made < vf->nr_others) {
        rc = qcow2_snap_create(vf->others[made].q, s, NULL, err);
        made += rc == 0;
    }
    if (rc == 0)
        rc = qcow2_snap_create(vf->q, s, NULL, err);
    while (rc < 0 && made-- > 0) {
        struct err other;

        if (qcow2_snap_delete(vf->others[made].q, s->id, &other) < 0)
            log_warn("vmfile", "%s", other.text);
    }
    return rc;
}

/* Settings as text for the record; NULL where the file has none. */
static int current_settings(struct vmfile *vf, char **text, struct err *err)
{
    size_t len = 0;

    *text = NULL;
    return vf->has_settings ? vmfile_settings(vf, text, &len, err) : 0;
}

int vmsnap_create(struct vmfile *vf, const struct vmsnap_new *s, char *name_out,
                  struct err *err)
{
    char name[QCOW2_SNAP_NAME_MAX + 1], id[QCOW2_SNAP_ID_MAX + 1];
    char parent[QCOW2_SNAP_ID_MAX + 1], text[VMSNAP_TEXT_MAX + 1];
    uint8_t record[QCOW2_SNAP_OPAQUE_MAX];
    struct snapmeta m = {.safety = s->safety, .parent = parent, .text = text};
    struct qcow2_snap_new n = {.id = id, .name = name, .opaque = record};
    struct timespec now;
    size_t len = 0;
    int rc;

    if (s->text && strlen(s->text) > VMSNAP_TEXT_MAX)
        return err_set(err, -EINVAL,
                       "the text of a snapshot cannot be longer than %d bytes",
                       VMSNAP_TEXT_MAX);
    (void)snprintf(text, sizeof(text), "%s", s->text ? s->text : "");
    rc = choose_name(vf, s, name, err);
    if (rc == 0)
        rc = choose_id(vf, id, err);
    if (rc == 0)
        rc = get_parent(vf, parent, err);
    if (rc == 0)
        rc = current_settings(vf, &m.settings, err);
    if (rc == 0)
        rc = snapmeta_pack(&m, record, sizeof(record), &len, err);
    free(m.settings);
    if (rc < 0)
        return rc;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    n.date_sec = (uint32_t)now.tv_sec;
    n.date_nsec = (uint32_t)now.tv_nsec;
    n.opaque_len = (uint32_t)len;
    rc = create_all(vf, &n, err);
    if (rc == 0)
        rc = set_parent(vf, id, err);
    if (rc == 0 && name_out)
        memcpy(name_out, name, strlen(name) + 1);
    return rc;
}

/* --- Restoring --------------------------------------------------------------
 */

/* What a VM keeps when it goes back: what it is, not what it has. */
static const char *const kept_keys[] = {"name", "uuid",      "created",
                                        "file", "protected", "mac"};

/* The snapshot's settings with what stays, and the parent; old's place. */
static int merge(json_t **root, const struct vmsnap *s, bool keep_settings)
{
    json_t *new = NULL;

    if (!keep_settings && s->settings)
        new = json_loads(s->settings, JSON_REJECT_DUPLICATES, NULL);
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
    return json_object_set_new(*root, PARENT, json_string(s->id)) < 0 ? -ENOMEM
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

/* With the settings' lock held; root is given away. */
static int restore_locked(struct vmfile *vf, json_t *root,
                          const struct vmsnap *s, bool keep_settings,
                          struct err *err)
{
    int rc = json_object_set_new(
        root, RESTORING,
        json_pack("{s:s, s:b}", "id", s->id, "settings", !keep_settings));

    rc = rc < 0 ? err_set(err, -ENOMEM, "restore '%s': out of memory", s->name)
                : write_settings(vf, root, err);
    if (rc == 0)
        rc = apply_all(vf, s->id, err);
    if (rc == 0 && merge(&root, s, keep_settings) < 0)
        rc = err_set(err, -ENOMEM, "restore '%s': out of memory", s->name);
    if (rc == 0)
        rc = write_settings(vf, root, err);
    json_decref(root);
    return rc;
}

static int restore(struct vmfile *vf, const struct vmsnap *s,
                   bool keep_settings, struct err *err)
{
    json_t *root = NULL;
    int rc;

    if (!vf->has_settings)
        return apply_all(vf, s->id, err);
    rc = vmfile_settings_begin(vf, err);
    if (rc < 0)
        return rc;
    rc = read_settings(vf, &root, err);
    if (rc == 0)
        rc = restore_locked(vf, root, s, keep_settings, err);
    vmfile_settings_end(vf);
    return rc;
}

int vmsnap_restore(struct vmfile *vf, const char *name, bool keep_settings,
                   struct err *err)
{
    struct vmsnap *list = NULL;
    size_t n = 0, i = 0;
    int rc = list_and_find(vf, name, &list, &n, &i, err);

    if (rc == 0)
        rc = restore(vf, &list[i], keep_settings, err);
    vmsnap_free(list, n);
    return rc;
}

/* --- Deleting ---------------------------------------------------------------
 */

/* The byte that pins a snapshot: its number, or for an id that is none a
 * number that is made of it. */
static uint32_t pin_of(const char *id)
{
    char *end;
    uint64_t nr = strtoull(id, &end, 10);

    if (isdigit((unsigned char)*id) && !*end && nr && nr < UINT32_MAX)
        return (uint32_t)nr;
    return crc32c_update(0, id, strlen(id)) | 1u << 31;
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
    uint32_t pin = pin_of(id);
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
                                   .parent = gone->parent,
                                   .text = list[i].text,
                                   .settings = list[i].settings};

        if (strcmp(list[i].parent, gone->id) == 0)
            rc = change_record(vf->q, list[i].id, &m, err);
    }
    if (rc == 0)
        rc = get_parent(vf, active, err);
    if (rc == 0 && strcmp(active, gone->id) == 0)
        rc = set_parent(vf, gone->parent, err);
    return rc;
}

int vmsnap_delete(struct vmfile *vf, const char *name, struct err *err)
{
    struct vmsnap *list = NULL;
    size_t n = 0, i = 0;
    int rc = list_and_find(vf, name, &list, &n, &i, err);

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

static int reap(struct vmfile *vf, struct err *err)
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
    int rc = read_settings(vf, &root, err);

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
    return rc < 0 || info.nr_snapshots == 0 ? rc : reap(vf, err);
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
