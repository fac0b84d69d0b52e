#include "mem/gmem.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/test.h"

#define MIB ((uint64_t)1 << 20)

/* Two banks that touch, a hole, and ROM. */
static const struct gmem_layout layout[] = {
    {.start = 0, .size = 0xa0000},
    {.start = 0xa0000, .size = 0x10000},
    {.start = 0x100000, .size = 4 * MIB},
    {.start = 0xfffc0000, .size = 0x40000, .readonly = true},
};

static void setup(struct gmem *gm)
{
    struct err err;

    assert_int_equal(gmem_init(gm, layout, 4, &err), 0);
}

static void fresh_memory_reads_as_zero(void **state)
{
    struct gmem gm;
    uint64_t word = 1;

    (void)state;
    setup(&gm);
    assert_int_equal(gmem_read(&gm, 0x100000, &word, 8), 0);
    assert_true(word == 0);
    assert_int_equal(gm.nr_banks, 4);
    assert_int_equal(gm.nr_pages, (0xb0000 + 4 * MIB + 0x40000) >> 12);
    assert_int_equal(gm.bank[2].page_idx, 0xb0);
    gmem_fini(&gm);
}

static void copies_cross_banks_that_touch(void **state)
{
    struct gmem gm;
    char buf[8] = {0};

    (void)state;
    setup(&gm);
    assert_int_equal(gmem_write(&gm, 0x9fffc, "abcdefgh", 8), 0);
    assert_int_equal(gmem_read(&gm, 0x9fffc, buf, 8), 0);
    assert_memory_equal(buf, "abcdefgh", 8);
    assert_int_equal(gmem_read(&gm, 0xa0000, buf, 4), 0);
    assert_memory_equal(buf, "efgh", 4);
    gmem_fini(&gm);
}

static void outside_of_memory_nothing_is_copied(void **state)
{
    static const struct {
        gpa_t gpa;
        size_t len;
    } bad[] = {
        {0xb0000, 1},           {0xaffff, 2},    {0xffffff, 0x400000},
        {0x500000, 1},          {0x4ffffc, 8},   {UINT64_MAX, 1},
        {UINT64_MAX - 7, 16},   {0, UINT64_MAX}, {1, UINT64_MAX},
        {0x100000, 1ull << 63}, {0xfffffffc, 8},
    };
    struct gmem gm;
    char buf[64];

    (void)state;
    setup(&gm);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        memset(buf, 'x', sizeof(buf));
        assert_int_equal(gmem_read(&gm, bad[i].gpa, buf, bad[i].len), -EFAULT);
        assert_int_equal(buf[0], 'x');
        assert_int_equal(gmem_write(&gm, bad[i].gpa, buf, bad[i].len), -EFAULT);
        assert_int_equal(gmem_load(&gm, bad[i].gpa, buf, bad[i].len), -EFAULT);
        assert_null(gmem_hva(&gm, bad[i].gpa, bad[i].len));
    }
    /* The part of a refused write that was inside is untouched. */
    assert_int_equal(gmem_read(&gm, 0xaffff, buf, 1), 0);
    assert_int_equal(buf[0], 0);
    assert_int_equal(gmem_read(&gm, 0xb0000, buf, 0), 0);
    gmem_fini(&gm);
}

static void only_loaders_write_rom(void **state)
{
    struct gmem gm;
    char buf[4] = {0};

    (void)state;
    setup(&gm);
    assert_int_equal(gmem_load(&gm, 0xfffffff0, "rom", 4), 0);
    assert_int_equal(gmem_write(&gm, 0xfffffff0, "bad", 4), -EFAULT);
    assert_int_equal(gmem_read(&gm, 0xfffffff0, buf, 4), 0);
    assert_string_equal(buf, "rom");
    gmem_fini(&gm);
}

struct told {
    gpa_t gpa;
    uint64_t len;
    unsigned nr;
};

static void tell(void *opaque, gpa_t gpa, uint64_t len)
{
    struct told *t = opaque;

    t->gpa = gpa;
    t->len = len;
    t->nr++;
}

static void the_engine_is_told_of_writes_that_happened(void **state)
{
    struct told t = {.nr = 0};
    struct gmem gm;

    (void)state;
    setup(&gm);
    gm.written = tell;
    gm.written_opaque = &t;
    assert_int_equal(gmem_write(&gm, 0x9fffe, "abcd", 4), 0);
    assert_true(t.nr == 1 && t.gpa == 0x9fffe && t.len == 4);
    assert_int_equal(gmem_load(&gm, 0xfffc0000, "abcd", 3), 0);
    assert_true(t.nr == 2 && t.gpa == 0xfffc0000 && t.len == 3);
    assert_int_equal(gmem_write(&gm, 0xfffc0000, "abcd", 3), -EFAULT);
    assert_int_equal(gmem_write(&gm, 0, "", 0), 0);
    assert_int_equal(t.nr, 2);
    gmem_clear(&gm);
    assert_int_equal(t.nr, 2 + 4);
    gmem_fini(&gm);
}

static long file_blocks(const struct gmem *gm)
{
    struct stat st;

    assert_int_equal(fstat(gm->fd, &st), 0);
    return (long)st.st_blocks;
}

static void clearing_zeroes_and_gives_memory_back(void **state)
{
    static uint8_t page[64 * 4096];
    struct gmem gm;
    uint8_t byte = 1;

    (void)state;
    setup(&gm);
    assert_int_equal(file_blocks(&gm), 0);
    memset(page, 0xaa, sizeof(page));
    assert_int_equal(gmem_write(&gm, 0x100000, page, sizeof(page)), 0);
    assert_true(file_blocks(&gm) >= 512); /* of 512 bytes: 64 pages */
    gmem_clear(&gm);
    assert_int_equal(file_blocks(&gm), 0);
    assert_int_equal(gmem_read(&gm, 0x100000, &byte, 1), 0);
    assert_int_equal(byte, 0);
    gmem_fini(&gm);
}

static void addresses_on_both_sides_of_the_mapping_fault(void **state)
{
    struct gmem gm;

    (void)state;
    setup(&gm);
    /* The kernel finds out for us: writing from there to a pipe. */
    for (int i = 0; i < 2; i++) {
        const uint8_t *at = i ? gm.base + gm.size : gm.base - 1;
        const uint8_t *far = i ? gm.base + gm.size + 0xffff : gm.base - 0x10000;
        int fd[2];

        assert_int_equal(pipe(fd), 0);
        assert_int_equal(write(fd[1], at, 1), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(write(fd[1], far, 1), -1);
        assert_int_equal(errno, EFAULT);
        assert_int_equal(write(fd[1], gm.base, 1), 1);
        assert_int_equal(write(fd[1], gm.base + gm.size - 1, 1), 1);
        (void)close(fd[0]);
        (void)close(fd[1]);
    }
    gmem_fini(&gm);
}

static void refuse(const struct gmem_layout *l, unsigned nr, int rc,
                   const char *part)
{
    struct gmem gm = {.fd = 123};
    struct err err = {.text = ""};

    assert_int_equal(gmem_init(&gm, l, nr, &err), rc);
    assert_non_null(strstr(err.text, part));
    assert_int_equal(gm.fd, 123);
}

static void layouts_that_make_no_sense_are_refused(void **state)
{
    static const struct gmem_layout none[GMEM_MAX_BANKS + 1];
    static const struct gmem_layout bad[][2] = {
        {{.start = 0, .size = 0x1000}, {.start = 0x2000, .size = 0}},
        {{.start = 0, .size = 0x2000}, {.start = 0x1000, .size = 0x1000}},
        {{.start = 0x4000, .size = 0x1000}, {.start = 0, .size = 0x1000}},
        {{.start = 0, .size = 0x1000}, {.start = 0x1800, .size = 0x1000}},
        {{.start = 0, .size = 0x1000}, {.start = 0x2000, .size = 0x800}},
        {{.start = 0, .size = 0x1000},
         {.start = 0xfffffffffffff000, .size = 0x2000}},
    };

    (void)state;
    refuse(none, 0, -EINVAL, "banks");
    refuse(none, GMEM_MAX_BANKS + 1, -EINVAL, "banks");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refuse(bad[i], 2, -EINVAL, "bank 1");
}

static void more_than_the_host_has_is_refused(void **state)
{
    const struct gmem_layout huge = {.start = 0, .size = 1ull << 50};

    (void)state;
    refuse(&huge, 1, -ENOMEM, "the host has only");
}

static void a_host_without_descriptors_is_an_error_not_a_leak(void **state)
{
    struct gmem gm;
    struct err err;
    struct rlimit old, none;

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(gmem_init(&gm, layout, 4, &err), -EMFILE);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    assert_non_null(strstr(err.text, "guest memory"));
    setup(&gm);
    gmem_fini(&gm);
}

static void *copy_own_page(void *opaque)
{
    static _Atomic unsigned next;
    const struct gmem *gm = opaque;
    gpa_t gpa = 0x100000 + (gpa_t)next++ * 4096;
    uint32_t got = 0;

    for (uint32_t i = 0; i < 2000; i++) {
        assert_int_equal(gmem_write(gm, gpa, &i, sizeof(i)), 0);
        assert_int_equal(gmem_read(gm, gpa, &got, sizeof(got)), 0);
        assert_int_equal(got, i);
    }
    return NULL;
}

static void threads_copy_without_a_lock(void **state)
{
    struct gmem gm;
    pthread_t thread[4];

    (void)state;
    setup(&gm);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, copy_own_page, &gm),
                         0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    gmem_fini(&gm);
}

/* RAM with a shadow area in its middle. */
static const struct gmem_layout shadowed[] = {
    {.start = 0, .size = 0xa0000},
    {.start = 0xc0000, .size = GMEM_SHADOW_SIZE, .shadow = true},
    {.start = 0x100000, .size = 4 * MIB},
};

static unsigned nr_remapped;

static bool last_moved;

static void count_remap(void *opaque, bool moved)
{
    (void)opaque;
    last_moved = moved;
    nr_remapped++;
}

static void setup_shadow(struct gmem *gm)
{
    struct err err;

    assert_int_equal(gmem_init(gm, shadowed, 3, &err), 0);
    gm->remapped = count_remap;
    nr_remapped = 0;
}

static char byte_at(const struct gmem *gm, gpa_t gpa)
{
    char c = 0;

    assert_int_equal(gmem_read(gm, gpa, &c, 1), 0);
    return c;
}

static void a_slot_shows_rom_or_ram(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    gmem_shadow_load(&gm, 0x4000, "R", 1);
    assert_int_equal(byte_at(&gm, 0xc4000), 'R');
    assert_int_equal(gmem_write(&gm, 0xc4000, "w", 1), -EFAULT);
    gmem_shadow_set(&gm, 1, GMEM_SHADOW_RAM);
    assert_int_equal(byte_at(&gm, 0xc4000), 0);
    assert_int_equal(gmem_write(&gm, 0xc4000, "w", 1), 0);
    gmem_shadow_set(&gm, 1, GMEM_SHADOW_RAM_RO);
    assert_int_equal(byte_at(&gm, 0xc4000), 'w');
    assert_int_equal(gmem_write(&gm, 0xc4000, "x", 1), -EFAULT);
    gmem_shadow_set(&gm, 1, GMEM_SHADOW_ROM);
    assert_int_equal(byte_at(&gm, 0xc4000), 'R');
    gmem_fini(&gm);
}

static void slots_change_one_by_one(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    gmem_shadow_set(&gm, 15, GMEM_SHADOW_RAM);
    assert_int_equal(gmem_write(&gm, 0xffffe, "abcd", 4), 0);
    assert_int_equal(byte_at(&gm, 0x100001), 'd');
    assert_int_equal(gmem_write(&gm, 0xfbfff, "ab", 2), -EFAULT);
    assert_null(gmem_bank(&gm, 0xfbfff, 2));
    assert_null(gmem_bank(&gm, 0xbffff, 1));
    gmem_fini(&gm);
}

static void the_engine_is_told_of_slots_that_changed(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    gmem_shadow_set(&gm, 3, GMEM_SHADOW_ROM);
    assert_int_equal(nr_remapped, 0);
    gmem_shadow_set(&gm, 3, GMEM_SHADOW_RAM);
    gmem_shadow_set(&gm, 3, GMEM_SHADOW_RAM);
    assert_int_equal(nr_remapped, 1);
    gmem_fini(&gm);
}

static void ram_pages_are_counted_with_both_sides_of_the_shadow(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    assert_int_equal(gm.nr_banks, 2);
    assert_int_equal(gm.bank[1].page_idx, (0xa0000 + 0x80000) >> 12);
    assert_int_equal(gm.nr_pages, (0xa0000 + 0x80000 + 4 * MIB) >> 12);
    gmem_fini(&gm);
}

static void shadow_areas_that_make_no_sense_are_refused(void **state)
{
    struct gmem_layout bad[2] = {shadowed[1], shadowed[1]};
    struct gmem gm;
    struct err err;

    (void)state;
    bad[1].start += GMEM_SHADOW_SIZE;
    assert_int_equal(gmem_init(&gm, bad, 2, &err), -EINVAL);
    bad[0].size /= 2;
    assert_int_equal(gmem_init(&gm, bad, 1, &err), -EINVAL);
}

static void writes_can_reach_the_ram_behind_rom(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    gmem_shadow_load(&gm, 0x10000, "R", 1);
    gmem_shadow_set(&gm, 4, GMEM_SHADOW_ROM_WT);
    assert_int_equal(gmem_write(&gm, 0xd0000, "w", 1), 0);
    assert_int_equal(byte_at(&gm, 0xd0000), 'R');
    gmem_shadow_set(&gm, 4, GMEM_SHADOW_RAM);
    assert_int_equal(byte_at(&gm, 0xd0000), 'w');
    gmem_shadow_set(&gm, 4, GMEM_SHADOW_ROM_WT);
    assert_int_equal(gmem_load(&gm, 0xd0000, "L", 1), 0); /* the ROM itself */
    assert_int_equal(byte_at(&gm, 0xd0000), 'L');
    gmem_shadow_set(&gm, 4, GMEM_SHADOW_ROM);
    assert_int_equal(gmem_write(&gm, 0xd0000, "x", 1), -EFAULT);
    gmem_fini(&gm);
}

/* RAM up to 4 MiB, and a device's memory of 2 MiB. */
static const struct gmem_layout with_device[] = {
    {.start = 0, .size = 4 * MIB},
    {.size = 2 * MIB, .device = true},
};

static void a_devices_memory_is_where_it_was_moved(void **state)
{
    const gpa_t there = 0xfe000000;
    struct gmem gm;
    struct err err;

    (void)state;
    assert_int_equal(gmem_init(&gm, with_device, 2, &err), 0);
    gm.remapped = count_remap;
    nr_remapped = 0;
    assert_int_equal(gm.nr_banks, 1);
    assert_int_equal(gm.nr_pages, 6 * MIB >> 12);
    assert_null(gmem_bank(&gm, there, 1));
    gmem_device_move(&gm, there);
    assert_true(last_moved && nr_remapped == 1);
    assert_int_equal(gmem_write(&gm, there + 2 * MIB - 2, "ab", 2), 0);
    assert_int_equal(gmem_write(&gm, there + 2 * MIB - 1, "ab", 2), -EFAULT);
    assert_int_equal(gmem_bank(&gm, there, 1)->page_idx, 4 * MIB >> 12);
    gmem_device_move(&gm, 6 * MIB);
    assert_int_equal(byte_at(&gm, 8 * MIB - 2), 'a');
    assert_null(gmem_bank(&gm, there, 1));
    gmem_device_move(&gm, 2 * MIB); /* RAM hides it */
    assert_int_equal(gmem_write(&gm, 4 * MIB - 1, "r", 1), 0);
    assert_int_equal(gm.device->hva[2 * MIB - 1], 'b');
    gmem_device_move(&gm, 6 * MIB);
    gmem_clear(&gm);
    assert_int_equal(byte_at(&gm, 8 * MIB - 2), 0);
    gmem_device_move(&gm, GMEM_NOWHERE);
    gmem_device_move(&gm, GMEM_NOWHERE);
    assert_null(gmem_bank(&gm, 6 * MIB, 1));
    assert_int_equal(nr_remapped, 5);
    gmem_fini(&gm);
}

static void memories_of_devices_that_make_no_sense_are_refused(void **state)
{
    static const uint64_t bad[] = {0, 2048, 3 * MIB, 2048 * MIB};
    struct gmem_layout l[2] = {{.size = MIB, .device = true},
                               {.size = MIB, .device = true}};
    struct gmem gm;
    struct err err;

    (void)state;
    assert_int_equal(gmem_init(&gm, l, 2, &err), -EINVAL);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        l[0].size = bad[i];
        assert_int_equal(gmem_init(&gm, l, 1, &err), -EINVAL);
    }
}

static void the_gate_clears_bit_20_for_cpus_alone(void **state)
{
    struct gmem gm;

    (void)state;
    setup_shadow(&gm);
    assert_true(gmem_a20(&gm) == UINT64_MAX);
    gmem_set_a20(&gm, false);
    gmem_set_a20(&gm, false);
    assert_true(gmem_a20(&gm) == ~MIB);
    assert_int_equal(nr_remapped, 1);
    assert_false(last_moved);
    assert_int_equal(gmem_write(&gm, MIB, "d", 1), 0); /* as devices do */
    assert_int_equal(byte_at(&gm, 0), 0);
    gmem_set_a20(&gm, true);
    assert_true(gmem_a20(&gm) == UINT64_MAX);
    gmem_fini(&gm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fresh_memory_reads_as_zero),
        cmocka_unit_test(copies_cross_banks_that_touch),
        cmocka_unit_test(outside_of_memory_nothing_is_copied),
        cmocka_unit_test(only_loaders_write_rom),
        cmocka_unit_test(the_engine_is_told_of_writes_that_happened),
        cmocka_unit_test(clearing_zeroes_and_gives_memory_back),
        cmocka_unit_test(addresses_on_both_sides_of_the_mapping_fault),
        cmocka_unit_test(layouts_that_make_no_sense_are_refused),
        cmocka_unit_test(more_than_the_host_has_is_refused),
        cmocka_unit_test(a_host_without_descriptors_is_an_error_not_a_leak),
        cmocka_unit_test(threads_copy_without_a_lock),
        cmocka_unit_test(a_slot_shows_rom_or_ram),
        cmocka_unit_test(slots_change_one_by_one),
        cmocka_unit_test(the_engine_is_told_of_slots_that_changed),
        cmocka_unit_test(ram_pages_are_counted_with_both_sides_of_the_shadow),
        cmocka_unit_test(shadow_areas_that_make_no_sense_are_refused),
        cmocka_unit_test(writes_can_reach_the_ram_behind_rom),
        cmocka_unit_test(a_devices_memory_is_where_it_was_moved),
        cmocka_unit_test(memories_of_devices_that_make_no_sense_are_refused),
        cmocka_unit_test(the_gate_clears_bit_20_for_cpus_alone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
