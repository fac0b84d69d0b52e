#include "devices/display/vga_text.h"

#include <string.h>

#include "tests/unit/test.h"

static struct gmem gm;
static struct vga v;
static struct vga_text t;

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

/* As a guest writes: characters and attributes at 0xb8000. */
static void print(unsigned row, unsigned column, const char *text)
{
    for (unsigned i = 0; text[i]; i++)
        vga_window_bus_ops.write(&v, 0x18000 + 2 * (80 * row + column + i), 2,
                                 0x0700u | (uint8_t)text[i]);
}

static void after_power_on_nothing_is_shown(void **state)
{
    (void)state;
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.kind, VGA_BLANK);
}

static void text_mode_has_80_by_25_blanks(void **state)
{
    (void)state;
    vga_set_text_mode(&v);
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.kind, VGA_TEXT);
    assert_int_equal(t.shown.columns, 80);
    assert_int_equal(t.shown.rows, 25);
    assert_int_equal(t.shown.width, 720);
    assert_int_equal(t.shown.height, 400);
    for (unsigned i = 0; i < 25; i++)
        assert_string_equal(t.line[i], "");
    assert_int_equal(v.st.dac[3 * 7], 42);
    assert_int_equal(v.st.dac[3 * 0x38 + 2], 21);
}

static void what_the_guest_writes_is_read(void **state)
{
    (void)state;
    vga_set_text_mode(&v);
    print(0, 2, "husk");
    print(24, 78, "\xcd\xb3");
    print(3, 0, "\x01 \xff\x80");
    vga_text_read(&v, &t);
    assert_string_equal(t.line[0], "  husk");
    assert_string_equal(t.line[24] + 78, "═│");
    assert_string_equal(t.line[3], "☺  Ç");
}

static void the_start_address_scrolls(void **state)
{
    (void)state;
    vga_set_text_mode(&v);
    print(1, 0, "second");
    v.st.crtc[0x0d] = 80;
    v.st.crtc[0x0f] = 83;
    vga_text_read(&v, &t);
    assert_string_equal(t.line[0], "second");
    assert_int_equal(t.shown.cursor_row, 0);
    assert_int_equal(t.shown.cursor_column, 3);
    v.st.crtc[0x0f] = 79; /* above the screen */
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.cursor_row, -1);
    v.st.crtc[0x0f] = 83;
    v.st.crtc[0x0a] = 0x20; /* hidden */
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.cursor_row, -1);
}

static void any_registers_can_be_read(void **state)
{
    (void)state;
    memset(v.vram, 0xb0, VGA_VRAM_SIZE);
    vga_set_text_mode(&v);
    memset(v.st.crtc, 0xff, sizeof(v.st.crtc));
    v.st.crtc[9] = 0; /* lines of one dot */
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.kind, VGA_TEXT);
    assert_int_equal(t.shown.columns, VGA_TEXT_COLUMNS);
    assert_int_equal(t.shown.rows, VGA_TEXT_ROWS);
    assert_int_equal(strlen(t.line[VGA_TEXT_ROWS - 1]), 3 * VGA_TEXT_COLUMNS);
    v.st.crtc[0x12] = v.st.crtc[7] = 0; /* less than a line */
    v.st.crtc[9] = 0x1f;
    vga_text_read(&v, &t);
    assert_int_equal(t.shown.kind, VGA_BLANK);
}

static void ascii_is_itself(void **state)
{
    char out[3];

    (void)state;
    for (unsigned c = 0x20; c < 0x7f; c++) {
        assert_int_equal(vga_text_utf8((uint8_t)c, out), 1);
        assert_int_equal(out[0], c);
    }
    assert_int_equal(vga_text_utf8(0, out), 1);
    assert_int_equal(out[0], ' ');
    assert_int_equal(vga_text_utf8(0xe1, out), 2);
    assert_memory_equal(out, "ß", 2);
    assert_int_equal(vga_text_utf8(0xfe, out), 3);
    assert_memory_equal(out, "■", 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(after_power_on_nothing_is_shown), T(text_mode_has_80_by_25_blanks),
        T(what_the_guest_writes_is_read),   T(the_start_address_scrolls),
        T(any_registers_can_be_read),       T(ascii_is_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
