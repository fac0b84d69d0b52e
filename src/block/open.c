#include "block/open.h"

#include <errno.h>
#include <string.h>

#include "block/hostfile.h"
#include "block/qcow2.h"
#include "block/raw.h"

enum { HEAD_SIZE = 512 };

/* Where the signatures of image formats stand in a file. */
static const struct {
    const char *format;
    unsigned at, len;
    const char *bytes;
} signatures[] = {
    {"qcow2", 0, 4, "QFI\xfb"},
    {"vmdk", 0, 4, "KDMV"},
    {"vmdk", 0, 4, "COWD"},
    {"vmdk", 0, 21, "# Disk DescriptorFile"},
    {"vdi", 64, 4, "\x7f\x10\xda\xbe"},
    {"vhdx", 0, 8, "vhdxfile"},
    {"vhd", 0, 8, "conectix"},
    {"luks", 0, 6, "LUKS\xba\xbe"},
    {"qed", 0, 4, "QED"},
    {"parallels", 0, 16, "WithoutFreeSpace"},
    {"parallels", 0, 16, "WithouFreSpacExt"},
};

const char *blk_guess_format(const void *head, uint64_t len)
{
    const char *p = head;

    for (unsigned i = 0; i < ARRAY_LEN(signatures); i++)
        if (signatures[i].at + signatures[i].len <= len &&
            !memcmp(p + signatures[i].at, signatures[i].bytes,
                    signatures[i].len))
            return signatures[i].format;
    return NULL;
}

/* Look at the file; *format is set to what to open it as. */
static int probe(const char *path, int fd, const char **format, struct err *err)
{
    char head[HEAD_SIZE];
    struct hostfile f;
    int rc = hostfile_open(&f, path, fd, BLK_RDONLY, NULL, NULL, err);

    if (rc)
        return rc;
    rc = hostfile_read(&f, 0, head, sizeof(head));
    if (rc) {
        errno = -rc;
        rc = err_sys(err, "read %s", path);
    } else {
        *format = blk_guess_format(head, sizeof(head));
    }
    if (!rc && !*format)
        *format = "raw";
    if (!rc && f.is_device && strcmp(*format, "qcow2") != 0)
        *format = "raw";
    if (fd < 0)
        hostfile_close(&f);
    else
        hostfile_let_go(&f);
    return rc;
}

int blk_open(const char *path, int fd, const char *format, unsigned flags,
             struct blk **out, struct err *err)
{
    struct qcow2_opts opts = {.flags = flags};
    struct qcow2 *q;
    int rc = format ? 0 : probe(path, fd, &format, err);

    if (rc)
        return rc;
    if (strcmp(format, "raw") == 0)
        return raw_open(path, fd, flags, NULL, NULL, out, err);
    if (strcmp(format, "qcow2") != 0)
        return err_set(err, -EMEDIUMTYPE,
                       "open %s: it is a %s image; convert it to qcow2 first "
                       "(husk import)",
                       path, format);
    rc = qcow2_open(path, fd, &opts, &q, err);
    if (!rc)
        *out = qcow2_blk(q);
    return rc;
}
