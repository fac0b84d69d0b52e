#include "devices/virtio/virtio_pci.h"

#include <errno.h>
#include <string.h>

#include "base/endian.h"
#include "base/log.h"

/*
 * The modern PCI transport (virtio 1.2, 4.1). One BAR of four pages: common
 * registers, interrupt status, the device's configuration, and notifications.
 * The bus holds no lock around accesses, as a notification must not wait for
 * a device that is busy with a queue; the other pages take the device's lock
 * here. The same registers can be reached through the window in configuration
 * space (4.1.4.9).
 */

enum {
    MSIX_BAR = 1,
    REGS_BAR = 4,
    PAGE = 4096,
    COMMON_PAGE = 0,
    ISR_PAGE = 1,
    DEVICE_PAGE = 2,
    NOTIFY_PAGE = 3,
    REGS_SIZE = 4 * PAGE,
    NOTIFY_MULTIPLIER = 4,
    ISR_QUEUE = 1,
    ISR_CONFIG = 2
};

/* 4.1.4.3 */
struct common_regs {
    uint32_t feature_select;
    uint32_t feature;
    uint32_t driver_feature_select;
    uint32_t driver_feature;
    uint16_t config_vector;
    uint16_t nr_queues;
    uint8_t status;
    uint8_t generation;
    uint16_t queue_select;
    uint16_t queue_size;
    uint16_t queue_vector;
    uint16_t queue_enable;
    uint16_t queue_notify_off;
    uint64_t queue_desc;
    uint64_t queue_avail;
    uint64_t queue_used;
    uint16_t queue_notify_data; /* unused: VIRTIO_F_NOTIF_CONFIG_DATA */
    uint16_t queue_reset;
    uint32_t padding;
};

#define REG(name)    offsetof(struct common_regs, name)
#define COMMON_BYTES REG(padding)

_Static_assert(REG(queue_desc) == 0x20, "as in 4.1.4.3");
_Static_assert(COMMON_BYTES == 0x3c, "as in 4.1.4.3");

static const struct state_field virtio_pci_fields[] = {
    STATE_FIELD(1, STATE_U32, struct virtio_pci_state, feature_select),
    STATE_FIELD(2, STATE_U32, struct virtio_pci_state, driver_feature_select),
    STATE_FIELD(3, STATE_U16, struct virtio_pci_state, queue_select),
    STATE_FIELD(4, STATE_U16, struct virtio_pci_state, config_vector),
    STATE_FIELD(5, STATE_U8, struct virtio_pci_state, isr),
};

/* Selectors and vectors are checked where they are used. */
static int virtio_pci_check(const void *state)
{
    const struct virtio_pci_state *st = state;

    return st->isr & ~(ISR_QUEUE | ISR_CONFIG) ? -EINVAL : 0;
}

const struct state_desc virtio_pci_state_desc = {
    .name = "virtio-pci",
    .version = 1,
    STATE_LAYOUT(struct virtio_pci_state, virtio_pci_fields),
    .check = virtio_pci_check,
};

/* -- Interrupts (4.1.5.3, 4.1.5.4) --- */

static void interrupt(struct virtio_pci *vp, uint16_t vector, uint8_t isr)
{
    if (pci_msix_enabled(&vp->pci)) {
        pci_msix_notify(&vp->pci, vector); /* none for VIRTIO_NO_VECTOR */
    } else {
        vp->st.isr |= isr;
        pci_intx_set(&vp->pci, true);
    }
}

static void transport_used(void *opaque, unsigned q)
{
    struct virtio_pci *vp = opaque;

    interrupt(vp, vp->vd->vq[q].st.msix_vector, ISR_QUEUE);
}

static void transport_config_changed(void *opaque)
{
    struct virtio_pci *vp = opaque;

    interrupt(vp, vp->st.config_vector, ISR_CONFIG);
}

static bool transport_can_dma(void *opaque)
{
    const struct virtio_pci *vp = opaque;

    return pci_dev_is_master(&vp->pci);
}

static uint8_t take_isr(struct virtio_pci *vp)
{
    uint8_t isr = vp->st.isr;

    vp->st.isr = 0;
    pci_intx_set(&vp->pci, false);
    return isr;
}

/* -- Common registers --- */

/* The queue that the driver selected, or NULL. */
static struct virtq *selected(const struct virtio_pci *vp)
{
    unsigned q = vp->st.queue_select;

    return q < vp->vd->type->nr_queues ? &vp->vd->vq[q] : NULL;
}

static void fill_queue_regs(const struct virtio_pci *vp, struct common_regs *r)
{
    const struct virtq *vq = selected(vp);

    if (!vq)
        return; /* its size is 0: there is no such queue */
    r->queue_size = vq->st.size;
    r->queue_vector = vq->st.msix_vector;
    r->queue_enable = vq->st.enabled;
    r->queue_notify_off = vp->st.queue_select;
    r->queue_desc = vq->st.desc;
    r->queue_avail = vq->st.avail;
    r->queue_used = vq->st.used;
}

static uint32_t common_read(const struct virtio_pci *vp, uint64_t off,
                            unsigned size)
{
    const struct virtio_pci_state *st = &vp->st;
    const struct virtio_dev *vd = vp->vd;
    struct common_regs r = {
        .feature_select = st->feature_select,
        .feature = virtio_get_features(vd, st->feature_select),
        .driver_feature_select = st->driver_feature_select,
        .driver_feature =
            virtio_get_driver_features(vd, st->driver_feature_select),
        .config_vector = st->config_vector,
        .nr_queues = (uint16_t)vd->type->nr_queues,
        .status = vd->st.status,
        .generation = vd->st.generation,
        .queue_select = st->queue_select,
    };
    uint32_t val = 0;

    if (off + size > COMMON_BYTES)
        return 0;
    fill_queue_regs(vp, &r);
    memcpy(&val, (const uint8_t *)&r + off, size);
    return val;
}

/* 4.1.5.1.2: what cannot be had reads back as "none". */
static uint16_t valid_vector(const struct virtio_pci *vp, uint32_t vector)
{
    return vector < vp->pci.msix.nr ? (uint16_t)vector : VIRTIO_NO_VECTOR;
}

static void put_half(uint64_t *reg, uint64_t off, uint32_t val)
{
    unsigned shift = off & 4 ? 32 : 0;

    *reg = (*reg & ~((uint64_t)UINT32_MAX << shift)) | (uint64_t)val << shift;
}

static void reset_queue(struct virtio_pci *vp, uint32_t val)
{
    if (val == 1)
        virtio_reset_queue(vp->vd, vp->st.queue_select);
}

static void enable_queue(struct virtio_pci *vp, uint32_t val)
{
    if (val == 1) /* 4.1.4.3.2: the driver never writes 0 */
        virtio_enable_queue(vp->vd, vp->st.queue_select);
}

/* Registers of the selected queue; size is what fits the register. */
static void queue_write(struct virtio_pci *vp, uint64_t off, uint32_t val)
{
    struct virtq *vq = selected(vp);

    if (!vq)
        return;
    switch (off) {
    case REG(queue_vector): vq->st.msix_vector = valid_vector(vp, val); return;
    case REG(queue_enable): enable_queue(vp, val); return;
    case REG(queue_reset): reset_queue(vp, val); return;
    default: break;
    }
    if (vq->st.enabled) {
        log_guest(vp->pci.name, "queue %u is changed while enabled",
                  vp->st.queue_select);
        return;
    }
    switch (off) {
    case REG(queue_size): virtq_set_size(vq, (uint16_t)val); break;
    case REG(queue_desc):
    case REG(queue_desc) + 4: put_half(&vq->st.desc, off, val); break;
    case REG(queue_avail):
    case REG(queue_avail) + 4: put_half(&vq->st.avail, off, val); break;
    case REG(queue_used):
    case REG(queue_used) + 4: put_half(&vq->st.used, off, val); break;
    default: break;
    }
}

static void reset_transport(struct virtio_pci *vp)
{
    vp->st = (struct virtio_pci_state){.config_vector = VIRTIO_NO_VECTOR};
    pci_intx_set(&vp->pci, false);
}

static void status_write(struct virtio_pci *vp, uint8_t status)
{
    virtio_set_status(vp->vd, status);
    if (status == 0)
        reset_transport(vp);
}

/* The width of each register is the only one that works (4.1.3.1). */
static unsigned common_width(uint64_t off)
{
    if (off < REG(config_vector) ||
        (off >= REG(queue_desc) && off < REG(queue_notify_data)))
        return 4;
    return off == REG(status) || off == REG(generation) ? 1 : 2;
}

static void common_write(struct virtio_pci *vp, uint64_t off, unsigned size,
                         uint32_t val)
{
    if (off >= COMMON_BYTES || size != common_width(off))
        return;
    switch (off) {
    case REG(feature_select): vp->st.feature_select = val; break;
    case REG(driver_feature_select): vp->st.driver_feature_select = val; break;
    case REG(driver_feature):
        virtio_set_driver_features(vp->vd, vp->st.driver_feature_select, val);
        break;
    case REG(config_vector):
        vp->st.config_vector = valid_vector(vp, val);
        break;
    case REG(status): status_write(vp, (uint8_t)val); break;
    case REG(queue_select): vp->st.queue_select = (uint16_t)val; break;
    default: queue_write(vp, off, val); break;
    }
}

/* -- The BAR --- */

static uint32_t locked_read(struct virtio_pci *vp, uint64_t off, unsigned size)
{
    uint64_t in_page = off % PAGE;
    uint32_t val = 0;

    switch (off / PAGE) {
    case COMMON_PAGE: return common_read(vp, in_page, size);
    case ISR_PAGE: return in_page == 0 ? take_isr(vp) : 0;
    case DEVICE_PAGE:
        virtio_config_read(vp->vd, in_page, &val, size);
        return val;
    default: return 0;
    }
}

static uint64_t regs_read(void *dev, uint64_t off, unsigned size)
{
    struct virtio_pci *vp = dev;
    uint32_t val;

    lock_take(&vp->vd->lock);
    val = locked_read(vp, off, size);
    lock_drop(&vp->vd->lock);
    return val;
}

static void regs_write(void *dev, uint64_t off, unsigned size, uint64_t val)
{
    struct virtio_pci *vp = dev;
    uint32_t val32 = (uint32_t)val;

    if (off / PAGE == NOTIFY_PAGE) {
        virtio_kick(vp->vd, (unsigned)(off % PAGE / NOTIFY_MULTIPLIER));
        return;
    }
    lock_take(&vp->vd->lock);
    if (off / PAGE == COMMON_PAGE)
        common_write(vp, off, size, val32);
    else if (off / PAGE == DEVICE_PAGE)
        virtio_config_write(vp->vd, off % PAGE, &val32, size);
    lock_drop(&vp->vd->lock);
}

static const struct bus_ops regs_ops = {
    .read = regs_read, .write = regs_write, .min_size = 1, .max_size = 4};

/* -- Configuration space --- */

/* struct virtio_pci_cap (4.1.4), with the word that some append */
enum {
    CAP_LEN = 2,
    CAP_TYPE = 3,
    CAP_BAR = 4,
    CAP_OFFSET = 8,
    CAP_LENGTH = 12,
    CAP_EXTRA = 16,
    CAP_SIZE = 16,
    CAP_SIZE_EXTRA = 20
};

enum cap_type {
    CAP_COMMON = 1,
    CAP_NOTIFY = 2,
    CAP_ISR = 3,
    CAP_DEVICE = 4,
    CAP_PCI_CFG = 5
};

static unsigned add_cap(struct virtio_pci *vp, enum cap_type type,
                        unsigned page, uint32_t length, uint32_t extra)
{
    bool has_extra = type == CAP_NOTIFY || type == CAP_PCI_CFG;
    uint8_t cap[CAP_SIZE_EXTRA] = {PCI_CAP_VENDOR};

    cap[CAP_LEN] = has_extra ? CAP_SIZE_EXTRA : CAP_SIZE;
    cap[CAP_TYPE] = (uint8_t)type;
    cap[CAP_BAR] = type == CAP_PCI_CFG ? 0 : REGS_BAR;
    put_le32(cap + CAP_OFFSET, page * PAGE);
    put_le32(cap + CAP_LENGTH, length);
    put_le32(cap + CAP_EXTRA, extra);
    return pci_dev_add_cap(&vp->pci, cap, cap[CAP_LEN]);
}

static void add_caps(struct virtio_pci *vp)
{
    static const uint8_t bar_mask[1] = {0xff};
    static const uint8_t window_mask[12] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, /* offset, length, data */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    const struct virtio_type *type = vp->vd->type;

    vp->cfg_cap = add_cap(vp, CAP_PCI_CFG, 0, 0, 0);
    pci_dev_make_writable(&vp->pci, vp->cfg_cap + CAP_BAR, bar_mask,
                          sizeof(bar_mask));
    pci_dev_make_writable(&vp->pci, vp->cfg_cap + CAP_OFFSET, window_mask,
                          sizeof(window_mask));
    (void)add_cap(vp, CAP_NOTIFY, NOTIFY_PAGE,
                  type->nr_queues * NOTIFY_MULTIPLIER, NOTIFY_MULTIPLIER);
    if (type->config_size)
        (void)add_cap(vp, CAP_DEVICE, DEVICE_PAGE, type->config_size, 0);
    (void)add_cap(vp, CAP_ISR, ISR_PAGE, 1, 0);
    (void)add_cap(vp, CAP_COMMON, COMMON_PAGE, COMMON_BYTES, 0);
}

/* Where the window in configuration space points to; false if nowhere. */
static bool window(const struct virtio_pci *vp, uint32_t *off, uint32_t *len)
{
    const uint8_t *cap = vp->pci.st.config + vp->cfg_cap;

    *off = get_le32(cap + CAP_OFFSET);
    *len = get_le32(cap + CAP_LENGTH);
    return cap[CAP_BAR] == REGS_BAR && (*len == 1 || *len == 2 || *len == 4) &&
           *off % *len == 0 && *off < REGS_SIZE;
}

static bool touches_window(const struct virtio_pci *vp, unsigned off,
                           unsigned len)
{
    unsigned data = vp->cfg_cap + CAP_EXTRA;

    return off < data + 4 && data < off + len;
}

static void config_read(void *opaque, unsigned off, unsigned len)
{
    struct virtio_pci *vp = opaque;
    uint32_t reg, size;

    if (touches_window(vp, off, len) && window(vp, &reg, &size))
        put_le32(vp->pci.st.config + vp->cfg_cap + CAP_EXTRA,
                 (uint32_t)regs_read(vp, reg, size));
}

static void config_written(void *opaque, unsigned off, unsigned len)
{
    struct virtio_pci *vp = opaque;
    uint32_t reg, size, val;

    if (touches_window(vp, off, len) && window(vp, &reg, &size)) {
        val = get_le32(vp->pci.st.config + vp->cfg_cap + CAP_EXTRA);
        if (size < 4)
            val &= (1u << (8 * size)) - 1;
        regs_write(vp, reg, size, val);
    }
    /* What waited for the right to master may go on. */
    if (off <= PCI_COMMAND && pci_dev_is_master(&vp->pci))
        virtio_requeue_all(vp->vd);
}

static const struct pci_dev_ops virtio_pci_dev_ops = {
    .config_read = config_read, .config_written = config_written};

/* -- Set-up --- */

static void init_function(struct virtio_pci *vp)
{
    const struct virtio_type *type = vp->vd->type;
    const struct pci_id id = {
        .vendor = 0x1af4,
        .device = (uint16_t)(0x1040 + type->id), /* 4.1.2: not transitional */
        .subsys_vendor = 0x1af4,
        .subsys = 0x1100, /* 4.1.2.1: 0x40 or higher */
        .class_code = type->pci_class,
        .revision = 1,
    };

    pci_dev_init(&vp->pci, type->name, &id, &virtio_pci_dev_ops, vp);
    pci_dev_use_intx(&vp->pci, 1);
    pci_dev_add_bar(&vp->pci, REGS_BAR,
                    &(struct pci_bar){.kind = PCI_BAR_MEM64,
                                      .size = REGS_SIZE,
                                      .ops = &regs_ops,
                                      .opaque = vp});
    /* One for the configuration, one for each queue. */
    pci_dev_add_msix(&vp->pci, MSIX_BAR, type->nr_queues + 1);
    add_caps(vp);
}

int virtio_pci_init(struct virtio_pci *vp, struct virtio_dev *vd,
                    struct pci_host *h, unsigned slot, unsigned function,
                    struct err *err)
{
    int rc;

    memset(vp, 0, sizeof(*vp));
    vp->vd = vd;
    vp->st.config_vector = VIRTIO_NO_VECTOR;
    init_function(vp);
    rc = pci_host_add(h, &vp->pci, slot, function, err);
    if (rc < 0) {
        pci_dev_fini(&vp->pci);
        return rc;
    }
    lock_take(&vd->lock);
    vd->transport = (struct virtio_transport){
        .used = transport_used,
        .config_changed = transport_config_changed,
        .can_dma = transport_can_dma,
        .opaque = vp,
    };
    lock_drop(&vd->lock);
    return 0;
}

void virtio_pci_fini(struct virtio_pci *vp)
{
    pci_dev_fini(&vp->pci);
}

void virtio_pci_reset(struct virtio_pci *vp)
{
    lock_take(&vp->vd->lock);
    status_write(vp, 0);
    lock_drop(&vp->vd->lock);
}

static void class_reset(void *dev)
{
    virtio_pci_reset(dev);
}

static void class_loaded(void *dev, int64_t shift_ns)
{
    struct virtio_pci *vp = dev;

    (void)shift_ns; /* no times in here */
    virtio_dev_loaded(vp->vd);
}

const struct device_class virtio_pci_class = {
    .state = &virtio_pci_state_desc,
    .state_off = offsetof(struct virtio_pci, st),
    .reset = class_reset,
    .loaded = class_loaded,
};
