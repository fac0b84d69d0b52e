#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fdio.h"
#include "block/qcow2.h"

/*
 * opener [--read] IMAGE OUT: open the image for writing, as a start of its VM
 * does (or only for reading), copy the disk's contents to OUT, close it in
 * order. Status 1: it was refused.
 */
enum { CHUNK = 1 << 16 };

static int copy_out(struct blk *b, int fd)
{
    uint64_t off, size = blk_size(b);
    static uint8_t buf[CHUNK];
    int rc = 0;

    for (off = 0; off < size && !rc; off += CHUNK) {
        uint64_t len = size - off < CHUNK ? size - off : CHUNK;

        rc = blk_read(b, off, buf, len);
        if (!rc)
            rc = fd_write_full(fd, buf, len);
    }
    return rc;
}

int main(int argc, char **argv)
{
    bool reads = argc == 4 && !strcmp(argv[1], "--read");
    struct qcow2_opts opts = {.flags = reads ? BLK_RDONLY : 0};
    struct qcow2 *q;
    struct err err;
    int fd, rc;

    argv += reads;
    if (argc - reads != 3)
        return 2;
    fd = open(argv[2], O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0)
        return 2;
    if (qcow2_open(argv[1], -1, &opts, &q, &err)) {
        (void)fprintf(stderr, "opener: %s\n", err.text);
        return 1;
    }
    rc = copy_out(qcow2_blk(q), fd);
    if (rc)
        (void)fprintf(stderr, "opener: read: %s\n", strerror(-rc));
    if (qcow2_close(q))
        rc = -1;
    return rc ? 1 : 0;
}
