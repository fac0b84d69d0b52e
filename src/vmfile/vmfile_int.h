#ifndef HUSK_VMFILE_VMFILE_INT_H
#define HUSK_VMFILE_VMFILE_INT_H

#include "vmfile/vmfile.h"

struct vmfile {
    char *path;
    char *hidden; /* the name before vmfile_publish; NULL: it never had one */
    int fd;       /* its description holds the locks */
    struct qcow2 *q;
    unsigned flags;
    bool has_settings;
    bool locked; /* the VM's lock is held */
    bool published;
    struct vmfile_disk {
        char *path;
        struct qcow2 *q; /* NULL: cannot be snapshotted */
    } others[VMFILE_MAX_DISKS - 1];
    unsigned nr_others;
};

#endif
