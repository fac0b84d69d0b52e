#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/endian.h"
#include "devices/virtio/virtio_blk_int.h"

/*
 * The device around its requests: features, configuration space, state, reset.
 * See virtio_blk_req.c for the requests and who locks what.
 */

/* 5.2.4 */
enum {
    CFG_CAPACITY = 0,
    CFG_SEG_MAX = 12,
    CFG_BLK_SIZE = 20,
    CFG_PHYSICAL_EXP = 24,
    CFG_ALIGNMENT = 25,
    CFG_MIN_IO = 26,
    CFG_OPT_IO = 28,
    CFG_WRITEBACK = 32,
    CFG_NUM_QUEUES = 34,
    CFG_MAX_DISCARD = 36,
    CFG_MAX_DISCARD_SEG = 40,
    CFG_DISCARD_ALIGN = 44,
    CFG_MAX_ZEROES = 48,
    CFG_MAX_ZEROES_SEG = 52,
    CFG_ZEROES_MAY_UNMAP = 56,
    CFG_BYTES = 60
};

static const struct state_field virtio_blk_fields[] = {
    STATE_FIELD(1, STATE_U8, struct virtio_blk_state, writeback),
    STATE_FIELD(2, STATE_BYTES, struct virtio_blk_state, taken),
};

/* A chain that was never offered breaks the device when it is looked at. */
static int virtio_blk_check(const void *state)
{
    const struct virtio_blk_state *st = state;

    return st->writeback <= 1 ? 0 : -EINVAL;
}

const struct state_desc virtio_blk_state_desc = {
    .name = "virtio-blk",
    .version = 1,
    STATE_LAYOUT(struct virtio_blk_state, virtio_blk_fields),
    .check = virtio_blk_check,
};

const struct device_class virtio_blk_class = {
    .state = &virtio_blk_state_desc,
    .state_off = offsetof(struct virtio_blk, st),
};

static struct virtio_blk *blk_of(struct virtio_dev *vd)
{
    return CONTAINER_OF(vd, struct virtio_blk, vd);
}

/* -- Configuration space --- */

/* Physical blocks as a power of two of logical ones (512 bytes). */
static uint8_t physical_exp(const struct blk_limits *l)
{
    uint8_t exp = 0;

    while (exp < 16 && (uint32_t)SECTOR_SIZE << exp < l->physical_block)
        exp++;
    return exp;
}

static uint32_t max_range(const struct blk_limits *l)
{
    uint64_t sectors = l->max_discard >> SECTOR_SHIFT;

    return sectors && sectors < BLK_MAX_RANGE_SECTORS ? (uint32_t)sectors
                                                      : BLK_MAX_RANGE_SECTORS;
}

static void fill_config(const struct virtio_blk *vb, uint8_t *c)
{
    const struct blk_limits *l = &vb->limits;
    uint32_t align = l->discard_granularity >> SECTOR_SHIFT;
    uint8_t exp = physical_exp(l);

    memset(c, 0, CFG_BYTES);
    put_le64(c + CFG_CAPACITY, vb->capacity);
    /* All but the header and the status byte. */
    put_le32(c + CFG_SEG_MAX, VIRTIO_BLK_QUEUE_SIZE - 2);
    put_le32(c + CFG_BLK_SIZE, SECTOR_SIZE);
    c[CFG_PHYSICAL_EXP] = exp;
    put_le16(c + CFG_MIN_IO, (uint16_t)(1u << (exp < 15 ? exp : 15)));
    put_le32(c + CFG_OPT_IO, l->opt_io >> SECTOR_SHIFT);
    c[CFG_WRITEBACK] = vb->st.writeback;
    put_le16(c + CFG_NUM_QUEUES, (uint16_t)vb->type.nr_queues);
    put_le32(c + CFG_MAX_DISCARD, max_range(l));
    put_le32(c + CFG_MAX_DISCARD_SEG, BLK_MAX_RANGES);
    put_le32(c + CFG_DISCARD_ALIGN, align ? align : 1);
    put_le32(c + CFG_MAX_ZEROES, max_range(l));
    put_le32(c + CFG_MAX_ZEROES_SEG, BLK_MAX_RANGES);
    c[CFG_ZEROES_MAY_UNMAP] = 1;
}

static void blk_config_read(struct virtio_dev *vd, uint32_t off, void *dst,
                            unsigned len)
{
    uint8_t c[CFG_BYTES];

    fill_config(blk_of(vd), c);
    memcpy(dst, c + off, len);
}

static void blk_config_write(struct virtio_dev *vd, uint32_t off,
                             const void *src, unsigned len)
{
    uint8_t val;

    if (off != CFG_WRITEBACK || len != 1 ||
        !(vd->st.driver_features & BLK_F_CONFIG_WCE))
        return;
    memcpy(&val, src, 1);
    blk_of(vd)->st.writeback = val & 1;
}

/* -- Life --- */

static void blk_reset(struct virtio_dev *vd)
{
    struct virtio_blk *vb = blk_of(vd);

    virtio_blk_forget(vb);
    vb->st.writeback = 1;
    vb->flush_failed = false;
}

static void blk_loaded(struct virtio_dev *vd)
{
    virtio_blk_redo(blk_of(vd));
}

static const struct virtio_type blk_type = {
    .id = VIRTIO_ID_BLK,
    .pci_class = 0x018000, /* mass storage, other */
    .queue_size = VIRTIO_BLK_QUEUE_SIZE,
    .config_size = CFG_BYTES,
    .inline_kick = true,
    .config_read = blk_config_read,
    .config_write = blk_config_write,
    .queue = virtio_blk_queue,
    .queue_reset = virtio_blk_queue_reset,
    .reset = blk_reset,
    .loaded = blk_loaded,
};

static uint64_t blk_features(const struct virtio_blk *vb)
{
    uint64_t f = BLK_F_SEG_MAX | BLK_F_BLK_SIZE | BLK_F_FLUSH | BLK_F_TOPOLOGY |
                 BLK_F_CONFIG_WCE | BLK_F_MQ;

    if (vb->blk->flags & BLK_RDONLY)
        return f | BLK_F_RO;
    return f | BLK_F_DISCARD | BLK_F_WRITE_ZEROES;
}

static void fill(struct virtio_blk *vb, const struct virtio_blk_config *cfg)
{
    memset(vb, 0, sizeof(*vb));
    vb->type = blk_type;
    vb->type.name = cfg->name;
    vb->type.nr_queues = cfg->nr_queues;
    vb->blk = cfg->blk;
    vb->capacity = blk_size(cfg->blk) >> SECTOR_SHIFT;
    blk_limits(cfg->blk, &vb->limits);
    if (cfg->serial)
        memcpy(vb->serial, cfg->serial,
               strnlen(cfg->serial, sizeof(vb->serial)));
    vb->on_stuck = cfg->stuck;
    vb->opaque = cfg->opaque;
    vb->st.writeback = 1;
    vb->batch_end = &vb->batch;
}

int virtio_blk_init(struct virtio_blk *vb, const struct virtio_env *env,
                    const struct virtio_blk_config *cfg, struct err *err)
{
    int rc;

    fill(vb, cfg);
    vb->chain = malloc(sizeof(*vb->chain));
    if (!vb->chain)
        return err_set(err, -ENOMEM, "make %s: out of memory", cfg->name);
    vb->pool = blkq_new(cfg->blk, cfg->threads, err);
    if (!vb->pool) {
        rc = err->code;
        goto free_chain;
    }
    rc = virtio_dev_init(&vb->vd, &vb->type, env, blk_features(vb), err);
    if (rc < 0)
        goto free_pool;
    lock_init(&vb->pool_lock);
    (void)pthread_cond_init(&vb->idle, NULL);
    return 0;

free_pool:
    blkq_free(vb->pool);
free_chain:
    free(vb->chain);
    return rc;
}

void virtio_blk_fini(struct virtio_blk *vb)
{
    lock_take(&vb->vd.lock);
    virtio_blk_forget(vb);
    lock_drop(&vb->vd.lock);
    /* Its threads may be on their way to complete what was forgotten. */
    blkq_free(vb->pool);
    (void)pthread_cond_destroy(&vb->idle);
    lock_fini(&vb->pool_lock);
    virtio_dev_fini(&vb->vd);
    free(vb->chain);
}

void virtio_blk_resized(struct virtio_blk *vb)
{
    lock_take(&vb->vd.lock);
    vb->capacity = blk_size(vb->blk) >> SECTOR_SHIFT;
    virtio_config_changed(&vb->vd);
    lock_drop(&vb->vd.lock);
}
