/* What is in a state area (statearea.c). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "tests/unit/test.h"
#include "tests/unit/vmfile/vm_folder.h"
#include "vmfile/statearea.h"

static void put_sum(uint8_t *head)
{
    put_be32(head + 24, 0);
    put_be32(head + 24, crc32c_update(0, head, STATEAREA_HEAD));
}

static void make(uint8_t head[STATEAREA_HEAD])
{
    struct statearea a = {.generation = 7};

    statearea_add(&a, STATEAREA_SETTINGS, STATEAREA_LOW, "abc", 3);
    statearea_add(&a, STATEAREA_VARIABLES, STATEAREA_DEVICES, "variables", 9);
    assert_int_equal(statearea_end(&a), STATEAREA_DEVICES + 9);
    statearea_pack(&a, head);
}

/* The bytes of docs/vm-file.md. */
static void a_head_is_as_specified(void **state)
{
    uint8_t head[STATEAREA_HEAD];
    struct statearea a;

    (void)state;
    make(head);
    assert_memory_equal(head, "HUSKSTAT\0\0\0\1\0\0\0\2\0\0\0\0\0\0\0\7", 24);
    assert_memory_equal(head + 32,
                        "sett\0\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\0"
                        "\0\3",
                        24);
    assert_memory_equal(head + 64, "uefi\0\0\0\0\0\0\0\0\0\1\0\0", 16);
    assert_int_equal(get_be32(head + 56), crc32c_update(0, "abc", 3));
    assert_int_equal(statearea_parse(&a, head, 1 << 20), 0);
    assert_int_equal(a.generation, 7);
    assert_int_equal(a.nr, 2);
    assert_int_equal(statearea_find(&a, STATEAREA_VARIABLES)->len, 9);
    assert_null(statearea_find(&a, 1));
}

static void each_bit_of_a_head_counts(void **state)
{
    uint8_t head[STATEAREA_HEAD];
    struct statearea a;

    (void)state;
    make(head);
    for (unsigned i = 0; i < STATEAREA_HEAD * 8; i++) {
        head[i / 8] ^= (uint8_t)(1u << (i % 8));
        assert_true(statearea_parse(&a, head, 1 << 20) < 0);
        head[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    assert_int_equal(statearea_parse(&a, head, 1 << 20), 0);
}

/* With sums that are right. */
static void heads_that_lie_are_refused(void **state)
{
    static const struct {
        unsigned at, bytes;
        uint64_t value;
    } lies[] = {
        {8, 4, 0},           {8, 4, 2},           {12, 4, 65},
        {12, 4, UINT32_MAX}, {16, 8, 0},          {40, 8, 0},
        {40, 8, 4095},       {40, 8, UINT64_MAX}, {48, 8, 0},
        {48, 8, UINT64_MAX}, {48, 8, 1 << 20},    {72, 8, 4098},
        {72, 8, 1 << 20},    {80, 8, 1 << 20},    {80, 8, UINT64_MAX - 65536},
        {12, 4, 3},
    };
    uint8_t head[STATEAREA_HEAD];
    struct statearea a;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        make(head);
        if (lies[i].bytes == 4)
            put_be32(head + lies[i].at, (uint32_t)lies[i].value);
        else
            put_be64(head + lies[i].at, lies[i].value);
        put_sum(head);
        assert_int_equal(statearea_parse(&a, head, 1 << 20), -EINVAL);
    }
    make(head);
    assert_int_equal(statearea_parse(&a, head, STATEAREA_DEVICES + 8), -EINVAL);
    assert_int_equal(statearea_parse(&a, head, STATEAREA_DEVICES + 9), 0);
    memset(head, 0, sizeof(head));
    assert_int_equal(statearea_parse(&a, head, 1 << 20), -ENOENT);
}

static void sections_are_read_whole_or_not(void **state)
{
    struct vmfile *vf = vm_folder_make(state, "a.husk", "{}", VMFILE_WRITE);
    struct qcow2 *q = vmfile_qcow2(vf);
    uint8_t head[STATEAREA_HEAD], *data = NULL;
    const struct qcow2_piece pieces[] = {{0, head, sizeof(head)},
                                         {STATEAREA_LOW, "abc", 3},
                                         {STATEAREA_DEVICES, "variables", 9}};
    const struct qcow2_snap_new s = {.id = "7",
                                     .name = "s",
                                     .opaque = "",
                                     .state = pieces,
                                     .nr_state = ARRAY_LEN(pieces)};
    struct statearea a;
    struct err err;
    size_t len = 0;

    make(head);
    assert_int_equal(qcow2_snap_create(q, &s, NULL, &err), 0);
    assert_int_equal(statearea_read(q, "7", 0, 1 << 20, &a), 0);
    assert_int_equal(
        statearea_load(q, "7", 0, &a, STATEAREA_VARIABLES, 9, &data, &len), 0);
    assert_int_equal(len, 9);
    assert_string_equal((char *)data, "variables");
    free(data);
    assert_int_equal(
        statearea_load(q, "7", 0, &a, STATEAREA_VARIABLES, 8, &data, &len),
        -EINVAL);
    assert_int_equal(statearea_load(q, "7", 0, &a, 5, 9, &data, &len), -ENOENT);
    assert_int_equal(qcow2_state_write(q, "7", STATEAREA_DEVICES, "V", 1), 0);
    assert_int_equal(
        statearea_load(q, "7", 0, &a, STATEAREA_VARIABLES, 9, &data, &len),
        -EINVAL);
    assert_int_equal(statearea_read(q, "8", 0, 1 << 20, &a), -ENOENT);
    assert_int_equal(vmfile_close(vf), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_as_specified),
        cmocka_unit_test(each_bit_of_a_head_counts),
        cmocka_unit_test(heads_that_lie_are_refused),
        cmocka_unit_test_setup_teardown(sections_are_read_whole_or_not,
                                        vm_folder_begin, vm_folder_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
