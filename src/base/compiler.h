#ifndef HUSK_BASE_COMPILER_H
#define HUSK_BASE_COMPILER_H

/*
 * What the compilers can check for us: results that must be looked at, format
 * strings, and (under clang) which lock a function expects to be held.
 */
#define MUST_CHECK   __attribute__((warn_unused_result))
#define PRINTF(f, a) __attribute__((format(printf, f, a)))

#if defined(__clang__)
#    define CAPABILITY(x) __attribute__((capability(x)))
#    define REQUIRES(x)   __attribute__((requires_capability(x)))
#    define ACQUIRES(x)   __attribute__((acquire_capability(x)))
#    define RELEASES(x)   __attribute__((release_capability(x)))
#    define NO_TSA        __attribute__((no_thread_safety_analysis))
#else
#    define CAPABILITY(x)
#    define REQUIRES(x)
#    define ACQUIRES(x)
#    define RELEASES(x)
#    define NO_TSA
#endif

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* The struct of type that holds member at ptr. */
#define CONTAINER_OF(ptr, type, member)                                        \
    ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
