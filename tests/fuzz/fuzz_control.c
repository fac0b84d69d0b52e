#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/control_msg.h"

/*
 * Lines of a client at the control socket: what is accepted has arguments in
 * range, and every answer is one line of JSON.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_answer(const struct control_msg *msg, int rc,
                         const struct err *err)
{
    char *line = control_answer(msg, rc, NULL, err);
    size_t len = strlen(line);
    json_t *json = json_loadb(line, len, 0, NULL);

    assert(len > 0 && strchr(line, '\n') == line + len - 1);
    assert(json_is_object(json));
    assert(!json_object_get(json, rc < 0 ? "result" : "error"));
    assert(json_object_get(json, rc < 0 ? "error" : "result"));
    json_decref(json);
    free(line);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct control_msg msg;
    struct err err = {0};
    int rc;

    if (size > CONTROL_MAX_LINE)
        return 0;
    rc = control_parse((const char *)data, size, &msg, &err);
    assert(rc == 0 || rc == -EINVAL);
    if (rc == 0) {
        assert(msg.cmd < CONTROL_NR_CMDS);
        assert(msg.size <= INT64_MAX && msg.disk <= UINT16_MAX);
        assert(!msg.text || strlen(msg.text) <= CONTROL_MAX_TEXT);
    }
    check_answer(&msg, rc, &err);
    /* A sentence with the line's bytes in it. */
    (void)err_set(&err, -EIO, "%.*s", (int)(size < 300 ? size : 300),
                  (const char *)data);
    check_answer(&msg, -EIO, &err);
    control_msg_fini(&msg);
    return 0;
}
