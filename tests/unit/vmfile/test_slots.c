#include "vmfile/slots.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"
#include "tests/unit/vmfile/fake_image.h"

static struct slots place(int fd)
{
    struct slots s = {0};
    struct err err;

    assert_int_equal(slots_find(fd, "vm", &s, &err), 0);
    return s;
}

/* The text that counts must be this. */
static void expect(int fd, const char *text)
{
    uint64_t generation = 0;
    char *got = NULL;
    struct err err;
    size_t len = 0;

    assert_int_equal(slots_read(fd, "vm", &got, &len, &generation, &err), 0);
    assert_int_equal(len, strlen(text));
    assert_string_equal(got, text);
    free(got);
}

static int read_fails(int fd)
{
    uint64_t generation = 0;
    char *got = NULL;
    struct err err = {0};
    size_t len = 0;
    int rc = slots_read(fd, "vm", &got, &len, &generation, &err);

    assert_true(rc < 0);
    assert_true(strlen(err.text) > 0);
    assert_int_equal(err.code, rc);
    return rc;
}

static int write_text(int fd, const char *text)
{
    struct err err;

    return slots_write(fd, "vm", NULL, text, strlen(text), &err);
}

static void what_was_written_is_read(void **state)
{
    int fd = fake_vm("{}");
    char text[32];

    (void)state;
    expect(fd, "{}");
    for (int i = 0; i < 5; i++) {
        (void)snprintf(text, sizeof(text), "{\"n\":%d}", i);
        assert_int_equal(write_text(fd, text), 0);
        expect(fd, text);
    }
    assert_int_equal(write_text(fd, ""), 0);
    expect(fd, "");
    (void)close(fd);
}

static void the_extension_may_move(void **state)
{
    uint8_t *ext = malloc(SLOTS_LENGTH);
    int fd = fake_vm("{\"a\":1}");
    struct slots s = place(fd);
    uint64_t off;

    (void)state;
    assert_non_null(ext);
    assert_int_equal(write_text(fd, "{\"a\":2}"), 0);
    assert_int_equal(pread(fd, ext, SLOTS_LENGTH, (off_t)s.offset),
                     SLOTS_LENGTH);
    off = fake_extension(fd, 112, 0xe2792aca, "raw", 3);
    off = fake_extension(fd, off, 0x6803f857, "other features.......", 21);
    (void)fake_extension(fd, off, SLOTS_EXTENSION, ext, SLOTS_LENGTH);
    assert_true(place(fd).offset != s.offset);
    expect(fd, "{\"a\":2}");
    assert_int_equal(write_text(fd, "{\"a\":3}"), 0);
    expect(fd, "{\"a\":3}");
    free(ext);
    (void)close(fd);
}

/* Whatever is torn in the slot that is being written, the other one counts. */
static void a_torn_write_leaves_the_old_text(void **state)
{
    int fd = fake_vm("{\"old\":true}");
    struct slots s = place(fd);
    uint64_t slot = s.offset + s.slot[1];
    size_t len = 16 + strlen("{\"new\":true}");

    (void)state;
    assert_int_equal(write_text(fd, "{\"new\":true}"), 0);
    for (size_t i = 0; i < len; i++) {
        uint8_t was = fake_byte(fd, slot + i), bad = was ^ 0x10;

        fake_write(fd, slot + i, &bad, 1);
        expect(fd, "{\"old\":true}");
        fake_write(fd, slot + i, &was, 1);
    }
    expect(fd, "{\"new\":true}");
    /* And then the next write goes where it is damaged. */
    fake_write32(fd, slot, 0xffffffff);
    assert_int_equal(write_text(fd, "{\"next\":true}"), 0);
    expect(fd, "{\"next\":true}");
    fake_write32(fd, slot, 0xffffffff);
    expect(fd, "{\"old\":true}");
    (void)close(fd);
}

static void a_write_changes_one_slot_beyond_4_kib_only(void **state)
{
    uint8_t *before = malloc(65536), *after = malloc(65536);
    int fd = fake_vm("{\"old\":true}");
    struct slots s = place(fd);

    (void)state;
    assert_true(before && after);
    for (int i = 0; i < 4; i++) {
        uint64_t slot = s.offset + s.slot[(i + 1) % 2];

        assert_int_equal(pread(fd, before, 65536, 0), 65536);
        assert_int_equal(write_text(fd, i % 2 ? "{\"a\":1}" : "{\"b\":22}"), 0);
        assert_int_equal(pread(fd, after, 65536, 0), 65536);
        assert_true(slot >= 4096);
        assert_memory_equal(before, after, slot);
        assert_memory_equal(before + slot + s.slot_len,
                            after + slot + s.slot_len,
                            65536 - slot - s.slot_len);
    }
    free(before);
    free(after);
    (void)close(fd);
}

static void pieces_that_tear_are_not_shared(void **state)
{
    int fd = fake_vm("{}");
    struct slots s = place(fd);

    (void)state;
    assert_true(s.slot[1] - s.slot[0] - s.slot_len >= 4096);
    assert_true(s.owner - s.slot[1] - s.slot_len >= 4096);
    assert_int_equal(s.owner + SLOTS_OWNER_SIZE, SLOTS_LENGTH);
    /* With room for the longest backing name and QEMU's own extensions. */
    assert_true(112 + 1024 + 1023 + 8 + SLOTS_LENGTH <= 65536);
    (void)close(fd);
}

static void two_damaged_slots_are_an_error(void **state)
{
    int fd = fake_vm("{}");
    struct slots s = place(fd);

    (void)state;
    fake_write32(fd, s.offset + s.slot[0], 7);
    assert_int_equal(read_fails(fd), -EUCLEAN);
    assert_int_equal(write_text(fd, "{}"), -EUCLEAN);
    (void)close(fd);
}

static void the_longest_text_fits_and_no_longer_one(void **state)
{
    char *text = malloc(SLOTS_MAX_TEXT + 2);
    int fd = fake_vm("{}");

    (void)state;
    assert_non_null(text);
    memset(text, 'x', SLOTS_MAX_TEXT + 1);
    text[SLOTS_MAX_TEXT + 1] = '\0';
    assert_int_equal(write_text(fd, text), -EFBIG);
    expect(fd, "{}");
    text[SLOTS_MAX_TEXT] = '\0';
    assert_int_equal(write_text(fd, text), 0);
    expect(fd, text);
    free(text);
    (void)close(fd);
}

static void files_without_settings_are_told_apart(void **state)
{
    int plain = fake_image(), text = fake_image(), tiny = fake_image();
    int empty = fake_image(), cut = fake_vm("{}");

    (void)state;
    assert_int_equal(read_fails(plain), -ENOENT);
    fake_write(text, 0, "hello", 5);
    assert_int_equal(read_fails(text), -EMEDIUMTYPE);
    assert_int_equal(ftruncate(tiny, 50), 0);
    assert_int_equal(read_fails(tiny), -EUCLEAN);
    assert_int_equal(ftruncate(empty, 0), 0);
    assert_int_equal(read_fails(empty), -EMEDIUMTYPE);
    assert_int_equal(ftruncate(cut, 5000), 0);
    assert_int_equal(read_fails(cut), -EUCLEAN);
    (void)close(plain);
    (void)close(text);
    (void)close(tiny);
    (void)close(empty);
    (void)close(cut);
}

/* Give the head that the values make a right sum. */
static void seal_head(int fd, uint64_t ext)
{
    uint8_t head[28];

    assert_int_equal(pread(fd, head, sizeof(head), (off_t)ext), 28);
    fake_write32(fd, ext + 28, crc32c_update(0, head, sizeof(head)));
}

static void a_head_that_leads_out_is_refused(void **state)
{
    static const struct {
        uint32_t at, value;
    } bad[] = {
        {8, 1},           {8, 3},           {12, 0},          {12, 65536},
        {12, 0xfffffff0}, {16, 0},          {16, 0xffffffff}, {16, 1000},
        {20, 0},          {20, 16},         {20, 0xffffffff}, {24, 0},
        {24, 59904},      {24, 0xffffff00}, {24, 5000},       {24, 40000},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int fd = fake_vm("{}");
        uint64_t ext = place(fd).offset;

        fake_write32(fd, ext + bad[i].at, bad[i].value);
        assert_int_equal(read_fails(fd), -EUCLEAN); /* by its sum */
        seal_head(fd, ext);
        assert_int_equal(read_fails(fd), -EUCLEAN); /* for what it says */
        (void)close(fd);
    }
}

static void hostile_headers_end(void **state)
{
    static const struct {
        uint32_t at, value;
    } bad[] = {{20, 8},  {20, 22},  {20, 0xffffffff},
               {100, 0}, {100, 71}, {100, 1u << 31}};
    int fd = fake_image();

    (void)state;
    /* Thousands of empty extensions, and one that leads out. */
    for (uint64_t off = 112; off + 8 <= 65536; off += 8)
        fake_write32(fd, off, 1);
    assert_int_equal(read_fails(fd), -ENOENT);
    fake_write32(fd, 116, 0xffffffff);
    assert_int_equal(read_fails(fd), -EUCLEAN);
    (void)close(fd);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        fd = fake_vm("{}");
        fake_write32(fd, bad[i].at, bad[i].value);
        assert_int_equal(read_fails(fd), -EUCLEAN);
        (void)close(fd);
    }
}

static void a_generation_does_not_run_over(void **state)
{
    int fd = fake_vm("{}");
    struct slots s = place(fd);
    uint8_t slot[18];
    uint32_t crc;

    (void)state;
    memset(slot, 0xff, 8);
    put_be32(slot + 8, 2);
    memcpy(slot + 16, "{}", 2);
    crc = crc32c_update(0, slot, 12);
    put_be32(slot + 12, crc32c_update(crc, slot + 16, 2));
    fake_write(fd, s.offset + s.slot[1], slot, sizeof(slot));
    expect(fd, "{}");
    assert_int_equal(write_text(fd, "{\"a\":1}"), -EUCLEAN);
    expect(fd, "{}");
    (void)close(fd);
}

struct failing {
    int fd, writes, syncs, fail_write, fail_sync;
};

static int fail_or_write(void *arg, const void *buf, uint32_t len, uint64_t off)
{
    struct failing *f = arg;

    if (++f->writes == f->fail_write)
        return -ENOSPC;
    fake_write(f->fd, off, buf, len);
    return 0;
}

static int fail_or_sync(void *arg)
{
    struct failing *f = arg;

    return ++f->syncs == f->fail_sync ? -EIO : 0;
}

/* The slot that counts is on the disk before the other one is touched, and the
 * new one before it is said to be written. */
static void a_write_lies_between_two_syncs(void **state)
{
    struct failing f = {.fd = fake_vm("{}")};
    const struct slots_io io = {fail_or_write, fail_or_sync, &f};
    struct err err;

    (void)state;
    assert_int_equal(slots_write(f.fd, "vm", &io, "{\"a\":1}", 7, &err), 0);
    assert_int_equal(f.writes, 1);
    assert_int_equal(f.syncs, 2);
    f = (struct failing){.fd = f.fd, .fail_sync = 1};
    assert_int_equal(slots_write(f.fd, "vm", &io, "{\"a\":2}", 7, &err), -EIO);
    assert_int_equal(f.writes, 0);
    expect(f.fd, "{\"a\":1}");
    f = (struct failing){.fd = f.fd, .fail_sync = 2};
    assert_int_equal(slots_write(f.fd, "vm", &io, "{\"a\":2}", 7, &err), -EIO);
    f = (struct failing){.fd = f.fd, .fail_write = 1};
    assert_int_equal(slots_write(f.fd, "vm", &io, "{\"a\":3}", 7, &err),
                     -ENOSPC);
    assert_non_null(strstr(err.text, "No space"));
    (void)close(f.fd);
}

static void without_memory_nothing_changes(void **state)
{
    int fd = fake_vm("{}"), rc = 0;
    uint64_t generation;
    struct err err;
    char *text;
    size_t len;

    (void)state;
    for (unsigned n = 1; n < 20; n++) {
        fail_alloc_at(n);
        rc = write_text(fd, "{\"a\":1}");
        fail_alloc_at(0);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
        expect(fd, "{}");
    }
    assert_int_equal(rc, 0);
    fail_alloc_at(1);
    rc = slots_read(fd, "vm", &text, &len, &generation, &err);
    fail_alloc_at(0);
    assert_int_equal(rc, -ENOMEM);
    (void)close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read),
        cmocka_unit_test(the_extension_may_move),
        cmocka_unit_test(a_torn_write_leaves_the_old_text),
        cmocka_unit_test(a_write_changes_one_slot_beyond_4_kib_only),
        cmocka_unit_test(pieces_that_tear_are_not_shared),
        cmocka_unit_test(two_damaged_slots_are_an_error),
        cmocka_unit_test(the_longest_text_fits_and_no_longer_one),
        cmocka_unit_test(files_without_settings_are_told_apart),
        cmocka_unit_test(a_head_that_leads_out_is_refused),
        cmocka_unit_test(hostile_headers_end),
        cmocka_unit_test(a_generation_does_not_run_over),
        cmocka_unit_test(a_write_lies_between_two_syncs),
        cmocka_unit_test(without_memory_nothing_changes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
