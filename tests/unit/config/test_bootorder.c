#include "config/bootorder.h"

#include <errno.h>

#include "tests/unit/test.h"

static struct bootorder order;
static struct err err;

static int parse(const char *text)
{
    err.text[0] = '\0';
    return bootorder_parse(text, "--boot", &order, &err);
}

static void without_a_word_it_is_disk_cd_floppy_net(void **state)
{
    struct bootorder o = {.menu = false};

    (void)state;
    for (unsigned i = 0; i < BOOTORDER_NR_KINDS; i++)
        assert_int_equal(bootorder_at(&o, i), i);
}

static void what_is_named_comes_first_and_all_come_once(void **state)
{
    (void)state;
    assert_int_equal(parse("net,cd"), 0);
    assert_false(order.menu);
    assert_true(bootorder_names(&order, BOOTORDER_NET));
    assert_false(bootorder_names(&order, BOOTORDER_DISK));
    assert_int_equal(bootorder_at(&order, 0), BOOTORDER_NET);
    assert_int_equal(bootorder_at(&order, 1), BOOTORDER_CD);
    assert_int_equal(bootorder_at(&order, 2), BOOTORDER_DISK);
    assert_int_equal(bootorder_at(&order, 3), BOOTORDER_FLOPPY);
    assert_int_equal(parse("floppy,menu,net,cd,disk"), 0);
    assert_true(order.menu);
    assert_int_equal(bootorder_at(&order, 0), BOOTORDER_FLOPPY);
    assert_int_equal(bootorder_at(&order, 3), BOOTORDER_DISK);
}

static void the_menu_alone_changes_no_order(void **state)
{
    (void)state;
    assert_int_equal(parse("menu"), 0);
    assert_true(order.menu);
    assert_int_equal(bootorder_at(&order, 0), BOOTORDER_DISK);
}

static void all_else_is_refused_and_changes_nothing(void **state)
{
    static const char *const bad[] = {"",
                                      ",",
                                      "cd,",
                                      ",cd",
                                      "cd,,disk",
                                      "cd,cd",
                                      "menu,menu",
                                      "tape",
                                      "CD",
                                      "cd disk",
                                      "c",
                                      "diskcd",
                                      "disk,cd,floppy,net,disk"};

    (void)state;
    assert_int_equal(parse("cd"), 0);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i]), -EINVAL);
        assert_true(err.text[0] != '\0');
        assert_int_equal(order.nr, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_word_it_is_disk_cd_floppy_net),
        cmocka_unit_test(what_is_named_comes_first_and_all_come_once),
        cmocka_unit_test(the_menu_alone_changes_no_order),
        cmocka_unit_test(all_else_is_refused_and_changes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
