#include "vmm/keyboard.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/test.h"

static struct loop *loop;
static struct i8042 kbd;
static struct keyboard k;
static struct err err;

static void no_wire(void *opaque, unsigned n, bool level)
{
    (void)opaque;
    (void)n;
    (void)level;
}

static int setup(void **state)
{
    const struct irq irq = {no_wire, NULL, 0};

    (void)state;
    assert_int_equal(loop_new(&loop, &err), 0);
    i8042_init(&kbd, irq, irq, NULL, NULL);
    keyboard_init(&k, &kbd, loop);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    keyboard_fini(&k);
    i8042_fini(&kbd);
    loop_free(loop);
    return 0;
}

/* All scan codes that the guest gets, in hexadecimal. */
static const char *typed(void)
{
    static char text[1024];
    size_t len = 0;

    text[0] = '\0';
    for (;;) {
        while (i8042_cmd_bus_ops.read(&kbd, 0, 1) & 1)
            len +=
                (size_t)snprintf(text + len, sizeof(text) - len, "%02x",
                                 (unsigned)i8042_data_bus_ops.read(&kbd, 0, 1));
        if (!k.nr)
            return text;
        k.timer.fn(k.timer.opaque); /* its time has come */
    }
}

static void keys_go_down_and_up(void **state)
{
    (void)state;
    assert_int_equal(keyboard_press(&k, "a", &err), 0);
    assert_true(k.down);
    assert_string_equal(typed(), "1e9e");
    assert_int_equal(keyboard_press(&k, " f12  ret ", &err), 0);
    assert_string_equal(typed(), "58d81c9c");
}

static void combinations_come_up_the_other_way_round(void **state)
{
    (void)state;
    assert_int_equal(keyboard_press(&k, "ctrl-alt-delete", &err), 0);
    assert_string_equal(typed(), "1d38e053e0d3b89d");
}

static void extended_keys_have_their_prefix(void **state)
{
    (void)state;
    assert_int_equal(keyboard_press(&k, "down kp_enter", &err), 0);
    assert_string_equal(typed(), "e050e0d0e01ce09c");
}

static void text_is_typed_with_shift_where_needed(void **state)
{
    (void)state;
    assert_int_equal(keyboard_type(&k, "aB\n", &err), 0);
    assert_string_equal(typed(), "1e9e2a30b0aa1c9c");
    assert_int_equal(keyboard_type(&k, "=_\\|~", &err), 0);
    assert_string_equal(typed(), "0d8d2a0c8caa2bab2a2babaa2a29a9aa");
}

static void what_is_no_key_presses_none(void **state)
{
    static const char *const bad[] = {"f13",       "a f13",   "a-", "-a",
                                      "a-b-c-d-e", "ctrl--a", "A",  "ctrl+a"};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(keyboard_press(&k, bad[i], &err), -EINVAL);
        assert_int_equal(k.nr, 0);
        assert_string_equal(typed(), "");
    }
    assert_int_equal(keyboard_type(&k, "a\xc3\xa4", &err), -EINVAL);
    assert_string_equal(typed(), "");
    assert_int_equal(keyboard_press(&k, "", &err), 0);
    assert_string_equal(typed(), "");
}

static void a_bounded_number_waits(void **state)
{
    char text[KEYBOARD_MAX_QUEUED + 2];

    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    assert_int_equal(keyboard_type(&k, text, &err), -EAGAIN);
    assert_int_equal(k.nr, 0);
    text[sizeof(text) - 2] = '\0';
    assert_int_equal(keyboard_type(&k, text, &err), 0);
    assert_int_equal(keyboard_press(&k, "ret", &err), -EAGAIN);
    assert_int_equal(k.nr, KEYBOARD_MAX_QUEUED);
}

static void all_of_ascii_that_is_on_a_keyboard_can_be_typed(void **state)
{
    (void)state;
    for (char c = ' '; c < 0x7f; c++) {
        const char text[2] = {c, '\0'};

        assert_int_equal(keyboard_type(&k, text, &err), 0);
        assert_true(strlen(typed()) >= 4);
    }
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(keys_go_down_and_up),
        T(combinations_come_up_the_other_way_round),
        T(extended_keys_have_their_prefix),
        T(text_is_typed_with_shift_where_needed),
        T(what_is_no_key_presses_none),
        T(a_bounded_number_waits),
        T(all_of_ascii_that_is_on_a_keyboard_can_be_typed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
