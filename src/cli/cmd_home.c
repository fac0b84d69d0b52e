/* Where VMs are: rename, delete, recover, purge. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/make.h"
#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

/* --- rename -----------------------------------------------------------------
 */

static int put_name(void *opaque, struct settings *s, struct err *err)
{
    return settings_force(s, "name", opaque, err);
}

/* The file's name is what counts; that in the settings follows it. */
static int rename_vm(struct args *a, char name[NAME_MAX + 1], struct err *err)
{
    char to[PATH_MAX];
    struct vm vm;
    int rc = vm_open(&vm, a, a->words[0], VMFILE_WRITE | VMFILE_SETTINGS, err);

    if (rc < 0)
        return rc;
    rc = make_path(a, a->words[1], to, name, err);
    if (rc == 0)
        rc = home_rename(vm.path, to, err);
    if (rc == 0)
        rc = vm_change(&vm, put_name, name, err);
    vm_drop(&vm);
    return rc;
}

int cmd_rename(struct args *a)
{
    char name[NAME_MAX + 1];
    struct err err = {0};
    int rc = rename_vm(a, name, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, name, "'%s' is called '%s' now", a->words[0], name);
    return STATUS_OK;
}

/* --- delete -----------------------------------------------------------------
 */

/* "NAME.diskN.qcow2", as create names them. */
static bool is_made_name(const char *file)
{
    const char *disk = strstr(file, ".disk");
    size_t digits;

    if (!disk || strchr(file, '/'))
        return false;
    digits = strspn(disk + 5, "0123456789");
    return digits > 0 && strcmp(disk + 5 + digits, ".qcow2") == 0;
}

/* The disks that husk made for it are beside it. What a VM from elsewhere calls
 * its disks could be another VM's. */
static bool is_own_disk(const struct vm *vm, const char *text,
                        char path[PATH_MAX])
{
    const char *slash = strrchr(vm->path, '/');
    int dir = slash ? (int)(slash - vm->path) + 1 : 0;
    struct vmconf_disk conf;
    struct err err;
    int n;

    if (vmconf_parse_disk(text, &conf, &err) < 0 || !is_made_name(conf.file) ||
        vm_is_foreign(vm))
        return false;
    n = snprintf(path, PATH_MAX, "%.*s%s", dir, vm->path, conf.file);
    return n > 0 && n < PATH_MAX && access(path, F_OK) == 0;
}

/* trashed: where the VM went; NULL: for ever. */
static int delete_disks(const struct vm *vm, const char *trashed,
                        struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;

    for (unsigned i = 0; rc == 0 && vm->settings; i++) {
        const char *text = settings_disk(vm->settings, i);

        if (!text)
            break;
        if (!is_own_disk(vm, text, path))
            continue;
        if (trashed)
            rc = home_trash_beside(trashed, path, err);
        else if (unlink(path) < 0)
            rc = err_sys(err, "delete '%s'", path);
    }
    return rc;
}

static int delete_files(const struct args *a, const struct vm *vm, bool purge,
                        struct err *err)
{
    char trashed[PATH_MAX];
    int rc;

    if (vm->settings && settings_flag(vm->settings, "protected"))
        return err_set(err, -ENOTEMPTY,
                       "'%s' is protected: 'husk unprotect %s' first", vm->name,
                       vm->name);
    if (!purge) {
        rc = home_trash(&a->home, vm->path, trashed, err);
        return rc < 0 ? rc : delete_disks(vm, trashed, err);
    }
    if (unlink(vm->path) < 0)
        return err_sys(err, "delete '%s'", vm->path);
    return delete_disks(vm, NULL, err);
}

/* The VM's lock is held while its file goes, so that nobody starts it. */
static int delete_vm(struct args *a, const char *word, struct err *err)
{
    bool purge = args_has(a, "purge");
    struct vm vm;
    int rc;

    if (purge && !vm_confirm(a, "Delete '%s' for ever?", word))
        return err_set(err, -EINVAL,
                       "delete '%s' for ever: not without --yes, or a terminal "
                       "to ask at",
                       word);
    rc = vm_open(&vm, a, word,
                 VMFILE_WRITE | VMFILE_PLAIN | VMFILE_CHECK | VMFILE_NO_BACKING,
                 err);
    if (rc < 0)
        return rc;
    rc = delete_files(a, &vm, purge, err);
    vm_drop(&vm);
    return rc;
}

/* Whether there is such a snapshot: the answer of a VM that has none could be
 * taken for that of no VM. */
static int look_for_snapshot(struct args *a, const char *name, const char *snap,
                             struct err *err)
{
    struct vmsnap *list = NULL;
    struct vm vm;
    size_t n = 0, i;
    int rc = vm_open(&vm, a, name,
                     VMFILE_PLAIN | VMFILE_NO_BACKING | VM_ANY_SETTINGS, err);

    if (rc < 0)
        return rc;
    rc = vmsnap_list(vm.vf, &list, &n, err);
    if (rc == 0)
        rc = vmsnap_find(vm.vf, list, n, snap, &i, err);
    vmsnap_free(list, n);
    vm_drop(&vm);
    return rc;
}

static int delete_running(struct args *a, const struct vm *vm, const char *snap,
                          struct err *err)
{
    const struct err busy = *err;
    json_t *answer = NULL;
    bool waits;
    int rc = look_for_snapshot(a, vm->path, snap, err);

    if (rc < 0)
        return rc;
    rc = vm_ask(a, vm->path,
                json_pack("{s:s, s:o}", "do", "disk-snapshot-delete", "name",
                          out_json_text(snap)),
                VM_ASK_MS, &answer, err);
    waits = json_is_true(json_object_get(answer, "waits"));
    json_decref(answer);
    if (rc == -ENOENT) {
        *err = busy;
        return -EBUSY;
    }
    return rc < 0 ? rc : waits;
}

/* 1: it goes when the last process that reads it ends. */
static int delete_snapshot(struct args *a, const char *name, const char *snap,
                           struct err *err)
{
    struct vm vm;
    int rc = vm_open(&vm, a, name, VMFILE_WRITE | VMFILE_PLAIN, err), closed;

    if (rc == -EBUSY)
        return delete_running(a, &vm, snap, err);
    if (rc < 0)
        return rc;
    rc = vmsnap_delete(vm.vf, snap, err);
    if (rc < 0) {
        vm_drop(&vm);
        return rc;
    }
    closed = vm_close(&vm, err);
    return closed < 0 ? closed : rc;
}

int cmd_delete(struct args *a)
{
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        char name[PATH_MAX];
        const char *snap = NULL;
        struct err err = {0};
        bool is_snap = vm_split(a->words[i], name, &snap);
        int rc = is_snap ? delete_snapshot(a, name, snap, &err)
                         : delete_vm(a, a->words[i], &err);

        if (rc < 0)
            status = args_fail(a, rc, &err);
        else if (rc > 0)
            out_done(a, a->words[i],
                     "'%s' goes when the last process that reads it ends",
                     a->words[i]);
        else if (is_snap || args_has(a, "purge"))
            out_done(a, a->words[i], "deleted '%s'", a->words[i]);
        else
            out_done(a, a->words[i],
                     "'%s' is in the trash: 'husk recover %s' brings it back",
                     a->words[i], a->words[i]);
    }
    return status;
}

/* --- recover ----------------------------------------------------------------
 */

static int recover(struct args *a, const char *word, const char *as,
                   struct err *err)
{
    struct home_trashed t;
    char to[PATH_MAX], dir[PATH_MAX], name[NAME_MAX + 1];
    int rc = home_find_trashed(&a->home, word, &t, err);
    char *slash;

    if (rc == 0)
        rc = make_path(a, as ? as : word, to, name, err);
    if (rc < 0)
        return rc;
    if (access(to, F_OK) == 0)
        return err_set(err, -EEXIST, "recover '%s': '%s' is there already",
                       word, to);
    (void)snprintf(dir, sizeof(dir), "%s", to);
    slash = strrchr(dir, '/');
    if (slash)
        *slash = '\0';
    rc = home_recover_beside(t.path, slash ? dir : ".", err);
    return rc < 0 ? rc : home_rename(t.path, to, err);
}

int cmd_recover(struct args *a)
{
    const char *as = args_value(a, "as");
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        const char *name = as ? as : a->words[i];
        struct err err = {0};
        int rc = recover(a, a->words[i], as, &err);

        if (rc < 0)
            status = args_fail(a, rc, &err);
        else
            out_done(a, name, "'%s' is back", name);
    }
    return status;
}

/* --- purge ------------------------------------------------------------------
 */

struct purge {
    struct args *a;
    uint64_t before; /* seconds since 1970 */
    bool *found;     /* for each word */
    bool doing;      /* else they are only counted */
    unsigned nr;
};

/* "30d", "12h", "5m": seconds. */
static int parse_time(const char *text, uint64_t *seconds, struct err *err)
{
    static const struct {
        char letter;
        uint64_t seconds;
    } units[] = {{'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    char *end;
    uint64_t n = strtoull(text, &end, 10);

    for (size_t i = 0; isdigit((unsigned char)*text) && i < ARRAY_LEN(units);
         i++)
        if (*end == units[i].letter && !end[1] && n < UINT32_MAX) {
            *seconds = n * units[i].seconds;
            return 0;
        }
    return err_set(err, -EINVAL,
                   "--older: '%.40s' is no time: use 30d, 12h or 5m", text);
}

static bool is_wanted(struct purge *p, const struct home_trashed *t)
{
    bool any = p->a->nr_words == 0;

    for (int i = 0; i < p->a->nr_words; i++)
        if (strcmp(p->a->words[i], t->name) == 0)
            any = p->found[i] = true;
    return any && t->deleted <= p->before;
}

static int purge_one(void *opaque, const struct home_trashed *t)
{
    struct purge *p = opaque;
    struct err err;

    if (!is_wanted(p, t))
        return 0;
    p->nr++;
    if (!p->doing)
        return 0;
    /* Its disks first: without it nobody would find them again. */
    if (home_purge_beside(t->path, &err) < 0)
        return args_fail(p->a, err.code, &err);
    if (unlink(t->path) < 0)
        return args_fail(p->a, err_sys(&err, "delete '%s'", t->path), &err);
    out_done(p->a, t->name, "deleted '%s' for ever", t->name);
    return 0;
}

static int purge(struct purge *p, struct err *err)
{
    int rc = home_each_trashed(&p->a->home, purge_one, p, err);

    for (int i = 0; rc == 0 && i < p->a->nr_words; i++)
        if (!p->found[i])
            rc = err_set(err, -ENOENT, "there is no VM '%s' in the trash",
                         p->a->words[i]);
    if (rc != 0 || p->nr == 0)
        return rc;
    if (!vm_confirm(p->a, "Delete %u VM%s for ever?", p->nr,
                    p->nr == 1 ? "" : "s"))
        return err_set(err, -EINVAL,
                       "purge: not without --yes, or a terminal to ask at");
    p->doing = true;
    return home_each_trashed(&p->a->home, purge_one, p, err);
}

int cmd_purge(struct args *a)
{
    bool found[ARGS_MAX_WORDS] = {false};
    struct purge p = {.a = a, .before = UINT64_MAX, .found = found};
    const char *older = args_value(a, "older");
    struct err err = {0};
    uint64_t age = 0;
    int rc = older ? parse_time(older, &age, &err) : 0;

    if (rc == 0 && older)
        p.before = (uint64_t)time(NULL) - age;
    if (rc == 0)
        rc = purge(&p, &err);
    if (rc < 0)
        return args_fail(a, rc, &err);
    return rc;
}
