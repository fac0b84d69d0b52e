#include <errno.h>
#include <string.h>

#include "config/vmconf.h"

/* The name at the head of *text into buf; *text is then at its end or at the
 * comma behind it. */
static int take_name(const char **text, char *buf, size_t size)
{
    const char *p = *text;
    size_t n = 0;

    while (*p && !(p[0] == ',' && p[1] != ',')) {
        if (n + 1 == size)
            return -ENAMETOOLONG;
        buf[n++] = *p;
        p += *p == ',' ? 2 : 1;
    }
    buf[n] = '\0';
    *text = p;
    return 0;
}

static bool word_is(const char *word, size_t len, const char *what)
{
    return strlen(what) == len && memcmp(word, what, len) == 0;
}

static bool set_serial(struct vmconf_disk *d, const char *text, size_t len)
{
    if (len == 0 || len > VMCONF_DISK_SERIAL)
        return false;
    memcpy(d->serial, text, len);
    d->serial[len] = '\0';
    return true;
}

/* One option, len bytes at word; false if it is none. */
static bool set_option(struct vmconf_disk *d, const char *word, size_t len)
{
    static const char serial[] = "serial=";

    if (word_is(word, len, "ro"))
        d->readonly = true;
    else if (word_is(word, len, "format=raw"))
        d->raw = true;
    else if (word_is(word, len, "format=qcow2"))
        d->qcow2 = true;
    else if (word_is(word, len, "bus=ide"))
        d->ide = true;
    else if (word_is(word, len, "bus=virtio"))
        d->ide = false;
    else if (word_is(word, len, "cache=none"))
        d->direct = true;
    else if (word_is(word, len, "cache=writeback"))
        d->direct = false;
    else if (len > strlen(serial) && !memcmp(word, serial, strlen(serial)))
        return set_serial(d, word + strlen(serial), len - strlen(serial));
    else
        return false;
    return true;
}

static int check(const char *text, const struct vmconf_disk *d, struct err *err)
{
    if (d->raw && d->qcow2)
        return err_set(err, -EINVAL, "--disk: '%s' names two formats", text);
    if (!*d->file && d->size == 0)
        return err_set(err, -EINVAL,
                       "--disk: '%s' names neither a file nor a size", text);
    if (!*d->file && (d->readonly || d->qcow2))
        return err_set(err, -EINVAL,
                       "--disk: '%s': a throw-away disk is raw and writable",
                       text);
    if (d->size % 512)
        return err_set(err, -EINVAL,
                       "--disk: '%s': a size is a multiple of 512 bytes", text);
    return 0;
}

int vmconf_parse_disk(const char *text, struct vmconf_disk *disk,
                      struct err *err)
{
    const char *p = text;

    memset(disk, 0, sizeof(*disk));
    if (take_name(&p, disk->file, sizeof(disk->file)) < 0)
        return err_set(err, -EINVAL, "--disk: the file's name is too long");
    if (vmconf_parse_size(disk->file, &disk->size) == 0)
        disk->file[0] = '\0';
    while (*p) {
        size_t len = strcspn(++p, ",");

        if (!set_option(disk, p, len))
            return err_set(err, -EINVAL,
                           "--disk: '%.*s' is not one of format=raw|qcow2, ro, "
                           "cache=writeback|none, bus=virtio|ide, serial=TEXT "
                           "(1 to %d bytes)",
                           (int)(len < 60 ? len : 60), p, VMCONF_DISK_SERIAL);
        p += len;
    }
    return check(text, disk, err);
}
