#include "bootdisk/arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 16 << 10, ALIGN = _Alignof(max_align_t) };

struct arena_chunk {
    struct arena_chunk *next;
    size_t used, size;
    max_align_t data[];
};

void arena_init(struct arena *a, size_t max_bytes)
{
    *a = (struct arena){.left = max_bytes};
}

void arena_fini(struct arena *a)
{
    while (a->chunks) {
        struct arena_chunk *next = a->chunks->next;

        free(a->chunks);
        a->chunks = next;
    }
}

static struct arena_chunk *new_chunk(struct arena *a, size_t len)
{
    size_t size = len > CHUNK ? len : CHUNK;
    struct arena_chunk *c = calloc(1, sizeof(*c) + size);

    if (!c)
        return NULL;
    c->size = size;
    c->next = a->chunks;
    a->chunks = c;
    return c;
}

void *arena_alloc(struct arena *a, size_t len)
{
    struct arena_chunk *c = a->chunks;
    void *p;

    if (len > a->left)
        return NULL;
    len = (len + ALIGN - 1) & ~((size_t)ALIGN - 1);
    if (!c || len > c->size - c->used)
        c = new_chunk(a, len);
    if (!c)
        return NULL;
    p = (char *)c->data + c->used;
    c->used += len;
    a->left -= len < a->left ? len : a->left;
    return p;
}

char *arena_text(struct arena *a, const char *text, size_t len)
{
    char *p = arena_alloc(a, len + 1);

    if (p)
        memcpy(p, text, len);
    return p;
}

char *arena_print(struct arena *a, const char *fmt, ...)
{
    va_list ap;
    char *p;
    int n;

    va_start(ap, fmt);
    n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (!p)
        return NULL;
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
