#ifndef HUSK_DEVICES_VIRTIO_VIRTIO_BLK_INT_H
#define HUSK_DEVICES_VIRTIO_VIRTIO_BLK_INT_H

#include "devices/virtio/virtio_blk.h"

/* Shared by virtio_blk.c (the device) and virtio_blk_req.c (its requests). */

enum { SECTOR_SHIFT = 9, SECTOR_SIZE = 1 << SECTOR_SHIFT };

/* 5.2.3 */
#define BLK_F_SEG_MAX      ((uint64_t)1 << 2)
#define BLK_F_RO           ((uint64_t)1 << 5)
#define BLK_F_BLK_SIZE     ((uint64_t)1 << 6)
#define BLK_F_FLUSH        ((uint64_t)1 << 9)
#define BLK_F_TOPOLOGY     ((uint64_t)1 << 10)
#define BLK_F_CONFIG_WCE   ((uint64_t)1 << 11)
#define BLK_F_MQ           ((uint64_t)1 << 12)
#define BLK_F_DISCARD      ((uint64_t)1 << 13)
#define BLK_F_WRITE_ZEROES ((uint64_t)1 << 14)

/* Ranges of one discard or write-zeroes request; sectors of one range. */
enum { BLK_MAX_RANGES = 16, BLK_MAX_RANGE_SECTORS = 1 << 22 };

/* virtio_blk_now.c: carry r out at once if that is worth while; *rc is what it
 * returned. */
bool virtio_blk_do_now(struct virtio_blk *vb, const struct blk_req *r, int *rc);

/* virtio_blk_req.c: type functions of the queues; the device's lock is held. */
bool virtio_blk_queue(struct virtio_dev *vd, unsigned q);
void virtio_blk_queue_reset(struct virtio_dev *vd, unsigned q);
/* Forget every request. */
void virtio_blk_forget(struct virtio_blk *vb);
/* Carry out what st.taken says. */
void virtio_blk_redo(struct virtio_blk *vb);

#endif
