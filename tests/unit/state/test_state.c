#include "state/reader.h"
#include "state/writer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "state/dump.h"
#include "state/format.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* A device's state with a member of every type. */
struct toy {
    uint8_t a;
    uint16_t b;
    uint32_t c[3];
    uint64_t d;
    uint8_t bytes[20];
    bool on;
};

static const struct state_field toy_fields[] = {
    STATE_FIELD(1, STATE_U8, struct toy, a),
    STATE_FIELD(2, STATE_U16, struct toy, b),
    STATE_FIELD(3, STATE_U32, struct toy, c),
    STATE_FIELD(4, STATE_U64, struct toy, d),
    STATE_FIELD(5, STATE_BYTES, struct toy, bytes),
    STATE_FIELD(9, STATE_BOOL, struct toy, on),
};

static int toy_check(const void *state)
{
    const struct toy *t = state;

    return t->a < 100 ? 0 : -EINVAL;
}

static const struct state_desc toy_desc = {
    .name = "toy",
    .version = 3,
    STATE_LAYOUT(struct toy, toy_fields),
    .check = toy_check,
};

static const struct toy some_toy = {
    .a = 1,
    .b = 0x1234,
    .c = {1, 2, 0xdeadbeef},
    .d = 0x0102030405060708,
    .bytes = {9, 8, 7},
    .on = true,
};

static void save(uint8_t **buf, size_t *len, const struct toy *t)
{
    struct state_writer w;

    state_writer_init(&w);
    state_save(&w, &toy_desc, 0, t);
    assert_int_equal(state_writer_finish(&w, buf, len), 0);
}

static bool same(const struct toy *a, const struct toy *b)
{
    return a->a == b->a && a->b == b->b && a->d == b->d && a->on == b->on &&
           memcmp(a->c, b->c, sizeof(a->c)) == 0 &&
           memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

/* Make the checksums right again after a test has changed something. */
static void seal(uint8_t *buf, size_t len)
{
    size_t off = STATE_HDR_SIZE;

    put_le64(buf + STATE_HDR_LEN, len);
    put_le32(buf + STATE_HDR_CRC, crc32_update(0, buf, STATE_HDR_CRC));
    while (off + STATE_SEC_SIZE <= len) {
        size_t n = get_le32(buf + off + STATE_SEC_LEN);

        if (n < STATE_SEC_SIZE || n > len - off)
            break;
        put_le32(buf + off + STATE_SEC_CRC, state_section_crc(buf + off, n));
        off += n;
    }
}

/* What opening and loading returns. */
static int load(const uint8_t *buf, size_t len, struct toy *t)
{
    struct state_reader r;
    struct err err = {.text = ""};
    int rc = state_reader_init(&r, buf, len, &err);

    if (rc == 0)
        rc = state_load(&r, &toy_desc, 0, t, &err);
    assert_true((rc < 0) == (err.text[0] != '\0'));
    return rc;
}

static void what_was_saved_is_loaded(void **state)
{
    struct toy t = {.a = 0};
    uint8_t *buf;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    assert_int_equal(load(buf, len, &t), 0);
    assert_true(same(&t, &some_toy));
    free(buf);
}

static void objects_are_found_by_name_and_instance(void **state)
{
    const struct state_desc other = {
        .name = "other", .version = 1, STATE_LAYOUT(struct toy, toy_fields)};
    struct toy t[3] = {{.a = 1}, {.a = 2}, {.a = 3}};
    struct toy got = {.a = 0};
    struct state_writer w;
    struct state_reader r;
    struct err err;
    uint8_t *buf;
    size_t len;

    (void)state;
    state_writer_init(&w);
    state_save(&w, &toy_desc, 0, &t[0]);
    state_save(&w, &toy_desc, 7, &t[1]);
    state_save(&w, &other, 0, &t[2]);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(state_load(&r, &other, 0, &got, &err), 0);
    assert_int_equal(got.a, 3);
    assert_int_equal(state_load(&r, &toy_desc, 7, &got, &err), 0);
    assert_int_equal(got.a, 2);
    assert_int_equal(state_load(&r, &toy_desc, 1, &got, &err), -ENOENT);
    assert_int_equal(got.a, 2);
    free(buf);
}

static void no_objects_at_all_is_a_valid_state(void **state)
{
    struct state_writer w;
    struct state_reader r;
    struct state_section s = {.start = NULL};
    struct err err;
    uint8_t *buf;
    size_t len;

    (void)state;
    state_writer_init(&w);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_false(state_next_section(&r, &s));
    free(buf);
}

static void
unknown_fields_are_skipped_and_missing_ones_keep_theirs(void **state)
{
    /* An older husk, which had another set of fields. */
    static const struct state_field old_fields[] = {
        STATE_FIELD(2, STATE_U16, struct toy, b),
        STATE_FIELD(77, STATE_BYTES, struct toy, bytes),
    };
    const struct state_desc old = {
        .name = "toy", .version = 1, STATE_LAYOUT(struct toy, old_fields)};
    struct toy t = {.a = 5, .b = 6};
    struct state_writer w;
    uint8_t *buf;
    size_t len;

    (void)state;
    state_writer_init(&w);
    state_save(&w, &old, 0, &some_toy);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    assert_int_equal(load(buf, len, &t), 0);
    assert_int_equal(t.a, 5);
    assert_int_equal(t.b, some_toy.b);
    assert_int_equal(t.bytes[0], 0);
    free(buf);
}

static void a_newer_object_or_format_is_refused_as_such(void **state)
{
    struct toy t = {.a = 5};
    uint8_t *buf;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    put_le16(buf + STATE_HDR_SIZE + STATE_SEC_VERSION, 4);
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -ENOTSUP);
    put_le32(buf + STATE_HDR_VERSION, 2);
    assert_int_equal(load(buf, len, &t), -ENOTSUP);
    put_le32(buf + STATE_HDR_VERSION, 0);
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    assert_int_equal(t.a, 5);
    free(buf);
}

static void forged_values_leave_the_object_as_it_was(void **state)
{
    struct toy bad = some_toy;
    struct toy t = {.a = 5, .b = 6};
    uint8_t *buf;
    size_t len;

    (void)state;
    bad.a = 100; /* toy_check refuses it, after b has been filled in */
    save(&buf, &len, &bad);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    assert_int_equal(t.a, 5);
    assert_int_equal(t.b, 6);
    free(buf);
    save(&buf, &len, &some_toy);
    buf[len - 1] = 2; /* the bool is last */
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    assert_int_equal(t.b, 6);
    free(buf);
}

static void a_field_of_another_type_or_size_is_refused(void **state)
{
    struct toy t = {.a = 5};
    uint8_t *buf, *field;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    field = buf + STATE_HDR_SIZE + STATE_SEC_SIZE + strlen("toy");
    field[STATE_FLD_TYPE] = STATE_BYTES;
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    field[STATE_FLD_TYPE] = 99;
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    field[STATE_FLD_TYPE] = STATE_U8;
    put_le16(field + STATE_FLD_ID, 2); /* one byte for the 16-bit b */
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    assert_int_equal(t.a, 5);
    free(buf);
}

static void any_changed_byte_is_noticed(void **state)
{
    struct toy t;
    uint8_t *buf;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    for (size_t i = 0; i < len; i++) {
        buf[i] ^= 0x40;
        assert_true(load(buf, len, &t) < 0);
        buf[i] ^= 0x40;
    }
    assert_int_equal(load(buf, len, &t), 0);
    free(buf);
}

static void any_other_length_is_noticed(void **state)
{
    struct toy t;
    uint8_t *buf, *copy;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    for (size_t n = 0; n < len; n++) {
        copy = malloc(n ? n : 1); /* exact, for the address sanitizer */
        assert_non_null(copy);
        memcpy(copy, buf, n);
        assert_int_equal(load(copy, n, &t), -EINVAL);
        if (n >= STATE_HDR_SIZE) { /* even if it says that it is right */
            seal(copy, n);
            assert_int_equal(load(copy, n, &t), -EINVAL);
        }
        free(copy);
    }
    free(buf);
}

static void lengths_inside_that_lie_are_noticed(void **state)
{
    static const uint32_t lies[] = {0,  1,          7,          15,        16,
                                    18, 0x7fffffff, 0xfffffff0, 0xffffffff};
    struct toy t;
    uint8_t *buf, *sec, *field;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    sec = buf + STATE_HDR_SIZE;
    field = sec + STATE_SEC_SIZE + strlen("toy");
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        uint32_t was = get_le32(sec + STATE_SEC_LEN);

        put_le32(sec + STATE_SEC_LEN, lies[i]);
        seal(buf, len);
        assert_int_equal(load(buf, len, &t), -EINVAL);
        put_le32(sec + STATE_SEC_LEN, was);
        was = get_le32(field + STATE_FLD_LEN);
        if (lies[i] != was) {
            put_le32(field + STATE_FLD_LEN, lies[i]);
            seal(buf, len);
            assert_int_equal(load(buf, len, &t), -EINVAL);
        }
        put_le32(field + STATE_FLD_LEN, was);
        put_le16(sec + STATE_SEC_NAME_LEN, (uint16_t)lies[i]);
        seal(buf, len);
        assert_int_equal(load(buf, len, &t), -EINVAL);
        put_le16(sec + STATE_SEC_NAME_LEN, 3);
    }
    put_le32(buf + STATE_HDR_SECTIONS, 2);
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    put_le32(buf + STATE_HDR_SECTIONS, 0);
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    put_le32(buf + STATE_HDR_SECTIONS, 0xffffffff);
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    free(buf);
}

static void a_name_that_would_not_print_is_refused(void **state)
{
    struct toy t;
    uint8_t *buf;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    buf[STATE_HDR_SIZE + STATE_SEC_SIZE] = 0x1b;
    seal(buf, len);
    assert_int_equal(load(buf, len, &t), -EINVAL);
    free(buf);
}

static void saving_without_memory_says_so_at_the_end(void **state)
{
    uint8_t *buf = NULL;
    size_t len = 0;
    int rc = -1;

    (void)state;
    for (unsigned n = 1; n < 50; n++) {
        struct state_writer w;

        fail_alloc_at(n);
        state_writer_init(&w);
        for (uint32_t i = 0; i < 20; i++)
            state_save(&w, &toy_desc, i, &some_toy);
        rc = state_writer_finish(&w, &buf, &len);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
        assert_null(buf);
    }
    assert_false(fail_alloc_happened());
    fail_alloc_at(0);
    assert_int_equal(rc, 0);
    free(buf);
}

static void loading_without_memory_leaves_the_object_as_it_was(void **state)
{
    struct toy t = {.a = 5};
    uint8_t *buf;
    size_t len;

    (void)state;
    save(&buf, &len, &some_toy);
    fail_alloc_at(1);
    assert_int_equal(load(buf, len, &t), -ENOMEM);
    fail_alloc_at(0);
    assert_int_equal(t.a, 5);
    free(buf);
}

static void a_dump_shows_names_and_values(void **state)
{
    const struct state_desc *const descs[] = {&toy_desc, NULL};
    struct state_reader r;
    struct err err;
    char *text = NULL;
    size_t text_len = 0;
    FILE *out = open_memstream(&text, &text_len);
    uint8_t *buf;
    size_t len;

    (void)state;
    assert_non_null(out);
    save(&buf, &len, &some_toy);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    state_dump(out, &toy_desc, &some_toy);
    state_dump_file(out, &r, descs);
    state_dump_file(out, &r, NULL);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "toy version 3\n  a: 01\n  b: 1234\n"
                                 "  c: 00000001 00000002 deadbeef\n"));
    assert_non_null(strstr(text, "toy 0 version 3\n  a: 01\n"));
    assert_non_null(strstr(text, "  field 4: 0102030405060708\n"));
    free(text);
    free(buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_saved_is_loaded),
        cmocka_unit_test(objects_are_found_by_name_and_instance),
        cmocka_unit_test(no_objects_at_all_is_a_valid_state),
        cmocka_unit_test(
            unknown_fields_are_skipped_and_missing_ones_keep_theirs),
        cmocka_unit_test(a_newer_object_or_format_is_refused_as_such),
        cmocka_unit_test(forged_values_leave_the_object_as_it_was),
        cmocka_unit_test(a_field_of_another_type_or_size_is_refused),
        cmocka_unit_test(any_changed_byte_is_noticed),
        cmocka_unit_test(any_other_length_is_noticed),
        cmocka_unit_test(lengths_inside_that_lie_are_noticed),
        cmocka_unit_test(a_name_that_would_not_print_is_refused),
        cmocka_unit_test(saving_without_memory_says_so_at_the_end),
        cmocka_unit_test(loading_without_memory_leaves_the_object_as_it_was),
        cmocka_unit_test(a_dump_shows_names_and_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
