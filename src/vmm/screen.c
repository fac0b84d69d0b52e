#include "vmm/screen.h"

#include <errno.h>
#include <stdlib.h>

#include "devices/display/vga_text.h"

static json_t *lines_of(const struct vga_text *t)
{
    json_t *lines = json_array();

    for (unsigned i = 0; i < t->shown.rows; i++)
        (void)json_array_append_new(lines, json_string(t->line[i]));
    return lines;
}

static json_t *cursor_of(const struct vga_shown *s)
{
    if (s->cursor_column < 0)
        return json_null();
    return json_pack("{s:i, s:i}", "column", s->cursor_column, "row",
                     s->cursor_row);
}

static json_t *describe(const struct vga_text *t)
{
    const struct vga_shown *s = &t->shown;

    switch (s->kind) {
    case VGA_TEXT:
        return json_pack("{s:s, s:i, s:i, s:o, s:o}", "mode", "text", "columns",
                         (int)s->columns, "rows", (int)s->rows, "lines",
                         lines_of(t), "cursor", cursor_of(s));
    case VGA_GRAPHICS:
        return json_pack("{s:s, s:i, s:i, s:i}", "mode", "graphics", "width",
                         (int)s->width, "height", (int)s->height, "bits",
                         (int)s->bits);
    case VGA_BLANK: break;
    }
    return json_pack("{s:s}", "mode", "blank");
}

int screen_json(struct vga *vga, json_t **out, struct err *err)
{
    struct vga_text *t;

    if (!vga)
        return err_set(err, -ENOTSUP,
                       "look at the screen: the machine has none: start it "
                       "with --vga std");
    t = malloc(sizeof(*t));
    if (!t)
        return err_set(err, -ENOMEM, "look at the screen: out of memory");
    vga_text_read(vga, t);
    *out = describe(t);
    free(t);
    return *out ? 0
                : err_set(err, -ENOMEM, "look at the screen: out of memory");
}
