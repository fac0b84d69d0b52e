/* What a VM that runs shows, and keys for it: screen, key. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

/* Ask the VM of the first word; takes command. */
static int ask(const struct args *a, json_t *command, json_t **result,
               struct err *err)
{
    char path[PATH_MAX];
    int rc = home_path(&a->home, a->words[0], path, err);

    if (rc < 0) {
        json_decref(command);
        return rc;
    }
    rc = vm_ask(a, path, command, VM_LOOK_MS, result, err);
    if (rc == -ENOENT)
        (void)err_set(err, rc, "'%s' does not run", a->words[0]);
    return rc;
}

static void print_lines(const json_t *screen)
{
    const json_t *lines = json_object_get(screen, "lines"), *line;
    size_t i;

    json_array_foreach(lines, i, line)
    {
        out_text(stdout, json_string_value(line));
        (void)putchar('\n');
    }
}

static void print_screen(const json_t *screen)
{
    const char *mode = json_string_value(json_object_get(screen, "mode"));

    if (mode && strcmp(mode, "text") == 0)
        print_lines(screen);
    else if (mode && strcmp(mode, "graphics") == 0)
        (void)printf(
            "a picture of %lld by %lld pixels\n",
            (long long)json_integer_value(json_object_get(screen, "width")),
            (long long)json_integer_value(json_object_get(screen, "height")));
    else
        (void)printf("nothing is shown\n");
}

int cmd_screen(struct args *a)
{
    json_t *screen = NULL;
    struct err err = {0};
    int rc = ask(a, json_pack("{s:s}", "do", "screen"), &screen, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    if (args_json(a)) {
        out_object(a, screen, NULL, 0);
        return STATUS_OK;
    }
    print_screen(screen);
    json_decref(screen);
    return STATUS_OK;
}

/* The words behind the VM, with blanks between; NULL if out of memory. */
static json_t *join(const struct args *a)
{
    char text[4096] = "";
    size_t len = 0;

    for (int i = 1; i < a->nr_words; i++) {
        int n = snprintf(text + len, sizeof(text) - len, "%s%s",
                         i > 1 ? " " : "", a->words[i]);

        if (n < 0 || (size_t)n >= sizeof(text) - len)
            return NULL;
        len += (size_t)n;
    }
    return json_string(text);
}

int cmd_key(struct args *a)
{
    json_t *command = json_pack("{s:s}", "do", "keys"), *result = NULL;
    const char *text = args_value(a, "text");
    struct err err = {0};
    int rc = 0;

    if (!text && a->nr_words < 2)
        rc = err_set(&err, -EINVAL, "key: say which keys, or --text TEXT");
    if (rc == 0 && a->nr_words > 1 &&
        json_object_set_new(command, "keys", join(a)) < 0)
        rc = err_set(&err, -EINVAL, "key: these are too many keys");
    if (rc == 0 && text &&
        json_object_set_new(command, "text", json_string(text)) < 0)
        rc = err_set(&err, -EINVAL, "key: the text is no UTF-8");
    if (rc < 0)
        json_decref(command);
    else
        rc = ask(a, command, &result, &err);
    if (rc < 0)
        return args_fail(a, rc, &err);
    json_decref(result);
    return STATUS_OK;
}
