#include "base/clock.h"

#include <pthread.h>

#include "tests/unit/test.h"

static void monotonic_time_never_goes_back(void **state)
{
    uint64_t last = clock_now_ns();

    (void)state;
    for (int i = 0; i < 10000; i++) {
        uint64_t now = clock_now_ns();

        assert_true(now >= last);
        last = now;
    }
}

static void wall_time_is_after_this_was_written(void **state)
{
    (void)state;
    assert_true(clock_wall_ns() > 1700000000ull * NS_PER_SEC);
}

static void *ask(void *opaque)
{
    *(uint64_t *)opaque = clock_tsc_hz();
    return NULL;
}

static void all_threads_are_told_the_same_frequency(void **state)
{
    pthread_t thread[4];
    uint64_t hz[4] = {0};

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, ask, &hz[i]), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int i = 0; i < 4; i++)
        assert_true(hz[i] == clock_tsc_hz());
    assert_true(hz[0] >= 100000000 && hz[0] <= 20000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_time_never_goes_back),
        cmocka_unit_test(wall_time_is_after_this_was_written),
        cmocka_unit_test(all_threads_are_told_the_same_frequency),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
