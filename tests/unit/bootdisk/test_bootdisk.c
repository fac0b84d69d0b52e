/*
 * bootdisk.c, child.c, finder.c, ext2.c: disks with file systems that mke2fs
 * made, looked at by the real child process, which is this program again. Where
 * there is no mke2fs, nothing is tested.
 */
#include "bootdisk/bootdisk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/endian.h"
#include "block/raw.h"
#include "bootdisk/child.h"
#include "bootdisk/finder.h"
#include "tests/unit/test.h"

enum {
    START = 1 << 20, /* of partition 1 */
    SIZE = 24 << 20, /* of the disk */
    SUPER = START + 1024,
    KERNEL_LEN = 3 << 20,
    INITRD_LEN = 70001
};

static const char uuid[] = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0";

struct fixture {
    char dir[64], image[96];
    struct blk *blk;
};

/* --- Making a disk ----------------------------------------------------------
 */

static void shell(const char *fmt, ...) PRINTF(1, 2);
static void shell(const char *fmt, ...)
{
    char cmd[2048];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(cmd, sizeof(cmd), fmt, ap);
    va_end(ap);
    if (system(cmd) != 0)
        fail_msg("%s: failed", cmd);
}

static void put_file(const struct fixture *f, const char *path,
                     const void *data, size_t len)
{
    char name[256];
    FILE *fp;

    (void)snprintf(name, sizeof(name), "%s/root%s", f->dir, path);
    fp = fopen(name, "w");
    assert_non_null(fp);
    assert_int_equal(fwrite(data, 1, len, fp), len);
    assert_int_equal(fclose(fp), 0);
}

static void put_text(const struct fixture *f, const char *path,
                     const char *text)
{
    put_file(f, path, text, strlen(text));
}

static uint8_t pattern(size_t i, unsigned salt)
{
    return (uint8_t)(i * 7 + (i >> 9) + (i >> 17) + salt);
}

static void put_pattern(const struct fixture *f, const char *path, size_t len,
                        unsigned salt)
{
    uint8_t *p = malloc(len);

    assert_non_null(p);
    for (size_t i = 0; i < len; i++)
        p[i] = pattern(i, salt);
    /* In the middle of the kernel, a part that comes to be a hole. */
    if (len == KERNEL_LEN)
        memset(p + (1 << 20), 0, 1 << 20);
    put_file(f, path, p, len);
    free(p);
}

/* A first sector with a boot loader's mark and one partition. */
static void put_mbr(const struct fixture *f, const char *mark)
{
    uint8_t s[512] = {0};
    int fd = open(f->image, O_WRONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    memcpy(s + 100, mark, strlen(mark));
    s[450] = 0x83;
    put_le32(s + 454, START / 512);
    put_le32(s + 458, (SIZE - START) / 512);
    put_le16(s + 510, 0xaa55);
    assert_int_equal(pwrite(fd, s, sizeof(s), 0), (ssize_t)sizeof(s));
    (void)close(fd);
}

static const char config[] = "set timeout=0\n"
                             "search --no-floppy --fs-uuid --set=root "
                             "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0\n"
                             "menuentry 'Test Linux' {\n"
                             "  linux /vmlinuz root=/dev/vda1 quiet\n"
                             "  initrd /boot/one.img /boot/two.img\n}\n";

static void make_tree(struct fixture *f)
{
    (void)snprintf(f->dir, sizeof(f->dir), "/tmp/husk-bootdisk-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->image, sizeof(f->image), "%s/disk", f->dir);
    shell("mkdir -p %s/root/boot/grub && ln -s boot/vmlinuz-1 "
          "%s/root/vmlinuz",
          f->dir, f->dir);
    put_pattern(f, "/boot/vmlinuz-1", KERNEL_LEN, 1);
    put_pattern(f, "/boot/one.img", INITRD_LEN, 2);
    put_pattern(f, "/boot/two.img", INITRD_LEN + 1, 3);
    put_text(f, "/boot/grub/grub.cfg", config);
}

/* Of the tree; options: of mke2fs. */
static void make_image(struct fixture *f, const char *options)
{
    struct err err;

    shell("truncate -s %d %s && PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F %s "
          "-U %s -d %s/root -E offset=%d %s %dk",
          SIZE, f->image, options, uuid, f->dir, START, f->image,
          (SIZE - START) / 1024);
    put_mbr(f, "GRUB");
    assert_int_equal(raw_open(f->image, -1, 0, NULL, NULL, &f->blk, &err), 0);
}

static void make_disk(struct fixture *f, const char *options)
{
    make_tree(f);
    make_image(f, options);
}

static void drop_disk(struct fixture *f)
{
    assert_int_equal(blk_close(f->blk), 0);
    shell("rm -rf %s", f->dir);
}

static bool has_mke2fs(void)
{
    return system("PATH=$PATH:/sbin:/usr/sbin command -v mke2fs >/dev/null") ==
           0;
}

static void poke(struct fixture *f, uint64_t off, const void *data, size_t len)
{
    assert_int_equal(blk_write(f->blk, off, data, len, 0), 0);
}

/* What it says when it does not say what would be booted. */
static const char *why(struct fixture *f)
{
    static struct err err;
    struct bootdisk *b = NULL;

    if (bootdisk_look(f->blk, &b, &err) == 0) {
        bootdisk_free(b);
        return "";
    }
    assert_true(err.code < 0);
    return err.text;
}

static void assert_why(struct fixture *f, const char *part)
{
    const char *got = why(f);

    if (!strstr(got, part))
        fail_msg("'%s' is not in '%s'", part, got);
}

/* --- What is found ----------------------------------------------------------
 */

static void check_pattern(const uint8_t *p, size_t len, unsigned salt)
{
    for (size_t i = 0; i < len; i++) {
        bool hole = len == KERNEL_LEN && i >> 20 == 1;

        if (p[i] != (hole ? 0 : pattern(i, salt)))
            fail_msg("byte %zu is wrong", i);
    }
}

static void check_found(struct fixture *f)
{
    struct bootdisk_files files;
    struct bootdisk *b = NULL;
    struct err err;
    size_t second = (INITRD_LEN + 3) & ~(size_t)3;

    if (bootdisk_look(f->blk, &b, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(bootdisk_kernel(b), "/vmlinuz");
    assert_string_equal(bootdisk_title(b), "Test Linux");
    assert_string_equal(bootdisk_loader(b), "GRUB");
    assert_string_equal(bootdisk_cmdline(b),
                        "BOOT_IMAGE=/vmlinuz root=/dev/vda1 quiet");
    assert_int_equal(bootdisk_load(f->blk, b, &files, &err), 0);
    assert_int_equal(files.kernel_len, KERNEL_LEN);
    check_pattern(files.kernel, KERNEL_LEN, 1);
    assert_true(files.initrd_len >= second + INITRD_LEN + 1);
    check_pattern(files.initrd, INITRD_LEN, 2);
    for (size_t i = INITRD_LEN; i < second; i++)
        assert_int_equal(files.initrd[i], 0);
    check_pattern(files.initrd + second, INITRD_LEN + 1, 3);
    free(files.kernel);
    free(files.initrd);
    bootdisk_free(b);
}

static void the_default_entry_is_found_in_every_kind(void **state)
{
    static const char *const kinds[] = {
        "-t ext4",
        "-t ext4 -b 1024",
        "-t ext3",
        "-t ext2 -b 1024",
        "-t ext4 -O ^has_journal,inline_data,bigalloc -C 16384",
        "-t ext4 -O metadata_csum,64bit,casefold"};
    struct fixture f;

    (void)state;
    if (!has_mke2fs())
        skip();
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        make_disk(&f, kinds[i]);
        check_found(&f);
        drop_disk(&f);
    }
}

static void it_is_left_to_firmware_unless_all_is_clear(void **state)
{
    static const uint8_t zero[512] = {0};
    uint8_t b[4];
    struct fixture f;

    (void)state;
    if (!has_mke2fs())
        skip();
    make_disk(&f, "-t ext4 -O ^metadata_csum");
    put_mbr(&f, "Other loader");
    assert_why(&f, "not the one that '/boot/grub/grub.cfg' is for");
    put_mbr(&f, "");
    assert_why(&f, "it has no boot loader");
    put_mbr(&f, "GRUB");
    assert_string_equal(why(&f), "");
    assert_int_equal(blk_read(f.blk, SUPER + 58, b, 2), 0);
    poke(&f, SUPER + 58, "\0\0", 2); /* s_state: not clean */
    assert_why(&f, "partition 1 was not unmounted");
    poke(&f, SUPER + 58, "\3\0", 2);
    assert_why(&f, "partition 1 has errors");
    poke(&f, SUPER + 58, b, 2);
    assert_int_equal(blk_read(f.blk, SUPER + 96, b, 4), 0);
    b[0] |= 4; /* s_feature_incompat: the journal has news */
    poke(&f, SUPER + 96, b, 4);
    assert_why(&f, "partition 1 was not unmounted");
    b[3] |= 0x40; /* a feature of the future */
    poke(&f, SUPER + 96, b, 4);
    assert_why(&f, "cannot be read");
    poke(&f, SUPER, zero, sizeof(zero));
    assert_why(&f, "no ext2, ext3 or ext4 file system");
    poke(&f, 0, zero, sizeof(zero));
    assert_why(&f, "no ext2, ext3 or ext4 file system");
    drop_disk(&f);
}

static void two_configurations_are_one_too_many(void **state)
{
    struct fixture f;

    (void)state;
    if (!has_mke2fs())
        skip();
    make_tree(&f);
    shell("ln -s grub %s/root/boot/grub2", f.dir);
    make_image(&f, "-t ext4");
    check_found(&f); /* one file with two names */
    assert_int_equal(blk_close(f.blk), 0);
    shell("cd %s && mkdir root/boot/extlinux && rm disk && "
          "echo >root/boot/extlinux/extlinux.conf",
          f.dir);
    make_image(&f, "-t ext4");
    assert_why(&f, "two configurations");
    drop_disk(&f);
}

/* --- Hostile disks ----------------------------------------------------------
 */

static uint64_t next_random(uint64_t *x)
{
    *x = *x * 6364136223846793005u + 1442695040888963407u;
    return *x >> 33;
}

/* Metadata is in the first MiB; damage a few bytes of what is not zero. */
static void damage(struct fixture *f, const uint8_t *good, size_t len,
                   uint64_t *x)
{
    uint8_t *bad = malloc(len);

    assert_non_null(bad);
    memcpy(bad, good, len);
    for (uint64_t n = 1 + next_random(x) % 48, tries = 0; n && tries < 400000;
         tries++) {
        size_t at = next_random(x) % len;

        if (!bad[at] && tries % 4096)
            continue;
        bad[at] = (uint8_t)next_random(x);
        n--;
    }
    poke(f, START, bad, len);
    free(bad);
}

static void damaged_file_systems_come_to_an_answer(void **state)
{
    enum { LEN = 5 << 18, TURNS = 150 };
    uint8_t *good = malloc(LEN);
    unsigned found = 0;
    uint64_t x = 1;
    struct fixture f;

    (void)state;
    if (!has_mke2fs()) {
        free(good);
        skip();
    }
    assert_non_null(good);
    make_disk(&f, "-t ext4 -b 1024 -O ^metadata_csum");
    assert_int_equal(blk_read(f.blk, START, good, LEN), 0);
    for (unsigned i = 0; i < TURNS; i++) {
        struct bootdisk_files files;
        struct bootdisk *b = NULL;
        struct err err = {0};

        damage(&f, good, LEN, &x);
        if (bootdisk_look(f.blk, &b, &err) < 0) {
            assert_true(err.text[0]);
            continue;
        }
        found++;
        if (bootdisk_load(f.blk, b, &files, &err) == 0) {
            free(files.kernel);
            free(files.initrd);
        }
        bootdisk_free(b);
    }
    print_message("%u of %d were still bootable\n", found, TURNS);
    assert_true(found > 0 && found < TURNS);
    drop_disk(&f);
    free(good);
}

static void answers_that_do_not_fit_are_lies(void **state)
{
    struct answer *a = calloc(1, sizeof(*a));

    (void)state;
    assert_non_null(a);
    assert_false(answer_check(a, 4096)); /* no file */
    a->nr_files = 1;
    a->nr_runs = 2;
    a->file[0].nr = 2;
    a->run[1] = (struct ext2_run){0, 4000, 96};
    assert_true(answer_check(a, 4096));
    assert_false(answer_check(a, 4095));
    a->run[1].off = UINT64_MAX;
    assert_false(answer_check(a, 4096));
    a->run[1].off = 0;
    a->run[0].len = 1; /* both begin the file */
    assert_false(answer_check(a, 4096));
    a->run[1].off = 1;
    assert_true(answer_check(a, 4096));
    a->file[0].first = 1;
    assert_false(answer_check(a, 4096));
    a->file[0].first = 0;
    memset(a->cmdline, 'x', sizeof(a->cmdline));
    assert_false(answer_check(a, 4096));
    a->cmdline[9] = 0;
    a->nr_runs = ANSWER_RUNS + 1;
    assert_false(answer_check(a, 4096));
    a->nr_runs = 2;
    a->nr_files = ANSWER_FILES + 1;
    assert_false(answer_check(a, 4096));
    a->nr_files = 1;
    a->code = 1;
    assert_false(answer_check(a, 4096));
    free(a);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_entry_is_found_in_every_kind),
        cmocka_unit_test(it_is_left_to_firmware_unless_all_is_clear),
        cmocka_unit_test(two_configurations_are_one_too_many),
        cmocka_unit_test(damaged_file_systems_come_to_an_answer),
        cmocka_unit_test(answers_that_do_not_fit_are_lies),
    };

    if (argc == 2 && strcmp(argv[1], CHILD_ROLE) == 0)
        _exit(child_main());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
