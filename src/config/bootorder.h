#ifndef HUSK_CONFIG_BOOTORDER_H
#define HUSK_CONFIG_BOOTORDER_H

#include <stdbool.h>

#include "base/compiler.h"
#include "base/err.h"

/* What firmware tries to boot from, and in which order. */
enum bootorder_kind {
    BOOTORDER_DISK,
    BOOTORDER_CD,
    BOOTORDER_FLOPPY,
    BOOTORDER_NET,
    BOOTORDER_NR_KINDS
};

/* All zeros: the kinds as above, and no menu. */
struct bootorder {
    enum bootorder_kind kind[BOOTORDER_NR_KINDS]; /* those that were named */
    unsigned nr;                                  /* each is there once */
    bool menu; /* the firmware lets a person choose first */
};

/* The n-th kind of all (n < BOOTORDER_NR_KINDS): what was not named comes
 * behind, in the order above. The network is tried only if it was named: to
 * find nothing there takes minutes. */
enum bootorder_kind bootorder_at(const struct bootorder *o, unsigned n);
bool bootorder_names(const struct bootorder *o, enum bootorder_kind kind);

/*
 * "cd,disk": words for the above with commas between, each once, and perhaps
 * "menu". -EINVAL with err, which calls the option what.
 */
MUST_CHECK int bootorder_parse(const char *text, const char *what,
                               struct bootorder *o, struct err *err);

#endif
