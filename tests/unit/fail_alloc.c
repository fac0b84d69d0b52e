#include "tests/unit/fail_alloc.h"

#include <stdatomic.h>
#include <stddef.h>

static _Atomic unsigned fail_at, count;
static atomic_bool failed;

/* The linker's names (--wrap) for the functions that were called. */
/* NOLINTBEGIN(readability-identifier-naming) */
void *__real_malloc(size_t size);
void *__real_calloc(size_t nr, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t nr, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t nr, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);

void fail_alloc_at(unsigned n)
{
    atomic_store(&fail_at, n);
    atomic_store(&count, 0);
    atomic_store(&failed, false);
}

bool fail_alloc_happened(void)
{
    return atomic_load(&failed);
}

unsigned fail_alloc_count(void)
{
    return atomic_load(&count);
}

static bool fails(void)
{
    if (atomic_fetch_add(&count, 1) + 1 != atomic_load(&fail_at))
        return false;
    atomic_store(&failed, true);
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t nr, size_t size)
{
    return fails() ? NULL : __real_calloc(nr, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t nr, size_t size)
{
    return fails() ? NULL : __real_reallocarray(old, nr, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(align, size);
}
/* NOLINTEND(readability-identifier-naming) */
