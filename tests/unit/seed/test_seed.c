#include "seed/seed.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "tests/unit/test.h"

#define KEY  "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFake me@here"
#define HASH "$6$salt$hash"

/* The file of this name on the CD, as a text; caller frees. */
static char *file_of(const struct seed *s, const char *name)
{
    enum { SECTOR = 2048, ROOT = 23 };
    uint8_t *image = NULL, *p;
    struct err err = {0};
    char *text = NULL;
    size_t len = 0;

    assert_int_equal(seed_make(s, &image, &len, &err), 0);
    for (p = image + ROOT * SECTOR; p[0]; p += p[0])
        if (p[32] > 1 && strncmp((char *)p + 33, name, strlen(name)) == 0)
            text = strndup((char *)image + get_le32(p + 2) * SECTOR,
                           get_le32(p + 10));
    free(image);
    assert_non_null(text);
    return text;
}

/* The JSON of it, behind its head; caller drops. */
static json_t *json_of(const struct seed *s, const char *name)
{
    char *text = file_of(s, name);
    json_t *v = json_loads(strchr(text, '{'), 0, NULL);

    free(text);
    assert_non_null(v);
    return v;
}

static const char *text_at(const json_t *v, const char *key)
{
    return json_string_value(json_object_get(v, key));
}

static void metadata_names_the_instance(void **state)
{
    const struct seed s = {
        .instance = "id-1", .hostname = "my_vm.1-", .keys = "# me\n" KEY "\n"};
    json_t *v = json_of(&s, "META_DATA"), *keys;

    (void)state;
    assert_string_equal(text_at(v, "instance-id"), "id-1");
    assert_string_equal(text_at(v, "local-hostname"), "my-vm.1");
    keys = json_object_get(v, "public-keys");
    assert_int_equal(json_array_size(keys), 1);
    assert_string_equal(json_string_value(json_array_get(keys, 0)), KEY);
    json_decref(v);
}

static void a_user_gets_keys_and_password(void **state)
{
    const struct seed s = {.instance = "i",
                           .hostname = "h",
                           .user = "me",
                           .password = HASH,
                           .keys = KEY};
    json_t *v = json_of(&s, "VENDOR_DATA");
    json_t *user = json_array_get(json_object_get(v, "users"), 0);

    (void)state;
    assert_string_equal(text_at(user, "name"), "me");
    assert_string_equal(text_at(user, "passwd"), HASH);
    assert_true(json_is_false(json_object_get(user, "lock_passwd")));
    assert_int_equal(
        json_array_size(json_object_get(user, "ssh_authorized_keys")), 1);
    json_decref(v);
}

static void the_images_user_gets_a_password(void **state)
{
    const struct seed s = {.instance = "i", .hostname = "h", .password = HASH};
    json_t *v = json_of(&s, "VENDOR_DATA");

    (void)state;
    assert_null(json_object_get(v, "users"));
    assert_string_equal(text_at(v, "password"), HASH);
    json_decref(v);
}

static void user_data_stays_as_it_is(void **state)
{
    static const char data[] = "#cloud-config\nruncmd: [ 'echo \"\xc3\xa4\"' ]";
    struct seed s = {.instance = "i", .hostname = "h", .user_data = data};
    char *text = file_of(&s, "USER_DATA");

    (void)state;
    assert_string_equal(text, data);
    free(text);
    s.user_data = NULL;
    text = file_of(&s, "USER_DATA");
    assert_string_equal(text, "#cloud-config\n{}\n");
    free(text);
}

static int check_data(const char *text, size_t len)
{
    struct err err = {0};
    int rc = seed_check_user_data(text, len, &err);

    assert_int_equal(rc, err.code);
    return rc;
}

static void only_what_cloud_init_knows_is_taken(void **state)
{
    static char big[SEED_MAX_USER_DATA + 1];

    (void)state;
    assert_int_equal(check_data("#cloud-config\n", 14), 0);
    assert_int_equal(check_data("#!/bin/sh\n", 10), 0);
    assert_int_equal(check_data("users: []\n", 10), -EINVAL);
    assert_int_equal(check_data("", 0), -EINVAL);
    assert_int_equal(check_data("#!\0", 3), -EINVAL);
    assert_int_equal(check_data("#!\xff", 3), -EINVAL);
    memset(big, '#', sizeof(big));
    big[1] = '!';
    assert_int_equal(check_data(big, sizeof(big) - 1), 0);
    assert_int_equal(check_data(big, sizeof(big)), -EINVAL);
}

static void wrong_keys_names_and_passwords_are_refused(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(seed_check_keys(KEY "\n\n# x\n" KEY, &err), 0);
    assert_int_equal(seed_check_keys("", &err), -EINVAL);
    assert_int_equal(seed_check_keys("#\n", &err), -EINVAL);
    assert_int_equal(seed_check_keys("word\n", &err), -EINVAL);
    assert_int_equal(seed_check_keys("a\tb c\n", &err), -EINVAL);
    assert_int_equal(
        seed_check_keys("-----BEGIN OPENSSH PRIVATE KEY-----\n", &err),
        -EINVAL);
    assert_int_equal(seed_check_user("web-1", &err), 0);
    assert_int_equal(seed_check_user("Web", &err), -EINVAL);
    assert_int_equal(seed_check_user("", &err), -EINVAL);
    assert_int_equal(seed_check_user("1a", &err), -EINVAL);
    assert_int_equal(seed_check_user("a b", &err), -EINVAL);
    assert_int_equal(seed_check_password(HASH, &err), 0);
    assert_int_equal(seed_check_password("secret", &err), -EINVAL);
    assert_int_equal(seed_check_password("$6$a:b", &err), -EINVAL);
    assert_int_equal(seed_check_password("$6$a\nb", &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metadata_names_the_instance),
        cmocka_unit_test(a_user_gets_keys_and_password),
        cmocka_unit_test(the_images_user_gets_a_password),
        cmocka_unit_test(user_data_stays_as_it_is),
        cmocka_unit_test(only_what_cloud_init_knows_is_taken),
        cmocka_unit_test(wrong_keys_names_and_passwords_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
