/* The code cache (cache.c), and the lock that helpers take (h_lock.c). */
#include "cpu/jit/jit.h"

#include <pthread.h>
#include <string.h>
#include <sys/resource.h>

#include "tests/unit/test.h"

static const struct gmem_layout layout[] = {{.start = 0, .size = 1 << 20}};

static void code_that_is_written_can_run(void **state)
{
    static const uint8_t answer[] = {0xb8, 42, 0, 0, 0, 0xc3};
    struct jit_engine eng = {0};
    struct gmem gm;
    struct err err = {0};
    int (*fn)(void);

    (void)state;
    assert_int_equal(gmem_init(&gm, layout, 1, &err), 0);
    eng.gmem = &gm;
    assert_int_equal(jit_cache_init(&eng, &err), 0);
    assert_ptr_not_equal(eng.code_rw, eng.code_rx);
    memcpy(eng.code_rw, answer, sizeof(answer));
    memcpy(&fn, &eng.code_rx, sizeof(fn));
    assert_int_equal(fn(), 42);
    jit_cache_fini(&eng);
    gmem_fini(&gm);
}

/* Numbers of entries start again with the tables that they count: the list of
 * kernel pages would run over after some flushes else. */
static void an_emptied_cache_counts_from_the_start(void **state)
{
    struct jit_engine eng = {0};
    struct gmem gm;
    struct err err = {0};

    (void)state;
    assert_int_equal(gmem_init(&gm, layout, 1, &err), 0);
    eng.gmem = &gm;
    assert_int_equal(jit_cache_init(&eng, &err), 0);
    eng.code_used = 4096;
    eng.nr_tbs = eng.nr_links = eng.nr_slots = eng.nr_maps = 7;
    eng.nr_kpages = JIT_KPAGES;
    eng.has_cross = true;
    eng.kpages[1].gva = 1;
    eng.pages[0].code = 1;
    eng.hash[3] = 5;
    jit_flush_code(&eng);
    assert_int_equal(eng.code_used, 0);
    assert_int_equal(eng.nr_tbs, 1);
    assert_int_equal(eng.nr_links, 1);
    assert_int_equal(eng.nr_slots, 1);
    assert_int_equal(eng.nr_maps, 0);
    assert_int_equal(eng.nr_kpages, 0);
    assert_false(eng.has_cross);
    assert_int_equal(eng.kpages[1].gva, 0);
    assert_int_equal(eng.pages[0].code, 0);
    assert_int_equal(eng.hash[3], 0);
    jit_cache_fini(&eng);
    gmem_fini(&gm);
}

/* The address space may be limited, as by ulimit -v: whatever does not fit,
 * it is said in a sentence, and what was mapped goes again. */
static void too_little_address_space_is_said(void **state)
{
    struct gmem gm;
    struct err err = {0};
    struct rlimit before, tight;
    unsigned refused = 0;

    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory needs what is taken away here */
#endif
    assert_int_equal(gmem_init(&gm, layout, 1, &err), 0);
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    for (rlim_t mib = 64; mib <= 512; mib += 64) {
        struct jit_engine eng = {.gmem = &gm};
        int rc;

        tight = before;
        tight.rlim_cur = mib << 20;
        assert_int_equal(setrlimit(RLIMIT_AS, &tight), 0);
        err.text[0] = '\0';
        rc = jit_cache_init(&eng, &err);
        jit_cache_fini(&eng);
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
        refused += rc < 0;
        assert_true(rc == 0 || strlen(err.text) > 0);
    }
    assert_true(refused > 0);
    gmem_fini(&gm);
}

/* --- The lock ---------------------------------------------------------------
 */

enum { THREADS = 4, ROUNDS = 20000 };

struct shared {
    struct jit_lock lock;
    unsigned long count;
};

static void *count(void *arg)
{
    struct shared *s = arg;

    for (unsigned i = 0; i < ROUNDS; i++) {
        jit_lock_take(&s->lock);
        s->count++;
        jit_lock_drop(&s->lock);
    }
    return NULL;
}

static void one_thread_at_a_time_has_the_lock(void **state)
{
    struct shared s = {0};
    pthread_t thread[THREADS];

    (void)state;
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, count, &s), 0);
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(s.count, (unsigned long)THREADS * ROUNDS);
    assert_int_equal(s.lock.word, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(code_that_is_written_can_run),
        cmocka_unit_test(an_emptied_cache_counts_from_the_start),
        cmocka_unit_test(too_little_address_space_is_said),
        cmocka_unit_test(one_thread_at_a_time_has_the_lock),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
