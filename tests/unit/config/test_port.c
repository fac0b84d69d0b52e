/* --publish and addresses of cards (port.c). */
#include <errno.h>
#include <string.h>

#include "config/vmconf.h"
#include "tests/unit/test.h"

static int parse(const char *text, struct vmconf_port *p)
{
    struct err err = {0};
    int rc = vmconf_parse_port(text, p, &err);

    assert_int_equal(rc, err.code);
    return rc;
}

static void all_forms_are_read_and_printed(void **state)
{
    static const struct {
        const char *text, *printed;
    } forms[] = {{"8080:80", "127.0.0.1:8080:80"},
                 {"1:65535/tcp", "127.0.0.1:1:65535"},
                 {"0.0.0.0:53:5353/udp", "0.0.0.0:53:5353/udp"},
                 {"[::1]:2222:22", "[::1]:2222:22"}};
    char text[VMCONF_PORT_TEXT];
    struct vmconf_port p, again;

    (void)state;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        assert_int_equal(parse(forms[i].text, &p), 0);
        vmconf_print_port(&p, text);
        assert_string_equal(text, forms[i].printed);
        assert_int_equal(parse(text, &again), 0);
        assert_true(vmconf_same_port(&p, &again));
    }
}

static void everything_else_is_refused(void **state)
{
    static const char *const wrong[] = {
        "",
        ":",
        "80",
        "80:",
        ":80",
        "0:80",
        "80:0",
        "65536:80",
        "80:65536",
        "80:80/",
        "80:80/sctp",
        "80:80x",
        "x:80:80",
        "1.2.3:80:80",
        "::1:80:80",
        "[::1]80:80",
        "[::1:80:80",
        "[1.2.3.4]:80:80",
        "-1:80",
        "80 :80",
        "1111111111111111111111111111111111111111111111111111.1:80:80",
        "999999999999999999999:1"};
    struct vmconf_port p;

    (void)state;
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        if (parse(wrong[i], &p) != -EINVAL)
            fail_msg("'%s' is taken", wrong[i]);
}

static void the_same_port_is_one_of_the_host(void **state)
{
    struct vmconf_port a, b;

    (void)state;
    assert_int_equal(parse("80:1", &a), 0);
    assert_int_equal(parse("127.0.0.1:80:2", &b), 0);
    assert_true(vmconf_same_port(&a, &b));
    assert_int_equal(parse("80:1/udp", &b), 0);
    assert_false(vmconf_same_port(&a, &b));
    assert_int_equal(parse("0.0.0.0:80:1", &b), 0);
    assert_false(vmconf_same_port(&a, &b));
}

static void addresses_of_cards_are_six_bytes(void **state)
{
    static const uint8_t want[6] = {0x52, 0x54, 0, 0xab, 0xcd, 0xef};
    uint8_t mac[6] = {0};

    (void)state;
    assert_int_equal(vmconf_parse_mac("52:54:00:AB:cd:ef", mac), 0);
    assert_memory_equal(mac, want, 6);
    assert_int_equal(vmconf_parse_mac("53:54:00:ab:cd:ef", mac), -EINVAL);
    assert_int_equal(vmconf_parse_mac("52:54:00:ab:cd:e", mac), -EINVAL);
    assert_int_equal(vmconf_parse_mac("52:54:00:ab:cd:eff", mac), -EINVAL);
    assert_int_equal(vmconf_parse_mac("52-54-00-ab-cd-ef", mac), -EINVAL);
    assert_int_equal(vmconf_parse_mac("", mac), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_forms_are_read_and_printed),
        cmocka_unit_test(everything_else_is_refused),
        cmocka_unit_test(the_same_port_is_one_of_the_host),
        cmocka_unit_test(addresses_of_cards_are_six_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
