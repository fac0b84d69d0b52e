/*
 * Snapshots of a VM: entries in the qcow2 file's own list, with snapmeta.h's
 * record in each; other disks have entries of the same ids. The main file's
 * entry makes a snapshot: it is written last and removed first, and an entry
 * of another disk without one in the main file is a left-over.
 */
#include "vmfile/vmsnap.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "vmfile/snapmeta.h"

/* --- Settings, as far as snapshots touch them ------------------------------
 */

int vmsnap_read_settings(struct vmfile *vf, json_t **root, struct err *err)
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

int vmsnap_write_settings(struct vmfile *vf, const json_t *root,
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
int vmsnap_set_parent(struct vmfile *vf, const char *id, struct err *err)
{
    json_t *root = NULL;
    int rc;

    if (!vf->has_settings)
        return 0;
    rc = vmfile_settings_begin(vf, err);
    if (rc < 0)
        return rc;
    rc = vmsnap_read_settings(vf, &root, err);
    if (rc == 0) {
        (void)(*id ? json_object_set_new(root, VMSNAP_PARENT, json_string(id))
                   : json_object_del(root, VMSNAP_PARENT));
        rc = vmsnap_write_settings(vf, root, err);
        json_decref(root);
    }
    vmfile_settings_end(vf);
    return rc;
}

/* The parent of what is active; "" if none. */
int vmsnap_get_parent(struct vmfile *vf, char id[QCOW2_SNAP_ID_MAX + 1],
                      struct err *err)
{
    json_t *root = NULL;
    const char *parent;
    int rc;

    id[0] = '\0';
    if (!vf->has_settings)
        return 0;
    rc = vmsnap_read_settings(vf, &root, err);
    if (rc < 0)
        return rc;
    parent = json_string_value(json_object_get(root, VMSNAP_PARENT));
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
                          .state_bytes = m->state_bytes,
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

        if (snaps[i].no_disk)
            continue; /* it has the firmware's variables */
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

int vmsnap_list_and_find(struct vmfile *vf, const char *name,
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

/* The same entry in every disk, the main file's last: only that one has the
 * state. */
static int create_all(struct vmfile *vf, const struct qcow2_snap_new *s,
                      struct err *err)
{
    struct qcow2_snap_new plain = *s;
    unsigned made = 0;
    int rc = 0;

    plain.state = NULL;
    plain.nr_state = 0;
    while (rc == 0 && made < vf->nr_others) {
        rc = qcow2_snap_create(vf->others[made].q, &plain, NULL, err);
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

/* Whether the settings go into the record; there must be room for the longest
 * id of a parent, as parents change. */
static bool fits(const struct snapmeta *m)
{
    uint8_t record[QCOW2_SNAP_OPAQUE_MAX];
    struct snapmeta with = *m;
    struct err err;
    size_t len;

    with.state_bytes = UINT64_MAX;
    return snapmeta_pack(&with, record,
                         sizeof(record) -
                             (QCOW2_SNAP_ID_MAX - strlen(m->parent)),
                         &len, &err) == 0;
}

/* The entry with its record and its state; m's settings are the current ones.
 */
static int create_with(struct vmfile *vf, struct snapmeta *m,
                       struct qcow2_snap_new *n, struct err *err)
{
    uint8_t record[QCOW2_SNAP_OPAQUE_MAX];
    char *settings = m->settings;
    bool apart = settings && !fits(m);
    struct vmsnap_state *st = malloc(sizeof(*st));
    struct timespec now;
    size_t len = 0;
    int rc;

    if (!st)
        return err_set(err, -ENOMEM, "snapshot '%s': out of memory", vf->path);
    rc = vmsnap_state_take(vf, apart ? settings : NULL, st, err);
    m->settings = apart ? NULL : settings;
    m->state_bytes = st->bytes;
    if (rc == 0)
        rc = snapmeta_pack(m, record, sizeof(record), &len, err);
    m->settings = settings;
    if (rc == 0) {
        (void)clock_gettime(CLOCK_REALTIME, &now);
        n->date_sec = (uint32_t)now.tv_sec;
        n->date_nsec = (uint32_t)now.tv_nsec;
        n->opaque = record;
        n->opaque_len = (uint32_t)len;
        n->state = st->pieces;
        n->nr_state = st->nr_pieces;
        rc = create_all(vf, n, err);
    }
    vmsnap_state_free(st);
    free(st);
    return rc;
}

int vmsnap_create(struct vmfile *vf, const struct vmsnap_new *s, char *name_out,
                  struct err *err)
{
    char name[QCOW2_SNAP_NAME_MAX + 1], id[QCOW2_SNAP_ID_MAX + 1];
    char parent[QCOW2_SNAP_ID_MAX + 1], text[VMSNAP_TEXT_MAX + 1];
    struct snapmeta m = {.safety = s->safety, .parent = parent, .text = text};
    struct qcow2_snap_new n = {.id = id, .name = name};
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
        rc = vmsnap_get_parent(vf, parent, err);
    if (rc == 0)
        rc = current_settings(vf, &m.settings, err);
    if (rc == 0)
        rc = create_with(vf, &m, &n, err);
    free(m.settings);
    if (rc == 0)
        rc = vmsnap_set_parent(vf, id, err);
    if (rc == 0 && name_out)
        memcpy(name_out, name, strlen(name) + 1);
    return rc;
}

int vmsnap_lend(struct vmfile *vf, char *id, struct err *err)
{
    uint8_t record[QCOW2_SNAP_OPAQUE_MAX];
    char none[1] = "";
    const struct snapmeta m = {.doomed = true, .parent = none, .text = none};
    struct qcow2_snap_new n = {
        .id = id, .name = "husk: being read", .opaque = record};
    uint64_t max = 0;
    size_t len = 0;
    int rc = greatest_id(vf->q, &max, err);

    for (unsigned i = 0; rc == 0 && i < vf->nr_others; i++)
        if (vf->others[i].q)
            rc = greatest_id(vf->others[i].q, &max, err);
    (void)snprintf(id, QCOW2_SNAP_ID_MAX + 1, "%llu",
                   (unsigned long long)max + 1);
    if (rc == 0)
        rc = snapmeta_pack(&m, record, sizeof(record), &len, err);
    n.opaque_len = (uint32_t)len;
    return rc < 0 ? rc : qcow2_snap_create(vf->q, &n, NULL, err);
}
