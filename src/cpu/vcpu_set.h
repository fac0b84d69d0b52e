#ifndef HUSK_CPU_VCPU_SET_H
#define HUSK_CPU_VCPU_SET_H

#include "base/lock.h"
#include "cpu/debug.h"
#include "cpu/engine.h"
#include "cpu/kvmclock.h"
#include "cpu/vcpu.h"

/*
 * The inside of a vcpu_set, for the files of src/cpu only: everybody else
 * uses the functions of cpu/vcpu.h and cpu/debug.h.
 */
struct vcpu_set {
    struct vcpu_config cfg;
    const struct engine_ops *ops;
    void *engine;
    struct kvmclock clock;

    struct lock lock;       /* of all below and of the marked vcpu fields */
    pthread_cond_t changed; /* any of them changed */
    unsigned pauses;        /* guest code runs only while this is 0 */
    uint64_t pause_gen;     /* counts the times that pauses left 0 */
    bool stop;              /* threads shall end */
    bool debug_paused;      /* one of the pauses is a vCPU's debug stop */
    vcpu_debug_fn *debug_fn;
    void *debug_opaque;

    unsigned nr;
    struct vcpu vcpu[]; /* nr of them */
};

/* Raise pauses and tell all vCPUs, without waiting for them. */
void vcpu_set_pause_locked(struct vcpu_set *set) REQUIRES(set->lock);
/* Lower pauses; at 0 the vCPUs go on. */
void vcpu_set_resume_locked(struct vcpu_set *set) REQUIRES(set->lock);

/* What v's thread does about ENGINE_EXIT_DEBUG. */
void vcpu_debug_exit(struct vcpu *v);

#endif
