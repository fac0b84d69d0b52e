#ifndef HUSK_TESTS_UNIT_BOOTDISK_BOOT_CASE_H
#define HUSK_TESTS_UNIT_BOOTDISK_BOOT_CASE_H

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bootdisk/bootfiles.h"

/*
 * The files of a disk as one text, for tests and the fuzzer:
 *
 *   === gpt                         or mbr, none
 *   === 1 uuid 0f1e...              of partition 1; or label
 *   === 1 /boot/grub/grub.cfg       a file, its text in the lines behind it
 *   === config 1 /boot/grub/grub.cfg   where the boot loader begins
 *   === expect                      what shall come of it, for tests
 */
enum { CASE_MAX_FILES = 64, CASE_NR_PARTS = 10 };

struct boot_case {
    enum ptable_kind kind;
    char *text; /* a copy, cut into pieces */
    struct case_file {
        unsigned part;
        const char *path, *text;
        size_t len;
    } file[CASE_MAX_FILES];
    unsigned nr;
    const char *uuid[CASE_NR_PARTS], *label[CASE_NR_PARTS];
    unsigned config_part;
    const char *config, *expect;
};

static inline const struct case_file *case_find(const struct boot_case *c,
                                                unsigned part, const char *path)
{
    for (unsigned i = 0; i < c->nr; i++)
        if (c->file[i].part == part && strcmp(c->file[i].path, path) == 0)
            return &c->file[i];
    return NULL;
}

static inline int case_stat(void *o, unsigned part, const char *path,
                            struct bootfiles_stat *st)
{
    const struct boot_case *c = o;
    const struct case_file *f = case_find(c, part, path);
    size_t len = strlen(path);

    if (f) {
        *st = (struct bootfiles_stat){.size = f->len,
                                      .inode = (uint64_t)(f - c->file)};
        return 0;
    }
    for (unsigned i = 0; i < c->nr; i++)
        if (c->file[i].part == part &&
            strncmp(c->file[i].path, path, len) == 0 &&
            c->file[i].path[len] == '/') {
            *st = (struct bootfiles_stat){.dir = true};
            return 0;
        }
    return part < CASE_NR_PARTS && c->uuid[part] ? -ENOENT : -ENXIO;
}

static inline int case_read(void *o, unsigned part, const char *path,
                            char **text, size_t *len)
{
    const struct case_file *f = case_find(o, part, path);

    if (!f)
        return -ENOENT;
    *text = malloc(f->len + 1);
    if (!*text)
        return -ENOMEM;
    memcpy(*text, f->text, f->len);
    (*text)[f->len] = '\0';
    *len = f->len;
    return 0;
}

static inline int case_list(void *o, unsigned part, const char *path,
                            int (*each)(void *ctx, const char *name), void *ctx)
{
    const struct boot_case *c = o;
    size_t len = strlen(path);
    bool any = false;
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < c->nr; i++) {
        const struct case_file *f = &c->file[i];

        if (f->part != part || strncmp(f->path, path, len) != 0 ||
            f->path[len] != '/' || strchr(f->path + len + 1, '/'))
            continue;
        any = true;
        rc = each(ctx, f->path + len + 1);
    }
    return any ? rc : -ENOENT;
}

static inline int case_search(void *o, enum bootfiles_by by, const char *what,
                              unsigned *part)
{
    const struct boot_case *c = o;
    unsigned found = 0;

    for (unsigned i = 0; i < CASE_NR_PARTS; i++) {
        const char *text = by == BOOTFILES_UUID ? c->uuid[i] : c->label[i];
        bool is = by == BOOTFILES_FILE ? case_find(c, i, what) != NULL
                                       : text && strcmp(text, what) == 0;

        if (is) {
            *part = i;
            found++;
        }
    }
    return found > 1 ? -EEXIST : found ? 0 : -ENOENT;
}

static const struct bootfiles_ops case_ops = {case_stat, case_read, case_list,
                                              case_search};

static inline void case_head(struct boot_case *c, char *head, char *body,
                             size_t len)
{
    unsigned part = 0;
    char *rest;

    if (strcmp(head, "gpt") == 0 || strcmp(head, "mbr") == 0) {
        c->kind = *head == 'g' ? PTABLE_GPT : PTABLE_MBR;
    } else if (strcmp(head, "expect") == 0) {
        c->expect = body;
    } else {
        bool config = strncmp(head, "config ", 7) == 0;

        part = (unsigned)strtoul(config ? head + 7 : head, &rest, 10);
        rest += *rest == ' ';
        if (part >= CASE_NR_PARTS)
            return;
        if (config) {
            c->config_part = part;
            c->config = rest;
        } else if (strncmp(rest, "uuid ", 5) == 0) {
            c->uuid[part] = rest + 5;
        } else if (strncmp(rest, "label ", 6) == 0) {
            c->label[part] = rest + 6;
        } else if (*rest == '/' && c->nr < CASE_MAX_FILES) {
            c->file[c->nr++] = (struct case_file){part, rest, body, len};
        }
    }
}

/* Any bytes are a case. NULL texts: not given. */
static inline void case_parse(struct boot_case *c, const char *text, size_t len)
{
    char *p, *end, *next;

    *c = (struct boot_case){.text = malloc(len + 1)};
    if (!c->text)
        abort();
    memcpy(c->text, text, len);
    c->text[len] = '\0';
    end = c->text + len;
    for (p = memmem(c->text, len, "=== ", 4); p; p = next) {
        char *head = p + 4, *body = memchr(head, '\n', (size_t)(end - head));

        next = body ? memmem(body, (size_t)(end - body), "\n=== ", 5) : NULL;
        if (body)
            *body++ = '\0';
        if (next && next < body) { /* a head without lines */
            case_head(c, head, end, 0);
            p = next = body;
            continue;
        }
        if (next)
            *next++ = '\0';
        case_head(c, head, body ? body : end,
                  body ? (size_t)((next ? next - 1 : end) - body) : 0);
    }
}

static inline void case_free(struct boot_case *c)
{
    free(c->text);
}

#endif
