/* Homes, their trash, their run folder (home*.c, names.c). */
#include "vmfile/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"
#include "vmfile/names.h"

struct fix {
    char dir[64];
    struct home h;
};

static void path_in(const struct fix *f, const char *file, char path[PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/%s", f->dir, file);
}

static void touch(const struct fix *f, const char *file)
{
    char path[PATH_MAX];
    int fd;

    path_in(f, file, path);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, file, strlen(file)), (ssize_t)strlen(file));
    (void)close(fd);
}

static bool is_there(const struct fix *f, const char *file)
{
    char path[PATH_MAX];

    path_in(f, file, path);
    return access(path, F_OK) == 0;
}

static int begin(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    struct err err;

    assert_non_null(f);
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-home-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(home_init(&f->h, f->dir, &err), 0);
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

static void the_home_is_the_first_that_is_said(void **state)
{
    struct home h;
    struct err err;
    char cwd[PATH_MAX], want[PATH_MAX + 16];

    (void)state;
    assert_int_equal(setenv("HUSK_HOME", "/a", 1), 0);
    assert_int_equal(setenv("XDG_DATA_HOME", "/b", 1), 0);
    assert_int_equal(setenv("HOME", "/c", 1), 0);
    assert_int_equal(home_init(&h, "/d", &err), 0);
    assert_string_equal(h.dir, "/d");
    assert_int_equal(home_init(&h, NULL, &err), 0);
    assert_string_equal(h.dir, "/a");
    assert_int_equal(setenv("HUSK_HOME", "", 1), 0);
    assert_int_equal(home_init(&h, NULL, &err), 0);
    assert_string_equal(h.dir, "/b/husk");
    assert_int_equal(unsetenv("XDG_DATA_HOME"), 0);
    assert_int_equal(home_init(&h, NULL, &err), 0);
    assert_string_equal(h.dir, "/c/.local/share/husk");
    assert_int_equal(unsetenv("HOME"), 0);
    assert_int_equal(home_init(&h, NULL, &err), -EINVAL);
    assert_non_null(getcwd(cwd, sizeof(cwd)));
    (void)snprintf(want, sizeof(want), "%s/here", cwd);
    assert_int_equal(home_init(&h, "here", &err), 0);
    assert_string_equal(h.dir, want);
}

static void names_are_few_and_plain(void **state)
{
    static const char too_long[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    static const char *const good[] = {"a", "web", "web-1", "a.b_c", "0"};
    static const char *const bad[] = {
        "",    ".",   "..",   "-a",     "_a",      ".a",       "a b", "a@b",
        "a/b", "a\n", "\x1b", "a.husk", "a.qcow2", "\xc3\xa4", "a*",  too_long};
    struct err err;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(home_check_name(good[i], &err), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(home_check_name(bad[i], &err), -EINVAL);
}

static void names_are_in_the_home_and_paths_are_not(void **state)
{
    static const struct {
        const char *word, *path, *name;
    } cases[] = {
        {"web", "/h/web.husk", "web"},   {"./web", "./web", "web"},
        {"web.husk", "web.husk", "web"}, {"disk.qcow2", "disk.qcow2", "disk"},
        {"/x/y.husk", "/x/y.husk", "y"}, {"a.b", "/h/a.b.husk", "a.b"}};
    struct home h;
    struct err err;

    (void)state;
    assert_int_equal(home_init(&h, "/h", &err), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char path[PATH_MAX], name[NAME_MAX + 1];

        assert_int_equal(home_path(&h, cases[i].word, path, &err), 0);
        assert_string_equal(path, cases[i].path);
        home_name(path, name);
        assert_string_equal(name, cases[i].name);
    }
}

static int collect(void *opaque, const char *path, const char *name)
{
    char *all = opaque;

    assert_true(strlen(path) > strlen(name));
    strcat(strcat(all, name), " ");
    return 0;
}

static void vms_are_listed_in_order_and_nothing_else(void **state)
{
    struct fix *f = *state;
    char all[256] = "";
    struct err err;

    assert_int_equal(home_each(&f->h, collect, all, &err), 0);
    assert_string_equal(all, "");
    touch(f, "web.husk");
    touch(f, "db.husk");
    touch(f, ".husk-1-abc");
    touch(f, "db.disk1.qcow2");
    touch(f, "notes.txt");
    assert_int_equal(home_each(&f->h, collect, all, &err), 0);
    assert_string_equal(all, "db web ");
    (void)snprintf(f->h.dir, sizeof(f->h.dir), "%s/nowhere", f->dir);
    assert_int_equal(home_each(&f->h, collect, all, &err), 0);
}

static void a_rename_replaces_nothing(void **state)
{
    struct fix *f = *state;
    char a[PATH_MAX], b[PATH_MAX];
    struct err err;

    path_in(f, "a.husk", a);
    path_in(f, "b.husk", b);
    touch(f, "a.husk");
    touch(f, "b.husk");
    assert_int_equal(home_rename(a, b, &err), -EEXIST);
    assert_true(is_there(f, "a.husk") && is_there(f, "b.husk"));
    assert_int_equal(unlink(b), 0);
    assert_int_equal(home_rename(a, b, &err), 0);
    assert_true(!is_there(f, "a.husk") && is_there(f, "b.husk"));
    assert_int_equal(home_rename(a, b, &err), -ENOENT);
}

static int count(void *opaque, const struct home_trashed *t)
{
    assert_string_equal(t->name, "web");
    assert_true(t->deleted > 1700000000);
    (*(int *)opaque)++;
    return 0;
}

/* Several of one name, in one second too, are kept apart. */
static void the_trash_keeps_all_and_finds_the_latest(void **state)
{
    struct fix *f = *state;
    struct home_trashed t;
    struct err err;
    char path[PATH_MAX], trashed[PATH_MAX];
    int nr = 0;

    path_in(f, "web.husk", path);
    for (int i = 0; i < 3; i++) {
        touch(f, "web.husk");
        assert_int_equal(home_trash(&f->h, path, trashed, &err), 0);
        assert_false(is_there(f, "web.husk"));
    }
    assert_int_equal(home_each_trashed(&f->h, count, &nr, &err), 0);
    assert_int_equal(nr, 3);
    touch(f, "trash/web@20200101T000000Z.husk");
    touch(f, "trash/web@20990101T000000Z.husk");
    assert_int_equal(home_find_trashed(&f->h, "web", &t, &err), 0);
    assert_non_null(strstr(t.path, "web@2099"));
    assert_int_equal(home_find_trashed(&f->h, "db", &t, &err), -ENOENT);
    assert_int_equal(home_rename(t.path, path, &err), 0);
    assert_true(is_there(f, "web.husk"));
}

static void disks_go_with_their_vm(void **state)
{
    struct fix *f = *state;
    char path[PATH_MAX], disk[PATH_MAX], trashed[PATH_MAX];
    struct err err;
    int nr = 0;

    touch(f, "web.husk");
    touch(f, "web.disk1.qcow2");
    touch(f, "web.disk2.qcow2");
    path_in(f, "web.husk", path);
    assert_int_equal(home_trash(&f->h, path, trashed, &err), 0);
    for (int i = 1; i <= 2; i++) {
        (void)snprintf(disk, sizeof(disk), "%s/web.disk%d.qcow2", f->dir, i);
        assert_int_equal(home_trash_beside(trashed, disk, &err), 0);
    }
    assert_false(is_there(f, "web.disk1.qcow2"));
    assert_int_equal(home_each_trashed(&f->h, count, &nr, &err), 0);
    assert_int_equal(nr, 1);
    /* One of them would replace another file: none comes back. */
    touch(f, "web.disk2.qcow2");
    assert_int_equal(home_recover_beside(trashed, f->dir, &err), -EEXIST);
    assert_false(is_there(f, "web.disk1.qcow2"));
    assert_int_equal(unlink(disk), 0);
    assert_int_equal(home_recover_beside(trashed, f->dir, &err), 0);
    assert_true(is_there(f, "web.disk1.qcow2") &&
                is_there(f, "web.disk2.qcow2"));
    assert_int_equal(home_trash_beside(trashed, disk, &err), 0);
    assert_int_equal(home_purge_beside(trashed, &err), 0);
    assert_int_equal(home_recover_beside(trashed, f->dir, &err), 0);
    assert_false(is_there(f, "web.disk2.qcow2"));
    assert_int_equal(access(trashed, F_OK), 0);
}

static void the_trash_shows_only_what_was_put_there(void **state)
{
    static const char *const other[] = {"web.husk",
                                        "web@x.husk",
                                        "@.husk",
                                        "we b@20200101T000000Z.husk",
                                        "web@20200101T000000Z.txt",
                                        "web@20209901T000000Z.husk"};
    struct fix *f = *state;
    struct err err;
    char path[PATH_MAX];
    int nr = 0;

    path_in(f, "trash", path);
    assert_int_equal(mkdir(path, 0700), 0);
    for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
        (void)snprintf(path, sizeof(path), "trash/%s", other[i]);
        touch(f, path);
    }
    assert_int_equal(home_each_trashed(&f->h, count, &nr, &err), 0);
    assert_int_equal(nr, 0);
}

static void without_memory_a_list_fails_whole(void **state)
{
    struct fix *f = *state;
    struct names n;
    struct err err;
    int rc = 0;

    touch(f, "a.husk");
    touch(f, "b.husk");
    for (unsigned i = 1; i < 20; i++) {
        char all[64] = "";

        fail_alloc_at(i);
        rc = home_each(&f->h, collect, all, &err);
        if (!fail_alloc_happened())
            break;
        assert_int_equal(rc, -ENOMEM);
        assert_string_equal(all, "");
    }
    fail_alloc_at(0);
    assert_int_equal(rc, 0);
    assert_int_equal(names_read(&n, "/dev/null", NULL, &err), -ENOTDIR);
    names_free(&n);
}

static void a_socket_stays_with_its_file(void **state)
{
    struct fix *f = *state;
    char a[HOME_SOCKET_NAME], b[HOME_SOCKET_NAME], path[PATH_MAX];
    char to[PATH_MAX];
    struct err err;
    struct stat st;
    int fd, dir = -1;

    touch(f, "web.husk");
    path_in(f, "web.husk", path);
    path_in(f, "other.husk", to);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(home_socket(&f->h, fd, false, &dir, a, &err), -ENOENT);
    assert_int_equal(home_socket(&f->h, fd, true, &dir, a, &err), 0);
    assert_int_equal(fstat(dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    (void)close(dir);
    assert_int_equal(rename(path, to), 0);
    assert_int_equal(home_socket(&f->h, fd, false, &dir, b, &err), 0);
    assert_string_equal(a, b);
    (void)close(dir);
    (void)close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_home_is_the_first_that_is_said),
        TEST(names_are_few_and_plain),
        TEST(names_are_in_the_home_and_paths_are_not),
        TEST(vms_are_listed_in_order_and_nothing_else),
        TEST(a_rename_replaces_nothing),
        TEST(the_trash_keeps_all_and_finds_the_latest),
        TEST(disks_go_with_their_vm),
        TEST(the_trash_shows_only_what_was_put_there),
        TEST(without_memory_a_list_fails_whole),
        TEST(a_socket_stays_with_its_file),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
