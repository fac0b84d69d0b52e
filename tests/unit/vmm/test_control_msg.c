#include "vmm/control_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

static int parse(const char *line, struct control_msg *msg)
{
    struct err err = {0};
    int rc = control_parse(line, strlen(line), msg, &err);

    assert_int_equal(rc, err.code);
    assert_true(rc == 0 || strlen(err.text) > 0);
    return rc;
}

static void each_command_is_known(void **state)
{
    static const struct {
        const char *line;
        enum control_cmd cmd;
    } good[] = {
        {"{\"do\":\"ping\"}", CONTROL_PING},
        {" { \"do\" : \"status\" , \"id\" : [1] } ", CONTROL_STATUS},
        {"{\"do\":\"disk-resize\",\"disk\":0,\"size\":512}",
         CONTROL_DISK_RESIZE},
        {"{\"do\":\"disk-snapshot\"}", CONTROL_DISK_SNAPSHOT},
        {"{\"do\":\"disk-snapshot-delete\",\"name\":\"a\"}",
         CONTROL_DISK_SNAPSHOT_DELETE},
        {"{\"do\":\"disk-lend\"}", CONTROL_DISK_LEND},
        {"{\"do\":\"disk-reclaim\"}", CONTROL_DISK_RECLAIM},
        {"{\"do\":\"cd-insert\",\"file\":\"a\"}", CONTROL_CD_INSERT},
        {"{\"do\":\"cd-eject\"}", CONTROL_CD_EJECT},
        {"{\"do\":\"port-add\",\"port\":\"1:2\"}", CONTROL_PORT_ADD},
        {"{\"do\":\"port-remove\",\"port\":\"1:2\"}", CONTROL_PORT_REMOVE},
        {"{\"do\":\"pause\"}", CONTROL_PAUSE},
        {"{\"do\":\"resume\"}", CONTROL_RESUME},
        {"{\"id\":null,\"do\":\"quit\"}", CONTROL_QUIT},
        {"{\"do\":\"screen\"}", CONTROL_SCREEN},
        {"{\"do\":\"keys\",\"keys\":\"f12\",\"text\":\"x\"}", CONTROL_KEYS},
    };
    struct control_msg msg;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(parse(good[i].line, &msg), 0);
        assert_int_equal(msg.cmd, good[i].cmd);
        control_msg_fini(&msg);
    }
    assert_int_equal(sizeof(good) / sizeof(good[0]), CONTROL_NR_CMDS);
}

static void arguments_are_taken(void **state)
{
    struct control_msg msg;

    (void)state;
    assert_int_equal(parse("{\"do\":\"disk-resize\",\"disk\":3,\"size\":"
                           "9223372036854775807}",
                           &msg),
                     0);
    assert_int_equal(msg.disk, 3);
    assert_true(msg.size == INT64_MAX);
    control_msg_fini(&msg);
    assert_int_equal(
        parse(
            "{\"do\":\"disk-snapshot\",\"name\":\"a\",\"text\":\"b \\u00e9\"}",
            &msg),
        0);
    assert_string_equal(msg.name, "a");
    assert_string_equal(msg.text, "b \xc3\xa9");
    control_msg_fini(&msg);
    assert_int_equal(parse("{\"do\":\"disk-snapshot\",\"text\":\"\"}", &msg),
                     0);
    assert_null(msg.name);
    assert_string_equal(msg.text, "");
    control_msg_fini(&msg);
    assert_int_equal(parse("{\"do\":\"cd-insert\",\"file\":\"/a\",\"drive\":1,"
                           "\"force\":true}",
                           &msg),
                     0);
    assert_string_equal(msg.file, "/a");
    assert_int_equal(msg.drive, 1);
    assert_true(msg.force);
    control_msg_fini(&msg);
}

static void all_else_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "1",
        "null",
        "{}",
        "{\"do\":1}",
        "{\"do\":\"fly\"}",
        "{\"do\":\"ping\",\"do\":\"quit\"}",
        "{\"do\":\"ping\",\"size\":1}",
        "{\"do\":\"ping\"} x",
        "{\"do\":\"pi\\u0000ng\"}",
        "{\"do\":\"disk-resize\"}",
        "{\"do\":\"disk-resize\",\"disk\":0}",
        "{\"do\":\"disk-resize\",\"disk\":-1,\"size\":512}",
        "{\"do\":\"disk-resize\",\"disk\":65536,\"size\":512}",
        "{\"do\":\"disk-resize\",\"disk\":0,\"size\":0}",
        "{\"do\":\"disk-resize\",\"disk\":0,\"size\":-512}",
        "{\"do\":\"disk-resize\",\"disk\":0,\"size\":1e9}",
        "{\"do\":\"disk-resize\",\"disk\":0,\"size\":\"512\"}",
        "{\"do\":\"disk-resize\",\"disk\":0,\"size\":9223372036854775808}",
        "{\"do\":\"disk-resize\",\"disk\":null,\"size\":512}",
        "{\"do\":\"cd-insert\"}",
        "{\"do\":\"cd-eject\",\"force\":1}",
        "{\"do\":\"cd-eject\",\"file\":\"a\"}",
        "{\"do\":\"disk-snapshot\",\"name\":1}",
        "{\"do\":\"disk-snapshot\",\"name\":null}",
        "{\"do\":\"disk-snapshot\",\"name\":\"\xff\"}"};
    struct control_msg msg;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(parse(bad[i], &msg), -EINVAL);
        control_msg_fini(&msg);
    }
}

static void texts_are_bounded(void **state)
{
    static char line[2 * CONTROL_MAX_TEXT];
    struct control_msg msg;

    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        char *p = stpcpy(line, "{\"do\":\"disk-snapshot\",\"text\":\"");

        memset(p, 'x', (size_t)(CONTROL_MAX_TEXT + extra));
        (void)strcpy(p + CONTROL_MAX_TEXT + extra, "\"}");
        assert_int_equal(parse(line, &msg), extra ? -EINVAL : 0);
        control_msg_fini(&msg);
    }
}

static void deep_nests_are_refused(void **state)
{
    static char line[CONTROL_MAX_LINE];
    struct control_msg msg;

    (void)state;
    memset(line, '[', sizeof(line) - 1);
    assert_int_equal(parse(line, &msg), -EINVAL);
    control_msg_fini(&msg);
}

static void check_answer(const char *line, int rc, json_t *result,
                         const char *text, const char *expected)
{
    struct control_msg msg;
    struct err err = {.code = rc};
    char *answer;

    (void)strcpy(err.text, text);
    /* What cannot be parsed is answered, too. */
    assert_true(control_parse(line, strlen(line), &msg, &err) <= 0);
    (void)strcpy(err.text, text);
    answer = control_answer(&msg, rc, result, &err);
    assert_string_equal(answer, expected);
    free(answer);
    control_msg_fini(&msg);
}

static void answers_are_lines(void **state)
{
    (void)state;
    check_answer("{\"do\":\"ping\"}", 0, NULL, "", "{\"result\":{}}\n");
    check_answer("{\"do\":\"ping\",\"id\":\"x\"}", 0,
                 json_pack("{s:i}", "a", 1), "",
                 "{\"id\":\"x\",\"result\":{\"a\":1}}\n");
    check_answer("{\"id\":7,\"do\":0}", -EINVAL, NULL, "no \"do\"\n",
                 "{\"id\":7,\"error\":{\"code\":\"EINVAL\",\"message\":"
                 "\"no \\\"do\\\"\\n\"}}\n");
    check_answer("no json", -ENOSPC, json_object(), "full",
                 "{\"error\":{\"code\":\"ENOSPC\",\"message\":\"full\"}}\n");
}

/* A file's name need not be UTF-8. */
static void messages_are_always_text(void **state)
{
    (void)state;
    check_answer(
        "{\"do\":\"ping\"}", -EIO, NULL, "open 'a\xff\xfe'",
        "{\"error\":{\"code\":\"EIO\",\"message\":\"open 'a\?\?'\"}}\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_command_is_known),
        cmocka_unit_test(arguments_are_taken),
        cmocka_unit_test(all_else_is_refused),
        cmocka_unit_test(texts_are_bounded),
        cmocka_unit_test(deep_nests_are_refused),
        cmocka_unit_test(answers_are_lines),
        cmocka_unit_test(messages_are_always_text),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
