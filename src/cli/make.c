#include "cli/make.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/compiler.h"

int make_path(const struct args *a, const char *word, char path[PATH_MAX],
              char name[NAME_MAX + 1], struct err *err)
{
    int rc = home_path(&a->home, word, path, err);

    if (rc < 0)
        return rc;
    home_name(path, name);
    rc = home_check_name(name, err);
    if (rc == 0 && !home_is_path(word))
        rc = home_create(&a->home, err);
    return rc;
}

int make_absolute(const char *file, char path[PATH_MAX], struct err *err)
{
    if (!realpath(file, path))
        return err_sys(err, "find the file '%s'", file);
    return 0;
}

static int set_label(struct settings *s, const char *text, struct err *err)
{
    const char *eq = strchr(text, '=');
    char key[128];

    if (!eq || eq - text > 64)
        return err_set(err, -EINVAL, "--label: '%.80s' is not KEY=TEXT", text);
    (void)snprintf(key, sizeof(key), "labels.%.*s", (int)(eq - text), text);
    return settings_set(s, key, eq + 1, err);
}

static int add_port(struct settings *s, const char *text, struct err *err)
{
    const char *was = settings_text(s, "ports");
    char *all = NULL;
    struct vmconf_port port;
    int rc = vmconf_parse_port(text, &port, err);

    if (rc < 0)
        return rc;
    if (asprintf(&all, "%s%s%s", was ? was : "", was ? " " : "", text) < 0)
        return err_set(err, -ENOMEM, "--publish: out of memory");
    rc = settings_set(s, "ports", all, err);
    free(all);
    return rc;
}

int make_options(const struct args *a, struct settings *s, struct err *err)
{
    static const struct {
        const char *option, *key;
        bool file;
    } map[] = {{"memory", "memory", false},
               {"cpus", "cpus", false},
               {"cpu", "cpu", false},
               {"net", "net", false},
               {"kernel", "boot.kernel", true},
               {"initrd", "boot.initrd", true},
               {"append", "boot.append", false},
               {"firmware", "boot.firmware", false},
               {"iso", "iso", true},
               {"floppy", "floppy", true},
               {"bus", "disk.bus", false},
               {"description", "description", false}};
    char path[PATH_MAX];
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(map); i++) {
        const char *value = args_value(a, map[i].option);

        if (value && map[i].file && strcmp(value, "none") != 0) {
            rc = make_absolute(value, path, err);
            value = path;
        }
        if (rc == 0 && value)
            rc = settings_set(s, map[i].key, value, err);
    }
    for (int i = 0; rc == 0 && i < a->nr_options; i++) {
        const char *name = a->verb->options[a->options[i].row].name;

        if (strcmp(name, "label") == 0)
            rc = set_label(s, a->options[i].value, err);
        else if (strcmp(name, "publish") == 0)
            rc = add_port(s, a->options[i].value, err);
    }
    return rc;
}
