#include "event/heap.h"

#include <stdlib.h>

#include "tests/unit/test.h"

enum { TIMERS = 500 };

static struct timer timers[TIMERS];

/* A fixed sequence that looks random (Numerical Recipes' LCG constants). */
static uint32_t next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static struct timer *fill(uint32_t *seed, uint32_t range)
{
    struct timer *root = NULL;

    for (unsigned i = 0; i < TIMERS; i++) {
        timers[i] = (struct timer){.deadline_ns = next_random(seed) % range};
        root = heap_insert(root, &timers[i]);
    }
    return root;
}

/* Take out all, checking the order; returns how many there were. */
static unsigned drain(struct timer *root)
{
    uint64_t last = 0;
    unsigned nr = 0;

    for (; root; nr++) {
        assert_true(root->deadline_ns >= last);
        last = root->deadline_ns;
        root = heap_remove(root, root);
    }
    return nr;
}

static void timers_come_out_in_order(void **state)
{
    uint32_t seed = 1;

    (void)state;
    assert_int_equal(drain(fill(&seed, 1u << 24)), TIMERS);
    assert_int_equal(drain(fill(&seed, 10)), TIMERS); /* many equal */
    assert_int_equal(drain(NULL), 0);
}

static void any_timer_can_be_removed(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct timer *root = fill(&seed, 1000);
        bool gone[TIMERS] = {false};
        unsigned left = TIMERS;

        for (unsigned i = 0; i < TIMERS / 2; i++) {
            unsigned n = next_random(&seed) % TIMERS;

            if (gone[n])
                continue;
            root = heap_remove(root, &timers[n]);
            gone[n] = true;
            left--;
            if (i % 3 == 0) { /* and put back elsewhere */
                timers[n].deadline_ns = next_random(&seed) % 1000;
                root = heap_insert(root, &timers[n]);
                gone[n] = false;
                left++;
            }
        }
        assert_int_equal(drain(root), left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_come_out_in_order),
        cmocka_unit_test(any_timer_can_be_removed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
