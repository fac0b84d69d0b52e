#include "image.h"

#include <string.h>

#include "rng.h"

/*
 * Restoring and comparing the data pages of a case, in units of 64 bytes.
 * Both sides use this code, in the signal handler of the native child and on
 * the thread of the virtual CPU.
 */

uint8_t image_background(uint32_t off)
{
    uint64_t word = rng_mix(0x6875736bu + off / 8);

    /* Every fourth word is small, so that counts and offsets occur. */
    if (off / 8 % 4 == 3)
        word &= 0x3f;
    return (uint8_t)(word >> (off % 8 * 8));
}

void image_init(struct image *im)
{
    for (uint32_t i = 0; i < DIFF_IMAGE_SIZE; i++)
        im->background[i] = image_background(i);
    memcpy(im->initial, im->background, DIFF_IMAGE_SIZE);
    for (uint32_t i = 0; i < DIFF_NR_PAGES; i++)
        memcpy(im->page[i], im->background + i * DIFF_PAGE, DIFF_PAGE);
}

static void restore(struct image *im)
{
    for (uint32_t i = 0; i < DIFF_NR_PAGES; i++) {
        const uint8_t *background = im->background + i * DIFF_PAGE;
        uint8_t *initial = im->initial + i * DIFF_PAGE;

        if (memcmp(im->page[i], background, DIFF_PAGE) != 0)
            memcpy(im->page[i], background, DIFF_PAGE);
        if (memcmp(initial, background, DIFF_PAGE) != 0)
            memcpy(initial, background, DIFF_PAGE);
    }
}

/* A patch may cross from one page of the image into the next. */
static void put_patch(struct image *im, unsigned off, const uint8_t *src,
                      unsigned len)
{
    memcpy(im->initial + off, src, len);
    while (len) {
        unsigned n = DIFF_PAGE - off % DIFF_PAGE;

        n = n < len ? n : len;
        memcpy(im->page[off / DIFF_PAGE] + off % DIFF_PAGE, src, n);
        off += n;
        src += n;
        len -= n;
    }
}

void image_prepare(struct image *im, const struct diff_case *c)
{
    const uint8_t *data = c->patch_data;

    restore(im);
    for (unsigned i = 0; i < c->nr_patches; i++) {
        put_patch(im, c->patch[i].off, data, c->patch[i].len);
        data += c->patch[i].len;
    }
}

static void note_line(struct diff_result *r, unsigned line, const uint8_t *now)
{
    uint64_t word;

    if (r->nr_changed < DIFF_MAX_CHANGED) {
        r->changed[r->nr_changed].line = (uint16_t)line;
        memcpy(r->changed[r->nr_changed].byte, now, DIFF_LINE);
    }
    r->nr_changed++;
    for (unsigned i = 0; i < DIFF_LINE; i += 8) {
        memcpy(&word, now + i, 8);
        r->changed_hash = rng_mix(r->changed_hash ^ word) + line;
    }
}

static void collect_page(struct image *im, struct diff_result *r, unsigned i)
{
    const uint8_t *now = im->page[i], *was = im->initial + i * DIFF_PAGE;

    if (!memcmp(now, was, DIFF_PAGE))
        return;
    for (unsigned off = 0; off < DIFF_PAGE; off += DIFF_LINE)
        if (memcmp(now + off, was + off, DIFF_LINE) != 0)
            note_line(r, (i * DIFF_PAGE + off) / DIFF_LINE, now + off);
}

void image_collect(struct image *im, struct diff_result *r)
{
    r->nr_changed = 0;
    r->changed_hash = 0;
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++)
        collect_page(im, r, i);
}

int image_offset(uint64_t addr)
{
    for (unsigned i = 0; i < DIFF_NR_PAGES; i++) {
        uint64_t start = DIFF_DATA + diff_page[i].off;

        if (addr >= start && addr - start < DIFF_PAGE)
            return (int)(i * DIFF_PAGE + (addr - start));
    }
    return -1;
}
