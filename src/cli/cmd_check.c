/* Care for a VM's file: check and compact. */
#include <errno.h>
#include <string.h>

#include "cli/out.h"
#include "cli/progress.h"
#include "cli/status.h"
#include "cli/vm.h"
#include "vmfile/vmlock.h"

/* --- check ------------------------------------------------------------------
 */

/* Who only looks must know that nobody writes; who repairs holds the lock. */
static int open_for_check(struct vm *vm, const struct args *a, const char *word,
                          bool repair, struct err *err)
{
    struct vmlock_owner o;
    int rc = vm_open(vm, a, word,
                     VMFILE_PLAIN | VMFILE_CHECK | VMFILE_NO_BACKING |
                         (repair ? VMFILE_WRITE : 0),
                     err);

    if (rc < 0)
        return rc;
    if (!repair && vmlock_owner(vmfile_fd(vm->vf), &o) > 0)
        rc = err_set(err, -EBUSY,
                     "check '%s': it is in use, and changes while one looks",
                     vm->path);
    else if (repair && vmpin_any_held(vmfile_fd(vm->vf)))
        rc = err_set(err, -EBUSY,
                     "repair '%s': another process has a snapshot of it mapped",
                     vm->path);
    if (rc < 0)
        vm_drop(vm);
    return rc;
}

static uint64_t wrong(const struct qcow2_check *c)
{
    return c->low + c->overlaps + c->outside + c->invalid + c->copied;
}

static json_t *check_facts(const struct vm *vm, const struct qcow2_check *c,
                           bool repair)
{
    const char *verdict = "sound";

    if (repair ? c->remaining : wrong(c))
        verdict = "damaged";
    else if (repair && c->repaired)
        verdict = "repaired";
    else if (c->leaks && !repair)
        verdict = "leaks";
    return json_pack(
        "{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b}",
        "name", out_json_text(vm->name), "verdict", verdict, "clusters",
        (json_int_t)c->clusters, "allocated", (json_int_t)c->allocated, "leaks",
        (json_int_t)c->leaks, "low", (json_int_t)c->low, "overlaps",
        (json_int_t)c->overlaps, "outside", (json_int_t)c->outside, "invalid",
        (json_int_t)c->invalid, "copied", (json_int_t)c->copied, "repaired",
        (json_int_t)c->repaired, "remaining", (json_int_t)c->remaining,
        "settings", (int)(vm->settings || !vmfile_has_settings(vm->vf)));
}

static int check_one(const struct args *a, const char *word, json_t **facts,
                     struct err *err)
{
    bool repair = args_has(a, "repair");
    struct qcow2_check c = {0};
    struct progress p;
    struct vm vm;
    int rc = open_for_check(&vm, a, word, repair, err);

    if (rc < 0)
        return rc;
    progress_begin(&p, a, "check");
    rc = qcow2_check(vmfile_qcow2(vm.vf), repair, &c, progress_step, &p, err);
    progress_end(&p);
    if (rc == 0)
        *facts = check_facts(&vm, &c, repair);
    if (rc == 0 && repair)
        return vm_close(&vm, err);
    vm_drop(&vm);
    return rc;
}

int cmd_check(struct args *a)
{
    static const struct column columns[] = {
        {"VM", "name", COLUMN_TEXT},
        {"VERDICT", "verdict", COLUMN_TEXT},
        {"CLUSTERS", "clusters", COLUMN_NUMBER},
        {"LEAKS", "leaks", COLUMN_NUMBER},
        {"LOW", "low", COLUMN_NUMBER},
        {"OVERLAPS", "overlaps", COLUMN_NUMBER},
        {"OUTSIDE", "outside", COLUMN_NUMBER},
        {"INVALID", "invalid", COLUMN_NUMBER},
        {"REPAIRED", "repaired", COLUMN_NUMBER},
        {"SETTINGS", "settings", COLUMN_FLAG},
    };
    json_t *rows = json_array();
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        struct err err = {0};
        json_t *facts = NULL;
        const char *verdict;
        int rc = check_one(a, a->words[i], &facts, &err);

        if (rc < 0) {
            status = args_fail(a, rc, &err);
            json_decref(facts);
            continue;
        }
        verdict = json_string_value(json_object_get(facts, "verdict"));
        if (strcmp(verdict, "damaged") == 0 ||
            json_is_false(json_object_get(facts, "settings")))
            status = STATUS_DAMAGED;
        (void)json_array_append_new(rows, facts);
    }
    out_list(a, rows, columns, ARRAY_LEN(columns));
    return status;
}

/* --- compact ----------------------------------------------------------------
 */

static int compact_disk(const struct args *a, struct qcow2 *q, uint64_t *saved,
                        struct err *err)
{
    struct progress p;
    uint64_t bytes = 0;
    int rc;

    progress_begin(&p, a, "compact");
    rc = qcow2_compact(q, progress_step, &p, &bytes, err);
    progress_end(&p);
    *saved += rc == 0 ? bytes : 0;
    return rc;
}

static int compact(const struct args *a, const char *word, uint64_t *saved,
                   struct err *err)
{
    struct vm vm;
    int rc = vm_open(&vm, a, word, VMFILE_WRITE | VMFILE_PLAIN, err);

    if (rc < 0)
        return rc;
    if (vmpin_any_held(vmfile_fd(vm.vf)))
        rc =
            err_set(err, -EBUSY,
                    "compact '%s': another process has a snapshot of it mapped",
                    vm.path);
    else
        rc = compact_disk(a, vmfile_qcow2(vm.vf), saved, err);
    for (unsigned i = 0; rc == 0 && i < vm.nr_disks; i++)
        if (vm.disks[i].q)
            rc = compact_disk(a, vm.disks[i].q, saved, err);
    if (rc == 0)
        return vm_close(&vm, err);
    vm_drop(&vm);
    return rc;
}

int cmd_compact(struct args *a)
{
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        struct err err = {0};
        char size[OUT_SIZE];
        uint64_t saved = 0;
        int rc = compact(a, a->words[i], &saved, &err);

        if (rc < 0)
            status = args_fail(a, rc, &err);
        else
            out_done(a, a->words[i], "'%s' is smaller by %s", a->words[i],
                     out_size(saved, size));
    }
    return status;
}
