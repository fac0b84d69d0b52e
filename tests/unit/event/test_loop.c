#include "event/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/unit/fail_alloc.h"
#include "tests/unit/test.h"

/* What the callbacks of a test share. */
struct ctx {
    struct loop *loop;
    struct timer timer[3];
    unsigned order[8];
    unsigned nr_order;
    unsigned count;
    int fd[2];
    atomic_uint shared;
};

static void setup(struct ctx *c)
{
    struct err err;

    *c = (struct ctx){.fd = {-1, -1}};
    assert_int_equal(loop_new(&c->loop, &err), 0);
}

static void note(struct ctx *c, unsigned what)
{
    assert_true(c->nr_order < 8);
    c->order[c->nr_order++] = what;
}

static void stop_now(void *opaque)
{
    struct ctx *c = opaque;

    loop_stop(c->loop, 42);
}

static void note_1(void *opaque)
{
    note(opaque, 1);
}

static void note_2(void *opaque)
{
    note(opaque, 2);
}

static void note_3(void *opaque)
{
    note(opaque, 3);
}

/* --- Stopping and posting ------------------------------------------------- */

static void the_first_stop_gives_the_status(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    loop_stop(c.loop, 3);
    loop_stop(c.loop, 4);
    assert_int_equal(loop_run(c.loop), 3);
    /* It can be run again. */
    assert_int_equal(loop_post(c.loop, stop_now, &c), 0);
    assert_int_equal(loop_run(c.loop), 42);
    loop_free(c.loop);
}

static void posted_calls_run_in_order(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    assert_int_equal(loop_post(c.loop, note_2, &c), 0);
    assert_int_equal(loop_post(c.loop, note_1, &c), 0);
    assert_int_equal(loop_post(c.loop, stop_now, &c), 0);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 2);
    assert_int_equal(c.order[0], 2);
    assert_int_equal(c.order[1], 1);
    /* What is left over is freed (the leak checker knows). */
    assert_int_equal(loop_post(c.loop, note_1, &c), 0);
    loop_free(c.loop);
}

static void post_again(void *opaque)
{
    struct ctx *c = opaque;

    if (++c->count < 1000)
        assert_int_equal(loop_post(c->loop, post_again, c), 0);
    else
        loop_stop(c->loop, 0);
}

static void a_call_that_posts_itself_does_not_starve_timers(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, note_1, &c);
    timer_arm(&c.timer[0], 0);
    assert_int_equal(loop_post(c.loop, post_again, &c), 0);
    assert_int_equal(loop_run(c.loop), 0);
    assert_int_equal(c.nr_order, 1);
    loop_free(c.loop);
}

static void a_post_without_memory_says_so(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    fail_alloc_at(1);
    assert_int_equal(loop_post(c.loop, note_1, &c), -ENOMEM);
    fail_alloc_at(0);
    loop_free(c.loop);
}

static void a_loop_that_cannot_be_made_leaves_nothing(void **state)
{
    struct loop *loop = NULL;
    struct err err;
    int rc;

    (void)state;
    for (unsigned n = 1; n < 10; n++) {
        fail_alloc_at(n);
        rc = loop_new(&loop, &err);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
        assert_null(loop);
    }
    fail_alloc_at(0);
    assert_int_equal(rc, 0);
    loop_free(loop);
    loop_free(NULL);
}

/* --- Timers --------------------------------------------------------------- */

static void timers_fire_in_the_order_of_their_deadlines(void **state)
{
    struct ctx c;
    uint64_t now = clock_now_ns();

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, note_1, &c);
    timer_init(&c.timer[1], c.loop, note_2, &c);
    timer_init(&c.timer[2], c.loop, stop_now, &c);
    timer_arm(&c.timer[2], now + 3000000);
    timer_arm(&c.timer[1], now + 2000000);
    timer_arm(&c.timer[0], now + 1000000);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 2);
    assert_int_equal(c.order[0], 1);
    assert_int_equal(c.order[1], 2);
    assert_true(clock_now_ns() >= now + 3000000);
    assert_false(c.timer[0].armed);
    loop_free(c.loop);
}

static void a_deadline_in_the_past_fires_at_once(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, stop_now, &c);
    timer_arm(&c.timer[0], 0);
    assert_int_equal(loop_run(c.loop), 42);
    loop_free(c.loop);
}

static void a_cancelled_timer_does_not_fire(void **state)
{
    struct ctx c;
    uint64_t now = clock_now_ns();

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, note_1, &c);
    timer_init(&c.timer[1], c.loop, stop_now, &c);
    timer_arm(&c.timer[0], now);
    timer_arm(&c.timer[1], now + 1000000);
    timer_cancel(&c.timer[0]);
    timer_cancel(&c.timer[0]);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 0);
    loop_free(c.loop);
}

static void arming_again_moves_a_timer(void **state)
{
    struct ctx c;
    uint64_t now = clock_now_ns();

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, note_1, &c);
    timer_init(&c.timer[1], c.loop, note_2, &c);
    timer_init(&c.timer[2], c.loop, stop_now, &c);
    timer_arm(&c.timer[0], now);
    timer_arm(&c.timer[1], now + 1000);
    timer_arm(&c.timer[2], now + 1000000);
    timer_arm(&c.timer[0], now + 2000);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 2);
    assert_int_equal(c.order[0], 2);
    assert_int_equal(c.order[1], 1);
    loop_free(c.loop);
}

static void cancel_others(void *opaque)
{
    struct ctx *c = opaque;

    timer_cancel(&c->timer[1]);
    timer_arm(&c->timer[2], 0);
}

static void a_timer_may_cancel_and_arm_others_that_are_due(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, cancel_others, &c);
    timer_init(&c.timer[1], c.loop, note_1, &c);
    timer_init(&c.timer[2], c.loop, stop_now, &c);
    timer_arm(&c.timer[0], 1);
    timer_arm(&c.timer[1], 2);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 0);
    loop_free(c.loop);
}

static void rearm_in_the_past(void *opaque)
{
    struct ctx *c = opaque;

    c->count++;
    timer_arm(&c->timer[0], 0);
}

static void stop_on_input(void *opaque, int fd, uint32_t events)
{
    struct ctx *c = opaque;

    (void)fd;
    (void)events;
    loop_stop(c->loop, 7);
}

static void a_timer_that_is_always_due_starves_nobody(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    assert_int_equal(write(c.fd[1], "x", 1), 1);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], EPOLLIN, stop_on_input, &c),
                     0);
    timer_init(&c.timer[0], c.loop, rearm_in_the_past, &c);
    timer_arm(&c.timer[0], 0);
    assert_int_equal(loop_run(c.loop), 7);
    assert_true(c.count > 0);
    loop_free(c.loop);
    (void)close(c.fd[0]);
    (void)close(c.fd[1]);
}

static void *run_loop(void *opaque)
{
    struct ctx *c = opaque;

    (void)loop_run(c->loop);
    return NULL;
}

static void count_shared(void *opaque)
{
    struct ctx *c = opaque;

    (void)atomic_fetch_add(&c->shared, 1);
}

static void wait_until_shared_is(struct ctx *c, unsigned n)
{
    while (atomic_load(&c->shared) < n)
        (void)usleep(100);
}

/*
 * A programmed moment passes with no timer armed, and then another thread arms
 * one for later: the passed moment must not be taken for an earlier one.
 */
static void a_timer_armed_after_an_idle_expiry_still_fires(void **state)
{
    struct ctx c;
    pthread_t thread;

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, note_1, &c);
    timer_init(&c.timer[1], c.loop, count_shared, &c);
    assert_int_equal(pthread_create(&thread, NULL, run_loop, &c), 0);
    for (unsigned i = 1; i <= 20; i++) {
        timer_arm(&c.timer[0], clock_now_ns() + 1000000);
        timer_cancel(&c.timer[0]);
        (void)usleep(i % 2 ? 2000 : 900);
        timer_arm(&c.timer[1], clock_now_ns() + 500000);
        wait_until_shared_is(&c, i);
    }
    loop_stop(c.loop, 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_free(c.loop);
}

static void *post_many(void *opaque)
{
    struct ctx *c = opaque;

    for (int i = 0; i < 1000; i++)
        assert_int_equal(loop_post(c->loop, count_shared, c), 0);
    return NULL;
}

static void *arm_many(void *opaque)
{
    struct ctx *c = opaque;

    for (unsigned i = 0; i < 1000; i++) {
        timer_arm(&c->timer[0], clock_now_ns() + i % 7 * 10000ull);
        if (i % 5 == 0)
            timer_cancel(&c->timer[0]);
    }
    return NULL;
}

static void ignore(void *opaque)
{
    (void)opaque;
}

static void threads_may_post_and_arm_while_it_runs(void **state)
{
    struct ctx c;
    pthread_t loop, poster[2], armer[2];

    (void)state;
    setup(&c);
    timer_init(&c.timer[0], c.loop, ignore, &c);
    timer_init(&c.timer[1], c.loop, count_shared, &c);
    assert_int_equal(pthread_create(&loop, NULL, run_loop, &c), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&poster[i], NULL, post_many, &c), 0);
        assert_int_equal(pthread_create(&armer[i], NULL, arm_many, &c), 0);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(poster[i], NULL), 0);
        assert_int_equal(pthread_join(armer[i], NULL), 0);
    }
    wait_until_shared_is(&c, 2000);
    timer_arm(&c.timer[1], clock_now_ns() + 1000);
    wait_until_shared_is(&c, 2001);
    loop_stop(c.loop, 0);
    assert_int_equal(pthread_join(loop, NULL), 0);
    loop_free(c.loop);
}

/* --- Descriptors ---------------------------------------------------------- */

static void read_one(void *opaque, int fd, uint32_t events)
{
    struct ctx *c = opaque;
    char byte = 0;

    assert_true(events & EPOLLIN);
    assert_int_equal(read(fd, &byte, 1), 1);
    c->count++;
    if (byte == 'q')
        loop_stop(c->loop, 0);
}

static void what_can_be_read_is_told(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], EPOLLIN, read_one, &c), 0);
    assert_int_equal(write(c.fd[1], "abq", 3), 3);
    assert_int_equal(loop_run(c.loop), 0);
    assert_int_equal(c.count, 3);
    loop_free(c.loop);
    (void)close(c.fd[0]);
    (void)close(c.fd[1]);
}

static void never_called(void *opaque, int fd, uint32_t events)
{
    (void)opaque;
    (void)fd;
    (void)events;
    fail();
}

static void with_no_events_not_even_a_hang_up_is_told(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], EPOLLIN, never_called, &c),
                     0);
    loop_mod_fd(c.loop, c.fd[0], 0);
    (void)close(c.fd[1]); /* hangs up */
    timer_init(&c.timer[0], c.loop, stop_now, &c);
    timer_arm(&c.timer[0], clock_now_ns() + 1000000);
    assert_int_equal(loop_run(c.loop), 42);
    loop_free(c.loop);
    (void)close(c.fd[0]);
}

static void one_descriptor_is_watched_once(void **state)
{
    struct ctx c;
    int file;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], 0, never_called, &c), 0);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], EPOLLIN, never_called, &c),
                     -EEXIST);
    loop_del_fd(c.loop, c.fd[0]);
    loop_del_fd(c.loop, c.fd[0]);
    assert_int_equal(loop_add_fd(c.loop, c.fd[0], EPOLLIN, never_called, &c),
                     0);
    assert_int_equal(loop_add_fd(c.loop, -1, EPOLLIN, never_called, &c),
                     -EBADF);
    /* epoll refuses regular files. */
    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0);
    assert_int_equal(loop_add_fd(c.loop, file, EPOLLIN, never_called, &c),
                     -EPERM);
    (void)close(file);
    loop_free(c.loop);
    (void)close(c.fd[0]);
    (void)close(c.fd[1]);
}

static void watching_without_memory_says_so(void **state)
{
    struct ctx c;
    int rc = -1;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    for (unsigned n = 1; n < 10; n++) {
        fail_alloc_at(n);
        rc = loop_add_fd(c.loop, c.fd[0], EPOLLIN, read_one, &c);
        if (rc == 0)
            break;
        assert_int_equal(rc, -ENOMEM);
    }
    fail_alloc_at(0);
    assert_int_equal(rc, 0);
    assert_int_equal(write(c.fd[1], "q", 1), 1);
    assert_int_equal(loop_run(c.loop), 0);
    loop_free(c.loop);
    (void)close(c.fd[0]);
    (void)close(c.fd[1]);
}

/* Two pipes are readable in one round; whoever is first removes both. */
static int pair[2];

static void remove_both(void *opaque, int fd, uint32_t events)
{
    struct ctx *c = opaque;

    (void)fd;
    (void)events;
    loop_del_fd(c->loop, pair[0]);
    loop_del_fd(c->loop, pair[1]);
    c->count++;
    loop_stop(c->loop, 0);
}

static void a_removed_descriptor_is_not_told_any_more(void **state)
{
    struct ctx c;
    int p[2][2];

    (void)state;
    setup(&c);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pipe2(p[i], O_CLOEXEC), 0);
        assert_int_equal(write(p[i][1], "x", 1), 1);
        pair[i] = p[i][0];
        assert_int_equal(loop_add_fd(c.loop, pair[i], EPOLLIN, remove_both, &c),
                         0);
    }
    assert_int_equal(loop_run(c.loop), 0);
    assert_int_equal(c.count, 1);
    loop_free(c.loop);
    for (int i = 0; i < 2; i++) {
        (void)close(p[i][0]);
        (void)close(p[i][1]);
    }
}

static void *add_and_remove(void *opaque)
{
    struct ctx *c = opaque;

    for (int i = 0; i < 500; i++) {
        assert_int_equal(loop_add_fd(c->loop, c->fd[0], EPOLLIN, read_one, c),
                         0);
        loop_mod_fd(c->loop, c->fd[0], EPOLLIN | EPOLLOUT);
        loop_mod_fd(c->loop, c->fd[0], 0);
        loop_del_fd(c->loop, c->fd[0]);
    }
    return NULL;
}

static void threads_may_watch_and_remove_while_it_runs(void **state)
{
    struct ctx c;
    pthread_t loop, other;

    (void)state;
    setup(&c);
    assert_int_equal(pipe2(c.fd, O_CLOEXEC), 0);
    assert_int_equal(pthread_create(&loop, NULL, run_loop, &c), 0);
    assert_int_equal(pthread_create(&other, NULL, add_and_remove, &c), 0);
    for (int i = 0; i < 500; i++)
        assert_int_equal(loop_post(c.loop, count_shared, &c), 0);
    assert_int_equal(pthread_join(other, NULL), 0);
    wait_until_shared_is(&c, 500);
    loop_stop(c.loop, 0);
    assert_int_equal(pthread_join(loop, NULL), 0);
    loop_free(c.loop);
    (void)close(c.fd[0]);
    (void)close(c.fd[1]);
}

static void calls_run_on_the_thread_of_the_loop(void **state)
{
    struct ctx c;

    (void)state;
    setup(&c);
    assert_int_equal(loop_post(c.loop, note_3, &c), 0);
    assert_int_equal(c.nr_order, 0);
    assert_int_equal(loop_post(c.loop, stop_now, &c), 0);
    assert_int_equal(loop_run(c.loop), 42);
    assert_int_equal(c.nr_order, 1);
    loop_free(c.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_stop_gives_the_status),
        cmocka_unit_test(posted_calls_run_in_order),
        cmocka_unit_test(a_call_that_posts_itself_does_not_starve_timers),
        cmocka_unit_test(a_post_without_memory_says_so),
        cmocka_unit_test(a_loop_that_cannot_be_made_leaves_nothing),
        cmocka_unit_test(timers_fire_in_the_order_of_their_deadlines),
        cmocka_unit_test(a_deadline_in_the_past_fires_at_once),
        cmocka_unit_test(a_cancelled_timer_does_not_fire),
        cmocka_unit_test(arming_again_moves_a_timer),
        cmocka_unit_test(a_timer_may_cancel_and_arm_others_that_are_due),
        cmocka_unit_test(a_timer_that_is_always_due_starves_nobody),
        cmocka_unit_test(a_timer_armed_after_an_idle_expiry_still_fires),
        cmocka_unit_test(threads_may_post_and_arm_while_it_runs),
        cmocka_unit_test(what_can_be_read_is_told),
        cmocka_unit_test(with_no_events_not_even_a_hang_up_is_told),
        cmocka_unit_test(one_descriptor_is_watched_once),
        cmocka_unit_test(watching_without_memory_says_so),
        cmocka_unit_test(a_removed_descriptor_is_not_told_any_more),
        cmocka_unit_test(threads_may_watch_and_remove_while_it_runs),
        cmocka_unit_test(calls_run_on_the_thread_of_the_loop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
