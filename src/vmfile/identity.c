#include "vmfile/identity.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>

/* A file handle with room for what it is made of. */
union handle {
    struct file_handle h;
    char room[sizeof(struct file_handle) + MAX_HANDLE_SZ];
};

/* The handle in hexadecimal, or "0" where the file system has none. */
static void print_handle(int fd, char *text, size_t size)
{
    union handle u = {.h = {.handle_bytes = MAX_HANDLE_SZ}};
    int mount = 0;
    size_t len = 0;

    (void)snprintf(text, size, "0");
    if (name_to_handle_at(fd, "", &u.h, &mount, AT_EMPTY_PATH) < 0 ||
        u.h.handle_bytes > MAX_HANDLE_SZ)
        return;
    for (unsigned i = 0; i < u.h.handle_bytes && len + 3 <= size; i++)
        len += (size_t)snprintf(text + len, size - len, "%02x",
                                (unsigned char)u.h.f_handle[i]);
}

int identity_of(int fd, char line[IDENTITY_MAX], struct err *err)
{
    char handle[2 * MAX_HANDLE_SZ + 1];
    struct statfs fs;
    struct stat st;
    uint64_t fsid;

    _Static_assert(sizeof(fs.f_fsid) == sizeof(fsid), "of struct statfs");
    if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
        return err_sys(err, "look at a VM file");
    memcpy(&fsid, &fs.f_fsid, sizeof(fsid));
    print_handle(fd, handle, sizeof(handle));
    (void)snprintf(line, IDENTITY_MAX, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %s",
                   (uint64_t)st.st_ino, (uint64_t)st.st_dev, fsid, handle);
    return 0;
}

struct parsed {
    uint64_t inode, device, fsid;
    char handle[2 * MAX_HANDLE_SZ + 1];
};

static bool parse(const char *line, struct parsed *p)
{
    uint64_t *const numbers[] = {&p->inode, &p->device, &p->fsid};
    size_t len;

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        char *end;

        if (!isxdigit((unsigned char)*line))
            return false;
        *numbers[i] = strtoull(line, &end, 16);
        if (*end != ' ')
            return false;
        line = end + 1;
    }
    len = strspn(line, "0123456789abcdef");
    if (len == 0 || line[len] || len >= sizeof(p->handle))
        return false;
    memcpy(p->handle, line, len + 1);
    return true;
}

bool identity_same(const char *a, const char *b)
{
    struct parsed x, y;

    if (!parse(a, &x) || !parse(b, &y) || x.inode != y.inode)
        return false;
    if (strcmp(x.handle, "0") != 0 && strcmp(y.handle, "0") != 0 &&
        strcmp(x.handle, y.handle) != 0)
        return false;
    return x.device == y.device || (x.fsid && x.fsid == y.fsid);
}

static int random_bytes(uint8_t *buf, size_t len, struct err *err)
{
    ssize_t n = getrandom(buf, len, 0); /* whole up to 256 bytes */

    return n < 0 ? err_sys(err, "make a new identity") : 0;
}

int identity_uuid(char uuid[IDENTITY_UUID], struct err *err)
{
    uint8_t b[16];
    size_t len = 0;
    int rc = random_bytes(b, sizeof(b), err);

    if (rc < 0)
        return rc;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++)
        len += (size_t)snprintf(
            uuid + len, IDENTITY_UUID - len, "%s%02x",
            i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
    return 0;
}

int identity_mac(char mac[IDENTITY_MAC], struct err *err)
{
    uint8_t b[3];
    int rc = random_bytes(b, sizeof(b), err);

    if (rc < 0)
        return rc;
    (void)snprintf(mac, IDENTITY_MAC, "52:54:00:%02x:%02x:%02x", b[0], b[1],
                   b[2]);
    return 0;
}
