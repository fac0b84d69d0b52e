#include "tests/unit/devices/pci/saved.h"

#include <stdlib.h>
#include <string.h>

#include "state/reader.h"
#include "state/writer.h"
#include "tests/unit/test.h"

enum { SAVED = 0xa5, BEFORE = 0x5a };

void assert_saved_whole(const struct state_desc *desc)
{
    struct state_desc any = *desc;
    struct state_writer w;
    struct state_reader r;
    struct err err;
    uint8_t *state = malloc(desc->size);
    uint8_t *buf;
    size_t len;
    size_t kept = 0;

    any.check = NULL; /* the pattern means nothing */
    assert_non_null(state);
    memset(state, SAVED, desc->size);
    state_writer_init(&w);
    state_save(&w, &any, 0, state);
    assert_int_equal(state_writer_finish(&w, &buf, &len), 0);
    memset(state, BEFORE, desc->size);
    assert_int_equal(state_reader_init(&r, buf, len, &err), 0);
    assert_int_equal(state_load(&r, &any, 0, state, &err), 0);
    for (size_t i = 0; i < desc->size; i++) {
        assert_true(state[i] == SAVED || state[i] == BEFORE);
        kept += state[i] == BEFORE;
    }
    assert_true(kept < 8);
    free(buf);
    free(state);
}
