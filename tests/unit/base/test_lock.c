#include "base/lock.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/test.h"

enum { THREADS = 4, ROUNDS = 10000 };

struct shared {
    struct lock lock;
    unsigned count;
};

static void *add_rounds(void *opaque)
{
    struct shared *s = opaque;

    for (int i = 0; i < ROUNDS; i++) {
        lock_take(&s->lock);
        s->count++;
        lock_drop(&s->lock);
    }
    return NULL;
}

static void a_lock_keeps_threads_apart(void **state)
{
    struct shared s = {.count = 0};
    pthread_t thread[THREADS];

    (void)state;
    lock_init(&s.lock);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, add_rounds, &s), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    assert_int_equal(s.count, THREADS * ROUNDS);
    lock_fini(&s.lock);
}

static void ranked_locks_nest_upwards_and_drop_in_any_order(void **state)
{
    struct lock a, b, leaf;

    (void)state;
    lock_init_ranked(&a, LOCK_RANK_MACHINE);
    lock_init_ranked(&b, LOCK_RANK_DEVICE);
    lock_init(&leaf);
    for (int i = 0; i < 100; i++) {
        lock_take(&a);
        lock_take(&b);
        lock_take(&leaf);
        lock_drop(&a);
        lock_drop(&leaf);
        lock_drop(&b);
    }
    lock_fini(&a);
    lock_fini(&b);
    lock_fini(&leaf);
}

#ifdef HUSK_DEBUG
/* Take two locks in a child; returns the signal that ended it, or 0. */
static int take_both(enum lock_rank first, enum lock_rank second)
{
    const struct rlimit no_core = {0, 0};
    int status = 0;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        struct lock a, b;

        (void)setrlimit(RLIMIT_CORE, &no_core);
        (void)close(STDERR_FILENO);
        lock_init_ranked(&a, first);
        lock_init_ranked(&b, second);
        lock_take(&a);
        lock_take(&b);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void taking_locks_against_their_ranks_aborts(void **state)
{
    (void)state;
    assert_int_equal(take_both(LOCK_RANK_DEVICE, LOCK_RANK_LOOP), 0);
    assert_int_equal(take_both(LOCK_RANK_LOOP, LOCK_RANK_DEVICE), SIGABRT);
    assert_int_equal(take_both(LOCK_RANK_LOOP, LOCK_RANK_LOOP), SIGABRT);
    assert_int_equal(take_both(LOCK_RANK_LOOP, LOCK_RANK_NONE), 0);
}
#else
static void taking_locks_against_their_ranks_aborts(void **state)
{
    (void)state;
    skip(); /* release builds do not check */
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lock_keeps_threads_apart),
        cmocka_unit_test(ranked_locks_nest_upwards_and_drop_in_any_order),
        cmocka_unit_test(taking_locks_against_their_ranks_aborts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
