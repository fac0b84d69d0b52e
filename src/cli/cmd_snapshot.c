/* Snapshots of a VM's disks: snapshot, snapshots, restore. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/facts.h"
#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

/* --- snapshot ---------------------------------------------------------------
 */

/* The name of the last one, for it was husk that chose it. */
static int last_name(const struct args *a, const char *word,
                     char name[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    struct vmsnap *list = NULL;
    struct vm vm;
    size_t n = 0;
    int rc = vm_open(&vm, a, word, VMFILE_NO_BACKING | VMFILE_PLAIN, err);

    if (rc < 0)
        return rc;
    rc = vmsnap_list(vm.vf, &list, &n, err);
    (void)snprintf(name, QCOW2_SNAP_NAME_MAX + 1, "%s",
                   n ? list[n - 1].name : "");
    vmsnap_free(list, n);
    vm_drop(&vm);
    return rc;
}

static int snapshot_running(const struct args *a, const char *path,
                            const struct vmsnap_new *s,
                            char name[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    json_t *command = json_pack("{s:s}", "do", "disk-snapshot");
    json_t *answer = NULL;
    int rc;

    if (s->name)
        (void)json_object_set_new(command, "name", out_json_text(s->name));
    if (s->text)
        (void)json_object_set_new(command, "text", out_json_text(s->text));
    rc = vm_ask(a, path, command, VM_ASK_MS, &answer, err);
    json_decref(answer);
    if (rc < 0)
        return rc;
    if (!s->name)
        return last_name(a, a->words[0], name, err);
    (void)snprintf(name, QCOW2_SNAP_NAME_MAX + 1, "%s", s->name);
    return 0;
}

static int snapshot(const struct args *a, const struct vmsnap_new *s,
                    char name[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    struct vm vm;
    struct err busy;
    int rc = vm_open(&vm, a, a->words[0], VMFILE_WRITE | VMFILE_PLAIN, err);

    if (rc == -EBUSY) {
        busy = *err;
        rc = snapshot_running(a, vm.path, s, name, err);
        if (rc != -ENOENT)
            return rc;
        *err = busy;
        return -EBUSY;
    }
    if (rc < 0)
        return rc;
    rc = vmsnap_create(vm.vf, s, name, err);
    if (rc == 0)
        return vm_close(&vm, err);
    vm_drop(&vm);
    return rc;
}

int cmd_snapshot(struct args *a)
{
    const struct vmsnap_new s = {.name = a->nr_words > 1 ? a->words[1] : NULL,
                                 .text = args_value(a, "message")};
    char name[QCOW2_SNAP_NAME_MAX + 1] = "";
    struct err err = {0};
    int rc = snapshot(a, &s, name, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, name, "kept '%s' as '%s@%s'", a->words[0], a->words[0], name);
    return STATUS_OK;
}

/* --- snapshots --------------------------------------------------------------
 */

struct tree {
    struct vmfile *vf;
    const struct vmsnap *list;
    size_t n;
    const char *active; /* id that the disk comes from; "" if none */
    bool people;        /* make "tree", too */
    bool *done;
    json_t *rows;
};

static const struct vmsnap *by_id(const struct tree *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++)
        if (strcmp(t->list[i].id, id) == 0)
            return &t->list[i];
    return NULL;
}

static void add_row(struct tree *t, size_t i, unsigned depth)
{
    const struct vmsnap *s = &t->list[i], *parent = by_id(t, s->parent);
    json_t *row = facts_snapshot(t->vf, s, parent ? parent->name : NULL);
    char *text = NULL;

    (void)json_object_set_new(row, "current",
                              json_boolean(strcmp(t->active, s->id) == 0));
    if (t->people &&
        asprintf(&text, "%*s%s", (int)(2 * depth), "", s->name) >= 0) {
        (void)json_object_set_new(row, "tree", out_json_text(text));
        free(text);
    }
    (void)json_array_append_new(t->rows, row);
}

/* Those that come from the snapshot with this id, and theirs behind each. A
 * hostile list can be a loop: each is shown once. */
static void add_children(struct tree *t, const char *id, unsigned depth)
{
    for (size_t i = 0; i < t->n; i++) {
        const char *parent =
            by_id(t, t->list[i].parent) ? t->list[i].parent : "";

        if (t->done[i] || strcmp(parent, id) != 0)
            continue;
        t->done[i] = true;
        add_row(t, i, depth);
        if (depth < 64)
            add_children(t, t->list[i].id, depth + 1);
    }
}

static json_t *make_tree(const struct args *a, struct vm *vm,
                         const struct vmsnap *list, size_t n)
{
    const char *active =
        vm->settings ? settings_own(vm->settings, "parent") : NULL;
    struct tree t = {.vf = vm->vf,
                     .list = list,
                     .n = n,
                     .active = active ? active : "",
                     .people = a->format == FORMAT_TABLE,
                     .done = calloc(n + 1, sizeof(bool)),
                     .rows = json_array()};

    if (!t.done)
        return t.rows;
    add_children(&t, "", 0);
    for (size_t i = 0; i < n; i++)
        if (!t.done[i])
            add_row(&t, i, 0);
    free(t.done);
    return t.rows;
}

int cmd_snapshots(struct args *a)
{
    static const struct column columns[] = {
        {"SNAPSHOT", "tree", COLUMN_TEXT}, {"HERE", "current", COLUMN_FLAG},
        {"AGE", "created", COLUMN_AGE},    {"DISK", "disk", COLUMN_SIZE},
        {"OWN", "unique", COLUMN_SIZE},    {"MESSAGE", "message", COLUMN_TEXT},
    };
    struct vmsnap *list = NULL;
    struct err err = {0};
    json_t *rows = NULL;
    struct vm vm;
    size_t n = 0;
    int rc =
        vm_open(&vm, a, a->words[0], VMFILE_NO_BACKING | VMFILE_PLAIN, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    rc = vmsnap_list(vm.vf, &list, &n, &err);
    if (rc == 0)
        rows = make_tree(a, &vm, list, n);
    vmsnap_free(list, n);
    vm_drop(&vm);
    if (rc < 0)
        return args_fail(a, rc, &err);
    out_list(a, rows, columns, ARRAY_LEN(columns));
    return STATUS_OK;
}

/* --- restore ----------------------------------------------------------------
 */

/* What is there now, unless there is nothing to lose it from: it is looked for
 * first, so that a wrong name leaves no snapshot behind. */
static int save(struct vm *vm, const char *snap,
                char saved[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    struct vmsnap_new s = {.safety = true};
    struct vmsnap *list = NULL;
    char text[VMSNAP_TEXT_MAX + 1];
    size_t n = 0, i = 0;
    int rc = vmsnap_list(vm->vf, &list, &n, err);

    if (rc == 0)
        rc = vmsnap_find(vm->vf, list, n, snap, &i, err);
    vmsnap_free(list, n);
    if (rc < 0)
        return rc;
    (void)snprintf(text, sizeof(text), "before the restore of %.64s", snap);
    s.text = text;
    return vmsnap_create(vm->vf, &s, saved, err);
}

static int restore(const struct args *a, const char *name, const char *snap,
                   char saved[QCOW2_SNAP_NAME_MAX + 1], struct err *err)
{
    struct vm vm;
    int rc = vm_open(&vm, a, name, VMFILE_WRITE | VMFILE_PLAIN, err);

    if (rc < 0)
        return rc;
    if (!args_has(a, "no-save"))
        rc = save(&vm, snap, saved, err);
    if (rc == 0)
        rc = vmsnap_restore(vm.vf, snap, args_has(a, "keep-settings"), err);
    if (rc == 0)
        return vm_close(&vm, err);
    vm_drop(&vm);
    return rc;
}

int cmd_restore(struct args *a)
{
    char name[PATH_MAX], saved[QCOW2_SNAP_NAME_MAX + 1] = "";
    const char *snap = NULL;
    struct err err = {0};
    int rc;

    if (!vm_split(a->words[0], name, &snap))
        return args_fail(a,
                         err_set(&err, -EINVAL,
                                 "restore: say which snapshot: %.80s@SNAP",
                                 a->words[0]),
                         &err);
    rc = restore(a, name, snap, saved, &err);
    if (rc < 0)
        return args_fail(a, rc, &err);
    if (*saved)
        out_done(a, a->words[0],
                 "'%s' is back; what was there before is '%s@%s'", a->words[0],
                 name, saved);
    else
        out_done(a, a->words[0], "'%s' is back", a->words[0]);
    return STATUS_OK;
}
