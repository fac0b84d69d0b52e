#ifndef HUSK_VMM_COMMANDS_H
#define HUSK_VMM_COMMANDS_H

#include "vmm/cds.h"
#include "vmm/control.h"
#include "vmm/direct.h"
#include "vmm/disks.h"
#include "vmm/keyboard.h"
#include "vmm/network.h"
#include "vmm/stuck.h"
#include "vmm/vmm.h"

/* What the commands at the control socket do to a running machine. */
struct commands {
    const struct vmm_config *cfg;
    struct loop *loop;
    struct pc *pc;
    struct disks *disks;
    struct cds *cds;
    struct network *network;
    struct stuck *stuck;
    struct keyboard *keyboard;
    const struct direct *direct;
    bool paused; /* by a command */
};

/* A control_fn for a struct commands. */
int commands_run(void *commands, const struct control_msg *msg, json_t **result,
                 struct err *err);

#endif
