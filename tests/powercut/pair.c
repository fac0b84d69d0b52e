#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "marks.h"
#include "vmfile/vmfile.h"

/*
 * pair --make | pair SEED ROUNDS: a VM with two disks in this folder, main.husk
 * and second.qcow2. In each round both get the same version of some sectors,
 * and the VM's snapshots are taken, deleted and restored.
 */
enum { SECTOR = 512, SIZE = 1 << 20, PLACES = 8, SNAPS = 4 };

struct pair {
    uint64_t dice, version;
    struct vmfile *vf;
    struct qcow2 *second;
};

static void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "pair: %s: %s\n", what, why);
    exit(1);
}

static uint64_t below(struct pair *p, uint64_t n)
{
    p->dice = p->dice * 6364136223846793005ULL + 1442695040888963407ULL;
    return (p->dice >> 33) % n;
}

static void make(void)
{
    const struct qcow2_create c = {.size = SIZE,
                                   .cluster_bits = 12,
                                   .refcount_order = UINT32_MAX,
                                   .mark_husk = true};
    int fd = open("second.start", O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0644);
    struct err err;

    if (fd < 0 || qcow2_create("second.start", fd, &c, NULL, &err) ||
        vmfile_create("main.start", SIZE, "{}", 2, &err))
        die("make", fd < 0 ? strerror(errno) : err.text);
    (void)close(fd);
}

static void start(struct pair *p)
{
    struct err err;

    if (vmfile_open("main.husk", VMFILE_WRITE, "test", &p->vf, &err) ||
        qcow2_open("second.qcow2", -1, NULL, &p->second, &err) ||
        vmfile_span(p->vf, "second.qcow2", p->second, &err) ||
        vmfile_recover(p->vf, &err))
        die("open", err.text);
}

static void stop(struct pair *p)
{
    if (vmfile_close(p->vf) || qcow2_close(p->second))
        die("close", "it failed");
}

static void fill(struct blk *blk, uint64_t place, uint64_t version)
{
    uint64_t sector = place * (SIZE / SECTOR / PLACES), w[SECTOR_WORDS];

    sector_fill(w, sector, version);
    if (blk_write(blk, sector * SECTOR, w, SECTOR, 0))
        die("write", "it failed");
}

static void write_both(struct pair *p)
{
    p->version++;
    for (uint64_t i = 0; i < PLACES; i++) {
        fill(qcow2_blk(vmfile_qcow2(p->vf)), i, p->version);
        fill(qcow2_blk(p->second), i, p->version);
    }
}

/* The name of a snapshot; false if there are none. */
static bool pick(struct pair *p, char name[64], size_t *n)
{
    struct vmsnap *list = NULL;
    struct err err;

    if (vmsnap_list(p->vf, &list, n, &err))
        die("list", err.text);
    if (*n)
        (void)snprintf(name, 64, "%s", list[below(p, *n)].name);
    vmsnap_free(list, *n);
    return *n;
}

static void change(struct pair *p)
{
    const struct vmsnap_new s = {.text = "pair"};
    char name[64];
    struct err err = {0};
    size_t n;
    bool any = pick(p, name, &n);
    int rc = 0;

    switch (below(p, 4)) {
    case 0: rc = any ? vmsnap_restore(p->vf, name, false, &err) : 0; break;
    case 1: rc = any ? vmsnap_delete(p->vf, name, &err) : 0; break;
    default:
        if (n < SNAPS)
            rc = vmsnap_create(p->vf, &s, NULL, &err);
        break;
    }
    if (rc < 0)
        die("change", err.text);
}

int main(int argc, char **argv)
{
    const struct mark ready = {.op = MARK_READY, .phase = MARK_END};
    struct pair p = {.version = 1};
    unsigned rounds;
    int fd;

    if (argc == 2 && !strcmp(argv[1], "--make")) {
        make();
        return 0;
    }
    if (argc != 3)
        return 2;
    p.dice = strtoull(argv[1], NULL, 0);
    rounds = (unsigned)strtoul(argv[2], NULL, 0);
    fd = open("marks", O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, &ready, sizeof(ready)) != sizeof(ready))
        die("marks", strerror(errno));
    start(&p);
    for (unsigned i = 0; i < rounds; i++) {
        write_both(&p);
        change(&p);
        if (!below(&p, 6)) {
            stop(&p);
            start(&p);
        }
    }
    stop(&p);
    return 0;
}
