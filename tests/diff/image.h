#ifndef HUSK_DIFF_IMAGE_H
#define HUSK_DIFF_IMAGE_H

#include "case.h"

/*
 * The data pages of one worker: where they are writable for us, and what they
 * held when the case started.
 */
struct image {
    uint8_t *page[DIFF_NR_PAGES]; /* borrowed: what the case sees */
    uint8_t background[DIFF_IMAGE_SIZE];
    uint8_t initial[DIFF_IMAGE_SIZE];
};

/*
 * Fill with the background, which is the same in every run. Set page[] before:
 * the pages need not be next to each other.
 */
void image_init(struct image *im);
/* The background byte at an offset of the image. */
uint8_t image_background(uint32_t off);
/* Make the pages what the case starts from. */
void image_prepare(struct image *im, const struct diff_case *c);
/* Note what the case has changed. */
void image_collect(struct image *im, struct diff_result *r);
/* The offset in the image of a data address, or -1 where nothing is mapped. */
int image_offset(uint64_t addr);

#endif
