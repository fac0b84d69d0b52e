#include "base/fdio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

ssize_t fd_read_full(int fd, void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = read(fd, (char *)buf + done, len - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    return (ssize_t)done;
}

ssize_t fd_pread_full(int fd, void *buf, size_t len, uint64_t off)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n =
            pread(fd, (char *)buf + done, len - done, (off_t)(off + done));

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n == 0)
            break;
        if (n > 0)
            done += (size_t)n;
    }
    return (ssize_t)done;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(fd, (const char *)buf + done, len - done);

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

int fd_pwrite_full(int fd, const void *buf, size_t len, uint64_t off)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = pwrite(fd, (const char *)buf + done, len - done,
                           (off_t)(off + done));

        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            done += (size_t)n;
    }
    return 0;
}

/* Whether fd may be read whole: *size is its length. */
static int check_file(int fd, const char *path, size_t max, size_t *size,
                      struct err *err)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return err_sys(err, "read '%s'", path);
    if (S_ISDIR(st.st_mode))
        return err_set(err, -EINVAL, "read '%s': it is a directory", path);
    if (!S_ISREG(st.st_mode))
        return err_set(err, -EINVAL, "read '%s': it is not a regular file",
                       path);
    if (st.st_size == 0)
        return err_set(err, -EINVAL, "read '%s': the file is empty", path);
    if ((uint64_t)st.st_size > max)
        return err_set(err, -EFBIG,
                       "read '%s': its %lld bytes are more than the %zu that "
                       "can be used",
                       path, (long long)st.st_size, max);
    *size = (size_t)st.st_size;
    return 0;
}

int fd_read_file(const char *path, size_t max, uint8_t **buf, size_t *len,
                 struct err *err)
{
    size_t size = 0;
    uint8_t *data = NULL;
    ssize_t n;
    int rc;
    /* Non-blocking: opening a pipe that nobody writes to must not hang. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return err_sys(err, "open '%s'", path);
    rc = check_file(fd, path, max, &size, err);
    if (rc != 0)
        goto close_fd;
    assert(size > 0);
    data = malloc(size);
    if (!data) {
        rc = err_set(err, -ENOMEM, "read '%s': out of memory", path);
        goto close_fd;
    }
    n = fd_read_full(fd, data, size);
    if (n < 0) {
        errno = (int)-n;
        rc = err_sys(err, "read '%s'", path);
        goto free_data;
    }
    *buf = data;
    *len = (size_t)n; /* fewer if it shrank meanwhile */
    data = NULL;

free_data:
    free(data);
close_fd:
    (void)close(fd);
    return rc;
}
