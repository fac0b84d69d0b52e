#include "vmfile/vmlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "tests/unit/test.h"
#include "tests/unit/vmfile/fake_image.h"
#include "vmfile/slots.h"

static int take(int fd)
{
    struct err err = {0};
    int rc = vmlock_take(fd, "web.husk", "run", &err);

    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static void one_holds_it_at_a_time(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a);

    (void)state;
    assert_int_equal(take(a), 0);
    assert_int_equal(take(b), -EBUSY);
    vmlock_drop(a);
    assert_int_equal(take(b), 0);
    assert_int_equal(take(a), -EBUSY);
    (void)close(b); /* as the end of a process does */
    assert_int_equal(take(a), 0);
    (void)close(a);
}

/* A lock that was refused leaves nothing locked. */
static void a_refused_one_leaves_nothing(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a), c = fake_again(a);

    (void)state;
    assert_int_equal(take(a), 0);
    assert_int_equal(take(b), -EBUSY);
    vmlock_drop(a);
    assert_int_equal(take(c), 0);
    (void)close(a);
    (void)close(b);
    (void)close(c);
}

static void the_error_names_who_holds_it(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a);
    struct vmlock_owner o;
    struct err err;
    char pid[32];

    (void)state;
    assert_int_equal(vmlock_owner(b, &o), 0);
    assert_int_equal(take(a), 0);
    assert_int_equal(vmlock_take(b, "web.husk", "set", &err), -EBUSY);
    (void)snprintf(pid, sizeof(pid), "process %ld ", (long)getpid());
    assert_non_null(strstr(err.text, pid));
    assert_non_null(strstr(err.text, "husk run"));
    assert_non_null(strstr(err.text, "web.husk"));
    assert_int_equal(vmlock_owner(b, &o), 1);
    assert_int_equal(o.pid, getpid());
    assert_true(o.local);
    assert_string_equal(o.doing, "run");
    assert_true(o.since > 1700000000);
    vmlock_drop(a);
    assert_int_equal(vmlock_owner(b, &o), 0);
    (void)close(a);
    (void)close(b);
}

/* A record as another host would write it. */
static void put_record(int fd, const char *text)
{
    uint8_t rec[SLOTS_OWNER_SIZE] = {0};
    struct slots s = {0};
    struct err err;

    assert_int_equal(slots_find(fd, "vm", &s, &err), 0);
    (void)snprintf((char *)rec + 4, sizeof(rec) - 4, "%s", text);
    put_le32(rec, crc32c_update(0, rec + 4, sizeof(rec) - 4));
    fake_write(fd, s.offset + s.owner, rec, sizeof(rec));
}

static void another_host_is_named(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a);
    struct vmlock_owner o;
    struct err err;

    (void)state;
    assert_int_equal(take(a), 0);
    put_record(a, "4711\n1700000000\n00000000-1111-2222-3333-444444444444\n"
                  "run\nfar\x1b[2Jaway\n");
    assert_int_equal(vmlock_owner(b, &o), 1);
    assert_false(o.local);
    assert_string_equal(o.host, "far?[2Jaway");
    assert_int_equal(vmlock_take(b, "web.husk", "run", &err), -EBUSY);
    assert_non_null(strstr(err.text, "process 4711 of host 'far?[2Jaway'"));
    assert_non_null(strstr(err.text, "2023-11-14T22:13:20Z"));
    (void)close(a);
    (void)close(b);
}

/* What is there when nobody holds the lock is a left-over. */
static void a_record_alone_does_not_lock(void **state)
{
    int a = fake_vm("{}");

    (void)state;
    put_record(a, "4711\n1700000000\nboot\nrun\nfar\n");
    assert_int_equal(take(a), 0);
    (void)close(a);
}

static void hostile_records_say_nothing(void **state)
{
    static const char *const bad[] = {
        "",   "\n",   "x",     "-1\n2\na\nb\nc\n", "0\n1\n\n\n\n",
        "12", "12\n", "12\nx",
    };
    int a = fake_vm("{}"), b = fake_again(a);
    struct vmlock_owner o;
    char longest[600];
    struct err err;

    (void)state;
    assert_int_equal(take(a), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        put_record(a, bad[i]);
        assert_int_equal(vmlock_take(b, "vm", "run", &err), -EBUSY);
        assert_non_null(strstr(err.text, "another program"));
        assert_int_equal(vmlock_owner(b, &o), 1);
        assert_int_equal(o.pid, 0);
    }
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "12\n34\n", 6);
    longest[sizeof(longest) - 1] = '\0';
    put_record(a, longest);
    assert_int_equal(vmlock_owner(b, &o), 1);
    (void)close(a);
    (void)close(b);
}

static int qemu_lock(int fd, int64_t byte, short type)
{
    struct flock fl = {
        .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    return fcntl(fd, F_OFD_SETLK, &fl) < 0 ? -errno : 0;
}

static bool qemu_sees(int fd, int64_t byte)
{
    struct flock fl = {
        .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

    assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
    return fl.l_type != F_UNLCK;
}

static void qemu_sees_what_it_looks_for(void **state)
{
    static const int64_t held[] = {100, 101, 103, 201, 203};
    int a = fake_vm("{}"), qemu = fake_again(a);

    (void)state;
    assert_int_equal(take(a), 0);
    for (size_t i = 0; i < sizeof(held) / sizeof(held[0]); i++) {
        assert_true(qemu_sees(qemu, held[i]));
        assert_int_equal(qemu_lock(qemu, held[i], F_RDLCK), 0);
        assert_int_equal(qemu_lock(qemu, held[i], F_UNLCK), 0);
    }
    /* Reading is shared: 'qemu-img info -U'. */
    assert_false(qemu_sees(qemu, 200));
    (void)close(a);
    (void)close(qemu);
}

static void what_qemu_uses_is_left_alone(void **state)
{
    static const int64_t conflicts[] = {101, 103, 201, 203};
    int a = fake_vm("{}"), qemu = fake_again(a);
    struct vmlock_owner o;

    (void)state;
    for (size_t i = 0; i < sizeof(conflicts) / sizeof(conflicts[0]); i++) {
        assert_int_equal(qemu_lock(qemu, conflicts[i], F_RDLCK), 0);
        assert_int_equal(take(a), -EBUSY);
        assert_int_equal(vmlock_owner(a, &o), 1);
        assert_int_equal(o.pid, 0);
        assert_int_equal(qemu_lock(qemu, conflicts[i], F_UNLCK), 0);
        assert_int_equal(take(a), 0);
        vmlock_drop(a);
    }
    (void)close(a);
    (void)close(qemu);
}

static void an_image_without_a_record_locks_too(void **state)
{
    int a = fake_image(), b = fake_again(a);

    (void)state;
    assert_int_equal(take(a), 0);
    assert_int_equal(take(b), -EBUSY);
    (void)close(a);
    (void)close(b);
}

static void settings_change_beside_a_run(void **state)
{
    int run = fake_vm("{}"), a = fake_again(run), b = fake_again(run);
    struct err err;
    pid_t child;
    int status;

    (void)state;
    assert_int_equal(take(run), 0);
    assert_int_equal(vmlock_settings_take(a, "vm", &err), 0);
    /* Who comes meanwhile waits until it is over. */
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(vmlock_settings_take(b, "vm", &err) == 0 ? 0 : 1);
    vmlock_settings_drop(a);
    (void)close(b);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    (void)close(a);
    (void)close(run);
}

static void a_pinned_snapshot_is_not_deleted(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a), c = fake_again(a);

    (void)state;
    assert_false(vmpin_any_held(c));
    assert_int_equal(vmpin_hold(a, 1), 0);
    assert_int_equal(vmpin_hold(b, 1), 0); /* shared */
    assert_true(vmpin_is_held(c, 1));
    assert_true(vmpin_any_held(c));
    assert_false(vmpin_is_held(c, 2));
    assert_int_equal(vmpin_take(c, 1), -EBUSY);
    assert_int_equal(vmpin_take(c, 2), 0);
    vmpin_drop(a, 1);
    assert_int_equal(vmpin_take(c, 1), -EBUSY);
    (void)close(b);
    assert_int_equal(vmpin_take(c, 1), 0);
    assert_int_equal(vmpin_hold(a, 1), -EBUSY); /* it is being deleted */
    assert_int_equal(vmpin_hold(a, UINT32_MAX), 0);
    (void)close(a);
    (void)close(c);
}

/* Pins, the settings' lock and the VM's lock are different bytes. */
static void pins_and_runs_do_not_meet(void **state)
{
    int a = fake_vm("{}"), b = fake_again(a);
    struct err err;

    (void)state;
    assert_int_equal(vmpin_hold(a, 0), 0);
    assert_int_equal(vmpin_hold(a, 1), 0);
    assert_int_equal(take(b), 0);
    assert_int_equal(vmlock_settings_take(a, "vm", &err), 0);
    (void)close(a);
    (void)close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holds_it_at_a_time),
        cmocka_unit_test(a_refused_one_leaves_nothing),
        cmocka_unit_test(the_error_names_who_holds_it),
        cmocka_unit_test(another_host_is_named),
        cmocka_unit_test(a_record_alone_does_not_lock),
        cmocka_unit_test(hostile_records_say_nothing),
        cmocka_unit_test(qemu_sees_what_it_looks_for),
        cmocka_unit_test(what_qemu_uses_is_left_alone),
        cmocka_unit_test(an_image_without_a_record_locks_too),
        cmocka_unit_test(settings_change_beside_a_run),
        cmocka_unit_test(a_pinned_snapshot_is_not_deleted),
        cmocka_unit_test(pins_and_runs_do_not_meet),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
