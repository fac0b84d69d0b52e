#ifndef HUSK_BASE_LOCK_RANKS_H
#define HUSK_BASE_LOCK_RANKS_H

/*
 * The order in which locks nest: a thread takes a lock only if its rank is
 * higher than that of every ranked lock it holds. Checked outside of release
 * builds. Most locks of husk are leaves or hold one other, so few ranks do;
 * NONE is for those that never hold another and are held by anybody.
 */
enum lock_rank {
    LOCK_RANK_NONE,    /* not checked */
    LOCK_RANK_MACHINE, /* life cycle: reset, pause */
    LOCK_RANK_VCPUS,   /* pause and resume counts */
    LOCK_RANK_PCI,     /* configuration space: moves BARs on the buses */
    LOCK_RANK_DEVICE,  /* a device's registers, held by the bus around calls */
    LOCK_RANK_BUS,     /* changing an address map; never held around accesses */
    LOCK_RANK_IRQCHIP, /* 8259, I/O APIC: reached by wires from devices */
    LOCK_RANK_LOOP     /* timers and posted calls: armed under device locks */
};

#endif
