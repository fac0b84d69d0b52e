#ifndef HUSK_CONFIG_SETTINGS_H
#define HUSK_CONFIG_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/err.h"
#include "config/vmconf.h"

/*
 * The settings of a VM as its file keeps them: a JSON object (RFC 8259) of the
 * keys in settings.def, "labels" (an object of texts), and some of husk's own
 * (settings_is_own). What else is in it was written by a later husk, or by a
 * person, and stays. Sizes are integers in bytes.
 *
 * Where a person names a key, a dot goes into an object: "boot.kernel",
 * "labels.team".
 */
struct settings;

enum { SETTINGS_VERSION = 1, SETTINGS_MAX_LABELS = 64 };

struct settings_key {
    const char *name;
    const char *help;
    const char *value; /* if it is not set; NULL: nothing */
    bool settable;
};
/* All of settings.def, in its order. */
extern const struct settings_key settings_keys[];
extern const unsigned settings_nr_keys;

/* No key but the version. NULL: out of memory. */
struct settings *settings_new(void);
/* Any bytes are refused (-EINVAL with err) or are settings that
 * settings_check accepts. */
MUST_CHECK int settings_parse(const char *text, size_t len,
                              struct settings **out, struct err *err);
void settings_free(struct settings *s);
/* On one line, for the file; caller frees. NULL: out of memory. */
char *settings_print(const struct settings *s);

/* The object itself, s's. */
json_t *settings_json(const struct settings *s);
/* Whether a key of the object is husk's own business: not shown to a person as
 * a setting, and kept when he writes the settings anew. */
bool settings_is_own(const char *key);

/*
 * The value of a key as text ("2147483648", "true"), its default if it is not
 * set; caller frees *value, which is NULL if there is none. -ENOENT with err:
 * there is no such key; -ENOMEM.
 */
MUST_CHECK int settings_get(const struct settings *s, const char *key,
                            char **value, struct err *err);
/* From what a person wrote ("2G", "yes"); "" takes the key away. -ENOENT: no
 * such key; -EPERM: not one to be set so; -EINVAL: no value for it. */
MUST_CHECK int settings_set(struct settings *s, const char *key,
                            const char *value, struct err *err);
/* The same for keys that only husk sets. */
MUST_CHECK int settings_force(struct settings *s, const char *key,
                              const char *value, struct err *err);

/* Texts and numbers of settings that were checked: s's, and defaults. */
const char *settings_text(const struct settings *s, const char *key);
uint64_t settings_number(const struct settings *s, const char *key);
bool settings_flag(const struct settings *s, const char *key);
/* The n-th of the further disks, for vmconf_parse_disk; NULL behind the last.
 */
const char *settings_disk(const struct settings *s, unsigned n);

/* The n-th of a text of the setting "ports"; false behind the last. */
bool settings_port(const char *ports, unsigned n, char text[VMCONF_PORT_TEXT]);

/* Any key of the object's own ("file", "parent"): texts. NULL takes it away. */
const char *settings_own(const struct settings *s, const char *key);
MUST_CHECK int settings_set_own(struct settings *s, const char *key,
                                const char *value, struct err *err);

#endif
