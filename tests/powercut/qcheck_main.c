#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "qcheck.h"

/*
 * qcheck FILE...: check images; the status is that of qemu-img check: 0 clean,
 * 2 damaged, 3 leaks only.
 */
static int check(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), status;
    static const struct qcheck empty;
    struct qcheck c = empty;
    struct qreport rep;
    struct qimg q;
    struct stat st;
    void *map;

    if (fd < 0 || fstat(fd, &st)) {
        perror(path);
        return 1;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED) {
        perror(path);
        return 1;
    }
    qcheck_image(&c, &q, map, (uint64_t)st.st_size, &rep);
    (void)printf("%s: %u corruptions, %u leaks, %u without copied bit%s%s\n",
                 path, rep.corruptions, rep.leaks, rep.not_copied,
                 rep.first[0] ? ": " : "", rep.first);
    status = rep.corruptions || rep.not_copied || rep.false_copied ? 2
             : rep.leaks                                           ? 3
                                                                   : 0;
    qcheck_free(&c);
    (void)munmap(map, (size_t)st.st_size);
    return status;
}

int main(int argc, char **argv)
{
    int i, status = 0, one;

    for (i = 1; i < argc; i++) {
        one = check(argv[i]);
        if (one && (!status || one < status))
            status = one;
    }
    return argc < 2 ? 1 : status;
}
