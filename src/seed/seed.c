#include "seed/seed.h"

#include <ctype.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "seed/iso9660.h"

enum { MAX_HASH = 256, MAX_USER = 32 };

/* --- Checks -----------------------------------------------------------------
 */

static bool begins(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);

    return len >= n && memcmp(text, with, n) == 0;
}

/* cloud-init tells what it is by these. */
static bool has_known_head(const char *text, size_t len)
{
    static const char *const heads[] = {
        "#cloud-config", "#!",           "#include",     "#cloud-boothook",
        "#part-handler", "#upstart-job", "## template:", "Content-Type:",
        "MIME-Version:", "From nobody "};

    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        if (begins(text, len, heads[i]))
            return true;
    return false;
}

int seed_check_user_data(const char *text, size_t len, struct err *err)
{
    json_t *v;

    if (len > SEED_MAX_USER_DATA)
        return err_set(err, -EINVAL,
                       "the user data has %zu bytes, and at most %d go into a "
                       "VM's settings: let it '#include' the rest",
                       len, SEED_MAX_USER_DATA);
    v = memchr(text, '\0', len) ? NULL : json_stringn(text, len);
    if (!v)
        return err_set(err, -EINVAL,
                       "the user data is no text in UTF-8: is it compressed?");
    json_decref(v);
    if (!has_known_head(text, len))
        return err_set(err, -EINVAL,
                       "the user data does not begin with '#cloud-config', "
                       "'#!' or another head that cloud-init knows");
    return 0;
}

/* The first word of a line says what kind of key it is, or an option. */
static bool is_key(const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            return false;
    return memchr(line, ' ', len) && isalpha((unsigned char)*line);
}

int seed_check_keys(const char *lines, struct err *err)
{
    unsigned nr = 0;

    if (strlen(lines) > SEED_MAX_KEYS)
        return err_set(err, -EINVAL, "the keys have more than %d bytes",
                       SEED_MAX_KEYS);
    if (strstr(lines, "PRIVATE KEY"))
        return err_set(err, -EINVAL,
                       "that is a private key: give the file beside it, which "
                       "ends in .pub");
    while (*lines) {
        size_t len = strcspn(lines, "\n");

        if (len && *lines != '#') {
            if (!is_key(lines, len))
                return err_set(err, -EINVAL,
                               "'%.*s' is no public key as ssh-keygen(1) "
                               "writes it",
                               (int)(len < 40 ? len : 40), lines);
            nr++;
        }
        lines += len + (lines[len] == '\n');
    }
    return nr ? 0 : err_set(err, -EINVAL, "there is no key in it");
}

int seed_check_password(const char *hash, struct err *err)
{
    size_t len = strlen(hash);
    bool fine =
        len > 4 && len <= MAX_HASH && *hash == '$' && strchr(hash + 1, '$');

    for (size_t i = 0; i < len; i++)
        fine = fine && hash[i] > ' ' && hash[i] < 0x7f && hash[i] != ':';
    if (fine)
        return 0;
    return err_set(err, -EINVAL,
                   "the password is not hashed: give what 'openssl passwd -6' "
                   "prints");
}

int seed_check_user(const char *name, struct err *err)
{
    size_t len = strlen(name);
    bool fine = len >= 1 && len <= MAX_USER &&
                (islower((unsigned char)*name) || *name == '_');

    for (size_t i = 0; i < len; i++)
        fine = fine && (islower((unsigned char)name[i]) ||
                        isdigit((unsigned char)name[i]) || name[i] == '_' ||
                        name[i] == '-');
    if (fine)
        return 0;
    return err_set(err, -EINVAL,
                   "'%.40s' is no user's name: small letters, digits, _ and -",
                   name);
}

static int check(const struct seed *s, struct err *err)
{
    int rc = 0;

    if (s->user)
        rc = seed_check_user(s->user, err);
    if (rc == 0 && s->keys)
        rc = seed_check_keys(s->keys, err);
    if (rc == 0 && s->password)
        rc = seed_check_password(s->password, err);
    if (rc == 0 && s->user_data)
        rc = seed_check_user_data(s->user_data, strlen(s->user_data), err);
    return rc;
}

/* --- Documents --------------------------------------------------------------
 */

static json_t *key_list(const char *lines)
{
    json_t *keys = json_array();

    while (lines && *lines) {
        size_t len = strcspn(lines, "\n");

        if (len && *lines != '#')
            (void)json_array_append_new(keys, json_stringn(lines, len));
        lines += len + (lines[len] == '\n');
    }
    return keys;
}

/* A name of a VM may have bytes that one of a host has not (RFC 1123, 2.1). */
static json_t *host_name(const char *name)
{
    char host[64];
    size_t n = 0;

    for (; *name && n + 1 < sizeof(host); name++)
        host[n++] = isalnum((unsigned char)*name) || *name == '.' ? *name : '-';
    while (n && !isalnum((unsigned char)host[n - 1]))
        n--;
    host[n] = '\0';
    return json_string(n ? host : "husk");
}

static json_t *meta_data(const struct seed *s)
{
    return json_pack("{s:s, s:o, s:o}", "instance-id", s->instance,
                     "local-hostname", host_name(s->hostname), "public-keys",
                     key_list(s->keys));
}

/* One that may do all, and who logs in by a key unless he has a password. */
static json_t *users(const struct seed *s)
{
    json_t *user =
        json_pack("{s:s, s:s, s:s, s:b, s:o}", "name", s->user, "shell",
                  "/bin/bash", "sudo", "ALL=(ALL) NOPASSWD:ALL", "lock_passwd",
                  !s->password, "ssh_authorized_keys", key_list(s->keys));

    if (s->password)
        (void)json_object_set_new(user, "passwd", json_string(s->password));
    return json_pack("[o]", user);
}

static json_t *vendor_data(const struct seed *s)
{
    json_t *v = json_object();

    if (s->user)
        (void)json_object_set_new(v, "users", users(s));
    else if (s->password)
        (void)json_object_update_new(v, json_pack("{s:s, s:{s:b}}", "password",
                                                  s->password, "chpasswd",
                                                  "expire", 0));
    return v;
}

/* Takes v. head and the JSON behind it; NULL: out of memory. */
static char *print(const char *head, json_t *v)
{
    char *json = v ? json_dumps(v, JSON_INDENT(2)) : NULL, *text = NULL;

    if (json && asprintf(&text, "%s%s\n", head, json) < 0)
        text = NULL;
    free(json);
    json_decref(v);
    return text;
}

int seed_make(const struct seed *s, uint8_t **image, size_t *len,
              struct err *err)
{
    const char *user = s->user_data ? s->user_data : "#cloud-config\n{}\n";
    char *meta, *vendor;
    int rc = check(s, err);

    if (rc < 0)
        return rc;
    meta = print("", meta_data(s));
    vendor = print("#cloud-config\n", vendor_data(s));
    rc = -ENOMEM;
    if (meta && vendor) {
        const struct iso_file files[] = {
            {"meta-data", meta, strlen(meta)},
            {"user-data", user, strlen(user)},
            {"vendor-data", vendor, strlen(vendor)}};

        rc = iso9660_make("cidata", files, ARRAY_LEN(files), image, len);
    }
    free(meta);
    free(vendor);
    return rc < 0 ? err_set(err, rc, "make the cloud-init disk: out of memory")
                  : 0;
}
