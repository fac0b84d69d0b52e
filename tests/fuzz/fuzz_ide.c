#include "base/endian.h"
#include "tests/fuzz/ide_fuzz.h"

/*
 * Input: rounds of 8 bytes: what to do, an argument, 2 bytes that say where,
 * 4 bytes of value. The same bytes serve as entries of the bus master's tables.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUND = 8, MAX_ROUNDS = 256 };

static unsigned port_of(unsigned where)
{
    unsigned base = where & 0x100 ? FUZZ_SECONDARY : FUZZ_PRIMARY;

    if (where & 0x80)
        return FUZZ_BM + (where & 15);
    return where & 0x40 ? base + FUZZ_CONTROL : base + (where & 7);
}

static void strings(unsigned port, unsigned shift, unsigned n, bool in)
{
    static uint8_t buf[4096];

    n = 1 + n % (4096u >> shift);
    if (in)
        bus_read_many(all.pio, port, 1u << shift, buf, n);
    else
        bus_write_many(all.pio, port, 1u << shift, buf, n);
}

/* What was saved is loaded again, whatever is under way. */
static void reload(unsigned n)
{
    struct ide_channel *ch = &all.ide.channel[n & 1];

    lock_take(&all.ide.lock);
    ide_channel_class.loaded(ch, 0);
    lock_drop(&all.ide.lock);
}

static void do_round(const uint8_t *in)
{
    unsigned arg = in[1], where = get_le16(in + 2);
    unsigned port = port_of(where), shift = arg % 3;
    int rc;

    switch (in[0] & 15) {
    case 0:
    case 1:
    case 2: bus_write(all.pio, port, 1u << shift, get_le32(in + 4)); break;
    case 3:
    case 4: (void)bus_read(all.pio, port, 1u << shift); break;
    case 5: strings(port, shift, get_le16(in + 4), true); break;
    case 6: strings(port, shift, get_le16(in + 4), false); break;
    case 7: ide_drain(&all.ide); break;
    case 8:
        all.fail = arg & 1 ? -ENOSPC : arg & 2 ? -EIO : 0;
        all.cached = arg & 4;
        break;
    case 9: ide_retry(&all.ide); break;
    case 10: reload(arg); break;
    case 11: fuzz_change(arg & 1 ? &all.cd.blk : NULL); break;
    case 12: ide_reset(&all.ide); break;
    default:
        rc = gmem_write(&all.gm, where % (FUZZ_RAM / 8) * 8u, in, ROUND);
        assert(rc == 0);
        (void)rc;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_reset();
    for (unsigned i = 0; size >= ROUND && i < MAX_ROUNDS; i++) {
        do_round(data);
        fuzz_check();
        data += ROUND;
        size -= ROUND;
    }
    ide_drain(&all.ide);
    ide_reset(&all.ide);
    assert(ide_nr_stuck(&all.ide) == 0);
    return 0;
}
