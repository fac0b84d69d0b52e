#include "vmfile/vmfile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "tests/unit/vmfile/vm_folder.h"
#include "vmfile/slots.h"

static int open_rc(void **state, const char *file, unsigned flags,
                   struct err *err)
{
    struct vmfile *vf = NULL;
    char path[PATH_MAX];
    int rc;

    vm_folder_path(state, file, path);
    rc = vmfile_open(path, flags, "run", &vf, err);
    if (rc == 0)
        assert_int_equal(vmfile_close(vf), 0);
    return rc;
}

static void a_new_vm_has_its_disk_and_settings(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{\"a\":1}", 0);
    uint8_t buf[512], zeroes[512] = {0};

    assert_true(vmfile_has_settings(vf));
    vm_expect_settings(vf, "{\"a\":1}");
    assert_int_equal(blk_size(qcow2_blk(vmfile_qcow2(vf))), 64 << 20);
    assert_int_equal(
        blk_read(qcow2_blk(vmfile_qcow2(vf)), 1 << 20, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, zeroes, sizeof(buf));
    assert_int_equal(vmfile_close(vf), 0);
}

static void a_file_is_never_replaced(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{\"a\":1}", 0);
    char path[PATH_MAX];
    struct err err;

    vm_folder_path(state, "web.husk", path);
    assert_int_equal(vmfile_create(path, 512, "{}", 2, &err), -EEXIST);
    vm_expect_settings(vf, "{\"a\":1}");
    assert_int_equal(vmfile_close(vf), 0);
}

static void what_is_not_published_is_never_seen(void **state)
{
    struct vmfile *vf = NULL;
    char path[PATH_MAX];
    struct err err;

    vm_folder_path(state, "web.husk", path);
    assert_int_equal(vmfile_create_hidden(path, 1 << 20, "{}", 2, &vf, &err),
                     0);
    assert_true(access(path, F_OK) < 0);
    assert_int_equal(vmfile_settings_write(vf, "{\"b\":2}", 7, &err), 0);
    assert_int_equal(blk_write(qcow2_blk(vmfile_qcow2(vf)), 0, "x", 1, 0), 0);
    assert_int_equal(vmfile_close(vf), 0);
    assert_int_equal(vm_folder_count(state), 0);
    assert_int_equal(vmfile_create_hidden(path, 1 << 20, "{}", 2, &vf, &err),
                     0);
    assert_int_equal(vmfile_publish(vf, &err), 0);
    assert_int_equal(vmfile_close(vf), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(vm_folder_count(state), 1);
}

/* Two that make the same VM: one of them does. */
static void of_two_that_publish_one_does(void **state)
{
    struct vmfile *a = NULL, *b = NULL;
    char path[PATH_MAX];
    struct err err;

    vm_folder_path(state, "web.husk", path);
    assert_int_equal(vmfile_create_hidden(path, 512, "{\"a\":1}", 7, &a, &err),
                     0);
    assert_int_equal(vmfile_create_hidden(path, 512, "{\"b\":1}", 7, &b, &err),
                     0);
    assert_int_equal(vmfile_publish(a, &err), 0);
    assert_int_equal(vmfile_publish(b, &err), -EEXIST);
    assert_int_equal(vmfile_close(a), 0);
    assert_int_equal(vmfile_close(b), 0);
    a = vm_folder_open(state, "web.husk", 0);
    vm_expect_settings(a, "{\"a\":1}");
    assert_int_equal(vmfile_close(a), 0);
    assert_int_equal(vm_folder_count(state), 1);
}

static void readers_are_not_kept_out_by_who_writes(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{}", VMFILE_WRITE);
    struct err err;

    assert_int_equal(open_rc(state, "web.husk", VMFILE_WRITE, &err), -EBUSY);
    assert_non_null(strstr(err.text, "husk test"));
    assert_int_equal(open_rc(state, "web.husk", 0, &err), 0);
    assert_int_equal(open_rc(state, "web.husk", VMFILE_SETTINGS, &err), 0);
    assert_int_equal(vmfile_close(vf), 0);
    assert_int_equal(open_rc(state, "web.husk", VMFILE_WRITE, &err), 0);
}

static void settings_change_while_it_runs(void **state)
{
    struct vmfile *run = vm_folder_make(state, "web.husk", "{}", VMFILE_WRITE);
    struct vmfile *set =
        vm_folder_open(state, "web.husk", VMFILE_WRITE | VMFILE_SETTINGS);
    struct err err;

    assert_null(vmfile_qcow2(set));
    assert_int_equal(vmfile_settings_begin(set, &err), 0);
    assert_int_equal(vmfile_settings_write(set, "{\"a\":1}", 7, &err), 0);
    vmfile_settings_end(set);
    vm_expect_settings(run, "{\"a\":1}");
    assert_int_equal(vmfile_settings_begin(run, &err), 0);
    assert_int_equal(vmfile_settings_write(run, "{\"a\":2}", 7, &err), 0);
    vmfile_settings_end(run);
    vm_expect_settings(set, "{\"a\":2}");
    assert_int_equal(vmfile_close(set), 0);
    /* What the disk then writes leaves them alone. */
    assert_int_equal(blk_write(qcow2_blk(vmfile_qcow2(run)), 0, "x", 1, 0), 0);
    assert_int_equal(vmfile_close(run), 0);
    run = vm_folder_open(state, "web.husk", 0);
    vm_expect_settings(run, "{\"a\":2}");
    assert_int_equal(vmfile_close(run), 0);
}

static void what_is_no_vm_is_told_apart(void **state)
{
    struct err err;
    char path[PATH_MAX];
    int fd;

    assert_int_equal(open_rc(state, "none.husk", 0, &err), -ENOENT);
    assert_int_equal(open_rc(state, "none.husk", VMFILE_WRITE, &err), -ENOENT);
    vm_folder_path(state, "folder.husk", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(open_rc(state, "folder.husk", 0, &err), -EINVAL);
    vm_folder_path(state, "fifo.husk", path);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(open_rc(state, "fifo.husk", 0, &err), -EINVAL);
    vm_folder_path(state, "text.husk", path);
    fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, "hello", 5), 5);
    (void)close(fd);
    assert_int_equal(open_rc(state, "text.husk", 0, &err), -EMEDIUMTYPE);
    assert_int_equal(open_rc(state, "text.husk", VMFILE_WRITE, &err),
                     -EMEDIUMTYPE);
}

static void an_image_without_settings_is_plain(void **state)
{
    const struct qcow2_create c = {.size = 1 << 20,
                                   .refcount_order = UINT32_MAX};
    struct vmfile *vf;
    char path[PATH_MAX];
    struct err err;
    int fd;

    vm_folder_path(state, "plain.qcow2", path);
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(qcow2_create(path, fd, &c, NULL, &err), 0);
    (void)close(fd);
    assert_int_equal(open_rc(state, "plain.qcow2", 0, &err), -ENOENT);
    vf = vm_folder_open(state, "plain.qcow2", VMFILE_PLAIN | VMFILE_WRITE);
    assert_false(vmfile_has_settings(vf));
    assert_int_equal(
        open_rc(state, "plain.qcow2", VMFILE_PLAIN | VMFILE_WRITE, &err),
        -EBUSY);
    assert_int_equal(vmfile_close(vf), 0);
}

/* A file that was moved away while it was opened is not the VM of that name. */
static void the_lock_is_that_of_the_file_with_the_name(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{}", VMFILE_WRITE);
    char path[PATH_MAX], to[PATH_MAX];
    struct err err;

    vm_folder_path(state, "web.husk", path);
    vm_folder_path(state, "gone.husk", to);
    assert_int_equal(rename(path, to), 0);
    assert_int_equal(open_rc(state, "web.husk", VMFILE_WRITE, &err), -ENOENT);
    assert_int_equal(open_rc(state, "gone.husk", VMFILE_WRITE, &err), -EBUSY);
    assert_int_equal(vmfile_close(vf), 0);
}

/* --- Two processes ----------------------------------------------------------
 */

struct shared {
    _Atomic int inside, won, lost, wrong;
};

static void start_often(const char *path, struct shared *s, int attempts)
{
    for (int i = 0; i < attempts; i++) {
        struct vmfile *vf = NULL;
        struct err err;
        int rc = vmfile_open(path, VMFILE_WRITE, "run", &vf, &err);

        if (rc == -EBUSY) {
            s->lost++;
            continue;
        }
        if (rc < 0 || atomic_fetch_add(&s->inside, 1) != 0)
            s->wrong++;
        if (rc < 0)
            continue;
        s->won++;
        atomic_fetch_sub(&s->inside, 1);
        if (vmfile_close(vf) < 0)
            s->wrong++;
    }
}

static void of_a_thousand_starts_never_two_are_inside(void **state)
{
    enum { ATTEMPTS = 1000 };
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{}", 0);
    struct shared *s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char path[PATH_MAX];
    int status = -1;
    pid_t child;

    assert_int_equal(vmfile_close(vf), 0);
    assert_true(s != MAP_FAILED);
    vm_folder_path(state, "web.husk", path);
    child = fork();
    assert_true(child >= 0);
    start_often(path, s, ATTEMPTS);
    if (child == 0)
        _exit(0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(s->wrong, 0);
    assert_int_equal(s->won + s->lost, 2 * ATTEMPTS);
    assert_true(s->won > 0);
    print_message("%d started, %d refused\n", s->won, s->lost);
    (void)munmap(s, sizeof(*s));
}

static void a_killed_process_leaves_no_lock(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "web.husk", "{}", 0);
    char path[PATH_MAX];
    struct err err;
    int status, up[2];
    pid_t child;
    char byte;

    assert_int_equal(vmfile_close(vf), 0);
    vm_folder_path(state, "web.husk", path);
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (vmfile_open(path, VMFILE_WRITE, "run", &vf, &err) == 0)
            (void)!write(up[1], "x", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(up[0], &byte, 1), 1);
    assert_int_equal(open_rc(state, "web.husk", VMFILE_WRITE, &err), -EBUSY);
    assert_int_equal(kill(child, 9), 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(open_rc(state, "web.husk", VMFILE_WRITE, &err), 0);
    (void)close(up[0]);
    (void)close(up[1]);
}

#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, vm_folder_begin, vm_folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_new_vm_has_its_disk_and_settings),
        TEST(a_file_is_never_replaced),
        TEST(what_is_not_published_is_never_seen),
        TEST(of_two_that_publish_one_does),
        TEST(readers_are_not_kept_out_by_who_writes),
        TEST(settings_change_while_it_runs),
        TEST(what_is_no_vm_is_told_apart),
        TEST(an_image_without_settings_is_plain),
        TEST(the_lock_is_that_of_the_file_with_the_name),
        TEST(of_a_thousand_starts_never_two_are_inside),
        TEST(a_killed_process_leaves_no_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
