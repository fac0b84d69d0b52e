/*
 * What a VM file says of itself: header, extension, slots, owner record, the
 * settings in them, the records of snapshots and the heads of their states. Any
 * bytes are refused or give settings that survive being printed; they then can
 * be changed, and the text of a change is what is read next.
 *
 * The first byte chooses: 0 a file, 1 the text of settings, 2 a snapshot's
 * record, 3 a file whose sums are made right, 4 the head of a state area.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/crc32c.h"
#include "base/endian.h"
#include "config/settings.h"
#include "vmfile/identity.h"
#include "vmfile/slots.h"
#include "vmfile/snapmeta.h"
#include "vmfile/statearea.h"
#include "vmfile/vmlock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEADER = 112, MAX_FILE = 1 << 17 };

static void use_text(const char *text, size_t len)
{
    struct settings *s = NULL, *again = NULL;
    struct err err;
    char *printed;

    if (settings_parse(text, len, &s, &err) < 0)
        return;
    for (unsigned i = 0; i < settings_nr_keys; i++) {
        char *value = NULL;

        assert(settings_get(s, settings_keys[i].name, &value, &err) == 0);
        free(value);
    }
    (void)settings_disk(s, 0);
    if (settings_own(s, "file"))
        (void)identity_same(settings_own(s, "file"), settings_own(s, "file"));
    assert(settings_set(s, "cpus", "3", &err) == 0);
    printed = settings_print(s);
    assert(printed);
    assert(settings_parse(printed, strlen(printed), &again, &err) == 0);
    assert(json_equal(settings_json(s), settings_json(again)));
    free(printed);
    settings_free(s);
    settings_free(again);
}

static void use_record(const uint8_t *data, size_t size)
{
    uint8_t buf[2000], *copy = malloc(size ? size : 1);
    struct snapmeta m;
    struct err err;
    size_t len = 0;

    assert(copy);
    memcpy(copy, data, size);
    if (size >= 20 && data[4] & 0x80) {
        copy[4] &= 0x7f;
        put_be32(copy + 16, 0);
        put_be32(copy + 16, crc32c_update(0, copy, size));
    }
    if (snapmeta_unpack(&m, copy, size) == 0)
        (void)!snapmeta_pack(&m, buf, sizeof(buf), &len, &err);
    snapmeta_free(&m);
    free(copy);
}

/* What is taken is in order and in its room, and packs to what it was. The
 * first byte says how much room, and whether the sum is made right. */
static void use_state(const uint8_t *data, size_t size)
{
    uint8_t head[STATEAREA_HEAD] = {0}, again[STATEAREA_HEAD];
    uint64_t room, end = STATEAREA_HEAD;
    struct statearea a, b;

    if (!size)
        return;
    room = 1ull << (data[0] & 63);
    memcpy(head, data + 1, size - 1 < sizeof(head) ? size - 1 : sizeof(head));
    if (data[0] & 0x80) {
        put_be32(head + 24, 0);
        put_be32(head + 24, crc32c_update(0, head, sizeof(head)));
    }
    if (statearea_parse(&a, head, room) < 0)
        return;
    for (unsigned i = 0; i < a.nr; i++) {
        assert(a.section[i].off >= end && a.section[i].len);
        assert(a.section[i].off < room);
        assert(a.section[i].len <= room - a.section[i].off);
        end = a.section[i].off + a.section[i].len;
    }
    assert(statearea_end(&a) == end);
    (void)statearea_find(&a, STATEAREA_VARIABLES);
    statearea_pack(&a, again);
    assert(statearea_parse(&b, again, room) == 0);
    assert(b.nr == a.nr && b.generation == a.generation);
    assert(memcmp(a.section, b.section, a.nr * sizeof(a.section[0])) == 0);
}

/* A header with husk's extension at its usual place, of the input's bytes. */
static void put_header(int fd)
{
    uint8_t h[HEADER + 8] = "QFI\xfb";

    put_be32(h + 4, 3);
    put_be32(h + 20, 16);
    put_be32(h + 100, HEADER);
    put_be32(h + HEADER, SLOTS_EXTENSION);
    put_be32(h + HEADER + 4, SLOTS_LENGTH);
    assert(pwrite(fd, h, sizeof(h), 0) == (ssize_t)sizeof(h));
}

/* The input is the text of slot 0, damaged by its own first bytes. */
static void put_slots(int fd, const uint8_t *data, size_t size)
{
    uint8_t *ext = calloc(1, SLOTS_LENGTH);
    size_t len = size < 64 ? 0 : size - 64;
    struct err err;

    assert(ext);
    if (len > SLOTS_MAX_TEXT)
        len = SLOTS_MAX_TEXT;
    assert(slots_format(ext, (const char *)data + (len ? 64 : 0), len, &err) ==
           0);
    for (size_t i = 0; i + 4 <= size && i < 64; i += 4)
        ext[get_le16(data + i) % SLOTS_LENGTH] ^= data[i + 2];
    put_be32(ext + 28, crc32c_update(0, ext, 28));
    assert(pwrite(fd, ext, SLOTS_LENGTH, HEADER + 8) == SLOTS_LENGTH);
    free(ext);
}

static void use_file(int fd)
{
    struct vmlock_owner owner;
    uint64_t generation = 0;
    char *text = NULL;
    struct err err;
    size_t len = 0;

    if (vmlock_take(fd, "vm", "fuzz", &err) == 0) {
        (void)vmlock_owner(fd, &owner);
        vmlock_drop(fd);
    }
    if (slots_read(fd, "vm", &text, &len, &generation, &err) < 0)
        return;
    use_text(text, len);
    free(text);
    if (slots_write(fd, "vm", NULL, "{\"cpus\":2}", 10, &err) < 0)
        return;
    assert(slots_read(fd, "vm", &text, &len, &generation, &err) == 0);
    assert(len == 10 && memcmp(text, "{\"cpus\":2}", 10) == 0);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy;
    int fd;

    if (size < 1 || size > MAX_FILE)
        return 0;
    if (data[0] % 5 == 1) {
        copy = malloc(size);
        assert(copy);
        memcpy(copy, data + 1, size - 1);
        use_text(copy, size - 1);
        free(copy);
        return 0;
    }
    if (data[0] % 5 == 2) {
        use_record(data + 1, size - 1);
        return 0;
    }
    if (data[0] % 5 == 4) {
        use_state(data + 1, size - 1);
        return 0;
    }
    fd = memfd_create("vm", MFD_CLOEXEC);
    assert(fd >= 0);
    if (data[0] % 5 == 0) {
        assert(pwrite(fd, data + 1, size - 1, 0) == (ssize_t)size - 1);
    } else {
        assert(ftruncate(fd, 65536) == 0);
        put_header(fd);
        put_slots(fd, data + 1, size - 1);
    }
    use_file(fd);
    (void)close(fd);
    return 0;
}
