#include "base/endian.h"
#include "tests/fuzz/ide_fuzz.h"

/*
 * Packets, sent by the rules: whatever is in them, the drive takes them, gives
 * no more than it says, and ends each.
 *
 * Input: a byte (1: there is no medium at first), then rounds of 16 bytes:
 * features, the limit of a piece, flags, the packet.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROUND = 16, MAX_ROUNDS = 64, TABLE = 0x1000, AREA = 0x10000 };

static unsigned get(unsigned reg)
{
    return (unsigned)bus_read(all.pio, FUZZ_SECONDARY + reg, 1);
}

static void put(unsigned reg, unsigned val)
{
    bus_write(all.pio, FUZZ_SECONDARY + reg, 1, val);
}

/* By PIO: pieces of what length the drive says. */
static void take_pieces(void)
{
    static uint8_t buf[1 << 16];
    unsigned total = 0;

    while (get(REG_STATUS) & ST_DRQ) {
        unsigned n = get(REG_LBA_MID) | get(REG_LBA_HIGH) << 8;

        assert(get(REG_COUNT) == REASON_IO && n > 0);
        total += n;
        assert(total <= FUZZ_DISK);
        bus_read_many(all.pio, FUZZ_SECONDARY, 2, buf, (n + 1) / 2);
        ide_drain(&all.ide);
    }
}

static void take_dma(void)
{
    uint8_t entry[8];
    int rc = 0;

    put_le32(entry, AREA);
    for (unsigned i = 0; rc == 0 && i < FUZZ_DISK / 0x10000; i++) {
        put_le32(entry + 4, i == FUZZ_DISK / 0x10000 - 1 ? PRD_LAST : 0);
        rc = gmem_write(&all.gm, TABLE + 8 * i, entry, sizeof(entry));
    }
    assert(rc == 0);
    (void)rc;
    bus_write(all.pio, FUZZ_BM + 8 + BM_TABLE, 4, TABLE);
    bus_write(all.pio, FUZZ_BM + 8, 1, BM_START | BM_TO_MEMORY);
    ide_drain(&all.ide);
    bus_write(all.pio, FUZZ_BM + 8, 1, 0);
}

static void send(const uint8_t *in)
{
    put(REG_DEVICE, 0);
    put(REG_FEATURES, in[0] & PACKET_DMA);
    put(REG_LBA_MID, in[1]);
    put(REG_LBA_HIGH, in[2]);
    put(REG_COMMAND, 0xa0);
    assert(get(REG_STATUS) == (ST_RDY | ST_DSC | ST_DRQ));
    bus_write_many(all.pio, FUZZ_SECONDARY, 2, in + 4, PACKET_BYTES / 2);
    ide_drain(&all.ide);
    if (in[0] & PACKET_DMA)
        take_dma();
    else
        take_pieces();
    assert((get(REG_STATUS) & (ST_BSY | ST_DRQ)) == 0);
    assert(get(REG_COUNT) == (REASON_COD | REASON_IO));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    fuzz_reset();
    if (data[0] & 1)
        fuzz_change(NULL);
    for (unsigned i = 1; i + ROUND <= size && i < ROUND * MAX_ROUNDS;
         i += ROUND) {
        all.fail = data[i + 3] & 1 ? -EIO : 0;
        all.cached = data[i + 3] & 2;
        if (data[i + 3] & 4)
            fuzz_change(data[i + 3] & 8 ? &all.cd.blk : NULL);
        send(data + i);
        fuzz_check();
    }
    return 0;
}
