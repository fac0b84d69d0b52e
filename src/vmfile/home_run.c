/* The folder of the control sockets of running VMs. Another boot has another
 * folder, so nothing that is found there is older than the host's uptime. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmfile/home.h"

static int read_boot_id(char id[37], struct err *err)
{
    int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, id, 36);
    int rc = n == 36 ? 0 : err_sys(err, "read the host's boot id");

    if (fd >= 0)
        (void)close(fd);
    id[n == 36 ? 36 : 0] = '\0';
    return rc;
}

/* Open the folder name in dir_fd, which is closed. */
static int enter(int dir_fd, const char *name, bool create)
{
    int fd, rc;

    if (create && mkdirat(dir_fd, name, 0700) < 0 && errno != EEXIST) {
        rc = -errno;
        (void)close(dir_fd);
        return rc;
    }
    fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    rc = fd < 0 ? -errno : fd;
    (void)close(dir_fd);
    return rc;
}

int home_socket(const struct home *h, int fd, bool create, int *dir_fd,
                char name[HOME_SOCKET_NAME], struct err *err)
{
    char boot_id[37];
    struct stat st;
    int rc = read_boot_id(boot_id, err), dir;

    if (rc == 0 && create)
        rc = home_create(h, err);
    if (rc < 0)
        return rc;
    if (fstat(fd, &st) < 0)
        return err_sys(err, "look at a VM file");
    dir = open(h->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    dir = dir < 0 ? -errno : enter(dir, "run", create);
    if (dir >= 0)
        dir = enter(dir, boot_id, create);
    if (dir < 0) {
        errno = -dir;
        return err_sys(err, "open the folder '%s/run/%s'", h->dir, boot_id);
    }
    (void)snprintf(name, HOME_SOCKET_NAME, "%llx-%llx.sock",
                   (unsigned long long)st.st_dev,
                   (unsigned long long)st.st_ino);
    *dir_fd = dir;
    return 0;
}
