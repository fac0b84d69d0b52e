#include <errno.h>

#include "base/endian.h"
#include "devices/ide/ide_int.h"

/* The bus master (82371SB, 2.7; BM-IDE): registers, and tables of the memory
 * that a transfer uses. A table and its memory are the guest's: read once. */

/* --- Tables --- */

/* Take the next entry: 0 if there is none, -EFAULT if it is not in RAM. */
static int next_entry(const struct ide_channel *ch, struct ide_prd *p)
{
    uint8_t raw[PRD_BYTES];
    uint32_t flags;

    if (p->last)
        return 0;
    if (gmem_read(ch->ide->gm, p->next, raw, sizeof(raw)) < 0)
        return -EFAULT;
    flags = get_le32(raw + 4);
    p->next += PRD_BYTES;
    p->addr = get_le32(raw) & ~1u;
    p->left = flags & 0xfffe ? flags & 0xfffe : 0x10000;
    p->last = (flags & PRD_LAST) != 0;
    return 1;
}

/* The host's address of the first *n bytes at gpa that lie in one piece; NULL
 * if there is no RAM (or none to write to). */
static uint8_t *piece(const struct gmem *gm, gpa_t gpa, uint32_t *n,
                      bool writable)
{
    const struct gmem_bank *b = gmem_bank(gm, gpa, *n);
    uint32_t on_page = (uint32_t)(GPAGE_SIZE - (gpa & GPAGE_MASK));

    if (!b) {
        *n = *n < on_page ? *n : on_page;
        b = gmem_bank(gm, gpa, *n);
    }
    if (!b || (writable && b->readonly))
        return NULL;
    return b->hva + (gpa - b->start);
}

/* Add n bytes, to the last piece if they follow it. */
static void add_piece(struct ide_channel *ch, int *nr, void *hva, gpa_t gpa,
                      uint32_t n)
{
    struct iovec *last = *nr ? &ch->iov[*nr - 1] : NULL;

    if (last && (char *)last->iov_base + last->iov_len == hva &&
        ch->gpa[*nr - 1] + last->iov_len == gpa) {
        last->iov_len += n;
        return;
    }
    ch->iov[*nr] = (struct iovec){hva, n};
    ch->gpa[(*nr)++] = gpa;
}

int64_t ide_prd_collect(struct ide_channel *ch, uint32_t want, bool writable,
                        int *nr)
{
    struct ide_prd *p = &ch->after;
    uint32_t got = 0;

    *nr = 0;
    if (!pci_dev_is_master(&ch->ide->pci))
        return -EFAULT;
    while (got < want && *nr < IDE_MAX_IOV) {
        uint32_t n;
        uint8_t *hva;
        int rc = p->left ? 1 : next_entry(ch, p);

        if (rc < 0)
            return rc;
        if (rc == 0)
            break;
        n = p->left < want - got ? p->left : want - got;
        hva = piece(ch->ide->gm, p->addr, &n, writable);
        if (!hva)
            return -EFAULT;
        add_piece(ch, nr, hva, p->addr, n);
        p->addr += n;
        p->left -= n;
        got += n;
    }
    return got;
}

void ide_bm_end(struct ide_channel *ch, bool error)
{
    ch->st.bm_status &= (uint8_t)~BM_ACTIVE;
    if (error)
        ch->st.bm_status |= BM_ERROR;
}

/* --- Registers --- */

static void start(struct ide_channel *ch)
{
    struct ide_channel_state *st = &ch->st;

    st->bm_status |= BM_ACTIVE;
    st->prd_next = st->bm_table;
    st->prd_left = 0;
    st->prd_last = false;
    ide_dma_step(ch);
}

/* A request that is under way still reaches memory; none follows it. */
static void stop(struct ide_channel *ch)
{
    ch->st.bm_status &= (uint8_t)~BM_ACTIVE;
    if (ch->st.phase == IDE_BUSY && ch->st.dma)
        ide_wait(ch);
}

static void write_command(struct ide_channel *ch, uint8_t val)
{
    uint8_t was = ch->st.bm_command;

    ch->st.bm_command = val & (BM_START | BM_TO_MEMORY);
    if (!(was & BM_START) && (val & BM_START))
        start(ch);
    else if ((was & BM_START) && !(val & BM_START))
        stop(ch);
}

static void write_status(struct ide_channel *ch, uint8_t val)
{
    uint8_t st = ch->st.bm_status;

    st &= (uint8_t) ~(val & (BM_ERROR | BM_IRQ));
    ch->st.bm_status = (uint8_t)((st & ~BM_CAPABLE) | (val & BM_CAPABLE));
}

static uint8_t read_byte(const struct ide_channel *ch, unsigned reg)
{
    switch (reg) {
    case BM_COMMAND: return ch->st.bm_command;
    case BM_STATUS: return ch->st.bm_status;
    case BM_TABLE:
    case BM_TABLE + 1:
    case BM_TABLE + 2:
    case BM_TABLE + 3:
        return (uint8_t)(ch->st.bm_table >> 8 * (reg - BM_TABLE));
    default: return 0;
    }
}

static void write_byte(struct ide_channel *ch, unsigned reg, uint8_t val)
{
    unsigned shift = 8 * (reg & 3);

    if (reg == BM_COMMAND)
        write_command(ch, val);
    else if (reg == BM_STATUS)
        write_status(ch, val);
    else if (reg >= BM_TABLE)
        ch->st.bm_table =
            ((ch->st.bm_table & ~(0xffu << shift)) | (uint32_t)val << shift) &
            ~3u;
}

static uint64_t bm_read(void *dev, uint64_t off, unsigned size)
{
    struct ide *ide = dev;
    uint64_t val = 0;

    ide_complete(ide);
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)off + i;

        val |= (uint64_t)read_byte(&ide->channel[at / BM_CHANNEL_PORTS],
                                   at % BM_CHANNEL_PORTS)
               << 8 * i;
    }
    return val;
}

static void bm_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct ide *ide = dev;

    ide_complete(ide);
    for (unsigned i = 0; i < size; i++) {
        unsigned at = (unsigned)off + i;

        write_byte(&ide->channel[at / BM_CHANNEL_PORTS], at % BM_CHANNEL_PORTS,
                   (uint8_t)(val >> 8 * i));
    }
}

const struct bus_ops ide_bm_bus_ops = {
    .read = bm_read, .write = bm_write, .min_size = 1, .max_size = 4};
