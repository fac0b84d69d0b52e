#include "devices/virtio/virtq.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/devices/pci/saved.h"
#include "tests/unit/devices/virtio/driver.h"
#include "tests/unit/test.h"

enum { SIZE = 8, RING = 0x1000, TABLE = 0x8000, DATA = 0x10000 };

struct fixture {
    struct gmem gm;
    struct virtq vq;
    struct ring r;
    struct virtq_chain c;
};

static void set_areas(struct fixture *f)
{
    f->vq.st.desc = f->r.desc;
    f->vq.st.avail = f->r.avail;
    f->vq.st.used = f->r.used;
}

static struct fixture *make(bool event_idx, bool indirect)
{
    static struct fixture f;

    ram_init(&f.gm);
    ring_init(&f.r, &f.gm, RING, SIZE);
    virtq_init(&f.vq, "test", &f.gm, SIZE);
    set_areas(&f);
    assert_int_equal(virtq_enable(&f.vq, event_idx, indirect), 0);
    return &f;
}

static void end(struct fixture *f)
{
    gmem_fini(&f->gm);
}

/* One chain of one descriptor, popped. */
static void pop_one(struct fixture *f, uint16_t head, uint16_t flags)
{
    ring_desc(&f->r, head, DATA + 256u * head, 256, flags, 0);
    ring_offer(&f->r, head);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
}

static void refuses(struct fixture *f)
{
    ring_offer(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), -EINVAL);
    assert_true(f->vq.broken);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 0);
    assert_false(virtq_has_avail(&f->vq));
    end(f);
}

static void an_empty_queue_yields_nothing(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    assert_int_equal(virtq_pop(&f->vq, &f->c), 0);
    assert_false(virtq_should_notify(&f->vq));
    end(f);
}

static void a_chain_is_collected_in_order(void **state)
{
    struct fixture *f = make(false, false);
    char buf[8] = "";

    (void)state;
    ring_desc(&f->r, 5, DATA, 3, DESC_NEXT, 2);
    ring_desc(&f->r, 2, DATA + 16, 4, DESC_NEXT, 7);
    ring_desc(&f->r, 7, DATA + 32, 100, DESC_WRITE, 0);
    assert_int_equal(gmem_write(&f->gm, DATA, "abc", 3), 0);
    assert_int_equal(gmem_write(&f->gm, DATA + 16, "defg", 4), 0);
    ring_offer(&f->r, 5);
    assert_true(virtq_has_avail(&f->vq));
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.head, 5);
    assert_int_equal(f->c.nr_out, 2);
    assert_int_equal(f->c.nr_in, 1);
    assert_int_equal(f->c.out_bytes, 7);
    assert_int_equal(f->c.in_bytes, 100);
    assert_int_equal(virtq_chain_read(&f->c, 2, buf, sizeof(buf)), 5);
    assert_string_equal(buf, "cdefg");
    assert_false(virtq_has_avail(&f->vq));
    end(f);
}

static void what_is_pushed_is_seen_by_the_driver(void **state)
{
    struct fixture *f = make(false, false);
    uint32_t id, len;
    char buf[4];

    (void)state;
    pop_one(f, 3, DESC_WRITE);
    assert_int_equal(virtq_chain_write(&f->c, 0, "yes", 4), 4);
    virtq_push(&f->vq, &f->c, 4);
    assert_true(ring_take(&f->r, &id, &len));
    assert_int_equal(id, 3);
    assert_int_equal(len, 4);
    assert_int_equal(gmem_read(&f->gm, DATA + 256 * 3, buf, 4), 0);
    assert_string_equal(buf, "yes");
    end(f);
}

static void indices_wrap(void **state)
{
    struct fixture *f = make(true, false);
    uint32_t id, len;

    (void)state;
    for (unsigned i = 0; i < 70000; i++) {
        ring_desc(&f->r, i % SIZE, DATA, 16, DESC_WRITE, 0);
        ring_offer(&f->r, (uint16_t)(i % SIZE));
        assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
        ring_set_used_event(&f->r, (uint16_t)i);
        virtq_push(&f->vq, &f->c, 0);
        assert_true(virtq_should_notify(&f->vq));
        assert_true(ring_take(&f->r, &id, &len));
        assert_int_equal(id, i % SIZE);
    }
    end(f);
}

static void a_chain_given_back_comes_again(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    pop_one(f, 3, 0);
    virtq_unpop(&f->vq);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.head, 3);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 0);
    end(f);
}

static void a_buffer_across_two_banks_has_two_segments(void **state)
{
    struct fixture *f = make(false, false);
    char buf[6] = "";

    (void)state;
    ring_desc(&f->r, 0, RAM2 - 3, 6, 0, 0);
    assert_int_equal(gmem_write(&f->gm, RAM2 - 3, "abcdef", 6), 0);
    ring_offer(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.nr_out, 2);
    assert_int_equal(virtq_chain_read(&f->c, 0, buf, 6), 6);
    assert_memory_equal(buf, "abcdef", 6);
    end(f);
}

/* -- Indirect tables --- */

static void an_indirect_chain_is_collected(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA, 10, DESC_NEXT, 2);
    put_desc(&f->gm, TABLE, 2, DATA + 64, 20, DESC_WRITE, 0);
    ring_desc(&f->r, 1, TABLE, 48, DESC_INDIRECT, 0);
    ring_offer(&f->r, 1);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.head, 1);
    assert_int_equal(f->c.out_bytes, 10);
    assert_int_equal(f->c.in_bytes, 20);
    end(f);
}

/* 2.7.5.3.2: normal descriptors may come before it. */
static void an_indirect_table_may_end_a_chain(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA + 64, 20, DESC_WRITE, 0);
    ring_desc(&f->r, 1, DATA, 10, DESC_NEXT, 2);
    ring_desc(&f->r, 2, TABLE, 16, DESC_INDIRECT, 0);
    ring_offer(&f->r, 1);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.nr_out, 1);
    assert_int_equal(f->c.nr_in, 1);
    end(f);
}

static void an_indirect_chain_may_be_as_long_as_the_queue(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    for (uint16_t i = 0; i < SIZE; i++)
        put_desc(&f->gm, TABLE, i, DATA, 1, i < SIZE - 1 ? DESC_NEXT : 0,
                 (uint16_t)(i + 1));
    ring_desc(&f->r, 0, TABLE, 16 * SIZE, DESC_INDIRECT, 0);
    ring_offer(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    assert_int_equal(f->c.nr_out, SIZE);
    end(f);
}

static void refuses_indirect_when_not_negotiated(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA, 10, 0, 0);
    ring_desc(&f->r, 0, TABLE, 16, DESC_INDIRECT, 0);
    refuses(f);
}

static void refuses_indirect_in_indirect(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, TABLE, 16, DESC_INDIRECT, 0);
    ring_desc(&f->r, 0, TABLE, 16, DESC_INDIRECT, 0);
    refuses(f);
}

static void refuses_indirect_with_next(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA, 10, 0, 0);
    ring_desc(&f->r, 0, TABLE, 16, DESC_INDIRECT | DESC_NEXT, 1);
    refuses(f);
}

static void refuses_an_indirect_table_of_odd_length(void **state)
{
    static const uint32_t lengths[] = {0, 15, 17, 0xffffffff};

    (void)state;
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct fixture *f = make(false, true);

        ring_desc(&f->r, 0, TABLE, lengths[i], DESC_INDIRECT, 0);
        refuses(f);
    }
}

static void refuses_an_indirect_table_outside_of_ram(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    ring_desc(&f->r, 0, RAM2 + RAM2_SIZE - 16, 32, DESC_INDIRECT, 0);
    refuses(f);
}

static void refuses_an_index_behind_the_indirect_table(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA, 10, DESC_NEXT, 1);
    ring_desc(&f->r, 0, TABLE, 16, DESC_INDIRECT, 0);
    refuses(f);
}

/* -- Broken chains --- */

static void refuses_a_chain_that_loops(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 10, DESC_NEXT, 1);
    ring_desc(&f->r, 1, DATA, 10, DESC_NEXT, 0);
    refuses(f);
}

static void refuses_a_loop_of_empty_buffers(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 0, DESC_NEXT, 0);
    refuses(f);
}

static void refuses_an_indirect_chain_that_loops(void **state)
{
    struct fixture *f = make(false, true);

    (void)state;
    put_desc(&f->gm, TABLE, 0, DATA, 10, DESC_NEXT, 0);
    ring_desc(&f->r, 0, TABLE, 16, DESC_INDIRECT, 0);
    refuses(f);
}

static void refuses_a_head_out_of_range(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_offer(&f->r, SIZE);
    assert_int_equal(virtq_pop(&f->vq, &f->c), -EINVAL);
    end(f);
}

static void refuses_a_next_out_of_range(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 10, DESC_NEXT, 0xffff);
    refuses(f);
}

static void refuses_an_index_that_runs_ahead(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_set_avail_idx(&f->r, SIZE + 1);
    assert_int_equal(virtq_pop(&f->vq, &f->c), -EINVAL);
    end(f);
}

static void refuses_an_index_that_runs_back(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    pop_one(f, 0, 0);
    ring_set_avail_idx(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), -EINVAL);
    end(f);
}

static void refuses_readable_behind_writable(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 10, DESC_NEXT | DESC_WRITE, 1);
    ring_desc(&f->r, 1, DATA, 10, 0, 0);
    refuses(f);
}

static void refuses_buffers_outside_of_ram(void **state)
{
    static const struct {
        gpa_t gpa;
        uint32_t len;
    } bad[] = {
        {HOLE, 1},       {RAM2 + RAM2_SIZE - 4, 5}, {DATA, 0xffffffff},
        {UINT64_MAX, 1}, {UINT64_MAX - 3, 100},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct fixture *f = make(false, false);

        ring_desc(&f->r, 0, bad[i].gpa, bad[i].len, 0, 0);
        refuses(f);
    }
}

static void rom_can_be_read_but_not_written(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, ROM, 16, 0, 0);
    ring_offer(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    ring_desc(&f->r, 0, ROM, 16, DESC_WRITE, 0);
    refuses(f);
}

/* -- Enabling --- */

static void refuses_areas(gpa_t *area, gpa_t val, struct fixture *f)
{
    *area = val;
    assert_int_equal(virtq_enable(&f->vq, false, false), -EINVAL);
    assert_int_equal(f->vq.st.enabled, 0);
    f->vq.broken = false;
    set_areas(f);
}

static void refuses_bad_areas(void **state)
{
    struct fixture *f = make(false, false);
    struct virtq_state *st = &f->vq.st;

    (void)state;
    refuses_areas(&st->desc, RING + 8, f);
    refuses_areas(&st->avail, f->r.avail + 1, f);
    refuses_areas(&st->used, f->r.used + 2, f);
    refuses_areas(&st->desc, HOLE, f);
    refuses_areas(&st->desc, RAM2 - 16, f); /* crosses banks */
    refuses_areas(&st->avail, UINT64_MAX - 1, f);
    refuses_areas(&st->used, RAM2 + RAM2_SIZE - 4, f);
    refuses_areas(&st->used, ROM, f);
    assert_int_equal(virtq_enable(&f->vq, false, false), 0);
    end(f);
}

static void refuses_bad_sizes(void **state)
{
    static const uint16_t bad[] = {0, 3, SIZE + 1, 2 * SIZE, 0xffff};
    struct fixture *f = make(false, false);

    (void)state;
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        virtq_set_size(&f->vq, bad[i]);
        assert_int_equal(f->vq.st.size, SIZE);
        f->vq.st.size = bad[i]; /* a forged snapshot */
        assert_int_equal(virtq_enable(&f->vq, false, false), -EINVAL);
        f->vq.st.size = SIZE;
    }
    virtq_set_size(&f->vq, 1);
    assert_int_equal(f->vq.st.size, 1);
    end(f);
}

static void a_disabled_queue_yields_nothing(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 16, 0, 0);
    ring_offer(&f->r, 0);
    virtq_reset(&f->vq);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 0);
    assert_false(virtq_has_avail(&f->vq));
    assert_false(virtq_enable_kicks(&f->vq));
    assert_false(virtq_should_notify(&f->vq));
    end(f);
}

/* -- Notifications --- */

static void push_one(struct fixture *f)
{
    pop_one(f, 0, DESC_WRITE);
    virtq_push(&f->vq, &f->c, 0);
}

static void nothing_pushed_is_nothing_to_notify(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    push_one(f);
    assert_true(virtq_should_notify(&f->vq));
    assert_false(virtq_should_notify(&f->vq));
    end(f);
}

static void the_flag_suppresses_notifications(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    ring_set_avail_flags(&f->r, 1);
    push_one(f);
    assert_false(virtq_should_notify(&f->vq));
    ring_set_avail_flags(&f->r, 0);
    push_one(f);
    assert_true(virtq_should_notify(&f->vq));
    end(f);
}

static void the_event_index_says_which_push_notifies(void **state)
{
    struct fixture *f = make(true, false);

    (void)state;
    ring_set_avail_flags(&f->r, 1); /* has no meaning now */
    ring_set_used_event(&f->r, 2);
    push_one(f);
    assert_false(virtq_should_notify(&f->vq));
    push_one(f);
    assert_false(virtq_should_notify(&f->vq));
    push_one(f);
    assert_true(virtq_should_notify(&f->vq));
    push_one(f);
    assert_false(virtq_should_notify(&f->vq));
    end(f);
}

static void an_event_within_a_batch_notifies(void **state)
{
    struct fixture *f = make(true, false);

    (void)state;
    ring_set_used_event(&f->r, 1);
    push_one(f);
    push_one(f);
    push_one(f);
    assert_true(virtq_should_notify(&f->vq));
    end(f);
}

static void kicks_are_switched_by_the_flag(void **state)
{
    struct fixture *f = make(false, false);

    (void)state;
    virtq_disable_kicks(&f->vq);
    assert_int_equal(ring_used_flags(&f->r), 1);
    assert_false(virtq_enable_kicks(&f->vq));
    assert_int_equal(ring_used_flags(&f->r), 0);
    end(f);
}

static void kicks_are_asked_for_by_event_index(void **state)
{
    struct fixture *f = make(true, false);

    (void)state;
    pop_one(f, 0, 0);
    virtq_disable_kicks(&f->vq);
    assert_int_equal(ring_used_flags(&f->r), 0);
    assert_int_equal(ring_avail_event(&f->r), 0);
    assert_false(virtq_enable_kicks(&f->vq));
    assert_int_equal(ring_avail_event(&f->r), 1);
    end(f);
}

static void a_chain_before_kicks_are_on_is_told(void **state)
{
    struct fixture *f = make(true, false);

    (void)state;
    ring_desc(&f->r, 0, DATA, 16, 0, 0);
    ring_offer(&f->r, 0);
    assert_true(virtq_enable_kicks(&f->vq));
    end(f);
}

/* -- What the device wrote --- */

struct log {
    gpa_t gpa[16];
    uint64_t len[16];
    unsigned nr;
};

static void log_written(void *opaque, gpa_t gpa, uint64_t len)
{
    struct log *l = opaque;

    assert_true(l->nr < 16);
    l->gpa[l->nr] = gpa;
    l->len[l->nr++] = len;
}

static bool has(const struct log *l, gpa_t gpa, uint64_t len)
{
    for (unsigned i = 0; i < l->nr; i++)
        if (l->gpa[i] <= gpa && gpa + len <= l->gpa[i] + l->len[i])
            return true;
    return false;
}

static void device_writes_are_reported(void **state)
{
    struct fixture *f = make(false, false);
    struct log l = {.nr = 0};

    (void)state;
    ring_desc(&f->r, 0, DATA, 16, DESC_WRITE | DESC_NEXT, 1);
    ring_desc(&f->r, 1, DATA + 0x1000, 16, DESC_WRITE | DESC_NEXT, 2);
    ring_desc(&f->r, 2, DATA + 0x2000, 16, DESC_WRITE, 0);
    ring_offer(&f->r, 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    f->gm.written = log_written;
    f->gm.written_opaque = &l;
    virtq_push(&f->vq, &f->c, 20);
    f->gm.written = NULL;
    assert_true(has(&l, DATA, 16));
    assert_true(has(&l, DATA + 0x1000, 4));
    assert_false(has(&l, DATA + 0x1000, 5));
    assert_false(has(&l, DATA + 0x2000, 1));
    assert_true(has(&l, f->r.used + 4, 8)); /* the entry */
    assert_true(has(&l, f->r.used + 2, 2)); /* the index */
    end(f);
}

static void a_loaded_queue_goes_on_where_it_was(void **state)
{
    struct fixture *f = make(false, false);
    struct virtq_state saved;
    uint32_t id, len;

    (void)state;
    push_one(f);
    assert_true(ring_take(&f->r, &id, &len));
    ring_desc(&f->r, 4, DATA, 16, DESC_WRITE, 0);
    ring_offer(&f->r, 4);
    saved = f->vq.st;
    virtq_init(&f->vq, "test", &f->gm, SIZE);
    assert_int_equal(virtq_state_desc.check(&saved), 0);
    f->vq.st = saved;
    assert_int_equal(virtq_enable(&f->vq, false, false), 0);
    assert_int_equal(virtq_pop(&f->vq, &f->c), 1);
    virtq_push(&f->vq, &f->c, 0);
    assert_true(ring_take(&f->r, &id, &len));
    assert_int_equal(id, 4);
    end(f);
}

static void the_state_is_saved_whole(void **state)
{
    (void)state;
    assert_saved_whole(&virtq_state_desc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_queue_yields_nothing),
        cmocka_unit_test(a_chain_is_collected_in_order),
        cmocka_unit_test(what_is_pushed_is_seen_by_the_driver),
        cmocka_unit_test(indices_wrap),
        cmocka_unit_test(a_chain_given_back_comes_again),
        cmocka_unit_test(a_buffer_across_two_banks_has_two_segments),
        cmocka_unit_test(an_indirect_chain_is_collected),
        cmocka_unit_test(an_indirect_table_may_end_a_chain),
        cmocka_unit_test(an_indirect_chain_may_be_as_long_as_the_queue),
        cmocka_unit_test(refuses_indirect_when_not_negotiated),
        cmocka_unit_test(refuses_indirect_in_indirect),
        cmocka_unit_test(refuses_indirect_with_next),
        cmocka_unit_test(refuses_an_indirect_table_of_odd_length),
        cmocka_unit_test(refuses_an_indirect_table_outside_of_ram),
        cmocka_unit_test(refuses_an_index_behind_the_indirect_table),
        cmocka_unit_test(refuses_a_chain_that_loops),
        cmocka_unit_test(refuses_a_loop_of_empty_buffers),
        cmocka_unit_test(refuses_an_indirect_chain_that_loops),
        cmocka_unit_test(refuses_a_head_out_of_range),
        cmocka_unit_test(refuses_a_next_out_of_range),
        cmocka_unit_test(refuses_an_index_that_runs_ahead),
        cmocka_unit_test(refuses_an_index_that_runs_back),
        cmocka_unit_test(refuses_readable_behind_writable),
        cmocka_unit_test(refuses_buffers_outside_of_ram),
        cmocka_unit_test(rom_can_be_read_but_not_written),
        cmocka_unit_test(refuses_bad_areas),
        cmocka_unit_test(refuses_bad_sizes),
        cmocka_unit_test(a_disabled_queue_yields_nothing),
        cmocka_unit_test(nothing_pushed_is_nothing_to_notify),
        cmocka_unit_test(the_flag_suppresses_notifications),
        cmocka_unit_test(the_event_index_says_which_push_notifies),
        cmocka_unit_test(an_event_within_a_batch_notifies),
        cmocka_unit_test(kicks_are_switched_by_the_flag),
        cmocka_unit_test(kicks_are_asked_for_by_event_index),
        cmocka_unit_test(a_chain_before_kicks_are_on_is_told),
        cmocka_unit_test(device_writes_are_reported),
        cmocka_unit_test(a_loaded_queue_goes_on_where_it_was),
        cmocka_unit_test(the_state_is_saved_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
