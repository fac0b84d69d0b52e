#ifndef HUSK_BOOTDISK_FINDER_H
#define HUSK_BOOTDISK_FINDER_H

#include <stdint.h>

#include "bootdisk/bootfiles.h"
#include "bootdisk/ext2.h"
#include "bootdisk/reader.h"

/*
 * Look for what the boot loader of a disk would boot: partitions, file systems,
 * the one configuration of a boot loader, its default entry, and where its
 * files are. All of it is the guest's: see sandbox.h for where this runs.
 *
 * The answer is of a fixed layout, for it goes through memory that two
 * processes share; who gets it copies it and checks it (answer_check).
 */
enum {
    ANSWER_TEXT = 512,
    ANSWER_CMDLINE = 8192,
    ANSWER_FILES = 1 + BOOTENTRY_MAX_INITRDS,
    ANSWER_RUNS = 65536
};

struct answer {
    int32_t code;          /* 0, or -errno with why */
    char why[ANSWER_TEXT]; /* "the file system of partition 1 ..." */
    char title[ANSWER_TEXT], config[ANSWER_TEXT];
    char cmdline[ANSWER_CMDLINE];
    uint32_t grub;     /* config is GRUB's, else EXTLINUX's */
    uint32_t nr_files; /* the kernel and its initrds */
    struct answer_file {
        char path[ANSWER_TEXT];
        uint64_t size;
        uint32_t first, nr; /* in run[] */
    } file[ANSWER_FILES];
    uint32_t nr_runs;
    struct ext2_run run[ANSWER_RUNS];
};

/* Fills a, whatever the disk holds. */
void finder_find(const struct reader *disk, struct answer *a);

/* Whether its texts end, its counts fit, each file's runs are in order, and
 * they all lie inside a disk of so many bytes. */
bool answer_check(const struct answer *a, uint64_t disk_bytes);

#endif
