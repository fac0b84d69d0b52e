#ifndef HUSK_BOOTDISK_GRUB_INT_H
#define HUSK_BOOTDISK_GRUB_INT_H

#include "bootdisk/grub.h"
#include "bootdisk/grub_parse.h"
#include "bootdisk/vars.h"

/*
 * Inside of the interpreter. Functions that return int give 0 or -errno; the
 * latter ends it all, and err has the reason. What a command of the script says
 * is its status.
 *
 * Three kinds of truth: a command may have failed, succeeded, or husk cannot
 * know, as for one that asks for the screen. What follows a condition that is
 * not known is carried out in doubt: nothing may happen there but that a
 * variable becomes unknown.
 */
enum grub_status { GRUB_TRUE, GRUB_FALSE, GRUB_UNKNOWN };

enum {
    GRUB_MAX_ARGS = 256,
    GRUB_MAX_STEPS = 50000, /* commands in all */
    GRUB_MAX_CALLS = 24,    /* functions and files inside of each other */
    GRUB_MAX_ENTRIES = 1024,
    GRUB_MAX_FUNCTIONS = 128,
    GRUB_ARENA = 32 << 20
};

struct grub_arg {
    const char *text;
    bool unknown;                  /* then text is how it begins */
    const struct grub_word *block; /* in braces; then text is "" */
};

struct grub_args {
    unsigned n;
    struct grub_arg a[GRUB_MAX_ARGS];
};

struct grub_entry {
    struct grub_entry *next;
    const char *title, *id;
    const struct grub_node *body;
    const struct bls *bls; /* else: from a BLS file */
    bool submenu, restricted;
};

struct grub_menu {
    struct grub_entry *first, **tail;
    unsigned nr;
};

struct grub_function {
    struct grub_function *next;
    const char *name;
    const struct grub_node *body;
};

struct grub {
    const struct bootfiles *files;
    struct arena *arena;
    struct err *err;
    struct vars vars;
    struct vars env; /* as it is in grubenv */
    bool has_env;
    struct grub_function *functions;
    unsigned nr_functions;
    struct grub_menu menu;
    struct bootentry *choice;     /* what the chosen entry has loaded */
    const struct grub_args *args; /* of the function that runs; or NULL */
    enum grub_status status;      /* of the last command */
    unsigned doubt, steps, calls;
    bool choosing; /* the default entry runs: linux and initrd mean something */
};

/* Out of memory, or over a limit. */
int grub_too_big(struct grub *g);

/* grub_words.c: what the words of a command come to. */
MUST_CHECK int grub_expand(struct grub *g, const struct grub_word *words,
                           struct grub_args *out);

/* grub.c */
MUST_CHECK int grub_exec(struct grub *g, const struct grub_node *list);
/* Carry out a file. */
MUST_CHECK int grub_source(struct grub *g, unsigned part, const char *path);

/* grub_cmd.c: a command that is no function of the script. */
MUST_CHECK int grub_command(struct grub *g, const struct grub_args *args);
/* Whether it is one that changes nothing that matters; its status. */
bool grub_is_idle(const char *name, enum grub_status *status);

/* grub_test.c: test and [. */
MUST_CHECK int grub_test(struct grub *g, const struct grub_args *args);

/* grub_path.c: "(hd0,gpt2)/path" or, by the variable root, "/path". -ENOENT
 * without err: husk does not see that file system. */
MUST_CHECK int grub_path(struct grub *g, const char *text, unsigned *part,
                         const char **path);
/* The name of a partition, as the script has it. NULL: too big. */
const char *grub_device(struct grub *g, unsigned part);

/* grub_env.c: load_env, save_env. */
MUST_CHECK int grub_load_env(struct grub *g, const struct grub_args *args);
MUST_CHECK int grub_save_env(struct grub *g, const struct grub_args *args);

/* grub_load.c: linux, initrd. */
MUST_CHECK int grub_linux(struct grub *g, const struct grub_args *args);
MUST_CHECK int grub_initrd(struct grub *g, const struct grub_args *args);

/* grub_menu.c */
MUST_CHECK int grub_add_entry(struct grub *g, const struct grub_args *args,
                              bool submenu);
MUST_CHECK int grub_add(struct grub *g, const struct grub_entry *e);
/* Carry out the entry that is the default. */
MUST_CHECK int grub_boot_default(struct grub *g);

/* grub_bls.c: blscfg, and an entry that it made. */
MUST_CHECK int grub_blscfg(struct grub *g);
MUST_CHECK int grub_boot_bls(struct grub *g, const struct bls *bls);

#endif
