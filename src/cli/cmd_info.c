/* What there is: list and info. They lock nothing and change nothing. */
#include <errno.h>
#include <string.h>

#include "cli/facts.h"
#include "cli/out.h"
#include "cli/status.h"

static const struct column list_columns[] = {
    {"NAME", "name", COLUMN_TEXT},
    {"STATE", "state", COLUMN_TEXT},
    {"CPUS", "cpus", COLUMN_NUMBER},
    {"MEMORY", "memory", COLUMN_SIZE},
    {"DISK", "disk", COLUMN_SIZE},
    {"USED", "used", COLUMN_SIZE},
    {"SNAPS", "snapshots", COLUMN_NUMBER},
    {"OLDEST", "oldest_snapshot", COLUMN_AGE},
};

static const struct column info_columns[] = {
    {"name", "name", COLUMN_TEXT},
    {"path", "path", COLUMN_TEXT},
    {"state", "state", COLUMN_TEXT},
    {"machine", "machine.state", COLUMN_TEXT},
    {"process", "owner.pid", COLUMN_NUMBER},
    {"host", "owner.host", COLUMN_TEXT},
    {"since", "owner.since", COLUMN_TEXT},
    {"uuid", "settings.uuid", COLUMN_TEXT},
    {"created", "settings.created", COLUMN_TEXT},
    {"description", "description", COLUMN_TEXT},
    {"cpus", "cpus", COLUMN_NUMBER},
    {"memory", "memory", COLUMN_SIZE},
    {"boot", "settings.boot", COLUMN_TEXT},
    {"boots", "boots.text", COLUMN_TEXT},
    {"firmware", "firmware.kind", COLUMN_TEXT},
    {"chosen as", "firmware.why", COLUMN_TEXT},
    {"disk", "disk", COLUMN_SIZE},
    {"disk bus", "settings.disk.bus", COLUMN_TEXT},
    {"more disks", "settings.disks", COLUMN_TEXT},
    {"cd", "settings.iso", COLUMN_TEXT},
    {"used", "used", COLUMN_SIZE},
    {"file size", "file_size", COLUMN_SIZE},
    {"snapshots", "snapshots", COLUMN_NUMBER},
    {"oldest", "oldest_snapshot", COLUMN_TEXT},
    {"labels", "labels", COLUMN_TEXT},
    {"protected", "protected", COLUMN_FLAG},
    {"backing", "image.backing", COLUMN_TEXT},
    {"corrupt", "image.corrupt", COLUMN_FLAG},
};

static const struct column trash_columns[] = {
    {"NAME", "name", COLUMN_TEXT},
    {"DELETED", "deleted", COLUMN_AGE},
    {"USED", "used", COLUMN_SIZE},
};

struct listing {
    const struct args *a;
    json_t *rows;
};

/* KEY=TEXT, or KEY for any text. */
static bool has_label(const json_t *row, const char *want)
{
    size_t len = strcspn(want, "=");
    const json_t *labels = json_object_get(row, "labels");
    const json_t *v = json_object_getn(labels, want, len);

    return json_is_string(v) &&
           (!want[len] || strcmp(json_string_value(v), want + len + 1) == 0);
}

static void add_row(struct listing *l, json_t *row)
{
    for (int i = 0; i < l->a->nr_options; i++) {
        const char *want = l->a->options[i].value;

        if (want && !has_label(row, want)) {
            json_decref(row);
            return;
        }
    }
    (void)json_array_append_new(l->rows, row);
}

static int list_one(void *opaque, const char *path, const char *name)
{
    struct listing *l = opaque;

    if (l->a->format == FORMAT_NAME && l->a->nr_options == 0)
        add_row(l, json_pack("{s:o}", "name", out_json_text(name)));
    else
        add_row(l, facts_row(l->a, path, name));
    return 0;
}

static int list_trashed(void *opaque, const struct home_trashed *t)
{
    struct listing *l = opaque;
    json_t *row = facts_row(l->a, t->path, t->name);
    char text[OUT_TIME];

    (void)json_object_set_new(row, "deleted",
                              json_string(out_time(t->deleted, text)));
    (void)json_array_append_new(l->rows, row);
    return 0;
}

static int list_words(struct listing *l, struct err *err)
{
    for (int i = 0; i < l->a->nr_words; i++) {
        char path[PATH_MAX], name[NAME_MAX + 1];
        int rc = home_path(&l->a->home, l->a->words[i], path, err);

        if (rc < 0)
            return rc;
        home_name(path, name);
        add_row(l, facts_row(l->a, path, name));
    }
    return 0;
}

int cmd_list(struct args *a)
{
    struct listing l = {a, json_array()};
    struct err err = {0};
    bool trash = args_has(a, "trash");
    int rc;

    if (trash)
        rc = home_each_trashed(&a->home, list_trashed, &l, &err);
    else if (a->nr_words)
        rc = list_words(&l, &err);
    else
        rc = home_each(&a->home, list_one, &l, &err);
    if (rc < 0) {
        json_decref(l.rows);
        return args_fail(a, rc, &err);
    }
    if (trash)
        out_list(a, l.rows, trash_columns, ARRAY_LEN(trash_columns));
    else
        out_list(a, l.rows, list_columns, ARRAY_LEN(list_columns));
    return STATUS_OK;
}

int cmd_info(struct args *a)
{
    json_t *all = json_array();
    struct err err = {0};
    int status = STATUS_OK;

    for (int i = 0; i < a->nr_words; i++) {
        json_t *v = facts_all(a, a->words[i], &err);

        if (v)
            (void)json_array_append_new(all, v);
        else
            status = args_fail(a, err.code, &err);
    }
    /* One VM is an object, several are an array. */
    if (a->nr_words > 1 && args_json(a)) {
        out_list(a, all, NULL, 0);
        return status;
    }
    for (size_t i = 0; i < json_array_size(all); i++) {
        if (i && a->format == FORMAT_TABLE)
            (void)putchar('\n');
        out_object(a, json_incref(json_array_get(all, i)), info_columns,
                   ARRAY_LEN(info_columns));
    }
    json_decref(all);
    return status;
}
