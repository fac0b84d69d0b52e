/*
 * Saved states: any bytes are either refused or load into a state that the
 * device accepts. Half of the inputs get right checksums, so that what lies
 * behind them is reached.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc32.h"
#include "base/endian.h"
#include "state/dump.h"
#include "state/format.h"
#include "state/reader.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct toy {
    uint8_t index;
    uint32_t words[4];
    uint8_t bytes[16];
    bool on;
};

static const struct state_field toy_fields[] = {
    STATE_FIELD(1, STATE_U8, struct toy, index),
    STATE_FIELD(2, STATE_U32, struct toy, words),
    STATE_FIELD(3, STATE_BYTES, struct toy, bytes),
    STATE_FIELD(4, STATE_BOOL, struct toy, on),
};

static int toy_check(const void *state)
{
    return ((const struct toy *)state)->index < 16 ? 0 : -EINVAL;
}

static const struct state_desc toy_desc = {
    .name = "toy",
    .version = 2,
    STATE_LAYOUT(struct toy, toy_fields),
    .check = toy_check,
};

/* Make the header and the checksums fit what is there. */
static void seal(uint8_t *buf, size_t len)
{
    uint32_t nr = 0;
    size_t off = STATE_HDR_SIZE;

    memcpy(buf, STATE_MAGIC, STATE_MAGIC_LEN);
    while (off + STATE_SEC_SIZE <= len) {
        size_t n = get_le32(buf + off + STATE_SEC_LEN);

        if (n < STATE_SEC_SIZE || n > len - off)
            break;
        put_le32(buf + off + STATE_SEC_CRC, state_section_crc(buf + off, n));
        off += n;
        nr++;
    }
    put_le32(buf + STATE_HDR_VERSION, STATE_FORMAT_VERSION);
    put_le32(buf + STATE_HDR_SECTIONS, nr);
    put_le64(buf + STATE_HDR_LEN, len);
    put_le32(buf + STATE_HDR_CRC, crc32_update(0, buf, STATE_HDR_CRC));
}

static void read_all(const uint8_t *buf, size_t len)
{
    const struct state_desc *const descs[] = {&toy_desc, NULL};
    struct toy toy = {.index = 15};
    struct state_reader r;
    struct err err;
    char *text = NULL;
    size_t text_len = 0;
    FILE *out;

    if (state_reader_init(&r, buf, len, &err) < 0)
        return;
    if (state_load(&r, &toy_desc, 0, &toy, &err) < 0)
        assert(toy.index == 15 && !toy.on);
    assert(toy.index < 16);
    out = open_memstream(&text, &text_len);
    if (out) {
        state_dump_file(out, &r, descs);
        (void)fclose(out);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    if (size < 1)
        return 0;
    copy = malloc(size);
    if (!copy)
        return 0;
    memcpy(copy, data + 1, size - 1);
    if (data[0] & 1 && size - 1 >= STATE_HDR_SIZE)
        seal(copy, size - 1);
    read_all(copy, size - 1);
    free(copy);
    return 0;
}
