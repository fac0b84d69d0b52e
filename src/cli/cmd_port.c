/*
 * Ports of this host that lead to a VM's: in its settings, and at once if it
 * runs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/out.h"
#include "cli/status.h"
#include "cli/vm.h"

struct port_change {
    const char *text; /* as a person has it */
    struct vmconf_port port;
    bool add;
};

/* The setting without the port, and with it behind the rest if it is added. */
static int change_setting(void *opaque, struct settings *s, struct err *err)
{
    const struct port_change *c = opaque;
    const char *was = settings_text(s, "ports");
    char one[VMCONF_PORT_TEXT], all[VMCONF_MAX_PORTS * VMCONF_PORT_TEXT] = "";
    size_t len = 0;
    bool found = false;

    for (unsigned n = 0; was && settings_port(was, n, one); n++) {
        struct vmconf_port port;

        if (vmconf_parse_port(one, &port, err) < 0 || len + 2 > sizeof(all))
            return -EINVAL;
        if (vmconf_same_port(&port, &c->port))
            found = true;
        else
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s%s",
                                    len ? " " : "", one);
    }
    if (!found && !c->add)
        return err_set(err, -ENOENT, "close %s: that port is not open",
                       c->text);
    vmconf_print_port(&c->port, one);
    if (c->add && len + strlen(one) + 2 <= sizeof(all))
        (void)snprintf(all + len, sizeof(all) - len, "%s%s", len ? " " : "",
                       one);
    return settings_set(s, "ports", all, err);
}

/* Of a machine that runs, if it does. */
static int change_running(const struct args *a, const struct vm *vm,
                          const struct port_change *c, struct err *err)
{
    char one[VMCONF_PORT_TEXT];
    json_t *answer = NULL;
    int rc;

    vmconf_print_port(&c->port, one);
    rc = vm_ask(a, vm->path,
                json_pack("{s:s, s:s}", "do",
                          c->add ? "port-add" : "port-remove", "port", one),
                VM_LOOK_MS, &answer, err);
    json_decref(answer);
    /* Nobody there; or it was closed already. */
    return rc == -ENOENT ? 0 : rc;
}

static int change(const struct args *a, struct vm *vm, const char *text,
                  bool add, struct err *err)
{
    struct port_change c = {.text = text, .add = add};
    int rc = vmconf_parse_port(text, &c.port, err);

    if (rc == 0)
        rc = change_running(a, vm, &c, err);
    return rc < 0 ? rc : vm_change(vm, change_setting, &c, err);
}

/* Those that are open now; NULL if it does not run. */
static json_t *open_ports(const struct args *a, const struct vm *vm)
{
    json_t *status = NULL, *ports;
    struct err err;

    if (vm_ask(a, vm->path, json_pack("{s:s}", "do", "status"), VM_LOOK_MS,
               &status, &err) < 0)
        return NULL;
    ports = json_incref(json_object_get(status, "ports"));
    json_decref(status);
    return ports;
}

static bool is_open(const json_t *ports, const char *text)
{
    for (size_t i = 0; i < json_array_size(ports); i++)
        if (strcmp(json_string_value(json_array_get(ports, i)), text) == 0)
            return true;
    return false;
}

static void list(const struct args *a, const struct vm *vm)
{
    static const struct column columns[] = {{"PORT", "port", COLUMN_TEXT},
                                            {"STATE", "state", COLUMN_TEXT}};
    json_t *now = open_ports(a, vm), *rows = json_array();
    const char *all = settings_text(vm->settings, "ports");
    char one[VMCONF_PORT_TEXT];
    struct vmconf_port port;
    struct err err;

    for (size_t i = 0; i < json_array_size(now); i++)
        (void)json_array_append_new(rows, json_pack("{s:O, s:s}", "port",
                                                    json_array_get(now, i),
                                                    "state", "open"));
    for (unsigned n = 0; all && settings_port(all, n, one); n++) {
        if (vmconf_parse_port(one, &port, &err) < 0)
            continue;
        vmconf_print_port(&port, one);
        if (!is_open(now, one))
            (void)json_array_append_new(
                rows, json_pack("{s:s, s:s}", "port", one, "state", "closed"));
    }
    json_decref(now);
    out_list(a, rows, columns, ARRAY_LEN(columns));
}

static int port(struct args *a, struct err *err)
{
    bool add = strcmp(a->words[0], "add") == 0;
    bool look = strcmp(a->words[0], "list") == 0;
    struct vm vm;
    int rc;

    if (!add && !look && strcmp(a->words[0], "rm") != 0)
        return err_set(err, -EINVAL,
                       "port: '%.40s' is neither add, rm nor list",
                       a->words[0]);
    if (look != (a->nr_words == 2))
        return err_set(err, -EINVAL, "port %s: %s", a->words[0],
                       look ? "one VM is enough" : "which port?");
    rc = vm_open(&vm, a, a->words[1],
                 VMFILE_SETTINGS | (look ? 0 : VMFILE_WRITE), err);
    if (rc < 0)
        return rc;
    if (look)
        list(a, &vm);
    for (int i = 2; rc == 0 && i < a->nr_words; i++)
        rc = change(a, &vm, a->words[i], add, err);
    vm_drop(&vm);
    return rc;
}

int cmd_port(struct args *a)
{
    struct err err = {0};
    int rc = port(a, &err);

    if (rc < 0)
        return args_fail(a, rc, &err);
    if (a->nr_words > 2)
        out_done(a, a->words[1], "changed the ports of '%s'", a->words[1]);
    return STATUS_OK;
}
