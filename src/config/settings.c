#include "config/settings.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/vmconf.h"

enum kind {
    KIND_TEXT,
    KIND_LINES,
    KIND_NAME,
    KIND_UUID,
    KIND_COUNT,
    KIND_SIZE,
    KIND_MODEL,
    KIND_ENGINE,
    KIND_FIRMWARE,
    KIND_BOOT,
    KIND_VGA,
    KIND_PATH,
    KIND_DISKS,
    KIND_MAC,
    KIND_NET,
    KIND_PORTS,
    KIND_PLACE,
    KIND_BUS,
    KIND_BOOL
};

enum {
    MAX_TEXT = 4096,
    MAX_LINES = 16384,
    MAX_LABEL_KEY = 64,
    MAX_LABEL = 256,
    MAX_DISKS = 15,
    MAX_KEY = 128
};

/* A size in bytes that a JSON integer can hold. */
#define MAX_SIZE ((uint64_t)INT64_MAX)

const struct settings_key settings_keys[] = {
#define SETTING(key, kind, settable, value, help) {key, help, value, settable},
#include "config/settings.def"
#undef SETTING
};
static const enum kind kinds[] = {
#define SETTING(key, kind, settable, value, help) KIND_##kind,
#include "config/settings.def"
#undef SETTING
};
const unsigned settings_nr_keys = ARRAY_LEN(kinds);

struct settings {
    json_t *root;
};

struct settings *settings_new(void)
{
    struct settings *s = calloc(1, sizeof(*s));

    if (s)
        s->root = json_pack("{s:i}", "husk", SETTINGS_VERSION);
    if (s && !s->root) {
        free(s);
        return NULL;
    }
    return s;
}

void settings_free(struct settings *s)
{
    if (!s)
        return;
    json_decref(s->root);
    free(s);
}

char *settings_print(const struct settings *s)
{
    return json_dumps(s->root, JSON_COMPACT);
}

json_t *settings_json(const struct settings *s)
{
    return s->root;
}

bool settings_is_own(const char *key)
{
    static const char *const own[] = {"husk", "file", "parent", "restoring"};

    for (size_t i = 0; i < ARRAY_LEN(own); i++)
        if (strcmp(own[i], key) == 0)
            return true;
    return false;
}

/* --- Values of each kind ---------------------------------------------------
 */

/* One line that a terminal can show. */
static bool is_printable(const char *text, size_t max)
{
    size_t len = strlen(text);

    if (len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            return false;
    return true;
}

/* Any text; the length bounds what the VM's file must hold. */
static bool are_lines(const char *text)
{
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++)
        if (((unsigned char)text[i] < 0x20 && !strchr("\t\n\r", text[i])) ||
            text[i] == 0x7f)
            return false;
    return len <= MAX_LINES;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcmp(text, *words) == 0)
            return true;
    return false;
}

/* 'x' stands for a hexadecimal digit. */
static bool has_form(const char *text, const char *form)
{
    for (; *form && *text; form++, text++)
        if (*form == 'x' ? !isxdigit((unsigned char)*text) : *form != *text)
            return false;
    return !*form && !*text;
}

static bool is_word(const char *text)
{
    for (const char *p = text; *p; p++)
        if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
            return false;
    return *text && strlen(text) <= MAX_LABEL_KEY;
}

static bool is_boot_order(const char *text)
{
    struct bootorder order;
    struct err err;

    return bootorder_parse(text, "boot.order", &order, &err) == 0;
}

bool settings_port(const char *ports, unsigned n, char text[VMCONF_PORT_TEXT])
{
    for (ports += strspn(ports, " "); *ports; ports += strspn(ports, " ")) {
        size_t len = strcspn(ports, " ");

        if (n-- == 0) {
            (void)snprintf(text, VMCONF_PORT_TEXT, "%.*s",
                           (int)(len < MAX_KEY ? len : MAX_KEY), ports);
            return true;
        }
        ports += len;
    }
    return false;
}

static bool are_ports(const char *text)
{
    char one[VMCONF_PORT_TEXT];
    struct vmconf_port port;
    struct err err;
    unsigned n = 0;

    if (!is_printable(text, MAX_TEXT))
        return false;
    for (; settings_port(text, n, one); n++)
        if (n == VMCONF_MAX_PORTS || vmconf_parse_port(one, &port, &err) < 0)
            return false;
    return true;
}

static bool text_is(enum kind kind, const char *text)
{
    static const char *const engines[] = {"auto", "jit", NULL};
    static const char *const firmware[] = {"auto", "none", "bios", "uefi",
                                           NULL};
    static const char *const screens[] = {"auto", "std", "none", NULL};
    /* Not a file: what a VM from elsewhere says must not be written to. */
    static const char *const places[] = {"stdio", "none", NULL};
    static const char *const buses[] = {"virtio", "ide", NULL};

    static const char *const nets[] = {"user", "none", NULL};

    switch (kind) {
    case KIND_NET: return is_one_of(text, nets);
    case KIND_PORTS: return are_ports(text);
    case KIND_UUID:
        return has_form(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    case KIND_MAC: return has_form(text, "xx:xx:xx:xx:xx:xx");
    case KIND_ENGINE: return is_one_of(text, engines);
    case KIND_FIRMWARE: return is_one_of(text, firmware);
    case KIND_VGA: return is_one_of(text, screens);
    case KIND_BOOT: return is_boot_order(text);
    case KIND_PLACE: return is_one_of(text, places);
    case KIND_BUS: return is_one_of(text, buses);
    case KIND_NAME:
    case KIND_MODEL: return is_word(text);
    case KIND_PATH: return *text && is_printable(text, MAX_TEXT);
    case KIND_LINES: return are_lines(text);
    default: return is_printable(text, MAX_TEXT);
    }
}

/* As --disk has it, but with a file. */
static bool is_disk(const json_t *v)
{
    const char *text = json_string_value(v);
    struct vmconf_disk disk;
    struct err err;

    return text && is_printable(text, MAX_TEXT) &&
           vmconf_parse_disk(text, &disk, &err) == 0 && *disk.file;
}

static bool are_disks(const json_t *v)
{
    if (!json_is_array(v) || json_array_size(v) > MAX_DISKS)
        return false;
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!is_disk(json_array_get(v, i)))
            return false;
    return true;
}

static bool value_is(enum kind kind, const json_t *v)
{
    json_int_t n = json_integer_value(v);

    switch (kind) {
    case KIND_COUNT:
        return json_is_integer(v) && n >= 1 && n <= VMCONF_MAX_CPUS;
    case KIND_SIZE: return json_is_integer(v) && n >= 1;
    case KIND_BOOL: return json_is_boolean(v);
    case KIND_DISKS: return are_disks(v);
    default:
        /* No zero byte: jansson refuses them. */
        return json_is_string(v) && text_is(kind, json_string_value(v));
    }
}

static const char *form_of(enum kind kind)
{
    switch (kind) {
    case KIND_TEXT: return "one line of at most 4096 bytes";
    case KIND_LINES: return "a text of at most 16384 bytes";
    case KIND_NAME: return "letters, digits and . _ -";
    case KIND_UUID: return "a UUID: xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    case KIND_COUNT: return "a number of CPUs from 1 to 255";
    case KIND_SIZE: return "a size: 512M, 4G";
    case KIND_MODEL: return "a CPU model: husk-v3, husk-v2 or host";
    case KIND_ENGINE: return "auto or jit";
    case KIND_FIRMWARE: return "auto, none, bios or uefi";
    case KIND_VGA: return "auto, std or none";
    case KIND_BOOT:
        return "an order to boot in: disk, cd, floppy, net and menu, each "
               "once, with commas between";
    case KIND_PATH: return "the path of a file";
    case KIND_DISKS:
        return "at most 15 disks, FILE[,format=raw|qcow2][,ro], with "
               "semicolons "
               "between";
    case KIND_MAC: return "six bytes: 52:54:00:12:34:56";
    case KIND_NET: return "user or none";
    case KIND_PORTS:
        return "ports, [ADDRESS:]HOST:GUEST[/udp], with spaces between";
    case KIND_PLACE: return "stdio or none";
    case KIND_BUS: return "virtio or ide";
    case KIND_BOOL: return "yes or no";
    }
    return "";
}

/* --- Keys -------------------------------------------------------------------
 */

/* The object that holds the key, and *leaf, what it is called there; NULL if
 * it is not there and create is not set. */
static json_t *holder(json_t *root, const char *key, const char **leaf,
                      bool create)
{
    const char *dot = strchr(key, '.');
    char first[MAX_KEY];
    json_t *in;

    *leaf = key;
    if (!dot)
        return root;
    (void)snprintf(first, sizeof(first), "%.*s", (int)(dot - key), key);
    *leaf = dot + 1;
    in = json_object_get(root, first);
    if (in || !create)
        return in;
    if (json_object_set_new(root, first, json_object()) < 0)
        return NULL;
    return json_object_get(root, first);
}

static json_t *look_up(const struct settings *s, const char *key)
{
    const char *leaf;
    const json_t *in = holder(s->root, key, &leaf, false);

    return json_object_get(in, leaf);
}

static int find_key(const char *key)
{
    for (unsigned i = 0; i < settings_nr_keys; i++)
        if (strcmp(settings_keys[i].name, key) == 0)
            return (int)i;
    return -1;
}

static bool is_label(const char *key)
{
    return strncmp(key, "labels.", 7) == 0 && is_word(key + 7);
}

static int no_key(const char *key, struct err *err)
{
    return err_set(err, -ENOENT,
                   "there is no setting '%.80s': 'husk set --help' lists them",
                   key);
}

/* --- Checking ---------------------------------------------------------------
 */

static int check_labels(json_t *labels, struct err *err)
{
    void *i;

    if (!labels)
        return 0;
    if (!json_is_object(labels) ||
        json_object_size(labels) > SETTINGS_MAX_LABELS)
        return err_set(err, -EINVAL,
                       "'labels' is not an object of at most %d texts",
                       SETTINGS_MAX_LABELS);
    for (i = json_object_iter(labels); i;
         i = json_object_iter_next(labels, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *v = json_object_iter_value(i);

        if (!is_word(key) || !json_is_string(v) ||
            !is_printable(json_string_value(v), MAX_LABEL))
            return err_set(err, -EINVAL,
                           "the label '%.80s' is not one line of at most %d "
                           "bytes, or is not named by letters and digits",
                           key, MAX_LABEL);
    }
    return 0;
}

static int check(const struct settings *s, struct err *err)
{
    for (unsigned i = 0; i < settings_nr_keys; i++) {
        const char *leaf;
        const json_t *in = holder(s->root, settings_keys[i].name, &leaf, false);
        const json_t *v = json_object_get(in, leaf);

        if (in && !json_is_object(in))
            return err_set(err, -EINVAL, "'%.*s' is not an object",
                           (int)strcspn(settings_keys[i].name, "."),
                           settings_keys[i].name);
        if (v && !value_is(kinds[i], v))
            return err_set(err, -EINVAL, "'%s' is not %s",
                           settings_keys[i].name, form_of(kinds[i]));
    }
    return check_labels(json_object_get(s->root, "labels"), err);
}

int settings_parse(const char *text, size_t len, struct settings **out,
                   struct err *err)
{
    struct settings s = {NULL};
    json_error_t why;
    int rc;

    s.root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &why);
    if (!s.root)
        return err_set(err, -EINVAL, "the settings are no JSON: line %d: %s",
                       why.line, why.text);
    if (!json_is_object(s.root))
        rc = err_set(err, -EINVAL, "the settings are no JSON object");
    else
        rc = check(&s, err);
    if (rc == 0) {
        *out = malloc(sizeof(**out));
        if (*out)
            **out = s;
        else
            rc = err_set(err, -ENOMEM, "read the settings: out of memory");
    }
    if (rc < 0)
        json_decref(s.root);
    return rc;
}

/* --- Text to values and back ------------------------------------------------
 */

static json_t *parse_size(const char *text)
{
    uint64_t bytes = 0;

    if (vmconf_parse_size(text, &bytes) < 0 || bytes > MAX_SIZE)
        return NULL;
    return json_integer((json_int_t)bytes);
}

static json_t *parse_count(const char *text)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (!isdigit((unsigned char)*text) || *end || n > VMCONF_MAX_CPUS)
        return NULL;
    return json_integer((json_int_t)n);
}

static json_t *parse_bool(const char *text)
{
    static const char *const yes[] = {"yes", "true", "on", "1", NULL};
    static const char *const no[] = {"no", "false", "off", "0", NULL};

    if (is_one_of(text, yes))
        return json_true();
    return is_one_of(text, no) ? json_false() : NULL;
}

static json_t *parse_disks(const char *text)
{
    json_t *all = json_array();

    while (all && *text) {
        size_t len = strcspn(text, ";");

        if (json_array_append_new(all, json_stringn(text, len)) < 0) {
            json_decref(all);
            return NULL;
        }
        text += len + (text[len] == ';');
    }
    return all;
}

static json_t *parse_value(enum kind kind, const char *text)
{
    switch (kind) {
    case KIND_COUNT: return parse_count(text);
    case KIND_SIZE: return parse_size(text);
    case KIND_BOOL: return parse_bool(text);
    case KIND_DISKS: return parse_disks(text);
    default: return json_string(text);
    }
}

static char *print_disks(const json_t *v)
{
    size_t len = 1, n = 0;
    char *text;

    for (size_t i = 0; i < json_array_size(v); i++)
        len += json_string_length(json_array_get(v, i)) + 1;
    text = calloc(1, len);
    for (size_t i = 0; text && i < json_array_size(v); i++)
        n += (size_t)snprintf(text + n, len - n, "%s%s", i ? ";" : "",
                              json_string_value(json_array_get(v, i)));
    return text;
}

static char *print_value(const json_t *v)
{
    char *text = NULL;

    if (json_is_string(v))
        return strdup(json_string_value(v));
    if (json_is_boolean(v))
        return strdup(json_is_true(v) ? "true" : "false");
    if (json_is_array(v))
        return print_disks(v);
    if (asprintf(&text, "%" JSON_INTEGER_FORMAT, json_integer_value(v)) < 0)
        return NULL;
    return text;
}

int settings_get(const struct settings *s, const char *key, char **value,
                 struct err *err)
{
    int row = find_key(key);
    const json_t *v;

    if (row < 0 && !is_label(key))
        return no_key(key, err);
    v = look_up(s, key);
    *value = NULL;
    if (v)
        *value = print_value(v);
    else if (row >= 0 && settings_keys[row].value)
        *value = strdup(settings_keys[row].value);
    else
        return 0;
    return *value ? 0 : err_set(err, -ENOMEM, "get '%s': out of memory", key);
}

/* Takes v. An object that becomes empty goes, too. */
static int put(struct settings *s, const char *key, json_t *v, struct err *err)
{
    const char *leaf;
    json_t *in = holder(s->root, key, &leaf, v != NULL);
    char first[MAX_KEY];

    if (v) {
        if (json_object_set_new(in, leaf, v) == 0)
            return 0;
        return err_set(err, -ENOMEM, "set '%s': out of memory", key);
    }
    (void)json_object_del(in, leaf);
    if (in != s->root && json_is_object(in) && json_object_size(in) == 0) {
        (void)snprintf(first, sizeof(first), "%.*s", (int)strcspn(key, "."),
                       key);
        (void)json_object_del(s->root, first);
    }
    return 0;
}

static int set_label(struct settings *s, const char *key, const char *value,
                     struct err *err)
{
    const json_t *labels = json_object_get(s->root, "labels");
    json_t *text;

    if (!*value)
        return put(s, key, NULL, err);
    if (!json_object_get(labels, key + 7) &&
        json_object_size(labels) >= SETTINGS_MAX_LABELS)
        return err_set(err, -EINVAL, "set '%s': a VM has at most %d labels",
                       key, SETTINGS_MAX_LABELS);
    text = is_printable(value, MAX_LABEL) ? json_string(value) : NULL;
    if (!text) /* or it is no UTF-8 */
        return err_set(err, -EINVAL,
                       "set '%s': a label is one line of at most %d bytes", key,
                       MAX_LABEL);
    return put(s, key, text, err);
}

int settings_force(struct settings *s, const char *key, const char *value,
                   struct err *err)
{
    int row = find_key(key);
    json_t *v;

    if (row < 0)
        return is_label(key) ? set_label(s, key, value, err) : no_key(key, err);
    if (!*value)
        return put(s, key, NULL, err);
    v = parse_value(kinds[row], value);
    if (v && value_is(kinds[row], v))
        return put(s, key, v, err);
    json_decref(v);
    return err_set(err, -EINVAL, "set '%s': '%.80s' is not %s", key, value,
                   form_of(kinds[row]));
}

int settings_set(struct settings *s, const char *key, const char *value,
                 struct err *err)
{
    int row = find_key(key);

    if (row >= 0 && !settings_keys[row].settable)
        return err_set(err, -EPERM, "'%s' cannot be set: it is %s", key,
                       settings_keys[row].help);
    return settings_force(s, key, value, err);
}

/* --- For husk itself --------------------------------------------------------
 */

const char *settings_text(const struct settings *s, const char *key)
{
    const char *text = json_string_value(look_up(s, key));
    int row = find_key(key);

    if (text || row < 0)
        return text;
    return settings_keys[row].value;
}

uint64_t settings_number(const struct settings *s, const char *key)
{
    const json_t *v = look_up(s, key);
    int row = find_key(key);

    if (json_is_integer(v))
        return (uint64_t)json_integer_value(v);
    return row >= 0 && settings_keys[row].value
               ? strtoull(settings_keys[row].value, NULL, 10)
               : 0;
}

bool settings_flag(const struct settings *s, const char *key)
{
    return json_is_true(look_up(s, key));
}

const char *settings_disk(const struct settings *s, unsigned n)
{
    return json_string_value(json_array_get(look_up(s, "disks"), n));
}

const char *settings_own(const struct settings *s, const char *key)
{
    return json_string_value(json_object_get(s->root, key));
}

int settings_set_own(struct settings *s, const char *key, const char *value,
                     struct err *err)
{
    return put(s, key, value ? json_string(value) : NULL, err);
}
