#ifndef HUSK_VMM_CONTROL_MSG_H
#define HUSK_VMM_CONTROL_MSG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"

/*
 * What is said at a control socket: one JSON object in a line each way.
 *
 *     {"do": "disk-resize", "id": 7, "disk": 0, "size": 10737418240}
 *     {"id": 7, "result": {}}
 *     {"id": 7, "error": {"code": "EINVAL", "message": "..."}}
 *
 * id is anything, or not there. Members that a command does not know are an
 * error: they would be believed to have done something.
 */
enum {
    CONTROL_MAX_LINE = 16384, /* bytes of a request, with its newline */
    CONTROL_MAX_TEXT = 4096
};

enum control_cmd {
    CONTROL_PING,
    CONTROL_STATUS,
    CONTROL_DISK_RESIZE,          /* disk, size in bytes */
    CONTROL_DISK_SNAPSHOT,        /* name and text, both may be missing */
    CONTROL_DISK_SNAPSHOT_DELETE, /* name */
    CONTROL_DISK_LEND,    /* answers with the id of a snapshot to be read */
    CONTROL_DISK_RECLAIM, /* which is read no more */
    CONTROL_CD_INSERT,    /* file; drive and force may be missing */
    CONTROL_CD_EJECT,     /* drive and force may be missing */
    CONTROL_PORT_ADD,     /* name: as --publish has it */
    CONTROL_PORT_REMOVE,  /* the same */
    CONTROL_PAUSE,
    CONTROL_RESUME,
    CONTROL_QUIT,
    CONTROL_SCREEN, /* what is shown (screen.h) */
    CONTROL_KEYS,   /* keys to press, or text to type (keyboard.h) */
    CONTROL_NR_CMDS
};

struct control_msg {
    enum control_cmd cmd;
    unsigned disk, drive;
    bool force;
    uint64_t size;
    const char *name, *text, *keys, *file; /* of json; NULL = not given */
    json_t *id;                            /* of json; NULL = not given */
    json_t *json;                          /* the whole of it */
};

/*
 * Parse len bytes of a line. -EINVAL with err: json and id are there if they
 * could be read, so that the answer can name the request. In any case the
 * caller ends with control_msg_fini.
 */
MUST_CHECK int control_parse(const char *line, size_t len,
                             struct control_msg *msg, struct err *err);
void control_msg_fini(struct control_msg *msg);

/* The answer as a line with its newline, for free(); NULL if out of memory.
 * rc 0: result (may be NULL: nothing to say; taken over); else err. */
char *control_answer(const struct control_msg *msg, int rc, json_t *result,
                     const struct err *err);

/* text as JSON, with '?' for each byte beyond ASCII if it is not UTF-8 (as a
 * file's name may not be). NULL if out of memory. */
json_t *control_text(const char *text);

#endif
