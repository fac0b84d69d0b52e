#ifndef HUSK_VMM_SCREEN_H
#define HUSK_VMM_SCREEN_H

#include <jansson.h>

#include "base/compiler.h"
#include "base/err.h"
#include "devices/display/vga.h"

/*
 * What the screen shows, as JSON:
 *
 *     {"mode": "text", "columns": 80, "rows": 25, "lines": ["...", ...],
 *      "cursor": {"column": 0, "row": 3}}      cursor null: not to be seen
 *     {"mode": "graphics", "width": 1024, "height": 768, "bits": 32}
 *     {"mode": "blank"}
 *
 * 0 with *out (a new reference); -ENOTSUP with err if vga is NULL; -ENOMEM.
 */
MUST_CHECK int screen_json(struct vga *vga, json_t **out, struct err *err);

#endif
