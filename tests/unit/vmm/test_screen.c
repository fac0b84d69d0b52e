#include "vmm/screen.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/test.h"

static struct gmem gm;
static struct vga v;

static const struct gmem_layout layout[] = {
    {.start = 0, .size = 0x10000},
    {.size = VGA_VRAM_SIZE, .device = true},
};

static int setup(void **state)
{
    struct err err;

    (void)state;
    assert_int_equal(gmem_init(&gm, layout, 2, &err), 0);
    assert_int_equal(vga_init(&v, &gm, NULL, 0, &err), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vga_fini(&v);
    gmem_fini(&gm);
    return 0;
}

/* The screen on one line, its members sorted. */
static void expect(const char *text)
{
    json_t *json = NULL;
    struct err err;
    char *got;

    assert_int_equal(screen_json(&v, &json, &err), 0);
    got = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(got, text);
    free(got);
    json_decref(json);
}

static void each_mode_is_told(void **state)
{
    (void)state;
    expect("{\"mode\":\"blank\"}");
    v.st.vbe[1] = 640;
    v.st.vbe[2] = 480;
    v.st.vbe[3] = 16;
    v.st.vbe[4] = 1;
    expect("{\"bits\":16,\"height\":480,\"mode\":\"graphics\",\"width\":640}");
}

static void text_comes_in_lines(void **state)
{
    (void)state;
    vga_set_text_mode(&v);
    v.st.crtc[1] = 7;    /* 8 columns */
    v.st.crtc[0x13] = 4; /* as long a line */
    v.st.crtc[0x12] = 31;
    v.st.crtc[7] = 0; /* 2 rows */
    v.st.crtc[0x0f] = 9;
    v.vram[0] = 'o';
    v.vram[4] = 'k';
    v.vram[4 * 8] = 0xb0;
    expect("{\"columns\":8,\"cursor\":{\"column\":1,\"row\":1},"
           "\"lines\":[\"ok\",\"░\"],\"mode\":\"text\",\"rows\":2}");
}

static void a_machine_without_a_screen_says_so(void **state)
{
    json_t *json = NULL;
    struct err err;

    (void)state;
    assert_int_equal(screen_json(NULL, &json, &err), -ENOTSUP);
    assert_null(json);
    assert_non_null(strstr(err.text, "--vga"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_mode_is_told),
        T(text_comes_in_lines),
        T(a_machine_without_a_screen_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
