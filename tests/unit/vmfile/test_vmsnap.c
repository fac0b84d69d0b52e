/* Snapshots of VMs (vmsnap.c, vmsnap_change.c). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "tests/unit/vmfile/fake_image.h"
#include "tests/unit/vmfile/vm_folder.h"
#include "vmfile/vmfile.h"
#include "vmfile/vmlock.h"
#include "vmfile/vmvars.h"

#define START "{\"name\":\"web\",\"uuid\":\"u1\",\"cpus\":1}"

static void put(struct qcow2 *q, char c)
{
    char buf[4096];

    memset(buf, c, sizeof(buf));
    assert_int_equal(blk_write(qcow2_blk(q), 12345, buf, sizeof(buf), 0), 0);
}

static char get(struct qcow2 *q)
{
    char c = 0;

    assert_int_equal(blk_read(qcow2_blk(q), 12345, &c, 1), 0);
    return c;
}

static void set(struct vmfile *vf, const char *text)
{
    struct err err;

    assert_int_equal(vmfile_settings_begin(vf, &err), 0);
    assert_int_equal(vmfile_settings_write(vf, text, strlen(text), &err), 0);
    vmfile_settings_end(vf);
}

/* Whether the settings have this in them. */
static bool has(struct vmfile *vf, const char *part)
{
    char *text = NULL;
    struct err err;
    size_t len;
    bool yes;

    assert_int_equal(vmfile_settings(vf, &text, &len, &err), 0);
    yes = strstr(text, part);
    free(text);
    return yes;
}

static void snap(struct vmfile *vf, const char *name)
{
    const struct vmsnap_new s = {.name = name, .text = "why"};
    char got[QCOW2_SNAP_NAME_MAX + 1] = "";
    struct err err = {0};

    if (vmsnap_create(vf, &s, got, &err) < 0)
        fail_msg("%s", err.text);
    if (name)
        assert_string_equal(got, name);
}

static void restore(struct vmfile *vf, const char *name, bool keep)
{
    struct err err = {0};

    if (vmsnap_restore(vf, name, keep, &err) < 0)
        fail_msg("%s", err.text);
}

/* "name<parent name ..." in the list's order. */
static void expect_list(struct vmfile *vf, const char *want)
{
    struct vmsnap *list = NULL;
    char got[512] = "";
    struct err err;
    size_t n = 0;

    assert_int_equal(vmsnap_list(vf, &list, &n, &err), 0);
    for (size_t i = 0; i < n; i++) {
        strcat(got, list[i].name);
        for (size_t k = 0; k < n; k++)
            if (strcmp(list[k].id, list[i].parent) == 0)
                strcat(strcat(got, "<"), list[k].name);
        strcat(got, " ");
    }
    vmsnap_free(list, n);
    assert_string_equal(got, want);
}

static struct vmfile *make(void *const *state)
{
    return vm_folder_make(state, "web.husk", START, VMFILE_WRITE);
}

/* What is left behind is sound. (While it is open, clusters that were freed
 * count until the next flush that allows them to be used again.) */
static void finish(struct vmfile *vf)
{
    struct qcow2_check c = {0};
    char path[PATH_MAX];
    struct err err;

    (void)snprintf(path, sizeof(path), "%s", vmfile_path(vf));
    assert_int_equal(vmfile_close(vf), 0);
    assert_int_equal(
        vmfile_open(path, VMFILE_CHECK | VMFILE_PLAIN, "test", &vf, &err), 0);
    assert_int_equal(qcow2_check(vmfile_qcow2(vf), false, &c, NULL, NULL, &err),
                     0);
    assert_int_equal(c.remaining, 0);
    assert_int_equal(vmfile_close(vf), 0);
}

static void disk_and_settings_go_back(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *q = vmfile_qcow2(vf);

    put(q, 'a');
    snap(vf, "one");
    put(q, 'b');
    set(vf, "{\"name\":\"new\",\"uuid\":\"u2\",\"cpus\":4,\"parent\":\"1\"}");
    snap(vf, "two");
    restore(vf, "one", false);
    assert_int_equal(get(q), 'a');
    /* What it has goes back, what it is stays. */
    assert_true(has(vf, "\"cpus\":1"));
    assert_true(has(vf, "\"name\":\"new\""));
    assert_true(has(vf, "\"uuid\":\"u2\""));
    assert_false(has(vf, "restoring"));
    restore(vf, "two", false);
    assert_int_equal(get(q), 'b');
    assert_true(has(vf, "\"cpus\":4"));
    restore(vf, "one", true);
    assert_int_equal(get(q), 'a');
    assert_true(has(vf, "\"cpus\":4"));
    finish(vf);
}

static void snapshots_are_a_tree(void **state)
{
    struct vmfile *vf = make(state);
    struct err err;

    snap(vf, "a");
    snap(vf, "b");
    snap(vf, "c");
    restore(vf, "b", false);
    snap(vf, "d");
    expect_list(vf, "a b<a c<b d<b ");
    /* Those behind one that goes come from the one before it. */
    assert_int_equal(vmsnap_delete(vf, "b", &err), 0);
    expect_list(vf, "a c<a d<a ");
    assert_int_equal(vmsnap_delete(vf, "d", &err), 0);
    snap(vf, "e");
    expect_list(vf, "a c<a e<a ");
    finish(vf);
}

static void names_are_chosen_and_checked(void **state)
{
    static const char *const bad[] = {"", "a b", "a@b", "a/b", "-x", "\n"};
    struct vmfile *vf = make(state);
    struct vmsnap_new s = {.name = "one"};
    char text[VMSNAP_TEXT_MAX + 2], name[QCOW2_SNAP_NAME_MAX + 1];
    struct err err;

    snap(vf, NULL);
    snap(vf, NULL);
    snap(vf, "one");
    assert_int_equal(vmsnap_create(vf, &s, name, &err), -EEXIST);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        s.name = bad[i];
        assert_int_equal(vmsnap_create(vf, &s, name, &err), -EINVAL);
    }
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    s = (struct vmsnap_new){.name = "two", .text = text};
    assert_int_equal(vmsnap_create(vf, &s, name, &err), -EINVAL);
    expect_list(vf, "snap1 snap2<snap1 one<snap2 ");
    assert_int_equal(vmsnap_restore(vf, "none", false, &err), -ENOENT);
    assert_int_equal(vmsnap_delete(vf, "none", &err), -ENOENT);
    finish(vf);
}

/* A snapshot that somebody has mapped is gone for people, its clusters are
 * not, and the next who opens the VM after that gives them back. */
static void a_pinned_snapshot_is_doomed(void **state)
{
    struct vmfile *vf = make(state);
    int pin = fake_again(vmfile_fd(vf));
    struct qcow2_info info;
    struct err err;

    put(vmfile_qcow2(vf), 'a');
    snap(vf, "one");
    snap(vf, "two");
    assert_int_equal(vmpin_hold(pin, 1), 0);
    assert_int_equal(vmsnap_delete(vf, "one", &err), 1);
    expect_list(vf, "two ");
    qcow2_info(vmfile_qcow2(vf), &info);
    assert_int_equal(info.nr_snapshots, 2);
    snap(vf, "one"); /* its name is free */
    assert_int_equal(vmfile_recover(vf, &err), 0);
    qcow2_info(vmfile_qcow2(vf), &info);
    assert_int_equal(info.nr_snapshots, 3);
    vmpin_drop(pin, 1);
    assert_int_equal(vmfile_recover(vf, &err), 0);
    qcow2_info(vmfile_qcow2(vf), &info);
    assert_int_equal(info.nr_snapshots, 2);
    expect_list(vf, "two one<two ");
    (void)close(pin);
    finish(vf);
}

/* --- State areas ------------------------------------------------------------
 */

/* Settings that no compression makes short. */
static void set_long(struct vmfile *vf, unsigned seed, const char *parent)
{
    static char text[16000];
    size_t n = (size_t)snprintf(
        text, sizeof(text),
        "{\"uuid\":\"u1\",\"seed\":%u%s,\"labels\":{\"x\":\"", seed, parent);

    for (unsigned x = seed; n < 12000;) {
        x = x * 1664525 + 1013904223;
        text[n++] = (char)('0' + (x >> 16) % 75);
        if (text[n - 1] == '\\')
            text[n - 1] = '!';
    }
    memcpy(text + n, "\"}}", 4);
    set(vf, text);
}

static void long_settings_go_to_the_state_area(void **state)
{
    struct vmfile *vf = make(state);
    struct vmsnap *list = NULL;
    struct err err;
    size_t n = 0;

    snap(vf, "short");
    set_long(vf, 7, ",\"parent\":\"1\"");
    snap(vf, "long");
    set(vf, "{\"cpus\":9,\"parent\":\"2\"}");
    assert_int_equal(vmsnap_list(vf, &list, &n, &err), 0);
    assert_int_equal(list[0].state_bytes, 0);
    assert_true(list[1].state_bytes > 12000);
    vmsnap_free(list, n);
    restore(vf, "long", false);
    assert_true(has(vf, "\"seed\":7"));
    assert_false(has(vf, "\"cpus\":9"));
    /* Also when its record is written anew. */
    assert_int_equal(vmsnap_delete(vf, "short", &err), 0);
    set(vf, "{\"cpus\":9}");
    restore(vf, "long", false);
    assert_true(has(vf, "\"seed\":7"));
    finish(vf);
}

static void damaged_states_leave_the_disk(void **state)
{
    struct vmfile *vf = make(state);

    put(vmfile_qcow2(vf), 'a');
    set_long(vf, 7, "");
    snap(vf, "one");
    put(vmfile_qcow2(vf), 'b');
    set(vf, "{\"cpus\":9}");
    assert_int_equal(
        qcow2_state_write(vmfile_qcow2(vf), "1", 4096 + 77, "#####", 5), 0);
    restore(vf, "one", false);
    assert_int_equal(get(vmfile_qcow2(vf)), 'a');
    assert_true(has(vf, "\"cpus\":9"));
    assert_int_equal(qcow2_state_write(vmfile_qcow2(vf), "1", 0, "#####", 5),
                     0);
    put(vmfile_qcow2(vf), 'b');
    restore(vf, "one", false);
    assert_int_equal(get(vmfile_qcow2(vf)), 'a');
    finish(vf);
}

static void put_vars(struct vmfile *vf, int c)
{
    static uint8_t buf[131072];
    struct err err;

    memset(buf, c, sizeof(buf));
    assert_int_equal(vmvars_write(vmfile_qcow2(vf), buf, sizeof(buf), &err), 0);
}

static int get_vars(struct vmfile *vf)
{
    uint8_t *p = NULL;
    struct err err;
    size_t n = 0;
    int c, rc = vmvars_read(vmfile_qcow2(vf), &p, &n, &err);

    if (rc < 0)
        return rc;
    assert_int_equal(n, 131072);
    c = p[77777];
    free(p);
    return c;
}

static void variables_go_back_with_the_disk(void **state)
{
    const struct qcow2_snap_new qemus = {.name = "qemu's"};
    struct vmfile *vf = make(state);
    struct err err;

    snap(vf, "none");
    put_vars(vf, 'A');
    snap(vf, "one");
    put_vars(vf, 'B');
    set_long(vf, 3, ",\"parent\":\"2\"");
    snap(vf, "two");
    put_vars(vf, 'C');
    assert_int_equal(qcow2_snap_create(vmfile_qcow2(vf), &qemus, NULL, &err),
                     0);
    expect_list(vf, "none one<none two<one qemu's ");
    restore(vf, "one", false);
    assert_int_equal(get_vars(vf), 'A');
    restore(vf, "two", true);
    assert_int_equal(get_vars(vf), 'B');
    restore(vf, "qemu's", false); /* nobody knows what they were */
    assert_int_equal(get_vars(vf), 'B');
    restore(vf, "none", false);
    assert_int_equal(get_vars(vf), -ENOENT);
    restore(vf, "one", false);
    assert_int_equal(get_vars(vf), 'A');
    finish(vf);
}

/* What is lent is seen by nobody, and goes when it is not read any more. */
static void a_disk_can_be_lent(void **state)
{
    char id[QCOW2_SNAP_ID_MAX + 1];
    struct qcow2_opts opts = {.flags = BLK_RDONLY, .snapshot = id};
    struct vmfile *vf = make(state);
    struct qcow2 *q = NULL;
    struct qcow2_info info;
    struct err err;
    int fd;

    put(vmfile_qcow2(vf), 'a');
    snap(vf, "one");
    assert_int_equal(vmsnap_lend(vf, id, &err), 0);
    expect_list(vf, "one ");
    fd = fake_again(vmfile_fd(vf));
    assert_int_equal(vmsnap_hold(fd, id), 0);
    assert_int_equal(qcow2_open(vmfile_path(vf), fd, &opts, &q, &err), 0);
    put(vmfile_qcow2(vf), 'b');
    assert_int_equal(vmsnap_reap(vf, &err), 0);
    assert_int_equal(vmsnap_delete(vf, "one", &err), 0);
    put(vmfile_qcow2(vf), 'c');
    assert_int_equal(get(q), 'a');
    assert_int_equal(qcow2_close(q), 0);
    assert_int_equal(vmsnap_reap(vf, &err), 0);
    qcow2_info(vmfile_qcow2(vf), &info);
    assert_int_equal(info.nr_snapshots, 0);
    assert_int_equal(get(vmfile_qcow2(vf)), 'c');
    finish(vf);
}

/* As a power cut leaves it: the settings say what was begun. */
static void a_restore_that_was_cut_short_is_finished(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *q = vmfile_qcow2(vf);
    struct err err;

    put(q, 'a');
    snap(vf, "one");
    put(q, 'b');
    set(vf, "{\"name\":\"web\",\"cpus\":4,"
            "\"restoring\":{\"id\":\"1\",\"settings\":true}}");
    assert_int_equal(vmfile_recover(vf, &err), 0);
    assert_int_equal(get(q), 'a');
    assert_true(has(vf, "\"cpus\":1"));
    assert_true(has(vf, "\"parent\":\"1\""));
    assert_false(has(vf, "restoring"));
    put(q, 'c');
    assert_int_equal(vmfile_recover(vf, &err), 0);
    assert_int_equal(get(q), 'c');
    /* The snapshot is not there any more, or what is said is nothing. */
    set(vf, "{\"restoring\":{\"id\":\"77\",\"settings\":true}}");
    assert_int_equal(vmfile_recover(vf, &err), 0);
    set(vf, "{\"restoring\":[1]}");
    assert_int_equal(vmfile_recover(vf, &err), 0);
    set(vf, "{\"restoring\":{\"id\":7}}");
    assert_int_equal(vmfile_recover(vf, &err), 0);
    assert_int_equal(get(q), 'c');
    finish(vf);
}

/* --- Several disks ----------------------------------------------------------
 */

static struct qcow2 *second_disk(void *const *state)
{
    const struct qcow2_create c = {.size = 1 << 20,
                                   .refcount_order = UINT32_MAX};
    struct qcow2 *q = NULL;
    char path[PATH_MAX];
    struct err err;
    int fd;

    vm_folder_path(state, "web.disk1.qcow2", path);
    fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    assert_int_equal(qcow2_create(path, fd, &c, NULL, &err), 0);
    assert_int_equal(qcow2_open(path, fd, NULL, &q, &err), 0);
    return q;
}

static void snapshots_span_all_disks(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *q = vmfile_qcow2(vf), *second = second_disk(state);
    struct qcow2_info info;
    struct err err;

    snap(vf, "before"); /* the second disk is not there yet */
    assert_int_equal(vmfile_span(vf, "second", second, &err), 0);
    put(q, 'a');
    put(second, 'A');
    snap(vf, "one");
    put(q, 'b');
    put(second, 'B');
    restore(vf, "one", false);
    assert_int_equal(get(q), 'a');
    assert_int_equal(get(second), 'A');
    put(second, 'C');
    restore(vf, "before", false);
    assert_int_equal(get(second), 'C');
    assert_int_equal(vmsnap_delete(vf, "one", &err), 0);
    qcow2_info(second, &info);
    assert_int_equal(info.nr_snapshots, 0);
    finish(vf);
    assert_int_equal(qcow2_close(second), 0);
}

/* A crash between the disks leaves an entry in the second only. */
static void left_overs_of_other_disks_are_deleted(void **state)
{
    struct vmfile *vf = make(state);
    struct qcow2 *second = second_disk(state);
    const struct qcow2_snap_new qemus = {.id = "9", .name = "qemu's"};
    struct qcow2_snap *list = NULL;
    struct qcow2_info info;
    struct err err;
    size_t n = 0;

    assert_int_equal(vmfile_span(vf, "second", second, &err), 0);
    snap(vf, "one");
    snap(vf, "two");
    assert_int_equal(qcow2_snap_delete(vmfile_qcow2(vf), "2", &err), 0);
    assert_int_equal(qcow2_snap_create(second, &qemus, NULL, &err), 0);
    assert_int_equal(vmfile_close(vf), 0);
    vf = vm_folder_open(state, "web.husk", VMFILE_WRITE);
    assert_int_equal(vmfile_span(vf, "second", second, &err), 0);
    assert_int_equal(qcow2_snaps(second, &list, &n, &err), 0);
    assert_int_equal(n, 2);
    assert_string_equal(list[0].id, "1");
    assert_string_equal(list[1].id, "9"); /* not ours to delete */
    qcow2_snaps_free(list, n);
    /* An id that only the second disk has is not used again. */
    snap(vf, "three");
    qcow2_info(second, &info);
    assert_int_equal(info.nr_snapshots, 3);
    finish(vf);
    assert_int_equal(qcow2_close(second), 0);
}

static void a_raw_disk_cannot_be_snapshotted(void **state)
{
    const struct vmsnap_new s = {.name = "one"};
    struct vmfile *vf = make(state);
    char name[QCOW2_SNAP_NAME_MAX + 1];
    struct err err;

    assert_int_equal(vmfile_span(vf, "data.img", NULL, &err), 0);
    assert_int_equal(vmsnap_create(vf, &s, name, &err), -ENOTSUP);
    assert_non_null(strstr(err.text, "data.img"));
    expect_list(vf, "");
    finish(vf);
}

/* --- Images without settings -------------------------------------------------
 */

static void plain_images_have_snapshots_too(void **state)
{
    struct qcow2 *q = second_disk(state);
    struct vmfile *vf;

    assert_int_equal(qcow2_close(q), 0);
    vf = vm_folder_open(state, "web.disk1.qcow2", VMFILE_WRITE | VMFILE_PLAIN);
    q = vmfile_qcow2(vf);
    put(q, 'a');
    snap(vf, "one");
    put(q, 'b');
    restore(vf, "one", false);
    assert_int_equal(get(q), 'a');
    finish(vf);
}

#define TEST(f)                                                                \
    cmocka_unit_test_setup_teardown(f, vm_folder_begin, vm_folder_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(disk_and_settings_go_back),
        TEST(snapshots_are_a_tree),
        TEST(names_are_chosen_and_checked),
        TEST(a_pinned_snapshot_is_doomed),
        TEST(long_settings_go_to_the_state_area),
        TEST(damaged_states_leave_the_disk),
        TEST(variables_go_back_with_the_disk),
        TEST(a_disk_can_be_lent),
        TEST(a_restore_that_was_cut_short_is_finished),
        TEST(snapshots_span_all_disks),
        TEST(left_overs_of_other_disks_are_deleted),
        TEST(a_raw_disk_cannot_be_snapshotted),
        TEST(plain_images_have_snapshots_too),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
