#ifndef HUSK_BOOTDISK_GRUB_PARSE_H
#define HUSK_BOOTDISK_GRUB_PARSE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/compiler.h"
#include "base/err.h"
#include "bootdisk/arena.h"

/*
 * GRUB's shell-like language as grub-mkconfig uses it (GRUB manual,
 * "Shell-like scripting"): commands, variables, quotes, if, functions and
 * blocks in braces. Loops, redirections and patterns are not in generated files
 * and are refused: then husk does not know what GRUB would do.
 */

/* A piece of a word. */
struct grub_piece {
    struct grub_piece *next;
    bool var;    /* text names a variable, else it stands for itself */
    bool quoted; /* in double quotes: its value is not split */
    const char *text;
};

struct grub_word {
    struct grub_word *next;
    struct grub_piece *pieces; /* NULL: an empty word in quotes */
    struct grub_node *block;   /* a word in braces: what is inside, */
    bool is_block;             /* which may be nothing */
};

enum grub_node_kind { GRUB_COMMAND, GRUB_IF, GRUB_FUNCTION };

struct grub_node {
    struct grub_node *next; /* what comes after it */
    enum grub_node_kind kind;
    bool invert;             /* "!" stands before it */
    struct grub_word *words; /* COMMAND: at least one */
    struct grub_node *cond;  /* IF */
    struct grub_node *body;  /* IF, FUNCTION */
    struct grub_node *other; /* IF: else, or elif as another IF */
    const char *name;        /* FUNCTION */
    unsigned line;
};

/*
 * Parse a text of any bytes. What is returned belongs to arena. -EINVAL with
 * err: there is something else in it than the above, or blocks nest too deep;
 * -ENOMEM.
 */
MUST_CHECK int grub_parse(const char *text, size_t len, struct arena *arena,
                          struct grub_node **out, struct err *err);

#endif
