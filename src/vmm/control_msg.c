#include "vmm/control_msg.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum arg_kind { ARG_INDEX, ARG_SIZE, ARG_TEXT, ARG_BOOL };

struct arg {
    const char *name;
    enum arg_kind kind;
    bool needed;
    size_t off; /* in struct control_msg */
};

#define ARG(name_, kind_, needed_, memb)                                       \
    {                                                                          \
        name_, kind_, needed_, offsetof(struct control_msg, memb)              \
    }

static const struct {
    const char *word;
    struct arg arg[3];
} commands[CONTROL_NR_CMDS] = {
    [CONTROL_PING] = {"ping", {{0}}},
    [CONTROL_STATUS] = {"status", {{0}}},
    [CONTROL_DISK_RESIZE] = {"disk-resize",
                             {ARG("disk", ARG_INDEX, true, disk),
                              ARG("size", ARG_SIZE, true, size)}},
    [CONTROL_DISK_SNAPSHOT] = {"disk-snapshot",
                               {ARG("name", ARG_TEXT, false, name),
                                ARG("text", ARG_TEXT, false, text)}},
    [CONTROL_DISK_SNAPSHOT_DELETE] = {"disk-snapshot-delete",
                                      {ARG("name", ARG_TEXT, true, name)}},
    [CONTROL_DISK_LEND] = {"disk-lend", {{0}}},
    [CONTROL_DISK_RECLAIM] = {"disk-reclaim", {{0}}},
    [CONTROL_CD_INSERT] = {"cd-insert",
                           {ARG("file", ARG_TEXT, true, file),
                            ARG("drive", ARG_INDEX, false, drive),
                            ARG("force", ARG_BOOL, false, force)}},
    [CONTROL_CD_EJECT] = {"cd-eject",
                          {ARG("drive", ARG_INDEX, false, drive),
                           ARG("force", ARG_BOOL, false, force)}},
    [CONTROL_PORT_ADD] = {"port-add", {ARG("port", ARG_TEXT, true, name)}},
    [CONTROL_PORT_REMOVE] = {"port-remove",
                             {ARG("port", ARG_TEXT, true, name)}},
    [CONTROL_PAUSE] = {"pause", {{0}}},
    [CONTROL_RESUME] = {"resume", {{0}}},
    [CONTROL_QUIT] = {"quit", {{0}}},
    [CONTROL_SCREEN] = {"screen", {{0}}},
    [CONTROL_KEYS] = {"keys",
                      {ARG("keys", ARG_TEXT, false, keys),
                       ARG("text", ARG_TEXT, false, text)}},
};

static int find_command(const char *word)
{
    for (int i = 0; i < CONTROL_NR_CMDS; i++)
        if (strcmp(commands[i].word, word) == 0)
            return i;
    return -1;
}

static int set_arg(struct control_msg *msg, const struct arg *a, json_t *val,
                   struct err *err)
{
    static const char *const bad[] = {[ARG_INDEX] = "no whole number in range",
                                      [ARG_SIZE] = "no whole number in range",
                                      [ARG_TEXT] = "no text, or too long a one",
                                      [ARG_BOOL] = "neither true nor false"};
    void *to = (char *)msg + a->off;
    json_int_t n = json_integer_value(val); /* 0 for what is none */

    switch (a->kind) {
    case ARG_INDEX:
        if (!json_is_integer(val) || n < 0 || n > UINT16_MAX)
            break;
        *(unsigned *)to = (unsigned)n;
        return 0;
    case ARG_SIZE:
        if (!json_is_integer(val) || n <= 0)
            break;
        *(uint64_t *)to = (uint64_t)n;
        return 0;
    case ARG_TEXT:
        if (!json_is_string(val) || json_string_length(val) > CONTROL_MAX_TEXT)
            break;
        *(const char **)to = json_string_value(val);
        return 0;
    case ARG_BOOL:
        if (!json_is_boolean(val))
            break;
        *(bool *)to = json_is_true(val);
        return 0;
    }
    return err_set(err, -EINVAL, "%s: \"%s\" is %s", commands[msg->cmd].word,
                   a->name, bad[a->kind]);
}

static int take_args(struct control_msg *msg, struct err *err)
{
    const struct arg *args = commands[msg->cmd].arg;
    size_t known = 1 + (msg->id != NULL); /* "do" and "id" */

    for (size_t i = 0; i < ARRAY_LEN(commands[0].arg) && args[i].name; i++) {
        json_t *val = json_object_get(msg->json, args[i].name);
        int rc;

        if (!val && args[i].needed)
            return err_set(err, -EINVAL, "%s: \"%s\" is missing",
                           commands[msg->cmd].word, args[i].name);
        if (!val)
            continue;
        known++;
        rc = set_arg(msg, &args[i], val, err);
        if (rc < 0)
            return rc;
    }
    if (json_object_size(msg->json) != known)
        return err_set(err, -EINVAL,
                       "%s: there is a member that it does not "
                       "know",
                       commands[msg->cmd].word);
    return 0;
}

int control_parse(const char *line, size_t len, struct control_msg *msg,
                  struct err *err)
{
    const char *word;
    json_error_t why;
    int cmd;

    *msg = (struct control_msg){.cmd = CONTROL_NR_CMDS};
    msg->json = json_loadb(line, len, JSON_REJECT_DUPLICATES, &why);
    if (!msg->json)
        return err_set(err, -EINVAL, "not a line of JSON: %s", why.text);
    if (!json_is_object(msg->json))
        return err_set(err, -EINVAL, "not a JSON object");
    msg->id = json_object_get(msg->json, "id");
    word = json_string_value(json_object_get(msg->json, "do"));
    if (!word)
        return err_set(err, -EINVAL, "\"do\" is missing or no text");
    cmd = find_command(word);
    if (cmd < 0)
        return err_set(err, -EINVAL, "there is no command '%.40s'", word);
    msg->cmd = (enum control_cmd)cmd;
    return take_args(msg, err);
}

void control_msg_fini(struct control_msg *msg)
{
    json_decref(msg->json);
    *msg = (struct control_msg){.cmd = CONTROL_NR_CMDS};
}

json_t *control_text(const char *text)
{
    json_t *val = json_string(text);
    char *copy;

    if (val)
        return val;
    copy = strdup(text);
    if (!copy)
        return NULL;
    for (char *p = copy; *p; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    val = json_string(copy);
    free(copy);
    return val;
}

static json_t *error_object(int rc, const struct err *err)
{
    const char *code = strerrorname_np(-rc);

    return json_pack("{s:s, s:o}", "code", code ? code : "EIO", "message",
                     control_text(err->text));
}

static json_t *answer_object(const struct control_msg *msg, int rc,
                             json_t *result, const struct err *err)
{
    json_t *all = json_object();

    if (msg->id)
        (void)json_object_set(all, "id", msg->id);
    if (rc < 0) {
        json_decref(result);
        (void)json_object_set_new(all, "error", error_object(rc, err));
    } else {
        (void)json_object_set_new(all, "result",
                                  result ? result : json_object());
    }
    return all;
}

char *control_answer(const struct control_msg *msg, int rc, json_t *result,
                     const struct err *err)
{
    json_t *all = answer_object(msg, rc, result, err);
    size_t len = json_dumpb(all, NULL, 0, JSON_COMPACT);
    char *text = len ? malloc(len + 2) : NULL;

    if (text) {
        (void)json_dumpb(all, text, len, JSON_COMPACT);
        text[len] = '\n';
        text[len + 1] = '\0';
    }
    json_decref(all);
    return text;
}
