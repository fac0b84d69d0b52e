#ifndef HUSK_BOOTDISK_ARENA_H
#define HUSK_BOOTDISK_ARENA_H

#include <stddef.h>

#include "base/compiler.h"

/*
 * Memory that is given back all at once, of at most so many bytes: what is made
 * of a configuration file, which is hostile, has no other bound.
 */
struct arena_chunk;
struct arena {
    struct arena_chunk *chunks; /* the newest first */
    size_t left;                /* bytes that may still be had */
};

void arena_init(struct arena *a, size_t max_bytes);
void arena_fini(struct arena *a);
/* Zeroed, aligned for any type. NULL: out of memory, or over the limit. */
void *arena_alloc(struct arena *a, size_t len);
/* len bytes of text and a 0 behind them; NULL as above. */
char *arena_text(struct arena *a, const char *text, size_t len);
/* A text as printf makes it; NULL as above. */
char *arena_print(struct arena *a, const char *fmt, ...) PRINTF(2, 3);

#endif
