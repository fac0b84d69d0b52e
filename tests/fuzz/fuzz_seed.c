/*
 * User data, keys, names and passwords for cloud-init: four texts with zero
 * bytes between them. They are refused or make a CD that holds the user data.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "seed/seed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = calloc(1, size + 5);
    char *text[4];
    struct seed s = {.instance = "fuzz", .hostname = "fuzz"};
    uint8_t *image = NULL;
    struct err err;
    size_t len = 0;

    assert(copy);
    memcpy(copy, data, size);
    text[0] = copy;
    for (unsigned i = 1; i < 4; i++) {
        size_t used = (size_t)(text[i - 1] - copy) + strlen(text[i - 1]);

        text[i] = copy + used + (used < size);
    }
    s.user_data = *text[0] ? text[0] : NULL;
    s.keys = *text[1] ? text[1] : NULL;
    s.user = *text[2] ? text[2] : NULL;
    s.password = *text[3] ? text[3] : NULL;
    s.hostname = *text[3] ? text[3] : "x";
    if (seed_make(&s, &image, &len, &err) == 0) {
        assert(len % 2048 == 0);
        assert(!s.user_data ||
               memmem(image, len, s.user_data, strlen(s.user_data)));
        free(image);
    }
    free(copy);
    return 0;
}
