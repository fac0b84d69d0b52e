/* VMs as verbs work on them (vm.c), what is made new (make.c), what is known of
 * one (facts.c), and images in and out (copy.c). */
#include "cli/vm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bootdisk/child.h"
#include "cli/boots.h"
#include "cli/copy.h"
#include "cli/facts.h"
#include "cli/make.h"
#include "tests/unit/test.h"

struct fix {
    char dir[64];
    struct args a;
};

static int begin(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    struct err err;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-cli-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->a.verb = verb_find("set");
    assert_int_equal(home_init(&f->a.home, f->dir, &err), 0);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fix *f = *state;
    char command[128];

    (void)snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

/* A VM of this name, with a disk of 16 MiB. */
static void make_vm(const struct fix *f, const char *name)
{
    char path[PATH_MAX];
    struct err err = {0};
    struct settings *s = vm_new_settings(name, &err);
    char *text = settings_print(s);

    assert_int_equal(home_path(&f->a.home, name, path, &err), 0);
    assert_int_equal(vmfile_create(path, 16 << 20, text, strlen(text), &err),
                     0);
    free(text);
    settings_free(s);
}

static void snapshots_are_named_behind_an_at(void **state)
{
    static const struct {
        const char *word, *name, *snap;
    } cases[] = {{"web@one", "web", "one"},
                 {"a@b/web@one", "a@b/web", "one"},
                 {"web@", "web", ""},
                 {"web@a@b", "web", "a@b"}};
    char name[PATH_MAX];
    const char *snap;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(vm_split(cases[i].word, name, &snap));
        assert_string_equal(name, cases[i].name);
        assert_string_equal(snap, cases[i].snap);
    }
    assert_false(vm_split("web", name, &snap));
    assert_false(vm_split("a@b/web", name, &snap));
}

static int set_cpus(void *opaque, struct settings *s, struct err *err)
{
    return settings_set(s, "cpus", opaque, err);
}

static void a_change_is_whole_or_not(void **state)
{
    struct fix *f = *state;
    struct vm vm;
    struct err err;
    char good[] = "7", bad[] = "many";

    make_vm(f, "web");
    assert_int_equal(
        vm_open(&vm, &f->a, "web", VMFILE_WRITE | VMFILE_SETTINGS, &err), 0);
    assert_string_equal(vm.name, "web");
    assert_int_equal(vm_change(&vm, set_cpus, good, &err), 0);
    assert_int_equal(vm_change(&vm, set_cpus, bad, &err), -EINVAL);
    assert_int_equal(settings_number(vm.settings, "cpus"), 7);
    vm_drop(&vm);
    assert_int_equal(vm_open(&vm, &f->a, "web", 0, &err), 0);
    assert_int_equal(settings_number(vm.settings, "cpus"), 7);
    assert_int_equal(vm_close(&vm, &err), 0);
    assert_int_equal(vm_open(&vm, &f->a, "none", 0, &err), -ENOENT);
    assert_non_null(strstr(err.text, "no VM 'none'"));
    assert_int_equal(vm_open(&vm, &f->a, "a b", 0, &err), -EINVAL);
}

static void nobody_answers_for_a_vm_that_is_off(void **state)
{
    struct fix *f = *state;
    json_t *answer = NULL;
    char path[PATH_MAX];
    struct err err;

    make_vm(f, "web");
    assert_int_equal(home_path(&f->a.home, "web", path, &err), 0);
    assert_int_equal(vm_ask(&f->a, path, json_pack("{s:s}", "do", "ping"),
                            VM_LOOK_MS, &answer, &err),
                     -ENOENT);
    assert_null(answer);
}

static void without_a_terminal_nobody_agrees(void **state)
{
    struct fix *f = *state;
    int kept = dup(STDIN_FILENO), none = open("/dev/null", O_RDONLY);

    assert_true(kept >= 0 && dup2(none, STDIN_FILENO) >= 0);
    assert_false(vm_confirm(&f->a, "Delete?"));
    f->a.yes = true;
    assert_true(vm_confirm(&f->a, "Delete?"));
    assert_true(dup2(kept, STDIN_FILENO) >= 0);
    (void)close(kept);
    (void)close(none);
}

static void a_row_says_what_is_wrong(void **state)
{
    struct fix *f = *state;
    char path[PATH_MAX];
    struct err err;
    json_t *row;
    int fd;

    make_vm(f, "web");
    assert_int_equal(home_path(&f->a.home, "web", path, &err), 0);
    row = facts_row(&f->a, path, "web");
    assert_string_equal(json_string_value(json_object_get(row, "state")),
                        "stopped");
    assert_int_equal(json_integer_value(json_object_get(row, "disk")),
                     16 << 20);
    assert_null(json_object_get(row, "error"));
    json_decref(row);
    fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(fd, "hello", 5), 5);
    (void)close(fd);
    row = facts_row(&f->a, path, "web");
    assert_string_equal(json_string_value(json_object_get(row, "state")),
                        "damaged");
    assert_true(json_is_string(json_object_get(row, "error")));
    json_decref(row);
    row = facts_all(&f->a, "web", &err);
    assert_null(row);
    assert_int_equal(err.code, -EMEDIUMTYPE);
}

static int want(void *opaque, struct settings *s, struct err *err)
{
    const char *const *setting = opaque;

    return settings_set(s, setting[0], setting[1], err);
}

/* How it boots with this setting. */
static void check_boots(struct fix *f, const char *key, const char *value,
                        const char *expected)
{
    const char *setting[] = {key, value};
    struct err err = {0};
    const char *text;
    json_t *v;
    struct vm vm;

    assert_int_equal(vm_open(&vm, &f->a, "web", VMFILE_WRITE, &err), 0);
    assert_int_equal(vm_change(&vm, want, setting, &err), 0);
    vm_drop(&vm);
    v = facts_all(&f->a, "web", &err);
    assert_non_null(v);
    text =
        json_string_value(json_object_get(json_object_get(v, "boots"), "text"));
    if (!text || !strstr(text, expected))
        fail_msg("%s=%s: '%s'", key, value, text ? text : "nothing");
    json_decref(v);
}

static void it_is_known_how_a_vm_will_boot(void **state)
{
    struct fix *f = *state;

    make_vm(f, "web");
    check_boots(f, "boot.firmware", "auto", "by SeaBIOS: it has no ext2");
    check_boots(f, "boot.firmware", "uefi", "by OVMF: its settings say so");
    check_boots(f, "boot.firmware", "none", "not at all: it has no ext2");
    check_boots(f, "boot.firmware", "auto", "by SeaBIOS: it has no ext2");
    check_boots(f, "boot.order", "cd", "by SeaBIOS: its settings say so");
    check_boots(f, "boot.kernel", "/k", "/k, as its settings say");
}

static void files_in_options_become_absolute(void **state)
{
    struct fix *f = *state;
    char path[PATH_MAX], name[NAME_MAX + 1];
    struct err err;

    assert_int_equal(make_absolute("/tmp/../tmp/.", path, &err), 0);
    assert_string_equal(path, "/tmp");
    assert_int_equal(make_absolute("/nowhere/at/all", path, &err), -ENOENT);
    assert_int_equal(make_path(&f->a, "web", path, name, &err), 0);
    assert_string_equal(name, "web");
    assert_int_equal(make_path(&f->a, "./w b.husk", path, name, &err), -EINVAL);
}

/* --- Copies -----------------------------------------------------------------
 */

enum { IMAGE = 3 << 20 };

/* A raw image with data here and there; it ends within a sector's bytes. */
static void make_image(const char *path, char *content)
{
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    memset(content, 0, IMAGE);
    memset(content + 70000, 'a', 10);
    memset(content + (1 << 20), 'b', 200000);
    content[IMAGE - 1] = 'z';
    assert_int_equal(ftruncate(fd, IMAGE), 0);
    assert_int_equal(pwrite(fd, content, IMAGE, 0), IMAGE);
    (void)close(fd);
}

static void an_image_goes_in_and_comes_out(void **state)
{
    struct fix *f = *state;
    char path[PATH_MAX], raw[PATH_MAX], out[PATH_MAX];
    char *content = malloc(IMAGE), *got = malloc(IMAGE);
    struct vmfile *vf = NULL;
    struct err err = {0};
    struct stat st;
    int fd;

    assert_true(content && got);
    (void)snprintf(path, sizeof(path), "%s/web.husk", f->dir);
    (void)snprintf(raw, sizeof(raw), "%s/in.img", f->dir);
    (void)snprintf(out, sizeof(out), "%s/out.img", f->dir);
    make_image(raw, content);
    assert_int_equal(vmfile_create_hidden(path, 512, "{}", 2, &vf, &err), 0);
    assert_int_equal(copy_in(&f->a, raw, NULL, vf, &err), 0);
    assert_int_equal(blk_size(qcow2_blk(vmfile_qcow2(vf))), IMAGE);
    assert_int_equal(
        copy_out(&f->a, qcow2_blk(vmfile_qcow2(vf)), out, "raw", &err), 0);
    assert_int_equal(
        copy_out(&f->a, qcow2_blk(vmfile_qcow2(vf)), out, "raw", &err),
        -EEXIST);
    fd = open(out, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, got, IMAGE), IMAGE);
    assert_memory_equal(got, content, IMAGE);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_blocks * 512 <
                1 << 20); /* holes where there is nothing */
    (void)close(fd);
    assert_int_equal(vmfile_close(vf), 0);
    free(content);
    free(got);
}

static void formats_are_known_by_name(void **state)
{
    struct fix *f = *state;
    struct vmfile *vf = NULL;
    char path[PATH_MAX];
    struct err err;

    assert_true(copy_knows("raw") && copy_knows("qcow2") && copy_knows("vdi"));
    assert_false(copy_knows("tar") || copy_knows("") || copy_knows("vpc"));
    (void)snprintf(path, sizeof(path), "%s/web.husk", f->dir);
    assert_int_equal(vmfile_create_hidden(path, 512, "{}", 2, &vf, &err), 0);
    assert_int_equal(copy_in(&f->a, "/dev/null", "tar", vf, &err), -EINVAL);
    assert_int_equal(copy_in(&f->a, "/nowhere", NULL, vf, &err), -ENOENT);
    assert_int_equal(copy_in(&f->a, "/tmp", NULL, vf, &err), -EINVAL);
    assert_int_equal(vmfile_close(vf), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(snapshots_are_named_behind_an_at),
        TEST(a_change_is_whole_or_not),
        TEST(nobody_answers_for_a_vm_that_is_off),
        TEST(without_a_terminal_nobody_agrees),
        TEST(a_row_says_what_is_wrong),
        TEST(files_in_options_become_absolute),
        TEST(it_is_known_how_a_vm_will_boot),
        TEST(an_image_goes_in_and_comes_out),
        TEST(formats_are_known_by_name),
    };

    if (argc == 2 && strcmp(argv[1], CHILD_ROLE) == 0)
        _exit(child_main());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
