/* Registers, window, VBE and what they show: vga.c, vga_regs.c, vga_window.c,
 * vga_vbe.c. */
#include "devices/display/vga.h"

#include <errno.h>
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
    v.st.misc = 0x67; /* colour, memory on */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vga_fini(&v);
    gmem_fini(&gm);
    return 0;
}

static void out(unsigned port, unsigned val)
{
    if (port >= VGA_COLOR_PORT)
        vga_color_bus_ops.write(&v, port - VGA_COLOR_PORT, 1, val);
    else
        vga_bus_ops.write(&v, port - VGA_PORT, 1, val);
}

static uint8_t in(unsigned port)
{
    if (port >= VGA_COLOR_PORT)
        return (uint8_t)vga_color_bus_ops.read(&v, port - VGA_COLOR_PORT, 1);
    return (uint8_t)vga_bus_ops.read(&v, port - VGA_PORT, 1);
}

static void set(unsigned port, unsigned index, unsigned val)
{
    out(port, index);
    out(port + 1, val);
}

static void vbe(unsigned index, unsigned val)
{
    vga_vbe_bus_ops.write(&v, 0, 2, index);
    vga_vbe_bus_ops.write(&v, 2, 2, val);
}

static unsigned get_vbe(unsigned index)
{
    vga_vbe_bus_ops.write(&v, 0, 2, index);
    return (unsigned)vga_vbe_bus_ops.read(&v, 2, 2);
}

static void poke(uint64_t off, unsigned val)
{
    vga_window_bus_ops.write(&v, off, 1, val);
}

static unsigned peek(uint64_t off)
{
    return (unsigned)vga_window_bus_ops.read(&v, off, 1);
}

/* Planes at 0xa0000, all of them written. */
static void set_planar(void)
{
    set(0x3c4, 2, 0x0f);
    set(0x3c4, 4, 0x06);
    set(0x3ce, 5, 0x00);
    set(0x3ce, 6, 0x05);
    set(0x3ce, 7, 0x0f);
    set(0x3ce, 8, 0xff);
}

/* --- Registers ------------------------------------------------------------ */

static void registers_keep_the_bits_they_have(void **state)
{
    (void)state;
    set(0x3c4, 4, 0xff);
    assert_int_equal(in(0x3c5), 0x0e);
    set(0x3ce, 5, 0xff);
    assert_int_equal(in(0x3cf), 0x7b);
    set(0x3ce, 15, 0xff);
    assert_int_equal(in(0x3cf), 0);
    set(0x3d4, 0x0c, 0x12);
    assert_int_equal(in(0x3d5), 0x12);
    set(0x3d4, 0x1f, 0x12);
    assert_int_equal(in(0x3d5), 0);
    assert_int_equal(in(0x3d4), 0x1f);
}

static void the_crt_controller_is_at_one_place(void **state)
{
    (void)state;
    set(0x3d4, 0x0e, 0x55);
    assert_int_equal(vga_mono_bus_ops.read(&v, 5, 1), 0xff);
    out(0x3c2, 0x66);
    assert_int_equal(in(0x3d5), 0xff);
    assert_int_equal(vga_mono_bus_ops.read(&v, 5, 1), 0x55);
    vga_mono_bus_ops.write(&v, 5, 1, 0x66);
    out(0x3c2, 0x67);
    assert_int_equal(in(0x3d5), 0x66);
}

static void timing_registers_can_be_protected(void **state)
{
    (void)state;
    set(0x3d4, 0x11, 0x80);
    set(0x3d4, 0x00, 0x5f);
    assert_int_equal(in(0x3d5), 0);
    set(0x3d4, 0x07, 0xff); /* but for one bit */
    assert_int_equal(in(0x3d5), 0x10);
    set(0x3d4, 0x11, 0x00);
    set(0x3d4, 0x00, 0x5f);
    assert_int_equal(in(0x3d5), 0x5f);
}

static void attributes_take_index_and_value_in_turn(void **state)
{
    (void)state;
    (void)in(0x3da);
    out(0x3c0, 0x10);
    out(0x3c0, 0x41);
    out(0x3c0, 0x21);
    assert_int_equal(in(0x3c0), 0x21);
    (void)in(0x3da); /* an index again */
    out(0x3c0, 0x30);
    assert_int_equal(in(0x3c1), 0x41);
    out(0x3c0, 0x00);
    (void)in(0x3da);
    out(0x3c0, 0x1f); /* there is none */
    out(0x3c0, 0xff);
    assert_int_equal(in(0x3c1), 0);
}

static void colours_are_three_bytes_each(void **state)
{
    (void)state;
    out(0x3c8, 0xff);
    for (unsigned i = 0; i < 6; i++)
        out(0x3c9, 10 + i); /* it wraps to entry 0 */
    out(0x3c8, 7);
    out(0x3c9, 1);
    out(0x3c9, 2); /* an entry is not changed by parts of it */
    out(0x3c7, 0xff);
    assert_int_equal(in(0x3c7), 3);
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(in(0x3c9), 10 + i);
    out(0x3c7, 7);
    assert_int_equal(in(0x3c9), 0);
}

static void the_retrace_comes_and_goes(void **state)
{
    bool seen[2] = {false}, shown[2] = {false};

    (void)state;
    while (!seen[0] || !seen[1] || !shown[0] || !shown[1]) {
        uint8_t val = in(0x3da);

        seen[val >> 3 & 1] = true;
        shown[val & 1] = true;
        assert_false((val & 8) && !(val & 1));
    }
}

/* --- The window ----------------------------------------------------------- */

static void the_window_is_where_it_is_set_up(void **state)
{
    (void)state;
    set_planar();
    set(0x3ce, 6, 0x0c); /* 0xb8000 */
    poke(0x18000, 0x41);
    assert_int_equal(peek(0x18000), 0x41);
    assert_int_equal(peek(0), 0xff);
    set(0x3ce, 6, 0x08); /* 0xb0000 */
    assert_int_equal(peek(0x10000), 0x41);
    assert_int_equal(peek(0x18000), 0xff);
    set(0x3ce, 6, 0x04); /* 64 KiB */
    assert_int_equal(peek(0), 0x41);
    assert_int_equal(peek(0x10000), 0xff);
    set(0x3ce, 6, 0x00); /* all of it */
    poke(0x1ffff, 0x42);
    assert_int_equal(peek(0x1ffff), 0x42);
    out(0x3c2, 0x65); /* memory off */
    assert_int_equal(peek(0x1ffff), 0xff);
}

static void text_alternates_between_planes(void **state)
{
    (void)state;
    set_planar();
    set(0x3c4, 2, 0x03);
    set(0x3ce, 5, 0x10);
    set(0x3ce, 6, 0x0e);
    vga_window_bus_ops.write(&v, 0x18000, 4, 0x42074107);
    assert_memory_equal(v.vram, "\x07\x41\0\0\x07\x42\0\0", 8);
    assert_int_equal(vga_window_bus_ops.read(&v, 0x18000, 4), 0x42074107);
}

static void chain_4_is_bytes_in_a_row(void **state)
{
    (void)state;
    set_planar();
    set(0x3c4, 4, 0x0e);
    vga_window_bus_ops.write(&v, 1, 4, 0x44332211);
    assert_memory_equal(v.vram, "\0\x11\x22\x33\x44\0", 6);
    assert_int_equal(peek(3), 0x33);
    set(0x3c4, 2, 0x01); /* the mask counts */
    poke(1, 0x99);
    assert_int_equal(peek(1), 0x11);
}

static void the_map_mask_chooses_planes(void **state)
{
    (void)state;
    set_planar();
    set(0x3c4, 2, 0x05);
    poke(3, 0xaa);
    assert_memory_equal(v.vram + 12, "\xaa\0\xaa\0", 4);
    set(0x3ce, 4, 2);
    assert_int_equal(peek(3), 0xaa);
    set(0x3ce, 4, 1);
    assert_int_equal(peek(3), 0);
}

static void write_mode_0_sets_rotates_and_combines(void **state)
{
    (void)state;
    set_planar();
    set(0x3ce, 3, 0x01); /* rotate by one */
    poke(0, 0x81);
    assert_memory_equal(v.vram, "\xc0\xc0\xc0\xc0", 4);
    set(0x3ce, 3, 0x00);
    set(0x3ce, 0, 0x05); /* set planes 0, 2; of planes 0, 1 */
    set(0x3ce, 1, 0x03);
    poke(0, 0x0f);
    assert_memory_equal(v.vram, "\xff\x00\x0f\x0f", 4);
    set(0x3ce, 1, 0x00);
    (void)peek(0);
    set(0x3ce, 8, 0xf0); /* half from the latch */
    poke(1, 0x33);
    assert_memory_equal(v.vram + 4, "\x3f\x30\x3f\x3f", 4);
    set(0x3ce, 8, 0xff);
    set(0x3ce, 3, 0x08); /* and */
    poke(2, 0x3c);
    assert_memory_equal(v.vram + 8, "\x3c\x00\x0c\x0c", 4);
    set(0x3ce, 3, 0x10); /* or */
    poke(2, 0x30);
    assert_memory_equal(v.vram + 8, "\xff\x30\x3f\x3f", 4);
    set(0x3ce, 3, 0x18); /* exclusive or */
    poke(2, 0xff);
    assert_memory_equal(v.vram + 8, "\x00\xff\xf0\xf0", 4);
}

static void write_modes_1_to_3_do_as_documented(void **state)
{
    (void)state;
    set_planar();
    memcpy(v.vram, "\x01\x02\x03\x04", 4);
    (void)peek(0);
    set(0x3ce, 5, 1);
    poke(5, 0xff); /* a copy, whatever is written */
    assert_memory_equal(v.vram + 20, "\x01\x02\x03\x04", 4);
    set(0x3ce, 5, 2);
    set(0x3ce, 8, 0x0f);
    poke(6, 0x09); /* colour 9 in four pixels */
    assert_memory_equal(v.vram + 24, "\x0f\x00\x00\x0f", 4);
    set(0x3ce, 5, 3);
    set(0x3ce, 0, 0x06);
    set(0x3ce, 8, 0x3c);
    poke(7, 0xf0); /* colour 6 where both have ones */
    assert_memory_equal(v.vram + 28, "\x01\x32\x33\x04", 4);
}

static void read_mode_1_compares_colours(void **state)
{
    (void)state;
    set_planar();
    memcpy(v.vram, "\x0f\x33\x55\x00", 4);
    set(0x3ce, 5, 0x08);
    set(0x3ce, 2, 0x05); /* planes 0 and 2 set, 1 and 3 not */
    assert_int_equal(peek(0), 0x0f & ~0x33 & 0x55);
    set(0x3ce, 7, 0x01); /* only plane 0 counts */
    assert_int_equal(peek(0), 0x0f);
    set(0x3ce, 7, 0x00);
    assert_int_equal(peek(0), 0xff);
}

/* --- VBE ------------------------------------------------------------------ */

static void set_mode(unsigned width, unsigned height, unsigned bits)
{
    vbe(4, 0);
    vbe(1, width);
    vbe(2, height);
    vbe(3, bits);
    vbe(4, 0x41);
}

static void the_id_is_that_of_the_latest(void **state)
{
    (void)state;
    assert_int_equal(get_vbe(0), 0xb0c5);
    vbe(0, 0xb0c0);
    assert_int_equal(get_vbe(0), 0xb0c0);
    vbe(0, 0x1234);
    assert_int_equal(get_vbe(0), 0xb0c0);
    assert_int_equal(get_vbe(10), VGA_VRAM_SIZE >> 16);
    assert_int_equal(get_vbe(11), 0);
    assert_int_equal(get_vbe(0xffff), 0);
}

static void the_data_port_is_at_an_odd_address_too(void **state)
{
    struct bus *bus;

    (void)state;
    assert_int_equal(bus_new(&bus), 0);
    assert_int_equal(bus_map(bus, VGA_VBE_PORT, VGA_VBE_PORTS, &vga_vbe_bus_ops,
                             &v, &v.lock),
                     0);
    bus_write(bus, 0x1ce, 2, 1);
    bus_write(bus, 0x1cf, 2, 1024);
    assert_int_equal(bus_read(bus, 0x1cf, 2), 1024);
    assert_int_equal(bus_read(bus, 0x1d0, 2), 1024);
    assert_int_equal(bus_read(bus, 0x1ce, 2), 1);
    bus_free(bus);
}

static void a_mode_shows_a_frame_buffer(void **state)
{
    struct vga_shown s;

    (void)state;
    memset(v.vram, 0xee, 4096);
    set_mode(1024, 768, 32);
    vga_look(&v, &s);
    assert_int_equal(s.kind, VGA_GRAPHICS);
    assert_int_equal(s.width, 1024);
    assert_int_equal(s.height, 768);
    assert_int_equal(s.bits, 32);
    assert_true(s.stride == 4096 && s.start == 0 && !s.planar);
    assert_int_equal(v.vram[100], 0); /* it begins empty */
    vbe(6, 2048);
    vbe(8, 16);
    vbe(9, 2);
    vga_look(&v, &s);
    assert_true(s.stride == 8192 && s.start == 2 * 8192 + 64);
    assert_int_equal(get_vbe(7), VGA_VRAM_SIZE / 8192);
    vbe(4, 0);
    vga_look(&v, &s);
    assert_int_equal(s.kind, VGA_BLANK);
}

static void no_mode_reaches_beyond_video_memory(void **state)
{
    struct vga_shown s;

    (void)state;
    set_mode(16000, 12000, 32);
    vga_look(&v, &s);
    assert_int_equal(s.kind, VGA_GRAPHICS);
    assert_true(s.start + s.stride * s.height <= VGA_VRAM_SIZE);
    vbe(9, 0xffff);
    vbe(8, 0xffff);
    vga_look(&v, &s);
    assert_true(s.start + s.stride * s.height <= VGA_VRAM_SIZE);
    vbe(1, 640); /* not while it is on */
    assert_int_equal(get_vbe(1), 16000);
    set_mode(640, 480, 8);
    vbe(3, 7);
    assert_int_equal(get_vbe(3), 8);
    vbe(6, 100); /* narrower than what is shown */
    assert_int_equal(get_vbe(6), 640);
}

static void capabilities_are_told(void **state)
{
    (void)state;
    vbe(4, 2);
    assert_int_equal(get_vbe(1), 16000);
    assert_int_equal(get_vbe(2), 12000);
    assert_int_equal(get_vbe(3), 32);
    vbe(4, 0);
    assert_int_equal(get_vbe(1), 0);
}

static void banks_move_the_window(void **state)
{
    (void)state;
    set_planar();
    set_mode(640, 480, 8);
    set(0x3c4, 2, 0x00); /* what planes have to say does not count */
    vbe(5, 3);
    poke(5, 0x77);
    assert_int_equal(v.vram[3 * 65536 + 5], 0x77);
    assert_int_equal(peek(5), 0x77);
    vbe(5, 255);
    poke(0xffff, 0x78);
    assert_int_equal(v.vram[VGA_VRAM_SIZE - 1], 0x78);
    vbe(5, 256);
    assert_int_equal(get_vbe(5), 255);
    set_mode(800, 600, 4); /* planes: a bank is four times as long */
    vbe(5, 255);
    assert_int_equal(peek(0), 0xff);
    poke(0, 1);
}

/* --- As a device ---------------------------------------------------------- */

static unsigned changes;

static void count(void *opaque)
{
    (void)opaque;
    changes++;
}

static void changes_are_told_once_for_each_watch(void **state)
{
    (void)state;
    changes = 0;
    v.changed = count;
    set_planar();
    assert_int_equal(changes, 0);
    vga_watch(&v);
    poke(0, 1);
    poke(0, 2);
    assert_int_equal(changes, 1);
    vga_watch(&v);
    set(0x3d4, 0x0c, 1);
    assert_int_equal(changes, 2);
    vga_watch(&v);
    (void)peek(0);
    assert_int_equal(changes, 2);
}

static struct gmem *written_in;
static gpa_t written_at;

static void note_written(void *opaque, gpa_t gpa, uint64_t len)
{
    (void)len;
    written_in = opaque;
    written_at = gpa;
}

static void the_engine_hears_of_what_the_window_writes(void **state)
{
    (void)state;
    gm.written = note_written;
    gm.written_opaque = &gm;
    set_planar();
    poke(4, 1);
    assert_null(written_in);
    gmem_device_move(&gm, 0xe0000000);
    poke(4, 1);
    assert_ptr_equal(written_in, &gm);
    assert_true(written_at == 0xe0000010);
}

static void state_is_checked(void **state)
{
    (void)state;
    assert_int_equal(vga_state_desc.check(&v.st), 0);
    v.st.dac_part = 3;
    assert_int_equal(vga_state_desc.check(&v.st), -EINVAL);
    v.st.dac_part = 0;
    v.st.gc[4] = 4;
    assert_int_equal(vga_state_desc.check(&v.st), -EINVAL);
}

static void any_registers_show_what_lies_in_memory(void **state)
{
    struct vga_shown s;

    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        memset(&v.st, 0xff, sizeof(v.st));
        v.st.vbe[4] = n & 1 ? 0xffff : 0;
        v.st.gc[6] = n & 2 ? 0xff : 0;
        v.st.seq[1] = 0;
        vga_look(&v, &s);
        assert_true(s.start + s.stride * s.height <= VGA_VRAM_SIZE);
    }
}

static void an_absent_one_answers_nowhere(void **state)
{
    (void)state;
    set_planar();
    vbe(1, 640);
    v.pci.absent = true;
    poke(0, 0x55);
    assert_int_equal(peek(0), 0xff);
    assert_int_equal(v.vram[0], 0);
    assert_int_equal(in(0x3cc), 0xff);
    assert_int_equal(get_vbe(0) & 0xffff, 0xffff);
    vbe(1, 800);
    v.pci.absent = false;
    assert_int_equal(get_vbe(1), 640);
}

static void a_rom_that_is_too_large_is_refused(void **state)
{
    static uint8_t rom[VGA_ROM_MAX + 1];
    struct vga other;
    struct err err;

    (void)state;
    assert_int_equal(vga_init(&other, &gm, rom, sizeof(rom), &err), -EINVAL);
    rom[0] = 0x55;
    assert_int_equal(vga_init(&other, &gm, rom, 512, &err), 0);
    assert_int_equal(other.pci.bar[PCI_ROM_BAR].ops->read(&other, 0, 2), 0x55);
    vga_fini(&other);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(registers_keep_the_bits_they_have),
        T(the_crt_controller_is_at_one_place),
        T(timing_registers_can_be_protected),
        T(attributes_take_index_and_value_in_turn),
        T(colours_are_three_bytes_each),
        T(the_retrace_comes_and_goes),
        T(the_window_is_where_it_is_set_up),
        T(text_alternates_between_planes),
        T(chain_4_is_bytes_in_a_row),
        T(the_map_mask_chooses_planes),
        T(write_mode_0_sets_rotates_and_combines),
        T(write_modes_1_to_3_do_as_documented),
        T(read_mode_1_compares_colours),
        T(the_id_is_that_of_the_latest),
        T(the_data_port_is_at_an_odd_address_too),
        T(a_mode_shows_a_frame_buffer),
        T(no_mode_reaches_beyond_video_memory),
        T(capabilities_are_told),
        T(banks_move_the_window),
        T(changes_are_told_once_for_each_watch),
        T(the_engine_hears_of_what_the_window_writes),
        T(state_is_checked),
        T(any_registers_show_what_lies_in_memory),
        T(a_rom_that_is_too_large_is_refused),
        T(an_absent_one_answers_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
