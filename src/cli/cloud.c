#include "cli/cloud.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fdio.h"
#include "block/raw.h"
#include "seed/seed.h"

/* --- Options ----------------------------------------------------------------
 */

/* A file of text that fits into settings; caller frees. NULL with err. */
static char *read_text(const char *option, const char *path, size_t max,
                       struct err *err)
{
    uint8_t *buf = NULL;
    struct err why = {0};
    size_t len = 0;
    char *text;
    int rc = fd_read_file(path, max, &buf, &len, &why);

    if (rc < 0) {
        (void)err_set(err, rc, "--%s: %s", option, why.text);
        return NULL;
    }
    text = memchr(buf, '\0', len) ? NULL : strndup((char *)buf, len);
    if (!text)
        (void)err_set(err, -EINVAL, "--%s: '%.200s' is no text", option, path);
    free(buf);
    return text;
}

static int take_user_data(const struct args *a, struct settings *s,
                          struct err *err)
{
    const char *path = args_value(a, "cloud-init");
    char *text;
    int rc;

    if (!path)
        return 0;
    text = read_text("cloud-init", path, SEED_MAX_USER_DATA, err);
    if (!text)
        return err->code;
    rc = seed_check_user_data(text, strlen(text), err);
    if (rc == 0)
        rc = settings_set(s, "cloud.user-data", text, err);
    free(text);
    return rc;
}

/* The lines of one more file. */
static int add_keys(char **keys, const char *path, struct err *err)
{
    char *text = read_text("ssh-key", path, SEED_MAX_KEYS, err), *all = NULL;
    const char *before = *keys ? *keys : "";
    size_t len = strlen(before);
    int rc;

    if (!text)
        return err->code;
    rc = seed_check_keys(text, err);
    if (rc == 0 &&
        asprintf(&all, "%s%s%s", before,
                 len && before[len - 1] != '\n' ? "\n" : "", text) < 0)
        rc = err_set(err, -ENOMEM, "--ssh-key: out of memory");
    free(text);
    if (rc < 0)
        return rc;
    free(*keys);
    *keys = all;
    return 0;
}

static int take_keys(const struct args *a, struct settings *s, struct err *err)
{
    char *keys = NULL;
    int rc = 0;

    for (int i = 0; rc == 0 && i < a->nr_options; i++)
        if (strcmp(a->verb->options[a->options[i].row].name, "ssh-key") == 0)
            rc = add_keys(&keys, a->options[i].value, err);
    if (rc == 0 && keys)
        rc = seed_check_keys(keys, err);
    if (rc == 0 && keys)
        rc = settings_set(s, "cloud.keys", keys, err);
    free(keys);
    return rc;
}

int cloud_options(const struct args *a, struct settings *s, struct err *err)
{
    static const struct {
        const char *option, *key;
        int (*check)(const char *text, struct err *err);
    } map[] = {{"hostname", "cloud.hostname", NULL},
               {"user", "cloud.user", seed_check_user},
               {"password", "cloud.password", seed_check_password}};
    int rc = take_user_data(a, s, err);

    if (rc == 0)
        rc = take_keys(a, s, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(map); i++) {
        const char *value = args_value(a, map[i].option);

        if (value && map[i].check)
            rc = map[i].check(value, err);
        if (rc == 0 && value)
            rc = settings_set(s, map[i].key, value, err);
    }
    return rc;
}

/* --- The disk ---------------------------------------------------------------
 */

static int make_disk(const uint8_t *image, size_t len, struct blk **out,
                     struct err *err)
{
    int fd = memfd_create("cloud-init", MFD_CLOEXEC), rc;

    if (fd < 0)
        return err_sys(err, "make the cloud-init disk");
    rc = fd_pwrite_full(fd, image, len, 0);
    if (rc < 0) {
        errno = -rc;
        rc = err_sys(err, "make the cloud-init disk");
    } else {
        rc = raw_open("cloud-init disk", fd, BLK_RDONLY, NULL, NULL, out, err);
    }
    if (rc < 0)
        (void)close(fd);
    return rc;
}

int cloud_disk(const struct settings *s, struct blk **out, struct err *err)
{
    struct seed seed = {
        .instance = settings_text(s, "uuid"),
        .hostname = settings_text(s, "cloud.hostname"),
        .user = settings_text(s, "cloud.user"),
        .password = settings_text(s, "cloud.password"),
        .keys = settings_text(s, "cloud.keys"),
        .user_data = settings_text(s, "cloud.user-data"),
    };
    uint8_t *image = NULL;
    size_t len = 0;
    int rc;

    *out = NULL;
    if (!seed.hostname && !seed.user && !seed.password && !seed.keys &&
        !seed.user_data)
        return 0;
    if (!seed.hostname)
        seed.hostname = settings_text(s, "name");
    if (!seed.hostname)
        seed.hostname = "husk";
    if (!seed.instance)
        seed.instance = "husk";
    rc = seed_make(&seed, &image, &len, err);
    if (rc == 0)
        rc = make_disk(image, len, out, err);
    free(image);
    return rc;
}
