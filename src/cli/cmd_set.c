/*
 * Settings: set, get, edit, protect. They may change while the VM runs; what
 * cannot reach it then counts from its next start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/fdio.h"
#include "cli/make.h"
#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"
#include "vmfile/vmlock.h"

/* --- set --------------------------------------------------------------------
 */

struct change {
    const struct args *a;
    const char *disk; /* the value of disk=, or NULL */
    int nr;           /* changes of settings */
};

static bool is_file_key(const char *key)
{
    return strcmp(key, "boot.kernel") == 0 || strcmp(key, "boot.initrd") == 0 ||
           strcmp(key, "iso") == 0 || strcmp(key, "floppy") == 0;
}

/* KEY=VALUE with room for the key. */
static int split(const char *word, char key[128], const char **value,
                 struct err *err)
{
    const char *eq = strchr(word, '=');

    if (!eq || eq == word || eq - word >= 128)
        return err_set(err, -EINVAL, "set: '%.80s' is not KEY=VALUE", word);
    (void)snprintf(key, 128, "%.*s", (int)(eq - word), word);
    *value = eq + 1;
    return 0;
}

static int set_one(struct settings *s, const char *word, struct err *err)
{
    char key[128], path[PATH_MAX];
    const char *value = "";
    int rc = split(word, key, &value, err);

    if (rc == 0 && is_file_key(key) && *value && strcmp(value, "none") != 0) {
        rc = make_absolute(value, path, err);
        value = path;
    }
    if (rc == 0 && strcmp(key, "disk") != 0)
        rc = settings_set(s, key, value, err);
    /* A wrong word is bad usage, not a VM that is not there. */
    return rc == -ENOENT || rc == -EPERM ? -EINVAL : rc;
}

static int set_all(void *opaque, struct settings *s, struct err *err)
{
    const struct change *c = opaque;
    int rc = 0;

    for (int i = 1; rc == 0 && i < c->a->nr_words; i++)
        rc = set_one(s, c->a->words[i], err);
    return rc;
}

/* "20G" or "+10G" of a disk that has now bytes. */
static int parse_growth(const char *text, uint64_t now, uint64_t *want,
                        struct err *err)
{
    bool more = *text == '+';
    uint64_t bytes = 0;

    if (vmconf_parse_size(text + more, &bytes) < 0 || bytes % 512 ||
        !add_ok(bytes, more ? now : 0, want) || *want > (uint64_t)1 << 50)
        return err_set(err, -EINVAL,
                       "set disk: '%.40s' is no size of a disk: use 20G, or "
                       "+10G to add to it",
                       text);
    if (*want < now)
        return err_set(err, -EINVAL,
                       "set disk: %llu bytes are less than the %llu that it "
                       "has: a disk can only grow",
                       (unsigned long long)*want, (unsigned long long)now);
    return 0;
}

/* Where the disk is in what a running machine says; its size in bytes. */
static int running_size(const struct args *a, const char *path, uint64_t *size,
                        struct err *err)
{
    json_t *status = NULL;
    int rc = vm_ask(a, path, json_pack("{s:s}", "do", "status"), VM_LOOK_MS,
                    &status, err);

    if (rc < 0)
        return rc;
    *size = (uint64_t)json_integer_value(json_object_get(
        json_array_get(json_object_get(status, "disks"), 0), "size"));
    json_decref(status);
    return 0;
}

static int grow_running(const struct args *a, const char *path,
                        const char *text, struct err *err)
{
    json_t *answer = NULL;
    uint64_t now = 0, want = 0;
    int rc = running_size(a, path, &now, err);

    if (rc == 0)
        rc = parse_growth(text, now, &want, err);
    if (rc == 0)
        rc = vm_ask(a, path,
                    json_pack("{s:s, s:i, s:I}", "do", "disk-resize", "disk", 0,
                              "size", (json_int_t)want),
                    VM_ASK_MS, &answer, err);
    json_decref(answer);
    return rc;
}

static int grow(const struct args *a, const char *text, struct err *err)
{
    struct vm vm;
    struct err busy;
    uint64_t want = 0;
    struct blk *b;
    int rc = vm_open(&vm, a, a->words[0], VMFILE_WRITE, &busy);

    if (rc == -EBUSY) {
        rc = grow_running(a, vm.path, text, err);
        if (rc == -ENOENT)
            *err = busy;
        return rc == -ENOENT ? -EBUSY : rc;
    }
    if (rc < 0) {
        *err = busy;
        return rc;
    }
    b = qcow2_blk(vmfile_qcow2(vm.vf));
    rc = parse_growth(text, blk_size(b), &want, err);
    if (rc == 0)
        rc = blk_resize(b, want, err);
    if (rc < 0)
        vm_drop(&vm);
    else
        rc = vm_close(&vm, err);
    return rc;
}

static int look_at_words(struct change *c, struct err *err)
{
    char key[128];
    const char *value = "";

    for (int i = 1; i < c->a->nr_words; i++) {
        int rc = split(c->a->words[i], key, &value, err);

        if (rc < 0)
            return rc;
        if (strcmp(key, "disk") == 0)
            c->disk = value;
        else
            c->nr++;
    }
    return 0;
}

/* Returns 1 if the VM runs, and so knows nothing of the change. */
static int change_settings(const struct args *a, const char *word,
                           vm_change_fn *f, void *opaque, struct err *err)
{
    struct vmlock_owner o;
    struct vm vm;
    int rc = vm_open(&vm, a, word, VMFILE_WRITE | VMFILE_SETTINGS, err);

    if (rc < 0)
        return rc;
    rc = vm_change(&vm, f, opaque, err);
    if (rc == 0 && vmlock_owner(vmfile_fd(vm.vf), &o) > 0)
        rc = strcmp(o.doing, "run") == 0;
    vm_drop(&vm);
    return rc;
}

int cmd_set(struct args *a)
{
    struct change c = {.a = a};
    struct err err = {0};
    int rc = look_at_words(&c, &err);
    bool later = false;

    if (rc == 0 && c.nr)
        rc = change_settings(a, a->words[0], set_all, &c, &err);
    later = rc > 0;
    if (rc >= 0 && c.disk)
        rc = grow(a, c.disk, &err);
    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, a->words[0],
             later ? "changed '%s': settings count from its next start on"
                   : "changed '%s'",
             a->words[0]);
    return STATUS_OK;
}

/* --- get --------------------------------------------------------------------
 */

static int get_one(struct vm *vm, const char *key, char **value,
                   struct err *err)
{
    int rc;

    if (strcmp(key, "disk") == 0) {
        if (asprintf(value, "%llu",
                     (unsigned long long)blk_size(
                         qcow2_blk(vmfile_qcow2(vm->vf)))) < 0)
            return err_set(err, -ENOMEM, "get: out of memory");
        return 0;
    }
    rc = settings_get(vm->settings, key, value, err);
    return rc == -ENOENT ? -EINVAL : rc;
}

/* The values of the keys, or of all that are set or have defaults. */
static int get_all(struct vm *vm, const struct args *a, json_t *rows,
                   struct err *err)
{
    bool all = a->nr_words == 1;
    unsigned nr = all ? settings_nr_keys : (unsigned)a->nr_words - 1;
    const char *label;
    json_t *v;

    for (unsigned i = 0; i < nr; i++) {
        const char *key = all ? settings_keys[i].name : a->words[i + 1];
        char *value = NULL;
        int rc = get_one(vm, key, &value, err);

        if (rc < 0)
            return rc;
        if (value || !all)
            (void)json_array_append_new(
                rows, json_pack("{s:s, s:o}", "name", key, "value",
                                value ? out_json_text(value) : json_null()));
        free(value);
    }
    json_object_foreach(
        all ? json_object_get(settings_json(vm->settings), "labels") : NULL,
        label, v)
    {
        char key[128];

        (void)snprintf(key, sizeof(key), "labels.%s", label);
        (void)json_array_append_new(
            rows, json_pack("{s:s, s:O}", "name", key, "value", v));
    }
    return 0;
}

static void print_values(const struct args *a, json_t *rows)
{
    static const struct column columns[] = {{"KEY", "name", COLUMN_TEXT},
                                            {"VALUE", "value", COLUMN_TEXT}};
    const char *value;

    /* Of one key the bare value, for scripts. */
    if (a->nr_words != 2 || a->format != FORMAT_TABLE) {
        out_list(a, rows, columns, ARRAY_LEN(columns));
        return;
    }
    value =
        json_string_value(json_object_get(json_array_get(rows, 0), "value"));
    out_text(stdout, value ? value : "");
    (void)putchar('\n');
    json_decref(rows);
}

int cmd_get(struct args *a)
{
    struct err err = {0};
    json_t *rows;
    struct vm vm;
    int rc = vm_open(&vm, a, a->words[0], VMFILE_NO_BACKING, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    rows = json_array();
    rc = get_all(&vm, a, rows, &err);
    vm_drop(&vm);
    if (rc < 0) {
        json_decref(rows);
        return args_fail(a, rc, &err);
    }
    print_values(a, rows);
    return STATUS_OK;
}

/* --- protect ----------------------------------------------------------------
 */

static int put_protected(void *opaque, struct settings *s, struct err *err)
{
    return settings_force(s, "protected", opaque, err);
}

static int protect(struct args *a, const char *value, const char *done)
{
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        struct err err = {0};
        char text[8];
        int rc;

        (void)snprintf(text, sizeof(text), "%s", value);
        rc = change_settings(a, a->words[i], put_protected, text, &err);
        if (rc < 0)
            status = args_fail(a, rc, &err);
        else
            out_done(a, a->words[i], "'%s' %s", a->words[i], done);
    }
    return status;
}

int cmd_protect(struct args *a)
{
    return protect(a, "yes", "cannot be deleted now");
}

int cmd_unprotect(struct args *a)
{
    return protect(a, "no", "can be deleted now");
}

/* --- edit -------------------------------------------------------------------
 */

/* The settings as a person sees them, in a file of his own. */
static int write_draft(const struct settings *s, char path[PATH_MAX],
                       struct err *err)
{
    json_t *v = json_deep_copy(settings_json(s)), *member;
    const char *key,
        *dir = getenv("TMPDIR"); /* NOLINT(concurrency-mt-unsafe) */
    char *text;
    void *next;
    int fd, rc = 0;

    json_object_foreach_safe(v, next, key, member)
    {
        if (settings_is_own(key))
            (void)json_object_del(v, key);
    }
    text = json_dumps(v, JSON_INDENT(4));
    json_decref(v);
    (void)snprintf(path, PATH_MAX, "%s/husk-edit-XXXXXX.json",
                   dir && *dir && strlen(dir) < PATH_MAX / 2 ? dir : "/tmp");
    fd = mkostemps(path, 5, O_CLOEXEC);
    if (!text || fd < 0)
        rc = err_sys(err, "write the settings to '%s'", path);
    else if ((rc = fd_write_full(fd, text, strlen(text))) == 0)
        rc = fd_write_full(fd, "\n", 1);
    if (fd >= 0)
        (void)close(fd);
    free(text);
    return rc;
}

static int run_editor(const char *path, struct err *err)
{
    const char *editor = getenv("VISUAL"); /* NOLINT(concurrency-mt-unsafe) */
    int status;
    pid_t pid;

    if (!editor || !*editor)
        editor = getenv("EDITOR"); /* NOLINT(concurrency-mt-unsafe) */
    if (!editor || !*editor)
        editor = "vi";
    pid = fork();
    if (pid < 0)
        return err_sys(err, "run the editor '%s'", editor);
    if (pid == 0) {
        char *command = NULL;

        /* An editor may come with options: "code --wait". */
        if (asprintf(&command, "%s \"$1\"", editor) >= 0)
            (void)execl("/bin/sh", "sh", "-c", command, "sh", path, NULL);
        _exit(127);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return err_set(err, -ECANCELED,
                   "the editor '%s' failed: nothing was changed", editor);
}

struct edit {
    const struct settings *before;
    struct settings *after;
};

/* Replace all but husk's own keys, unless somebody else changed something. */
static int take_edit(void *opaque, struct settings *s, struct err *err)
{
    const struct edit *e = opaque;
    json_t *now = settings_json(s), *v;
    const char *key;
    void *next;

    if (!json_equal(now, settings_json(e->before)))
        return err_set(err, -EBUSY,
                       "the settings were changed by another process while you "
                       "edited them: nothing was changed");
    json_object_foreach_safe(now, next, key, v)
    {
        if (!settings_is_own(key))
            (void)json_object_del(now, key);
    }
    json_object_foreach(settings_json(e->after), key, v)
    {
        if (!settings_is_own(key))
            (void)json_object_set(now, key, v);
    }
    return 0;
}

static int edit(struct vm *vm, const char *path, struct err *err)
{
    struct edit e = {.before = vm->settings};
    uint8_t *text = NULL;
    size_t len = 0;
    int rc = run_editor(path, err);

    if (rc == 0)
        rc = fd_read_file(path, 1 << 20, &text, &len, err);
    if (rc == 0)
        rc = settings_parse((const char *)text, len, &e.after, err);
    free(text);
    if (rc < 0)
        return rc;
    rc = vm_change(vm, take_edit, &e, err);
    settings_free(e.after);
    return rc;
}

int cmd_edit(struct args *a)
{
    char path[PATH_MAX];
    struct err err = {0};
    struct vm vm;
    int rc = vm_open(&vm, a, a->words[0], VMFILE_WRITE | VMFILE_SETTINGS, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    rc = write_draft(vm.settings, path, &err);
    if (rc == 0)
        rc = edit(&vm, path, &err);
    (void)unlink(path);
    vm_drop(&vm);
    if (rc < 0)
        return args_fail(a, rc, &err);
    out_done(a, a->words[0], "changed '%s'", a->words[0]);
    return STATUS_OK;
}
