#include "bootdisk/child.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bootdisk/sandbox.h"

static int ask(uint64_t off, uint64_t len)
{
    const struct child_request q = {off, len};
    int32_t rc = -EIO;

    if (send(CHILD_SOCKET, &q, sizeof(q), MSG_NOSIGNAL) != sizeof(q) ||
        recv(CHILD_SOCKET, &rc, sizeof(rc), 0) != sizeof(rc))
        return -EIO;
    return rc;
}

static int read_disk(void *opaque, uint64_t off, void *buf, size_t len)
{
    struct child_shared *sh = opaque;
    uint8_t *p = buf;

    while (len) {
        size_t n = len < CHILD_WINDOW ? len : CHILD_WINDOW;
        int rc = ask(off, n);

        if (rc < 0)
            return rc;
        memcpy(p, sh->window, n);
        p += n;
        off += n;
        len -= n;
    }
    return 0;
}

int child_main(void)
{
    struct child_shared *sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
                                   MAP_SHARED, CHILD_MEMORY, 0);
    struct reader disk = {.read = read_disk, .opaque = sh};

    if (sh == MAP_FAILED || sandbox_enter(CHILD_SOCKET) < 0)
        return 1;
    disk.size = sh->disk_bytes;
    finder_find(&disk, &sh->answer);
    return 0;
}
